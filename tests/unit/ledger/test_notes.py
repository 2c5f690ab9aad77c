"""Signed notes and checkpoints by example: the published ones, and what is refused.

The Go vectors are those of golang.org/x/mod/sumdb/note's documentation; the others stand in the C2SP specifications.
"""

from __future__ import annotations

from typing import Final

import pytest

from ledger.errors import FormatError, LedgerError, SignatureError
from ledger.log.checkpoint import Checkpoint, open_checkpoint, read_checkpoint, sign_checkpoint
from ledger.log.cosignature import cosigned_message, split_timestamped
from ledger.log.merkle import EMPTY_ROOT
from ledger.log.note_keys import Signature, SignatureType, SigningKey, VerifierKey
from ledger.log.notes import (
    MAX_NOTE_BYTES,
    MAX_SIGNATURES,
    Note,
    open_note,
    parse_note,
    parse_signatures,
    sign_note,
)

GO_SIGNING_KEY: Final = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
GO_VERIFIER_KEY: Final = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_TEXT: Final = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
GO_SIGNATURE: Final = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
)
GO_NOTE: Final = f"{GO_TEXT}\n{GO_SIGNATURE}\n".encode()

SALVATORE: Final = """Ognuno sta solo sul cuor della terra
trafitto da un raggio di sole:

ed è subito sera.

— quasimodo.example/salvatore \
NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=
""".encode()

SOFA_TEXT: Final = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
SOFA_SIGNATURE: Final = (
    "— example.com/behind-the-sofa "
    "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8="
)
SOFA_COSIGNATURE: Final = (
    "— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/"
    "zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA=="
)
SOFA: Final = f"{SOFA_TEXT}\n{SOFA_SIGNATURE}\n{SOFA_COSIGNATURE}\n".encode()

LOG: Final = SigningKey("log.example/pools/folk", bytes(range(32)))
WITNESSES: Final = [
    SigningKey(f"witness.example/{number}", bytes([number] * 32), SignatureType.COSIGNATURE) for number in range(20)
]
CHECKPOINT: Final = Checkpoint(LOG.name, 7, bytes(range(32)))


def test_the_published_key_signs_the_published_note() -> None:
    key = SigningKey.parse(GO_SIGNING_KEY)
    assert str(key.verifier_key) == GO_VERIFIER_KEY
    assert key.to_text() == GO_SIGNING_KEY
    assert sign_note(GO_TEXT, [key]).to_bytes() == GO_NOTE


def test_the_published_note_opens_under_the_published_key() -> None:
    key = VerifierKey.parse(GO_VERIFIER_KEY)
    opened = open_note(GO_NOTE, [key])
    assert opened.text == GO_TEXT
    assert [found.key for found in opened.verified] == [key]
    assert opened.unknown == ()


def test_the_specifications_own_notes_are_read_to_the_byte() -> None:
    for data in (SALVATORE, SOFA, GO_NOTE):
        assert parse_note(data).to_bytes() == data
    assert parse_note(SALVATORE).text.endswith("\n\ned è subito sera.\n")


def test_the_specifications_own_checkpoint_is_read() -> None:
    checkpoint, note = read_checkpoint(SOFA)
    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
    assert checkpoint.text() == SOFA_TEXT
    assert [signature.name for signature in note.signatures] == [checkpoint.origin, "witness.example.com/w1"]


