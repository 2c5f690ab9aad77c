"""`moiety log vkey`: the key that signs, and with files of changes the keys before it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ledger.log.key_changes import LastSigned, Reason
from services.cli.app import main
from tests.support.signing_cases import NEW, NEXT, OLD, THIEF, change_of


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[Any, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["log", "vkey", *map(str, arguments)])
    out, err = capsys.readouterr()
    return ended.value.code, out, err


def test_the_keys_before_a_change_are_told_with_how_far_they_signed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secret, first, second, other = (tmp_path / name for name in ("key", "first", "second", "other"))
    secret.write_text(NEXT.to_text() + "\n")
    logs = [LastSigned("folk", 1_300, bytes(32)), LastSigned("registry", 40, bytes(32))]
    first.write_bytes(change_of(OLD, NEW, logs).to_bytes())
    second.write_bytes(change_of(NEW, NEXT, logs[1:], Reason.LOST).to_bytes())
    other.write_bytes(change_of(OLD, THIEF, logs).to_bytes())
    changes = ["--key-change", second, "--key-change", first]
    code, out, _ = run(capsys, secret, *changes)
    assert code == 0
    assert out.split("\n")[:3] == [
        str(NEXT.verifier_key),
        f"{OLD.verifier_key}  replaced (ROTATED), counts up to: folk 1,300, registry 40",
        f"{NEW.verifier_key}  replaced (LOST), counts up to: registry 40",
    ]
    _, out, _ = run(capsys, secret, "folk", *changes, "--json")
    said = json.loads(out)
    assert [key.split("+")[0] for key in said["keys"]] == ["moiety.example/pools/folk"] * 3
    assert [change["logs"] for change in said["changes"]] == [{"folk": 1_300}, {}]
    code, _, err = run(capsys, secret, "--key-change", other)
    assert (code, err.startswith("key-change: ")) == (2, True)
