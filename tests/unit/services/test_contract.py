"""The contract against the code: what one says of the other must be so."""

from __future__ import annotations

import importlib
import pkgutil
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet

import moiety
import moiety.v1
from ledger import journal, money, registry
from ledger.store.registry import acts
from ledger.store.usage import retractions
from ledger.usage import format as usage
from ledger.usage import ids, membership, scores, shares
from ledger.usage import methods as methods_
from moiety import attribution, batches, events, sizes
from moiety.v1 import accounts_pb2, registry_pb2, rounds_pb2, usage_pb2
from payout import policy
from payout.store.rounds import RoundState
from services.access.keys import Role
from services.access.permissions import OPEN_PREFIXES, PERMITTED
from services.api import names
from services.api.usage.events import MAX_ROW_EVENTS

ROOT: Final = Path(__file__).parents[3]
BIN: Final = Path(sys.executable).parent
PROTO: Final = ROOT / "proto" / "moiety" / "v1"


def files() -> Iterator[FileDescriptor]:
    for module in pkgutil.iter_modules(moiety.v1.__path__):
        if module.name.endswith("_pb2"):
            yield importlib.import_module(f"moiety.v1.{module.name}").DESCRIPTOR


def methods() -> dict[str, MethodDescriptor]:
    return {
        f"/{service.full_name}/{method.name}": method
        for file in files()
        for service in file.services_by_name.values()
        for method in service.methods
    }


def test_every_file_of_the_contract_is_generated() -> None:
    assert {file.name for file in files()} == {f"moiety/v1/{path.name}" for path in PROTO.glob("*.proto")}


def test_every_method_says_who_may_call_it_and_nothing_else_does() -> None:
    assert set(PERMITTED) == set(methods())
    assert all(PERMITTED.values()), "a method that nobody may call"
    assert not any(method.startswith(OPEN_PREFIXES) for method in PERMITTED)


HASHES: Final = ("GetCheckpoint", "ListCheckpoints", "GetInclusionProof", "GetConsistencyProof", "WatchLeaves")


def test_roles_have_the_rights_of_design_section_8() -> None:
    reads = ("Get", "List", "Find", "Preview", "Replay", "Watch")
    for method, roles in PERMITTED.items():
        name = method.rpartition("/")[2]
        if name in {"SetPayee", "SetContact"}:  # a collective's own; of an account an operator then decides
            assert roles == {Role.OPERATOR, Role.COLLECTIVE}
        elif method.startswith("/moiety.v1.WebhooksService/"):  # everyone who acts has their own
            assert roles in ({Role.OPERATOR, Role.PLATFORM, Role.COLLECTIVE}, set(Role))
        elif name.startswith(reads):
            assert Role.OPERATOR in roles, f"an operator does not see {name}"
        else:
            assert roles in ({Role.OPERATOR}, {Role.PLATFORM}, {Role.COLLECTIVE}), (
                f"{name} writes, and several roles may"
            )
    # Who checks amounts needs nobody's account number or address.
    unread = {"/moiety.v1.PaymentsService/GetProposedAccount", "/moiety.v1.RegistryService/GetContact"}
    unread.add("/moiety.v1.RegistryService/GetProposedContact")
    reading = {name for name, roles in PERMITTED.items() if Role.AUDITOR in roles} | unread
    assert reading == {name for name in PERMITTED if name.rpartition("/")[2].startswith(reads)}
    writes = {name.rpartition("/")[2] for name, roles in PERMITTED.items() if roles == {Role.PLATFORM}}
    assert writes == {"SubmitUsage", "AppendUsage", "SetIdScheme", "RetractUsage", "ReportRevenue"}
    objects = {name.rpartition("/")[2] for name, roles in PERMITTED.items() if roles == {Role.COLLECTIVE}}
    assert objects == {"ObjectToRound", "LogSplit"}
    # Checkpoints and proofs tell hashes and no more, and a watch each their own.
    hashes = {f"/moiety.v1.AuditService/{name}" for name in HASHES}
    assert all(PERMITTED[name] == set(Role) for name in hashes)
    narrow = {name: roles for name, roles in PERMITTED.items() if name not in hashes}
    platforms = {name.split("/")[1] for name, roles in narrow.items() if Role.PLATFORM in roles}
    services = {"Registry", "Limits", "Usage", "Revenue", "Accounts", "Rounds", "Webhooks"}
    assert platforms == {f"moiety.v1.{name}Service" for name in services}
    collectives = {name.split("/")[1] for name, roles in narrow.items() if Role.COLLECTIVE in roles}
    services = {"Registry", "Limits", "Accounts", "Payments", "Rounds", "Webhooks"}
    assert collectives == {f"moiety.v1.{name}Service" for name in services}