def test_the_specifications_own_cosignature_states_its_time_and_signs_the_printed_message() -> None:
    (signature,) = parse_signatures(SOFA_COSIGNATURE + "\n")
    time_seconds, _ = split_timestamped(signature.data)
    assert time_seconds == 1679315147
    assert cosigned_message(SOFA_TEXT, time_seconds).decode() == (
        "cosignature/v1\ntime 1679315147\nexample.com/behind-the-sofa\n20852163\n"
        "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    )


def test_a_signing_key_does_not_print_its_seed() -> None:
    key = SigningKey("log.example", b"\xab" * 32)
    assert "\\xab" not in repr(key)
    with pytest.raises(FormatError) as caught:
        SigningKey.parse(GO_SIGNING_KEY.replace("c74f20a3", "c74f20a4"))
    assert "AYEKFALV" not in str(caught.value)


def test_one_key_has_another_id_under_another_name_or_type() -> None:
    seed = bytes(32)
    keys = [
        SigningKey("log.example", seed),
        SigningKey("log.example", seed).named("log.example/pools/folk"),
        SigningKey("log.example", seed, SignatureType.COSIGNATURE),
    ]
    assert len({key.verifier_key.key_id for key in keys}) == 3
    for key in keys:
        assert VerifierKey.parse(str(key.verifier_key)) == key.verifier_key
        assert SigningKey.parse(key.to_text()) == key


@pytest.mark.parametrize(
    "text",
    [
        "",
        "PeterNeumann",
        "PeterNeumann+c74f20a3",
        GO_VERIFIER_KEY.replace("c74f20a3", "c74f20a4"),
        GO_VERIFIER_KEY.replace("c74f20a3", "C74F20A3"),
        GO_VERIFIER_KEY.replace("c74f20a3", "74f20a3"),
        GO_VERIFIER_KEY.replace("Peter", "Peter "),
        GO_VERIFIER_KEY.replace("PeterNeumann", ""),
        GO_VERIFIER_KEY.replace("+ARpc", "+AhpcQ"),
        GO_VERIFIER_KEY.replace("+ARpc", "+Ahpc"),
        GO_VERIFIER_KEY[:-4],
        GO_VERIFIER_KEY + "AAAA",
        GO_VERIFIER_KEY + "\n",
        GO_SIGNING_KEY,
    ],
)
def test_what_is_no_verifier_key_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        VerifierKey.parse(text)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"text\n",
        b"text\n\n",
        GO_NOTE[:-1],
        GO_NOTE + b"\n",
        GO_NOTE + b"text",
        GO_NOTE.replace(b"problem,", b"problem,\r"),
        GO_NOTE.replace(b"problem,", b"problem\x00"),
        GO_NOTE.replace(b"problem,", b"problem\xff"),
        GO_NOTE.replace("— ".encode(), b"- "),
        GO_NOTE.replace("— ".encode(), "—  ".encode()),
        GO_NOTE.replace("— ".encode(), "—\u00a0".encode()),
        GO_NOTE.replace(b"PeterNeumann", b""),
        GO_NOTE.replace(b"PeterNeumann", b"Peter+Neumann"),
        GO_NOTE.replace(b"PeterNeumann", "Peter\u2003Neumann".encode()),
        GO_NOTE.replace(b"JnAM=\n", b"JnAN=\n"),
        GO_NOTE.replace(b"JnAM=\n", b"JnAM\n"),
        GO_NOTE.replace(b"JnAM=\n", b"JnAM==\n"),
        GO_NOTE.replace(b"JnAM=\n", b"JnAM= \n"),
        GO_NOTE.replace(b"x08go/", b"x08go_"),
        b"text\n\n\xe2\x80\x94 name x08gow==\n",
        b"\xe2\x80\x94 name x08goww=\n",
        b"a" * MAX_NOTE_BYTES + GO_NOTE,
        GO_NOTE + GO_NOTE.splitlines(keepends=True)[-1] * MAX_SIGNATURES,
    ],
)
def test_what_is_no_note_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        parse_note(data)


def test_a_known_key_with_a_bad_signature_refuses_the_whole_note() -> None:
    peter = VerifierKey.parse(GO_VERIFIER_KEY)
    good = sign_note("other text\n", [LOG, SigningKey.parse(GO_SIGNING_KEY)])
    bad = Note("another text\n", (*sign_note("another text\n", [LOG]).signatures, good.signatures[1]))
    with pytest.raises(SignatureError, match="PeterNeumann"):
        open_note(bad.to_bytes(), [LOG.verifier_key, peter])
    assert open_note(bad.to_bytes(), [LOG.verifier_key]).unknown == (good.signatures[1],)


def test_a_key_is_known_by_name_and_id_together() -> None:
    signed = sign_note("text\n", [LOG])
    lookalikes = (
        Signature(LOG.name, b"\0\0\0\0", bytes(64)),
        Signature("log.example/other", LOG.verifier_key.key_id, bytes(64)),
    )
    opened = open_note(signed.with_signatures(lookalikes).to_bytes(), [LOG.verifier_key])
    assert opened.unknown == lookalikes


