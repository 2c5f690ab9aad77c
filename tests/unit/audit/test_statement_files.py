"""Statement files: what one shows holds, whatever is changed in one is refused, and both verifiers agree."""

from __future__ import annotations

import json
import re
import subprocess
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import pytest
from iso4217 import Currency

from audit.statements.check import TITLES, VERDICT, Check, check_statement
from audit.statements.file import StatementFile, is_statement_file
from ledger.errors import FormatError
from ledger.log.note_keys import SigningKey, VerifierKey
from payout.entries import RoundContent
from payout.policy import CommonsRule, Policy, Rounding, Tempering
from payout.splits import SplitLine
from tests.support.exports import KEY
from tests.support.statement_files import (
    FORGERIES,
    MODULE,
    NO_NODE,
    NODE,
    checked_by_node,
    forged_file,
    lines_of,
    member_files,
    small_log,
    statement_file,
)

VECTORS: Final[list[dict[str, Any]]] = json.loads((Path(__file__).parents[2] / "vectors/statements.json").read_text())
VKEY: Final = KEY.verifier_key
DEPLOYMENT: Final = VerifierKey("moiety.example", VKEY.public_key)

needs_node = pytest.mark.skipif(NODE is None, reason=NO_NODE)

POLICIES: Final = (
    Policy(),
    Policy(
        fee_ppm=50_000, fee_cap_minor=7, commons_ppm=100_000, tempering=Tempering.SQRT, floor_minor=3, cap_minor=400
    ),
    Policy(rounding=Rounding.PLACED, commons_ppm=333_333, commons_rule=CommonsRule.EQUITY),
    Policy(floor_minor=10**6, commons_rule=CommonsRule.PER_CAPITA),
    Policy(commons_rule=CommonsRule.FUND, tempering=Tempering.EQUAL, human_ai_ppm=0, floor_minor=1),
)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_each_vector_is_held_or_refused_by_its_step(vector: dict[str, Any]) -> None:
    report = check_statement(vector["file"].encode(), VKEY)
    assert (report.failed, report.facts) == (vector["failed"], vector["facts"])


@needs_node
def test_the_module_says_the_same_of_each_vector() -> None:
    found = checked_by_node([vector["file"].encode() for vector in VECTORS], str(VKEY))
    for vector, said in zip(VECTORS, found, strict=True):
        assert said["failed"] == vector["failed"], vector["name"]
        if vector["failed"] is None:
            assert said["facts"] == vector["facts"]
    assert {vector["failed"] for vector in VECTORS} >= {None, "form", "line", "terms", "weight", "amount"}


@pytest.mark.parametrize("policy", POLICIES)
def test_every_collectives_line_holds_under_every_policy(policy: Policy) -> None:
    log = small_log(policy)
    files = [statement_file(log, 1, name).to_bytes() for name in ("eire", "han", "quebec")]
    reports = [check_statement(file, DEPLOYMENT) for file in files]
    assert [(report.failed, report.reason) for report in reports] == [(None, "")] * 3
    assert [report.held for report in reports] == [list(Check)] * 3
    assert [report.facts["paid_minor"] for report in reports] == ["100", "50", "0"]
    if NODE is not None:
        assert [said["facts"] for said in checked_by_node(files, str(DEPLOYMENT))] == [
            report.facts for report in reports
        ]


@needs_node
def test_the_module_tells_people_money_and_units(tmp_path: Path) -> None:
    path = tmp_path / "eire.json"
    path.write_bytes(statement_file(small_log(Policy()), 1, "eire").to_bytes())
    assert NODE is not None
    done = subprocess.run([NODE, MODULE, path, str(VKEY)], capture_output=True, text=True, check=True)
    facts = check_statement(path.read_bytes(), VKEY).facts
    whole = int(facts["amount_minor"])
    assert f"  amount: {whole // 100}.{whole % 100:02} EUR\n" in done.stdout
    assert "  units counted: 1.275\n" in done.stdout
    assert not re.search(r"\d{12}", done.stdout)
    assert VERDICT in done.stdout


def test_the_module_has_the_decimals_of_every_currency() -> None:
    """Those of `Intl` are not ISO's: it shows HUF and IDR without decimals, and amounts would be wrong."""
    (table,) = re.findall(r"const MINOR_UNITS = \{(.*?)\};", MODULE.read_text(), re.DOTALL)
    found = {code: int(decimals) for code, decimals in re.findall(r"([A-Z]{3}): (\d)", table)}
    assert found == {each.code: each.exponent for each in Currency if each.exponent not in (None, 2)}


def changed_files(file: bytes) -> list[bytes]:
    """The file with each of its bytes changed in turn: a digit to another digit, anything else to a letter's case."""
    found = []
    for at, byte in enumerate(file):
        other = ord("0") + (byte - ord("0") + 1) % 10 if chr(byte).isdigit() else byte ^ 0x20 or 0x21
        found.append(file[:at] + bytes([other]) + file[at + 1 :])
    return found


def test_a_file_with_any_byte_changed_is_refused() -> None:
    file = statement_file(small_log(Policy()), 1, "eire").to_bytes()
    changed = changed_files(file)
    assert check_statement(file, VKEY).holds
    assert [at for at, each in enumerate(changed) if check_statement(each, VKEY).holds] == []


@needs_node
def test_the_module_refuses_a_file_with_any_byte_changed() -> None:
    file = statement_file(small_log(Policy()), 1, "eire").to_bytes()
    said = checked_by_node([file, *changed_files(file)], str(VKEY))
    assert [at for at, each in enumerate(said) if each["holds"]] == [0]