def test_both_ends_have_the_same_usage_columns() -> None:
    assert moiety.USAGE_SCHEMA.names == list(shares.USAGE_TYPES)
    assert dict(zip(moiety.USAGE_SCHEMA.names, moiety.USAGE_SCHEMA.types, strict=True)) == shares.USAGE_TYPES
    assert [field.name for field in moiety.USAGE_SCHEMA if field.nullable] == ["work_id"]
    assert batches.SCORE_SCHEMA.names == list(scores.SCORE_TYPES)
    assert dict(zip(batches.SCORE_SCHEMA.names, batches.SCORE_SCHEMA.types, strict=True)) == scores.SCORE_TYPES


def test_both_ends_have_the_same_limits_and_modes() -> None:
    assert sizes.EVENTS_PER_BATCH_MAX == usage.MAX_EVENTS
    assert sizes.EVENTS_PER_BATCH <= usage.MAX_EVENTS
    modes = (usage_pb2.MODE_AI_ONLY, usage_pb2.MODE_HUMAN_AI)
    assert modes == usage.MODES == (events.Mode.AI_ONLY, events.Mode.HUMAN_AI)


@pytest.mark.parametrize(
    ("enum", "prefix", "ours"),
    [
        (registry_pb2.CollectiveStatus, "COLLECTIVE_STATUS_", registry.CollectiveStatus),
        (registry_pb2.UnattributedRule, "UNATTRIBUTED_RULE_", policy.UnattributedRule),
        (registry_pb2.CommonsRule, "COMMONS_RULE_", policy.CommonsRule),
        (registry_pb2.Tempering, "TEMPERING_", policy.Tempering),
        (registry_pb2.ScoreKind, "SCORE_KIND_", methods_.ScoreKind),
        (registry_pb2.ScoreKind, "SCORE_KIND_", attribution.ScoreKind),
        (registry_pb2.ScoreOrder, "SCORE_ORDER_", methods_.ScoreOrder),
        (registry_pb2.ScoreOrder, "SCORE_ORDER_", attribution.ScoreOrder),
        (usage_pb2.IdScheme, "ID_SCHEME_", ids.IdScheme),
        (usage_pb2.IdScheme, "ID_SCHEME_", moiety.IdScheme),
        (rounds_pb2.RoundState, "ROUND_STATE_", RoundState),
        (accounts_pb2.TransferPurpose, "TRANSFER_PURPOSE_", journal.Purpose),
    ],
)
def test_both_ends_have_the_same_words(enum: Any, prefix: str, ours: Any) -> None:
    assert [name.removeprefix(prefix) for name in enum.keys()] == ["UNSPECIFIED", *(member.value for member in ours)]  # noqa: SIM118


def test_a_policy_of_the_contract_has_the_terms_of_ours() -> None:
    terms = {field.name for field in registry_pb2.Policy.DESCRIPTOR.fields}
    assert terms - {"version", "leaf_index", "proposal"} == set(policy.Policy.model_fields)


def comment_on(file: str, message: str, field: str) -> str:
    """The comment above a field, on one line and with plain numbers."""
    text = (PROTO / file).read_text()
    ((body,),) = [re.findall(rf"^message {message} {{\n(.*?)^}}", text, re.DOTALL | re.MULTILINE)]
    (comment,) = re.findall(rf"((?:^  //[^\n]*\n)+)^  [^/\n]*\b{field} = \d+", body, re.MULTILINE)
    plain = " ".join(line.strip().removeprefix("//").strip() for line in comment.splitlines()).replace(",", "")
    return re.sub(r"10\^(\d+)", lambda power: str(10 ** int(power[1])), plain)


PAGES: Final = [
    (file.name.rpartition("/")[2], message.name, "page_size", f"1 to {names.MAX_PAGE}; 0 is {names.DEFAULT_PAGE}")
    for file in files()
    for message in file.message_types_by_name.values()
    if "page_size" in message.fields_by_name
]


