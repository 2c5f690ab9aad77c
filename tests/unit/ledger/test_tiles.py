"""Tiles, bundles and proof files by example: what the specifications say of them, and what is refused."""

from __future__ import annotations

from collections import Counter
from typing import Final

import pytest

from ledger.errors import FormatError, ProofError, SignatureError
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
    tile_of,
    tiles,
)
from ledger.log.checkpoint import Checkpoint, sign_checkpoint
from ledger.log.merkle import Coordinate, inclusion_proof, leaf_hash, root
from ledger.log.note_keys import SigningKey
from ledger.log.proof_files import LogProof
from ledger.log.witnessing import AddCheckpoint, parse_size

LOG: Final = SigningKey("log.example/pools/folk", bytes(32))
LEAVES: Final = [leaf_hash(bytes([number])) for number in range(5)]
CHECKPOINT: Final = sign_checkpoint(Checkpoint(LOG.name, 5, root(LEAVES)), LOG).to_bytes()
PROOF: Final = LogProof(3, tuple(inclusion_proof(3, LEAVES)), CHECKPOINT)

SPECIFIED_REQUEST: Final = """old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa \
Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— example.com/behind-the-sofa \
opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=
""".encode()


def test_the_specifications_index_has_the_specifications_path() -> None:
    assert Tile(0, 1234067).path() == "tile/0/x001/x234/067"
    assert Bundle(1234067, 17).path() == "tile/entries/x001/x234/067.p/17"


def test_the_specifications_trees_have_the_specifications_tiles() -> None:
    assert Counter((tile.level, tile.width) for tile in tiles(70_000)) == {
        (0, 256): 273,
        (0, 112): 1,
        (1, 256): 1,
        (1, 17): 1,
        (2, 1): 1,
    }
    assert [tile.path() for tile in tiles(256)] == ["tile/0/000", "tile/1/000.p/1"]
    assert not list(tiles(0))
    assert not list(bundles(0))


def test_growth_gives_what_changed_and_no_more() -> None:
    assert [tile.path() for tile in tiles(70_000, grown_from=69_999)] == ["tile/0/273.p/112"]
    assert [tile.path() for tile in tiles(257, grown_from=255)] == ["tile/0/000", "tile/0/001.p/1", "tile/1/000.p/1"]
    assert [bundle.path() for bundle in bundles(512, grown_from=300)] == ["tile/entries/001"]
    assert not list(tiles(300, grown_from=300))
    assert not list(bundles(300, grown_from=300))
    with pytest.raises(ValueError, match="grown_from"):
        list(tiles(1, grown_from=2))
    with pytest.raises(ValueError, match="grown_from"):
        list(bundles(1, grown_from=-1))


@pytest.mark.parametrize(
    "path",
    [
        "",
        "checkpoint",
        "tile/0",
        "tile/0/1",
        "tile/0/0001",
        "tile/00/001",
        "tile/64/001",
        "tile/-1/001",
        "tile/0/x000/001",
        "tile/0/001/002",
        "tile/0/x001",
        "tile/0/001.p/0",
        "tile/0/001.p/01",
        "tile/0/001.p/256",
        "tile/0/001.p/257",
        "tile/0/001.p/",
        "tile/0/001\n",
        "/tile/0/001",
        "tile/entries/x999/x999/x999/x999/x999/x999/999",
        "tile/data/001",
        "tile/0/\u0660\u0660\u0661",
    ],
)
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(FormatError):
        parse_path(path)


def test_a_bundle_is_its_entries_behind_their_lengths() -> None:
    assert encode_bundle([b"abc", b"", b"\xff" * 258]) == b"\0\x03abc\0\0\x01\x02" + b"\xff" * 258


@pytest.mark.parametrize(("data", "width"), [(b"", 1), (b"\0", 1), (b"\0\x02a", 1), (b"\0\x01a", 2), (b"\0\x01aa", 1)])
def test_a_bundle_that_is_cut_or_too_long_is_refused(data: bytes, width: int) -> None:
    with pytest.raises(FormatError):
        parse_bundle(data, width)


def test_a_tile_has_as_many_bytes_as_its_hashes() -> None:
    assert parse_tile(encode_tile(LEAVES), 5) == LEAVES
    for width in (4, 6):
        with pytest.raises(FormatError):
            parse_tile(encode_tile(LEAVES), width)


def test_what_does_not_fit_is_not_written() -> None:
    for hashes in ([], LEAVES * 60, [b"short"]):
        with pytest.raises(ValueError, match="tile"):
            encode_tile(hashes)
    for entries in ([], [b""] * 257, [b"a" * 65_536]):
        with pytest.raises(ValueError, match="bundle"):
            encode_bundle(entries)
    for level, index, width in ((-1, 0, 1), (64, 0, 1), (0, -1, 1), (0, 0, 0), (0, 0, 257)):
        with pytest.raises(FormatError):
            Tile(level, index, width)