def member_file() -> bytes:
    """The file of the second of three members."""
    log = small_log(Policy())
    ((_, content),) = log.placed(RoundContent)
    amount = lines_of(log, content)[0].amount_minor
    split = [SplitLine(f"m{at}", part, bytes([at]) * 32) for at, part in enumerate((amount - 8, 8, 0))]
    log.split("eire", split)
    return member_files(log, 1, "eire", split)[1]


def test_a_members_file_shows_its_line_and_any_byte_of_it_changed_is_refused() -> None:
    file = member_file()
    facts = check_statement(file, VKEY).facts
    assert (facts["member"], facts["member_minor"], facts["split_rule"]) == ("m1", "8", "By plays.")
    begin = file.index(b'"member":{')
    changed = changed_files(file)[begin : file.index(b'"pool":{')]
    assert [at for at, each in enumerate(changed) if check_statement(each, VKEY).holds] == []
    if NODE is not None:
        said = checked_by_node([file, *changed], str(VKEY))
        assert [at for at, each in enumerate(said) if each["holds"]] == [0]


def test_a_split_is_checked_in_the_log_too() -> None:
    """Anyone who replays finds a split of another amount, by another, or of another round."""
    log = small_log(Policy())
    ((round_leaf, content),) = log.placed(RoundContent)
    amount = lines_of(log, content)[0].amount_minor
    index = log.split("eire", [SplitLine("m", amount, bytes(32))])
    assert log.replay(round_leaf).finding is None
    others: dict[str, Any] = {
        "amount_minor": 1,
        "round": 2,
        "round_hash": "0" * 64,
        "collective": "han",
        "lines": 0,
    }
    for figure, wrong in others.items():
        sound = log.content(index)
        log.change(index, **{figure: wrong})
        found = log.replay(round_leaf).finding
        assert found is not None, figure
        assert found.where.leaf_index == index
        log.rewrite(index, sound)


def test_a_file_with_a_byte_more_or_less_is_refused() -> None:
    file = statement_file(small_log(Policy()), 1, "eire").to_bytes()
    for changed in (file + b"\n", b" " + file, file[:-1], b"\xef\xbb\xbf" + file, b"", file.replace(b":1,", b":1.0,")):
        assert check_statement(changed, VKEY).failed is Check.FORM
    if NODE is not None:
        said = checked_by_node([file + b"\n", b" " + file, file[:-1], b"\xef\xbb\xbf" + file, b""], str(VKEY))
        assert [each["failed"] for each in said] == ["form"] * 5


def test_another_key_is_refused() -> None:
    file = statement_file(small_log(Policy()), 1, "eire").to_bytes()
    for key in (SigningKey(KEY.name, bytes(32)).verifier_key, VerifierKey("other.example", VKEY.public_key)):
        assert check_statement(file, key).failed is Check.SIGNATURES
        if NODE is not None:
            assert checked_by_node([file], str(key))[0]["failed"] == "signatures"


def test_an_entry_left_away_is_missed() -> None:
    """Each entry but a payment is needed: without one, a step says what it lacks."""
    whole = statement_file(small_log(Policy()), 1, "eire")
    kinds = [json.loads(proved.entry)["type"] for proved in whole.pool.entries]
    for at, kind in enumerate(kinds):
        pool = type(whole.pool)(whole.pool.checkpoint, whole.pool.entries[:at] + whole.pool.entries[at + 1 :])
        lacking = StatementFile(whole.dossier, whole.salt, whole.path, pool, whole.registry).to_bytes()
        report = check_statement(lacking, VKEY)
        assert report.holds == (kind in ("payment.v1", "posting.v1")), kind
        if NODE is not None:
            assert checked_by_node([lacking], str(VKEY))[0]["failed"] == report.failed


def test_what_a_file_does_not_show_is_not_said_to_be_paid_or_posted() -> None:
    whole = statement_file(small_log(Policy()), 1, "eire")
    pool = type(whole.pool)(whole.pool.checkpoint, whole.pool.entries[:-2])
    facts = check_statement(
        StatementFile(whole.dossier, whole.salt, whole.path, pool, whole.registry).to_bytes(), VKEY
    ).facts
    assert (facts["state"], facts["paid_minor"], facts["payments"]) == ("APPROVED", "0", 0)


@pytest.mark.parametrize("name", FORGERIES)
def test_what_an_operator_makes_up_is_refused(name: str) -> None:
    step, change = FORGERIES[name]
    assert check_statement(forged_file(change), VKEY).failed == step


def test_a_file_is_recognised_and_another_is_not() -> None:
    file = statement_file(small_log(Policy()), 1, "eire").to_bytes()
    assert is_statement_file(file[:64])
    assert not is_statement_file(b"checkpoint")
    with pytest.raises(FormatError):
        StatementFile.parse(b"[" * 100_000)


def test_the_module_has_the_same_steps_and_says_the_same() -> None:
    module = MODULE.read_text()
    for check, title in TITLES.items():
        assert f"  {check}: '{title}'," in module
    verdict = module.partition("VERDICT =")[2].partition(";")[0]
    said = "".join(re.findall(r"^ *\+? *['\"](.*)['\"]$", verdict, re.MULTILINE))
    assert said == VERDICT


def test_the_page_has_the_hash_of_the_module() -> None:
    page = (Path(__file__).parents[3] / "docs/verification.md").read_text()
    assert sha256(MODULE.read_bytes()).hexdigest() in page
