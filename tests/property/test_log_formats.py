"""The log's public formats by their rules: each value has one spelling, and bytes from outside do no harm.

Only `FormatError` may come out of a parser, and what a parser accepts is spelled again byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import FormatError, LedgerError
from ledger.files.tiles import (
    Bundle,
    Tile,
    bundles,
    encode_bundle,
    encode_tile,
    parse_bundle,
    parse_path,
    parse_tile,
    subtree_hash,
    tiles,
)
from ledger.log.checkpoint import Checkpoint, open_checkpoint, read_checkpoint, sign_checkpoint
from ledger.log.forks import ForkEvidence
from ledger.log.merkle import consistency_coordinates, consistency_proof, inclusion_coordinates, leaf_hash, root
from ledger.log.note_keys import Signature, SignatureType, SigningKey, VerifierKey
from ledger.log.notes import Note, open_note, parse_note, parse_signatures
from ledger.log.proof_files import LogProof
from ledger.log.witnessing import AddCheckpoint, parse_size

hashes = st.binary(min_size=32, max_size=32)
seeds = hashes
sizes = st.integers(0, 300) | st.integers(0, 2**63 - 1)
lines = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20)
names = st.from_regex(r"[a-zé.-]{1,12}(/[a-z0-9]{1,4})?", fullmatch=True)
types = st.sampled_from(SignatureType)
signatures = st.builds(Signature, names, st.binary(min_size=4, max_size=4), st.binary(min_size=1, max_size=80))
keys = st.builds(SigningKey, names, seeds, types)
checkpoints = st.builds(Checkpoint, lines, sizes, hashes, st.lists(lines, max_size=3).map(tuple))
texts = st.lists(lines | st.just(""), min_size=1, max_size=6).map(lambda found: "\n".join(found) + "\n")
notes = st.builds(Note, texts, st.lists(signatures, min_size=1, max_size=18).map(tuple))
checkpoint_notes = st.builds(
    lambda checkpoint, found: Note(checkpoint.text(), tuple(found)).to_bytes(),
    checkpoints.filter(lambda checkpoint: checkpoint.size > 0),
    st.lists(signatures, min_size=1, max_size=4),
)


@st.composite
def proofs(draw: st.DrawFn) -> LogProof:
    note = draw(checkpoint_notes)
    index = draw(st.integers(0, read_checkpoint(note)[0].size - 1))
    path = tuple(draw(st.lists(hashes, max_size=5)))
    return LogProof(index, path, note, draw(st.binary(max_size=9)))


@st.composite
def requests(draw: st.DrawFn) -> AddCheckpoint:
    note = draw(checkpoint_notes)
    old_size = draw(st.integers(0, read_checkpoint(note)[0].size))
    return AddCheckpoint(old_size, tuple(draw(st.lists(hashes, max_size=5))), note)


written = st.binary(max_size=3) | st.sampled_from(
    [
        b" ",
        b"0",
        b"-",
        b"+",
        b"=",
        b"\n",
        b"\n\n",
        b"\r",
        b"\x85",
        "—".encode(),
        "— ".encode(),
        b"A",
        b"\xd9\xa5",
        b"\0",
    ]
)


@st.composite
def changed(draw: st.DrawFn, content: bytes) -> bytes:
    """The bytes with a few written over, cut out or put in, or with two lines in each other's places."""
    rows = content.split(b"\n")
    if draw(st.booleans()) and len(rows) > 2:
        first, second = draw(st.integers(0, len(rows) - 1)), draw(st.integers(0, len(rows) - 1))
        rows[first], rows[second] = rows[second], rows[first]
        return b"\n".join(rows)
    at = draw(st.integers(0, len(content)))
    cut = draw(st.integers(at, min(len(content), at + 3)))
    return content[:at] + draw(written) + content[cut:]


def as_text(parse: Callable[[str], object]) -> Callable[[bytes], object]:
    """A parser of text, given bytes: every one is a character of its own."""
    return lambda data: parse(data.decode("utf-8", errors="surrogateescape"))


def text_bytes(value: object) -> bytes:
    return str(value).encode("utf-8", errors="surrogateescape")