def test_a_note_that_no_known_key_has_signed_is_refused() -> None:
    note = sign_note("text\n", [LOG]).to_bytes()
    for keys in ([], [VerifierKey.parse(GO_VERIFIER_KEY)]):
        with pytest.raises(SignatureError):
            open_note(note, keys)


def test_sixteen_cosignatures_and_more_are_accepted() -> None:
    note = sign_checkpoint(CHECKPOINT, LOG)
    cosigned = note.with_signatures(witness.sign(note.text, 1_700_000_000 + at) for at, witness in enumerate(WITNESSES))
    opened = open_checkpoint(
        cosigned.to_bytes(), LOG.verifier_key, witnesses=[witness.verifier_key for witness in WITNESSES]
    )
    assert [found.time_seconds for found in opened.note.verified] == [None, *range(1_700_000_000, 1_700_000_020)]
    assert opened.checkpoint == CHECKPOINT


def test_a_cosignature_whose_time_was_changed_does_not_hold() -> None:
    note = sign_checkpoint(CHECKPOINT, LOG)
    signature = WITNESSES[1].sign(note.text, 5)
    later = Signature(signature.name, signature.key_id, (6).to_bytes(8, "big") + signature.data[8:])
    for changed in (later, Signature(signature.name, signature.key_id, signature.data[:-1])):
        with pytest.raises(SignatureError):
            open_note(note.with_signatures([changed]).to_bytes(), [LOG.verifier_key, WITNESSES[1].verifier_key])


def test_a_cosignature_alone_does_not_make_a_checkpoint_the_logs() -> None:
    text = CHECKPOINT.text()
    data = Note(text, (WITNESSES[1].sign(text, 5),)).to_bytes()
    with pytest.raises(SignatureError, match="did not sign"):
        open_checkpoint(data, LOG.verifier_key, witnesses=[WITNESSES[1].verifier_key])


def test_a_checkpoint_of_another_origin_is_refused() -> None:
    data = sign_checkpoint(Checkpoint("log.example/pools/other", 7, bytes(32)), LOG).to_bytes()
    with pytest.raises(SignatureError, match="other"):
        open_checkpoint(data, LOG.verifier_key)
    assert open_checkpoint(data, LOG.verifier_key, origin="log.example/pools/other").checkpoint.size == 7


@pytest.mark.parametrize(
    "text",
    [
        "",
        "origin\n1\n",
        SOFA_TEXT[:-1],
        SOFA_TEXT + "\n",
        "\n" + SOFA_TEXT,
        SOFA_TEXT.replace("20852163", "020852163"),
        SOFA_TEXT.replace("20852163", "+20852163"),
        SOFA_TEXT.replace("20852163", "-1"),
        SOFA_TEXT.replace("20852163", ""),
        SOFA_TEXT.replace("20852163", "٢"),
        SOFA_TEXT.replace("20852163", "9223372036854775808"),
        SOFA_TEXT.replace("q2I=", "q2J="),
        SOFA_TEXT.replace("q2I=", ""),
        SOFA_TEXT.replace("q2I=", "q2IAA"),
        SOFA_TEXT + "extension\n\nextension\n",
        SOFA_TEXT + "exten\tsion\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        Checkpoint.parse(text)


def test_an_empty_log_has_a_checkpoint_and_extensions_are_kept() -> None:
    checkpoint = Checkpoint("log.example", 0, EMPTY_ROOT, ("one", "two two"))
    assert Checkpoint.parse(checkpoint.text()) == checkpoint


@pytest.mark.parametrize("text", ["no newline", "control\x07\n", "lone \ud800\n"])
def test_a_text_that_no_note_may_have_is_not_signed(text: str) -> None:
    with pytest.raises(FormatError):
        sign_note(text, [LOG])


def test_an_error_tells_what_and_why() -> None:
    errors: list[LedgerError] = [FormatError("vkey", "is none"), SignatureError(["log.example"], "did not sign")]
    assert [str(error) for error in errors] == ["vkey: is none", "invalid signature: log.example did not sign"]
