"""Evidence of forks by example: what convicts a log, and what does not."""

from __future__ import annotations

from typing import Final

import pytest

from ledger.errors import FormatError, ProofError, SignatureError
from ledger.log.checkpoint import Checkpoint, sign_checkpoint
from ledger.log.forks import Fork, ForkEvidence, contradiction_path, gather_path
from ledger.log.merkle import EMPTY_ROOT, Coordinate, consistency_proof, leaf_hash, root
from ledger.log.note_keys import SigningKey

LOG: Final = SigningKey("log.example/pools/folk", bytes(32))
HONEST: Final = [leaf_hash(b"honest %d" % number) for number in range(9)]
FORKED: Final = [*HONEST[:2], leaf_hash(b"forged"), *HONEST[3:]]


def signed(leaves: list[bytes], key: SigningKey = LOG) -> bytes:
    return sign_checkpoint(Checkpoint(key.name, len(leaves), root(leaves)), key).to_bytes()


def path_from(old_size: int, leaves: list[bytes]) -> tuple[bytes, ...]:
    def hash_of(place: Coordinate) -> bytes:
        return root(leaves[place.index << place.level : place.index + 1 << place.level])

    return gather_path(old_size, len(leaves), hash_of)


def verify(evidence: ForkEvidence) -> Fork:
    return ForkEvidence.parse(evidence.to_bytes()).verify(LOG.verifier_key)


def test_two_roots_of_one_size_convict_by_themselves() -> None:
    fork = verify(ForkEvidence.of(signed(FORKED), signed(HONEST)))
    assert {fork.older.root, fork.newer.root} == {root(FORKED), root(HONEST)}
    assert fork.older_root_in_newer == fork.newer.root


@pytest.mark.parametrize("old_size", range(3, 9))
def test_two_sizes_convict_with_a_path_out_of_the_newer_tree(old_size: int) -> None:
    evidence = ForkEvidence.of(signed(FORKED), signed(HONEST[:old_size]), path_from(old_size, FORKED))
    fork = verify(evidence)
    assert (fork.older.size, fork.newer.size) == (old_size, 9)
    assert fork.older.root == root(HONEST[:old_size])
    assert fork.older_root_in_newer == root(FORKED[:old_size])
    proof = tuple(consistency_proof(old_size, FORKED))
    assert contradiction_path(old_size, proof, root(FORKED[:old_size])) == evidence.path


@pytest.mark.parametrize("old_size", range(1, 9))
def test_a_log_that_only_grew_is_not_convicted(old_size: int) -> None:
    evidence = ForkEvidence.of(signed(HONEST[:old_size]), signed(HONEST), path_from(old_size, HONEST))
    with pytest.raises(ProofError, match="do not contradict"):
        verify(evidence)


def test_the_part_before_the_fork_convicts_nobody() -> None:
    with pytest.raises(ProofError, match="do not contradict"):
        verify(ForkEvidence.of(signed(HONEST[:2]), signed(FORKED), path_from(2, FORKED)))
    with pytest.raises(ProofError, match="do not contradict"):
        verify(ForkEvidence.of(signed(HONEST), signed(HONEST)))


@pytest.mark.parametrize("old_size", range(3, 9))
def test_a_path_out_of_another_tree_convicts_nobody(old_size: int) -> None:
    honest = path_from(old_size, HONEST)
    older, newer = signed(HONEST[:old_size]), signed(FORKED)
    for path in ((), honest, honest[1:], (*path_from(old_size, FORKED), bytes(32)), (bytes(32), *honest[1:])):
        with pytest.raises(ProofError):
            verify(ForkEvidence(older, newer, path))


def test_an_honest_log_cannot_be_framed_by_choice_of_path() -> None:
    """Any path that leads to the newer root shows the true older root."""
    older, newer = signed(HONEST[:4]), signed(HONEST)
    for place in range(len(path_from(4, HONEST))):
        path = list(path_from(4, HONEST))
        path[place] = bytes(32)
        with pytest.raises(ProofError, match="does not lead to the newer root"):
            verify(ForkEvidence(older, newer, tuple(path)))


def test_an_empty_log_has_one_root() -> None:
    wrong = sign_checkpoint(Checkpoint(LOG.name, 0, bytes(32)), LOG).to_bytes()
    right = sign_checkpoint(Checkpoint(LOG.name, 0, EMPTY_ROOT), LOG).to_bytes()
    assert verify(ForkEvidence.of(wrong, signed(HONEST))).older_root_in_newer == EMPTY_ROOT
    assert verify(ForkEvidence.of(wrong, right)).older.size == 0
    with pytest.raises(ProofError, match="do not contradict"):
        verify(ForkEvidence.of(right, signed(HONEST)))


def test_a_path_that_nothing_needs_is_refused() -> None:
    for older in (signed(FORKED), sign_checkpoint(Checkpoint(LOG.name, 0, bytes(32)), LOG).to_bytes()):
        with pytest.raises(ProofError, match="none is needed"):
            verify(ForkEvidence(older, signed(HONEST), (bytes(32),)))


def test_both_must_be_the_logs_own() -> None:
    mallory = SigningKey(LOG.name, b"\x01" * 32)
    for one, other in ((signed(FORKED, mallory), signed(HONEST)), (signed(HONEST), signed(FORKED, mallory))):
        with pytest.raises(SignatureError):
            verify(ForkEvidence(one, other))
    elsewhere = sign_checkpoint(Checkpoint("log.example/pools/sea", 9, root(FORKED)), LOG).to_bytes()
    with pytest.raises(SignatureError, match="sea"):
        verify(ForkEvidence(elsewhere, signed(HONEST)))


GOOD: Final = ForkEvidence.of(signed(HONEST[:5]), signed(FORKED), path_from(5, FORKED)).to_bytes()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        GOOD[:-1],
        GOOD + b"\n",
        GOOD.replace(b"@v1", b"@v2"),
        GOOD.replace(b"older ", b"older 0"),
        GOOD.replace(b"older ", b"elder "),
        GOOD.replace(b"newer ", b"newer 1"),
        GOOD.replace(b"=\n\n", b"=\n" + b"A" * 43 + b"=\n" * 70 + b"\n", 1),
        ForkEvidence(signed(HONEST), signed(HONEST[:3])).to_bytes(),
        b"moiety.dev/fork-evidence@v1\n\n",
        b"moiety.dev/fork-evidence@v1\nolder 0\nnewer 0\n\n",
    ],
)
def test_what_is_no_evidence_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        ForkEvidence.parse(data)