def signature_lines(found: Sequence[Signature]) -> bytes:
    return "".join(f"{signature.line()}\n" for signature in found).encode()


tile_places = st.builds(Tile, st.integers(0, 63), st.integers(0, 2**55 - 1), st.integers(1, 256))
bundle_places = st.builds(Bundle, st.integers(0, 2**55 - 1), st.integers(1, 256))

FORMATS: Final[dict[str, tuple[st.SearchStrategy[bytes], Callable[[bytes], object], Callable[[Any], bytes]]]] = {
    "note": (notes.map(Note.to_bytes), parse_note, lambda found: found.to_bytes()),
    "checkpoint": (
        checkpoints.map(lambda found: found.text().encode()),
        as_text(Checkpoint.parse),
        lambda found: found.text().encode(),
    ),
    "signatures": (
        st.lists(signatures, min_size=1, max_size=4).map(signature_lines),
        as_text(parse_signatures),
        signature_lines,
    ),
    "vkey": (keys.map(lambda key: text_bytes(key.verifier_key)), as_text(VerifierKey.parse), text_bytes),
    "signing key": (
        keys.map(lambda key: key.to_text().encode()),
        as_text(SigningKey.parse),
        lambda found: found.to_text().encode(),
    ),
    "proof": (proofs().map(LogProof.to_bytes), LogProof.parse, lambda found: found.to_bytes()),
    "request": (
        requests().map(AddCheckpoint.to_bytes),
        AddCheckpoint.parse,
        lambda found: found.to_bytes(),
    ),
    "fork evidence": (
        st.builds(ForkEvidence.of, checkpoint_notes, checkpoint_notes, st.lists(hashes, max_size=4).map(tuple)).map(
            ForkEvidence.to_bytes
        ),
        ForkEvidence.parse,
        lambda found: found.to_bytes(),
    ),
    "size": (sizes.map(lambda size: f"{size}\n".encode()), parse_size, lambda found: f"{found}\n".encode()),
    "tile path": (
        tile_places.map(lambda tile: tile.path().encode()),
        as_text(parse_path),
        lambda found: found.path().encode(),
    ),
    "bundle path": (
        bundle_places.map(lambda bundle: bundle.path().encode()),
        as_text(parse_path),
        lambda found: found.path().encode(),
    ),
}


@pytest.mark.parametrize("name", FORMATS)
@given(data=st.data())
def test_what_is_written_is_read_back(name: str, data: st.DataObject) -> None:
    """Rule: the formats, to the byte."""
    written_bytes, parse, render = FORMATS[name]
    content = data.draw(written_bytes)
    assert render(parse(content)) == content


@pytest.mark.parametrize("name", FORMATS)
@given(data=st.data())
def test_changed_bytes_are_refused_or_spelled_again(name: str, data: st.DataObject) -> None:
    """Rule: canonical means one spelling only."""
    written_bytes, parse, render = FORMATS[name]
    content = data.draw(written_bytes.flatmap(changed))
    try:
        found = parse(content)
    except FormatError:
        return
    assert render(found) == content


@pytest.mark.parametrize("name", FORMATS)
@given(content=st.binary(max_size=80) | st.text(max_size=80).map(lambda text: text.encode(errors="surrogatepass")))
def test_arbitrary_bytes_are_refused_or_spelled_again(name: str, content: bytes) -> None:
    """Rule: parsers are fuzzed."""
    _, parse, render = FORMATS[name]
    try:
        found = parse(content)
    except FormatError:
        return
    assert render(found) == content


@given(st.binary(max_size=200), st.integers(1, 256))
def test_arbitrary_bytes_are_no_tile_or_bundle_of_another_shape(content: bytes, width: int) -> None:
    """Rule: as above."""
    with suppress(FormatError):
        assert encode_bundle(parse_bundle(content, width)) == content
    with suppress(FormatError):
        assert encode_tile(parse_tile(content, width)) == content


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=256))
def test_a_bundle_gives_back_its_entries(entries: list[bytes]) -> None:
    """Rule: "sequences of big-endian uint16 length-prefixed log entries"."""
    assert parse_bundle(encode_bundle(entries), len(entries)) == entries


