"""Root runs Postgres as another user, who must get to its files: through private folders, and not into them.

A folder that others may not pass gets one more entry in its access list, which lets this user alone pass. Its mode for
everyone else stays.
"""

from __future__ import annotations

import errno
import os
import pwd
import stat
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ledger.errors import InvalidInputError

_USER: Final = "pgserver"

_ACCESS_LIST: Final = "system.posix_acl_access"
_VERSION: Final = 2
_ENTRY: Final = struct.Struct("<HHI")
_OWNER, _NAMED_USER, _GROUP, _MASK, _OTHERS = 0x01, 0x02, 0x04, 0x10, 0x20
_NOBODY: Final = 0xFFFFFFFF
_PASS: Final = 1
"""Linux' own form of an access list, from acl(5) and `linux/posix_acl_xattr.h`: tag, permissions, id."""


@dataclass(frozen=True, slots=True)
class Unprivileged:
    """A user who may do nothing in particular."""

    name: str
    uid: int
    gid: int

    def own(self, folder: Path) -> None:
        """Make the folder this user's."""
        os.chown(folder, self.uid, self.gid)


def unprivileged_user() -> Unprivileged | None:
    """Whom Postgres is run as: added to the system where need be; None if we are not root, and do it ourselves.

    Raises:
        InvalidInputError: we are root, and the user cannot be added.
    """
    if os.geteuid():
        return None
    try:
        entry = pwd.getpwnam(_USER)
    except KeyError:
        try:
            command = ["useradd", "--system", _USER]
            subprocess.run(command, check=True, capture_output=True)  # noqa: S603  # root's own PATH is trusted
            entry = pwd.getpwnam(_USER)
        except (OSError, subprocess.CalledProcessError, KeyError):
            reason = f"cannot be used by root: Postgres needs another user, and {_USER} cannot be added"
            raise InvalidInputError.of("data", reason) from None
    return Unprivileged(entry.pw_name, entry.pw_uid, entry.pw_gid)


def give_passage(path: Path, user: Unprivileged) -> None:
    """Let the user pass through every folder above a path.

    Raises:
        InvalidInputError: the file system of one that others may not pass has no access lists.
    """
    for folder in path.parents:
        status = folder.stat()
        if status.st_uid == user.uid or status.st_mode & stat.S_IXOTH:
            continue
        try:
            _allow(folder, status.st_mode, user.uid)
        except OSError as error:
            reason = f"is below {folder}, which the user {user.name}, as whom root runs Postgres, may not pass"
            raise InvalidInputError.of("data", f"{reason}: {error.strerror}") from None


def open_programs(folder: Path) -> None:
    """Let everyone read and run what is in a folder of programs, which whoever installed it kept to themselves."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | 0o055)


def _allow(folder: Path, mode: int, uid: int) -> None:
    """Put the user into the folder's access list."""
    if sys.platform != "linux":
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
    entries = _entries(folder, mode)
    passing = entries.get((_NAMED_USER, uid), 0) | _PASS
    entries[_NAMED_USER, uid] = passing
    # The most that the group and named users get; it stands where the group's own permissions stood.
    entries[_MASK, _NOBODY] = entries.get((_MASK, _NOBODY), entries[_GROUP, _NOBODY]) | passing
    listed = b"".join(_ENTRY.pack(tag, allowed, identity) for (tag, identity), allowed in sorted(entries.items()))
    os.setxattr(folder, _ACCESS_LIST, struct.pack("<I", _VERSION) + listed)


def _entries(folder: Path, mode: int) -> dict[tuple[int, int], int]:
    """The folder's access list, by tag and id; from its mode where it has none."""
    try:
        raw = os.getxattr(folder, _ACCESS_LIST)
    except OSError as error:
        if error.errno != errno.ENODATA:
            raise
        return {(_OWNER, _NOBODY): mode >> 6 & 7, (_GROUP, _NOBODY): mode >> 3 & 7, (_OTHERS, _NOBODY): mode & 7}
    return {(tag, identity): allowed for tag, allowed, identity in _ENTRY.iter_unpack(raw[4:])}
