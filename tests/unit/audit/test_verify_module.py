"""`verify.mjs` as a program, under whatever name; and how much it does before it has looked at a signature."""

from __future__ import annotations

import json
import subprocess
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import pytest

from audit.statements.check import check_statement
from audit.statements.file import ProvedEntry, StatementFile
from ledger.acts.entries import ProposalContent, WitnessesContent
from ledger.log.leaves import EncodedLeaf
from ledger.log.merkle import leaf_hash
from ledger.log.note_keys import Signature, SignatureType, SigningKey
from ledger.log.notes import parse_note
from payout.policy import Policy
from services.cli.audit.statement import STATEMENT_BYTES
from tests.support.exports import KEY, PoolSource
from tests.support.statement_files import (
    MODULE,
    NO_NODE,
    NODE,
    checked_by_node,
    forged_file,
    part_of,
    small_log,
    statement_file,
)

pytestmark = pytest.mark.skipif(NODE is None, reason=NO_NODE)

VKEY: Final = KEY.verifier_key


def run_by_node(*arguments: str | Path, text: str = "") -> subprocess.CompletedProcess[str]:
    assert NODE is not None
    return subprocess.run([NODE, *arguments], input=text, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """A file that holds, and one that does not."""
    folder = tmp_path_factory.mktemp("files")
    good, bad = folder / "good", folder / "bad"
    good.write_bytes(statement_file(small_log(Policy()), 1, "eire").to_bytes())
    bad.write_bytes(good.read_bytes() + b" ")
    return {True: good, False: bad}


NAMES: Final = (
    "verify.mjs",
    "verify (1).mjs",
    "prüfen.mjs",
    "50%20off.mjs",
    "a#b?c.mjs",
    "日本.mjs",
    "100%.mjs",
    " .mjs",
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("how", ["copy", "link", "kept link"])
def test_it_runs_under_any_name(name: str, how: str, files: dict[bool, Path], tmp_path: Path) -> None:
    program = tmp_path / name
    if how == "copy":
        program.write_bytes(MODULE.read_bytes())
    else:
        program.symlink_to(MODULE)
    options = ["--preserve-symlinks-main"] if how == "kept link" else []
    for holds, file in files.items():
        done = run_by_node(*options, program, file, str(VKEY))
        assert done.returncode == (0 if holds else 1)
        assert done.stdout.startswith("✓" if holds else "✗")
    assert run_by_node(program).returncode != 0


def test_it_runs_from_its_text(files: dict[bool, Path]) -> None:
    for holds, file in files.items():
        done = run_by_node("--input-type=module", "-", file, str(VKEY), text=MODULE.read_text())
        assert (done.returncode, bool(done.stdout)) == (0 if holds else 1, True)


def test_who_imports_it_runs_nothing(tmp_path: Path) -> None:
    code = f"import {{ check }} from {json.dumps(MODULE.as_uri())}; console.log(typeof check);"
    (tmp_path / "verify.mjs").write_text(code)
    arguments: list[list[str | Path]] = [
        [tmp_path / "verify.mjs"],
        ["--input-type=module", "-e", code],
        ["--input-type=module", "-"],
    ]
    for before in arguments:
        for after in ([], [str(tmp_path), "vkey"], [str(MODULE), "vkey"]):
            done = run_by_node(*before, *after, text=code)
            assert (done.returncode, done.stdout, done.stderr) == (0, "function\n", "")


def test_what_it_says_of_a_file_is_printable() -> None:
    facts = {"rule": "1\u061c2\u200f3\u20624\ufeff5\U000e00416\n", "lines": 3}
    code = f"import {{ told }} from '{MODULE.as_uri()}'; console.log(JSON.stringify(told({json.dumps(facts)})));"
    done = run_by_node("--input-type=module", "-e", code)
    assert json.loads(done.stdout) == [["rule", r"1\u061c2\u200f3\u20624\ufeff5\U000e00416\n"], ["lines", "3"]]


def test_a_file_is_no_longer_than_the_command_reads() -> None:
    data = b" " * (STATEMENT_BYTES + 1)
    (found,) = checked_by_node([data], str(VKEY))
    assert (found["failed"], found["reason"]) == ("form", f"a file has at most {STATEMENT_BYTES} bytes")


def test_figures_of_more_than_4300_digits_are_refused_by_both() -> None:
    def events(said: dict[str, Any]) -> None:
        said["line"]["events"] = "1" + "0" * 4300

    def fraction(said: dict[str, Any]) -> None:
        said["totals"]["commons_k"] = f"{'1' * 4301}/1"

    files = [forged_file(events), forged_file(fraction)]
    assert [check_statement(file, VKEY).failed for file in files] == ["form", "form"]
    assert [found["failed"] for found in checked_by_node(files, str(VKEY))] == ["form", "form"]


def with_content(text: str) -> bytes:
    """A file with a proposal of this content, which is signed."""
    log = small_log(Policy(fee_ppm=50_000))
    at = log.append(
        ProposalContent(effect="policy.v1", content={"x": "@"}, rests_on={}, reason="", by="operators/olive")
    )
    entry = log.entries.pop().entry
    file = statement_file(log, 1, "eire")
    entry = entry.replace(b'"@"', text.encode())
    log.entries.append(EncodedLeaf(at, entry, leaf_hash(entry)))
    indexes = [{"index": json.loads(proved.entry)["index"]} for proved in file.pool.entries]
    part = part_of(PoolSource(log).checkpoint(), log.entries, [*indexes, {"index": at}])
    return replace(file, pool=part).to_bytes()


def with_checkpoint(extensions: str) -> bytes:
    """A file whose checkpoint has more lines, which is signed."""
    file = statement_file(small_log(Policy()), 1, "eire")
    text = parse_note(file.pool.checkpoint).text + extensions
    return replace(file, pool=replace(file.pool, checkpoint=f"{text}\n{KEY.sign(text).line()}\n".encode())).to_bytes()


def test_both_read_signed_files_in_the_same_forms() -> None:
    files = {
        "a number with an exponent": with_content("1e+21"),
        "a large number": with_content("1e+300"),
        "another spelling": with_content("1e21"),
        "a long entry": with_content(f'"{"x" * 2**16}"'),
        "98 lists": with_content("[" * 98 + "]" * 98),
        "400 lists": with_content("[" * 400 + "]" * 400),
        "an extension": with_checkpoint("one\n"),
        "an empty extension": with_checkpoint("\n"),
        "a control character": with_checkpoint("a\x01\n"),
        "a carriage return": with_checkpoint("a\r\n"),
        "a long checkpoint": with_checkpoint("x" * 2**20 + "\n"),
    }
    hold = {"a number with an exponent", "a large number", "98 lists", "an extension"}
    by_python = {name for name, file in files.items() if check_statement(file, VKEY).holds}
    found = checked_by_node([*files.values()], str(VKEY))
    assert by_python == {name for name, each in zip(files, found, strict=True) if each["holds"]} == hold


_COUNTED: Final = """
import { readFileSync } from 'node:fs';
const { module, file, vkey } = JSON.parse(readFileSync(0, 'utf8'));
const { check } = await import(module);
const counts = { digest: 0, verify: 0 };
for (const name of Object.keys(counts)) {
  const run = crypto.subtle[name].bind(crypto.subtle);
  crypto.subtle[name] = (...given) => { counts[name] += 1; return run(...given); };
}
const { failed, reason } = await check(Buffer.from(file, 'base64'), vkey);
console.log(JSON.stringify({ failed, reason, ...counts }));
"""


def counted(file: StatementFile) -> dict[str, Any]:
    """What the module says of a file, and how often it hashed and verified for that."""
    asked = {"module": MODULE.as_uri(), "file": b64encode(file.to_bytes()).decode(), "vkey": str(VKEY)}
    done = run_by_node("--input-type=module", "-e", _COUNTED, text=json.dumps(asked))
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def made_up(count: int) -> list[SigningKey]:
    return [SigningKey(f"w{at}", sha256(b"%d" % at).digest(), SignatureType.COSIGNATURE) for at in range(count)]


def with_witnesses(keys: list[SigningKey], cosigned: list[SigningKey], *, signed: bool) -> StatementFile:
    """A file with a registry entry, of no log, that names witnesses; some have cosigned the pool's checkpoint."""
    log = small_log(Policy())
    file = statement_file(log, 1, "eire")
    policy = "\n".join(f"witness {key.name} {key.verifier_key}" for key in keys)
    at = log.append(WitnessesContent(policy=policy, by="operators/x", by_key="k", registry_size=1))
    note = parse_note(file.pool.checkpoint)
    own = note.signatures[0]
    if not signed:
        own = Signature(own.name, own.key_id, bytes(64))
    signatures = (*(key.sign(note.text, 77) for key in cosigned), own)
    checkpoint = replace(note, signatures=signatures).to_bytes()
    entries = (*file.registry.entries, ProvedEntry(log.entries[at].entry, ()))
    return replace(
        file, pool=replace(file.pool, checkpoint=checkpoint), registry=replace(file.registry, entries=entries)
    )


def test_the_id_of_a_key_is_computed_once() -> None:
    keys = made_up(500)
    found = counted(with_witnesses(keys, keys[:90], signed=True))
    assert found["failed"] == "entries"  # that policy is in no log
    assert found["verify"] == 2 + 90
    assert found["digest"] < 600


def test_the_signature_of_the_log_comes_before_all_others() -> None:
    keys = made_up(500)
    found = counted(with_witnesses(keys, keys[:90], signed=False))
    assert (found["failed"], found["verify"]) == ("signatures", 1)
    assert found["digest"] < 10