@given(checkpoints, st.lists(keys, min_size=1, max_size=17, unique_by=lambda key: (key.name, key.type)), st.data())
def test_a_note_opens_under_those_who_signed_and_a_changed_one_under_nobody(
    checkpoint: Checkpoint, signers: list[SigningKey], data: st.DataObject
) -> None:
    """Rule: ignore unknown keys, refuse a known key with a bad signature."""
    text = checkpoint.text()
    note = Note(text, tuple(key.sign(text, 1_700_000_000) for key in signers)).to_bytes()
    known = data.draw(st.lists(st.sampled_from(signers), min_size=1, unique=True))
    opened = open_note(note, [key.verifier_key for key in known])
    assert {found.key for found in opened.verified} == {key.verifier_key for key in known}
    assert len(opened.unknown) == len(signers) - len(known)
    other = data.draw(changed(text.encode()).filter(lambda found: found != text.encode()))
    with pytest.raises(LedgerError):
        open_note(other + note[len(text.encode()) :], [key.verifier_key for key in known])


@given(st.binary(max_size=120) | st.binary(min_size=64, max_size=72), hashes, types)
def test_arbitrary_signatures_do_not_hold_whatever_the_key(signature: bytes, key: bytes, found: SignatureType) -> None:
    """Rule: as above. Not every 32 bytes are a point on the curve, which is no reason to fall over."""
    VerifierKey("log.example", key, found).holds("text of the note\n", signature)
    honest = SigningKey("log.example", key, found).verifier_key
    assert not honest.holds("text of the note\n", signature)


@given(st.integers(1, 2_000), st.integers(0, 2_000))
def test_a_log_grows_into_the_tiles_that_it_has(size: int, grown: int) -> None:
    """Rule: growth gives what a log of the new size has and one of the old size has not."""
    before, after = min(size, grown), max(size, grown)
    assert set(tiles(after, grown_from=before)) == set(tiles(after)) - set(tiles(before))
    assert set(bundles(after, grown_from=before)) == set(bundles(after)) - set(bundles(before))
    for tile in tiles(after):
        assert tile.width == min(256, (after >> 8 * tile.level) - 256 * tile.index)
    assert sum(bundle.width for bundle in bundles(after)) == after


LEAVES: Final = [leaf_hash(number.to_bytes(2)) for number in range(1_500)]


@given(st.integers(1, len(LEAVES)), st.data())
def test_every_hash_that_a_proof_needs_is_in_one_tile(size: int, data: st.DataObject) -> None:
    """Rule: clients "compute any desired proof" from tiles."""

    def read(tile: Tile) -> bytes:
        spans = [(place.index << place.level, place.index + 1 << place.level) for place in tile.coordinates()]
        return encode_tile([root(LEAVES[begin:end]) for begin, end in spans])

    index, old_size = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size))
    for path in (inclusion_coordinates(index, size), consistency_coordinates(old_size, size)):
        for place in (subtree for subtrees in path for subtree in subtrees):
            span = LEAVES[place.index << place.level : place.index + 1 << place.level]
            assert subtree_hash(place, size, read) == root(span)


@given(st.integers(1, 60), st.data())
def test_a_signed_checkpoint_and_its_proofs_are_what_was_put_in(size: int, data: st.DataObject) -> None:
    """Rule: a checkpoint states the size and the root of the log."""
    key = SigningKey(data.draw(names), data.draw(seeds))
    signed = sign_checkpoint(Checkpoint(key.name, size, root(LEAVES[:size])), key)
    opened = open_checkpoint(signed.to_bytes(), key.verifier_key)
    assert (opened.checkpoint.size, opened.checkpoint.root) == (size, root(LEAVES[:size]))
    old_size = data.draw(st.integers(0, size))
    request = AddCheckpoint(old_size, tuple(consistency_proof(old_size, LEAVES[:size])), signed.to_bytes())
    assert AddCheckpoint.parse(request.to_bytes()) == request
