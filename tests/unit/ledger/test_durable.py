"""Files that appear whole or not at all, whatever fails, and secrets that nobody else may read."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

import pytest
from cryptography.fernet import Fernet

from ledger.errors import InvalidInputError
from ledger.store.desk.vault import add_key, read_vault
from ledger.store.durable import whole_file, write_whole
from services.signing.key_file import generate_key, read_key
from tests.support.disks import no_room

ORIGIN: Final = "log.example"


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("is_new", [True, False])
def test_what_cannot_be_written_leaves_nothing(tmp_path: Path, is_new: bool) -> None:
    with no_room(100), pytest.raises(OSError, match="File too large"):
        write_whole(tmp_path / "file", bytes(1000), is_new=is_new)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_replaced_stays(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, b"old")
    with no_room(), pytest.raises(OSError, match="File too large"):
        write_whole(path, b"new")
    stopped = whole_file(path)
    stopped.__enter__().write(b"half")
    stopped.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_several_may_write_the_same_file_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with whole_file(path) as one:
        one.write(b"one ")
        write_whole(path, b"another, and longer")
        one.write(b"whole")
    assert path.read_bytes() == b"one whole"


def test_a_symbolic_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "link"
    link.symlink_to("elsewhere/file")
    write_whole(link, b"content")
    assert link.is_symlink()
    assert (tmp_path / "elsewhere" / "file").read_bytes() == b"content"


def test_what_is_no_file_is_written_to_and_stays(tmp_path: Path) -> None:
    write_whole(Path("/dev/null"), b"content")
    assert Path("/dev/null").is_char_device()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_whole(pipe, b"content")
        assert os.read(reader, 100) == b"content"
    finally:
        os.close(reader)
    with pytest.raises(IsADirectoryError):
        write_whole(tmp_path, b"content")
    assert list(tmp_path.iterdir()) == [pipe]


def test_a_new_file_replaces_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.symlink_to("nowhere")
    with pytest.raises(FileExistsError):
        write_whole(path, b"content", is_new=True)
    path.unlink()
    path.mkdir()
    with pytest.raises(FileExistsError):
        write_whole(path, b"content", is_new=True)
    assert [path] == list(tmp_path.iterdir())


def test_a_new_file_replaces_nothing_where_there_are_no_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path, path: Path) -> None:
        raise PermissionError(1, "Operation not permitted", path)

    monkeypatch.setattr(os, "link", refuse)
    write_whole(tmp_path / "file", b"content", is_new=True)
    with pytest.raises(FileExistsError):
        write_whole(tmp_path / "file", b"other", is_new=True)
    assert (tmp_path / "file").read_bytes() == b"content"


def test_keys_are_whole_or_not_there_and_closed_to_others(tmp_path: Path) -> None:
    signing, payees = tmp_path / "signing.key", tmp_path / "payee.keys"
    before = os.umask(0)
    try:
        with no_room():
            with pytest.raises(InvalidInputError, match=f"{signing} cannot be made: File too large"):
                generate_key(signing, ORIGIN)
            with pytest.raises(InvalidInputError, match=f"{payees} cannot be read or written: File too large"):
                add_key(payees)
        assert list(tmp_path.iterdir()) == []

        # Once there is room, the same commands work.
        made = generate_key(signing, ORIGIN)
        add_key(payees)
    finally:
        os.umask(before)
    assert read_key(signing) == made
    read_vault(payees)
    assert [_mode(path) for path in (signing, payees)] == [0o600, 0o600]


def test_keys_stay_where_another_cannot_be_added(tmp_path: Path) -> None:
    payees = tmp_path / "payee.keys"
    add_key(payees)
    first = payees.read_bytes()
    with no_room(), pytest.raises(InvalidInputError, match="File too large"):
        add_key(payees)
    assert payees.read_bytes() == first
    add_key(payees)
    assert payees.read_bytes().endswith(first)
    assert list(tmp_path.iterdir()) == [payees]


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "has no key"), (b"\n", "has no key"), (b"root:x:0:0", "has a line that is no key")]
)
def test_a_file_of_no_keys_is_refused_and_stays(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    for use in (read_vault, add_key):
        with pytest.raises(InvalidInputError, match=f"{path} {reason}"):
            use(path)
    assert path.read_bytes() == content


def test_a_key_is_added_in_front(tmp_path: Path) -> None:
    path = tmp_path / "file"
    add_key(path)
    sealed = Fernet(path.read_bytes().split()[0]).encrypt(b"text")
    add_key(path)
    assert read_vault(path).open(sealed, "it") == b"text"