def test_a_subtree_above_a_tile_is_in_the_tile_of_the_next_level() -> None:
    assert tile_of(Coordinate(8, 1), 70_000) == (Tile(1, 0), range(1, 2))
    assert tile_of(Coordinate(3, 33), 300) == (Tile(0, 1, 44), range(8, 16))
    assert subtree_hash(Coordinate(1, 1), 5, lambda _: encode_tile(LEAVES)) == root(LEAVES[2:4])
    for coordinate in (Coordinate(0, 5), Coordinate(2, 1), Coordinate(-1, 0)):
        with pytest.raises(ValueError, match="no perfect subtree"):
            tile_of(coordinate, 5)


def test_a_proof_file_is_what_the_specification_says() -> None:
    lines = PROOF.to_bytes().decode().split("\n")
    assert lines[:2] == ["c2sp.org/tlog-proof@v1", "index 3"]
    assert lines[2 + len(PROOF.hashes)] == ""
    assert PROOF.to_bytes().endswith(CHECKPOINT)
    assert LogProof.parse(PROOF.to_bytes()) == PROOF
    with_extra = LogProof(3, PROOF.hashes, CHECKPOINT, b"extra data")
    assert with_extra.to_bytes().split(b"\n")[1] == b"extra ZXh0cmEgZGF0YQ=="
    assert LogProof.parse(with_extra.to_bytes()) == with_extra


def test_a_proof_file_shows_its_own_leaf_and_no_other() -> None:
    signed = PROOF.verify(LEAVES[3], LOG.verifier_key)
    assert (signed.checkpoint.size, signed.checkpoint.root) == (5, root(LEAVES))
    with pytest.raises(ProofError):
        PROOF.verify(LEAVES[2], LOG.verifier_key)
    with pytest.raises(SignatureError):
        PROOF.verify(LEAVES[3], LOG.named("log.example/pools/other").verifier_key)
    with pytest.raises(ProofError):
        LogProof(2, PROOF.hashes, CHECKPOINT).verify(LEAVES[3], LOG.verifier_key)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        PROOF.to_bytes()[:-1],
        PROOF.to_bytes().replace(b"@v1", b"@v2"),
        PROOF.to_bytes().replace(b"index 3", b"index 03"),
        PROOF.to_bytes().replace(b"index 3", b"index 5"),
        PROOF.to_bytes().replace(b"index 3\n", b""),
        PROOF.to_bytes().replace(b"index 3\n", b"extra \nindex 3\n"),
        PROOF.to_bytes().replace(b"index 3\n", b"extra AB==\nindex 3\n"),
        PROOF.to_bytes().replace(b"index 3\n", b"index 3\nAAAA\n"),
        PROOF.to_bytes().replace(b"index 3\n", b"index 3\n" + b"A" * 43 + b"=\n" * 64),
        PROOF.to_bytes().replace(b"\n\nlog", b"\nlog"),
        PROOF.to_bytes().replace(b"\n\nlog", b"\n\n\nlog"),
    ],
)
def test_what_is_no_proof_file_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        LogProof.parse(data)


def test_the_specifications_own_request_is_read_to_the_byte() -> None:
    request = AddCheckpoint.parse(SPECIFIED_REQUEST)
    assert (request.old_size, len(request.proof)) == (20852014, 4)
    assert request.to_bytes() == SPECIFIED_REQUEST


@pytest.mark.parametrize(
    "data",
    [
        b"",
        SPECIFIED_REQUEST.replace(b"old 2", b"old 02"),
        SPECIFIED_REQUEST.replace(b"old 20852014", b"old 20852164"),
        SPECIFIED_REQUEST.replace(b"old 20852014\n", b""),
        SPECIFIED_REQUEST.replace(b"j/0=", b"j/1="),
        SPECIFIED_REQUEST.replace(b"old 20852014\n", b"old 20852014\n" + (b"A" * 43 + b"=\n") * 60),
        SPECIFIED_REQUEST[:-1],
    ],
)
def test_what_is_no_request_to_a_witness_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        AddCheckpoint.parse(data)


def test_a_size_is_a_decimal_and_a_newline() -> None:
    assert parse_size(b"20852014\n") == 20852014
    for data in (b"", b"7", b"07\n", b"7\n\n", b"7\r\n", b"-7\n"):
        with pytest.raises(FormatError):
            parse_size(data)