@pytest.mark.parametrize(
    ("file", "message", "field", "limit"),
    [
        *PAGES,
        ("usage.proto", "Share", "share_nano", f"1 to {registry.NANO}"),
        ("usage.proto", "UsageEvent", "work_id", f"at most {usage.MAX_WORK_ID_BYTES} bytes"),
        ("usage.proto", "UsageEvent", "units", f"1 to {usage.MAX_UNITS}"),
        ("usage.proto", "SubmitUsageRequest", "events", f"1 to {MAX_ROW_EVENTS} events"),
        ("usage.proto", "RetractUsageRequest", "event_ids", f"up to {MAX_ROW_EVENTS} events"),
        ("usage.proto", "RetractUsageRequest", "event_ids", f"up to {retractions.MAX_BATCHES} batches"),
        ("usage.proto", "AppendUsageRequest", "arrow_stream", f"1 to {usage.MAX_EVENTS} events"),
        ("usage.proto", "AppendUsageRequest", "arrow_stream", f"at most {usage.MAX_BODY_BYTES // 2**20} MiB"),
        ("revenue.proto", "Report", "amount_minor", f"1 to {money.MAX_AMOUNT_MINOR}"),
        ("revenue.proto", "Report", "note", f"at most {registry.MAX_NOTE} characters"),
        ("accounts.proto", "Payment", "reference", f"at most {registry.MAX_NOTE} characters"),
        ("rounds.proto", "RejectRoundRequest", "reason", f"1 to {acts.MAX_REASON} characters"),
        ("registry.proto", "Platform", "display_name", f"1 to {registry.MAX_DISPLAY_NAME} characters"),
        ("registry.proto", "Collective", "display_name", f"1 to {registry.MAX_DISPLAY_NAME} characters"),
        ("registry.proto", "Collective", "members", f"0 to {registry.MAX_MEMBERS}"),
        ("registry.proto", "Collective", "equity_ppm", f"0 to {registry.MAX_EQUITY_PPM}; unset is {registry.PPM}"),
        ("registry.proto", "Policy", "fee_ppm", f"0 to {registry.PPM}"),
        ("registry.proto", "Policy", "commons_ppm", f"0 to {registry.PPM}"),
        ("registry.proto", "Policy", "ai_only_ppm", f"0 to {policy.MAX_MODE_PPM}; unset is {registry.PPM}"),
        ("registry.proto", "Policy", "human_ai_ppm", f"0 to {policy.MAX_MODE_PPM}; unset is {registry.PPM}"),
        ("registry.proto", "Method", "confidence_ppm", f"0 to {registry.PPM}"),
        ("registry.proto", "Method", "evidence_uri", f"at most {registry.MAX_URI} characters"),
        ("registry.proto", "Method", "covers", f"at most {registry.MAX_NOTE} characters"),
        ("registry.proto", "Method", "coverage_nano", f"1 to {registry.NANO}"),
        (
            "registry.proto",
            "CreateMembershipRequest",
            "body",
            f"at most {membership.MAX_MEMBERSHIP_BYTES // 2**20} MiB",
        ),
        ("registry.proto", "CreateMembershipRequest", "body", f"1 to {membership.MAX_SOURCE_BYTES} bytes"),
    ],
)
def test_the_limits_that_the_contract_tells_are_those_of_the_code(
    file: str, message: str, field: str, limit: str
) -> None:
    assert limit in comment_on(file, message, field)


IMAGE: Final = PROTO.parents[1] / "contract.binpb"


def released() -> FileDescriptorSet:
    return FileDescriptorSet.FromString(IMAGE.read_bytes())


def test_the_released_contract_has_its_imports_and_its_comments() -> None:
    named = {file.name: file for file in released().file}
    assert {file.name for file in files()} >= {name for name in named if name.startswith("moiety/v1/")}
    assert {dependency for file in named.values() for dependency in file.dependency} <= named.keys()
    comments = [place.leading_comments for place in named["moiety/v1/usage.proto"].source_code_info.location]
    assert any("Takes usage events, each exactly once." in comment for comment in comments)


def test_code_is_generated_in_a_clone_without_a_network(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    for name in ("buf.yaml", "buf.gen.yaml"):
        (clone / "proto").mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, clone)
    shutil.copy(IMAGE, clone / "proto")
    template = yaml.safe_load((clone / "buf.gen.yaml").read_text())
    template["plugins"] = [{"local": str(BIN / "protoc-gen-mypy"), "out": "gen"}]
    (clone / "own.gen.yaml").write_text(yaml.safe_dump(template))
    environment = {"HOME": str(tmp_path), "PATH": str(BIN), "https_proxy": "http://127.0.0.1:9"}
    command = [str(BIN / "buf"), "generate", "--template", "own.gen.yaml"]
    subprocess.run(command, cwd=clone, env=environment, check=True, capture_output=True)
    generated = {path.name for path in (clone / "gen").rglob("*.pyi")}
    ours = [file.name for file in released().file if file.name.startswith("moiety/v1/")]
    assert generated == {f"{Path(name).stem}_pb2.pyi" for name in ours}


def test_the_arrow_layout_for_writers_is_what_a_batch_has() -> None:
    page = (ROOT / "docs/languages.md").read_text("utf-8")
    (shown,) = re.findall(r"```text\nschema\n(.*?)```", page, flags=re.DOTALL)
    columns = [line for line in str(batches.USAGE_SCHEMA).splitlines() if not line.startswith(" ")]
    assert [line.strip() for line in shown.splitlines()] == columns
    rows = re.findall(r"^\| \d \| `(\w+)` \|", page, flags=re.MULTILINE)
    assert rows == batches.USAGE_SCHEMA.names
