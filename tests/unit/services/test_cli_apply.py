from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest

from moiety import Violation
from moiety.v1 import registry_pb2
from services.cli.apply.declaration import Declaration, parse_declaration, read_declaration
from services.cli.apply.differences import Action, Change, FieldChange, Kind, conflicts, differences
from services.cli.base.documents import document, message_of
from services.cli.base.exits import InputError

EXAMPLE: Final = Path(__file__).parents[3] / "docs" / "examples" / "pool.yaml"
NOTHING: Final = Declaration()

POOL: Final = """
pools:
  folk:
    display_name: Folk
    currency: EUR
    policy: {fee_ppm: 50000}
    methods:
      ngram: {display_name: N-gram, confidence_ppm: 900000}
    schedule: {cron: "0 6 1 * *", time_zone: Europe/Lisbon}
"""


def changed(old: str, new: str, *replacements: tuple[str, str]) -> Declaration:
    text = POOL
    for before, after in ((old, new), *replacements):
        assert before in text
        text = text.replace(before, after)
    return parse_declaration(text)


def violations(text: str) -> list[Violation]:
    with pytest.raises(InputError) as caught:
        parse_declaration(text)
    return list(caught.value.violations)


def test_a_second_run_changes_nothing() -> None:
    for declared in (read_declaration(EXAMPLE), parse_declaration(POOL)):
        assert differences(declared, declared) == []
        assert conflicts(declared, declared) == []


def test_the_example_names_every_field() -> None:
    text = EXAMPLE.read_text("utf-8")
    declared = read_declaration(EXAMPLE)
    pool, platform = declared.pools["folk"], declared.platforms["tunesmith"]
    parts = (pool, pool.policy, pool.schedule, pool.limits, platform, platform.limits, *pool.methods.values())
    for model in parts:
        assert model is not None
        assert [name for name in type(model).model_fields if f"{name}:" not in text] == []


def test_all_is_created_in_an_order_in_which_it_can_be() -> None:
    made = [(change.kind, change.resource) for change in differences(read_declaration(EXAMPLE), NOTHING)]
    assert made == [
        (Kind.PLATFORM, "platforms/tunesmith"),
        (Kind.PLATFORM, "platforms/melodia"),
        (Kind.COLLECTIVE, "collectives/irish"),
        (Kind.COLLECTIVE, "collectives/scottish"),
        (Kind.COLLECTIVE, "collectives/bavarian"),
        (Kind.POOL, "pools/folk"),
        (Kind.MEMBERSHIP, "pools/folk/memberships/recordings"),
        (Kind.METHOD, "pools/folk/methods/melody-ngram"),
        (Kind.METHOD, "pools/folk/methods/melody-influence"),
        (Kind.SCHEDULE, "pools/folk/schedule"),
    ]


def test_a_new_pool_brings_its_first_policy() -> None:
    pool, method, schedule = differences(parse_declaration(POOL), NOTHING)
    assert pool == Change(
        Kind.POOL,
        Action.CREATE,
        "folk",
        (
            FieldChange("display_name", None, "Folk"),
            FieldChange("currency", None, "EUR"),
            FieldChange("distribute", None, "RECEIVED"),
            FieldChange("policy.fee_ppm", None, 50_000),
        ),
        pool="folk",
        new_pool=True,
    )
    assert (method.new_pool, schedule.new_pool) == (True, True)


def test_another_policy_is_a_new_version() -> None:
    declared = changed("{fee_ppm: 50000}", "{commons_ppm: 7, cap_minor: 9}")
    assert differences(declared, parse_declaration(POOL)) == [
        Change(
            Kind.POLICY,
            Action.NEW_VERSION,
            "folk",
            (
                FieldChange("fee_ppm", 50_000, 0),
                FieldChange("commons_ppm", 0, 7),
                FieldChange("cap_minor", None, 9),
            ),
            pool="folk",
        )
    ]


def test_another_confidence_is_a_new_version_of_the_method() -> None:
    (change,) = differences(changed("900000", "800000"), parse_declaration(POOL))
    assert (change.resource, change.action) == ("pools/folk/methods/ngram", Action.NEW_VERSION)
    assert change.fields == (FieldChange("confidence_ppm", 900_000, 800_000),)


def test_limits_are_set_and_left_alone_where_none_are_declared() -> None:
    current = parse_declaration(
        "platforms: {a: {display_name: A, limits: {open_streams: 2}}}\n" + POOL + "    limits: {lead_seconds_max: 60}\n"
    )
    assert differences(parse_declaration("platforms: {a: {display_name: A}}\n" + POOL), current) == []
    wanted = parse_declaration(
        "platforms: {a: {display_name: A, limits: {events_per_day: 5}}}\n" + POOL + "    limits: {}\n"
    )
    platform, pool = differences(wanted, current)
    assert (platform.kind, platform.resource, platform.fields) == (
        Kind.PLATFORM_LIMITS,
        "platforms/a/limits",
        (FieldChange("events_per_day", None, 5), FieldChange("open_streams", 2, None)),
    )
    assert (pool.kind, pool.resource, pool.fields) == (
        Kind.POOL_LIMITS,
        "pools/folk/limits",
        (FieldChange("lead_seconds_max", 60, 86_400),),
    )


def test_a_schedule_is_made_changed_and_left_alone() -> None:
    without = changed('    schedule: {cron: "0 6 1 * *", time_zone: Europe/Lisbon}\n', "")
    current = parse_declaration(POOL)
    assert [change.action for change in differences(current, without)] == [Action.CREATE]
    (change,) = differences(changed("Europe/Lisbon", "Europe/Paris"), current)
    assert change.fields == (FieldChange("time_zone", "Europe/Lisbon", "Europe/Paris"),)
    assert differences(without, current) == []


def owners(**domains: str) -> Declaration:
    """Collectives with these domains, separated by spaces."""
    lines = [
        f"  {name}: {{display_name: {name}, domains: [{', '.join(own.split())}]}}" for name, own in domains.items()
    ]
    return parse_declaration("collectives:\n" + "\n".join(lines))


def test_domains_are_declared_as_the_service_has_them() -> None:
    declared = owners(irish="WWW.Irish.example. irish.example irish.example")
    assert declared.collectives["irish"].domains == ["irish.example", "www.irish.example"]
    assert differences(declared, owners(irish="irish.example www.irish.example")) == []
    (change,) = differences(declared, owners(irish=""))
    assert change.fields == (FieldChange("domains", [], ["irish.example", "www.irish.example"]),)


def test_a_collective_lets_a_domain_go_before_another_takes_it_over() -> None:
    current = owners(irish="a.example", scottish="b.example", breton="", welsh="w.example")
    declared = owners(breton="b.example", scottish="a.example c.example", irish="", welsh="w.example v.example")
    changes = differences(declared, current)
    assert conflicts(declared, current) == []
    assert [change.id for change in changes].index("irish") < [change.id for change in changes].index("scottish")
    assert [change.id for change in changes].index("scottish") < [change.id for change in changes].index("breton")
    assert {change.id: set(change.moving_domains) for change in changes} == {
        "irish": set(),
        "scottish": {"a.example"},
        "breton": {"b.example"},
        "welsh": set(),
    }


def test_a_domain_of_a_collective_that_is_not_declared_does_not_move() -> None:
    (change,) = differences(owners(irish="a.example"), owners(irish="", scottish="a.example"))
    assert change.moving_domains == frozenset()


def test_domains_that_go_round_in_a_circle_are_a_conflict() -> None:
    current = owners(irish="a.example", scottish="b.example")
    (found,) = conflicts(owners(irish="b.example", scottish="a.example"), current)
    assert found.field == "collectives"
    assert found.description.startswith("domains change hands in a circle: ")
    assert {"irish", "scottish"} <= set(found.description.split())


def test_what_is_not_declared_is_left_alone() -> None:
    assert differences(NOTHING, read_declaration(EXAMPLE)) == []


def test_a_collective_is_stated_whole() -> None:
    current = parse_declaration("collectives: {irish: {display_name: Irish, members: 3, status: SUSPENDED}}")
    declared = parse_declaration("collectives: {irish: {display_name: Irish}}")
    (change,) = differences(declared, current)
    assert change.action is Action.UPDATE
    assert change.fields == (FieldChange("members", 3, 0), FieldChange("status", "SUSPENDED", "ACTIVE"))


def test_what_cannot_be_changed_is_a_conflict() -> None:
    current = parse_declaration(POOL + "platforms: {tunesmith: {display_name: Tunesmith}}")
    declared = changed(
        "currency: EUR",
        "currency: JPY",
        ("display_name: Folk", "display_name: Volk"),
        ("pools:", "platforms: {tunesmith: {display_name: Another}}\npools:"),
    )
    assert conflicts(declared, current) == [
        Violation("platforms.tunesmith.display_name", "is 'Tunesmith' and cannot be changed"),
        Violation("pools.folk.display_name", "is 'Folk' and cannot be changed"),
        Violation("pools.folk.currency", "is 'EUR' and cannot be changed"),
    ]
    assert differences(declared, current) == []


@pytest.mark.parametrize(
    ("text", "field", "reason"),
    [
        ("platform: {}", "platform", "is not a known field"),
        ("platforms: {tunesmith: {}}", "platforms.tunesmith.display_name", "is missing"),
        (
            "platforms: {tunesmith: {display_name: 7}}",
            "platforms.tunesmith.display_name",
            "must be text; put it in quotes",
        ),
        (POOL.replace("50000", "5e-2"), "line 6", "5e-2 is not an integer in plain decimal"),
        (POOL.replace("50000", "0.05"), "line 6", "0.05 is not an integer in plain decimal"),
        (POOL.replace("50000", "050000"), "line 6", "050000 is not an integer in plain decimal"),
        (POOL.replace("50000", "'50000'"), "pools.folk.policy.fee_ppm", "must be an integer in plain decimal"),
        (POOL.replace("fee_ppm", "fee"), "pools.folk.policy.fee", "is not a known field"),
        (POOL.replace("900000", "true"), "pools.folk.methods.ngram.confidence_ppm", "must be an integer in plain"),
        ("collectives: {a: {display_name: A, status: GONE}}", "collectives.a.status", "Input should be 'ACTIVE' or"),
        (
            "collectives: {a: {display_name: A, domains: ['*.x.example']}}",
            "collectives.a.domains",
            "'*.x.example' must be written without a wildcard",
        ),
        (
            "collectives: {a: {display_name: A, domains: [x.org]}, b: {display_name: B, domains: [X.org]}}",
            "collectives.b.domains",
            "'X.org' is declared by 'a' too",
        ),
        (
            "collectives: {a: {display_name: A, domains: x.org}}",
            "collectives.a.domains",
            "must be a list",
        ),
        (
            "platforms: {a: {display_name: A, limits: {open_streams: -1}}}",
            "platforms.a.limits",
            "open_streams must be 0 to",
        ),
        (POOL + "    limits: {age_seconds_max: -1}\n", "pools.folk.limits", "age_seconds_max must be 0 to"),
        (POOL + "pools: {}", "line 10", "'pools' is repeated"),
        ("a: [", "line 1", "expected the node content"),
        ("- 1", "file", "must be a mapping"),
    ],
)
def test_a_wrong_field_is_named(text: str, field: str, reason: str) -> None:
    (found,) = violations(text)
    assert found.field == field
    assert found.description.startswith(reason)


def test_an_id_may_be_a_word_or_a_number_that_yaml_would_make_something_else_of() -> None:
    names = ["no", "on", "null", "true", "12", "0x10"]
    declared = parse_declaration("collectives:\n" + "".join(f"  {name}: {{display_name: X}}\n" for name in names))
    assert list(declared.collectives) == names


@pytest.mark.parametrize(
    ("more", "tolerance_nano"), [("", 1_000), (", tolerance_nano: null", 1_000), (", tolerance_nano: 5", 5)]
)
def test_the_tolerance_of_shares_has_the_default_of_the_service(more: str, tolerance_nano: int) -> None:
    """Or a declaration that leaves it out would be another one than what the service has of it."""
    declared = changed("confidence_ppm: 900000", f"confidence_ppm: 900000, score_kind: SHARE{more}")
    assert declared.pools["folk"].methods["ngram"].tolerance_nano == tolerance_nano


@pytest.mark.parametrize("field", ["sum_repeats: true", "tolerance_nano: 5"])
def test_what_belongs_to_scores_is_refused_for_shares(field: str) -> None:
    (found,) = violations(POOL.replace("confidence_ppm: 900000", f"confidence_ppm: 900000, {field}"))
    assert found.description == f"{field.partition(':')[0]} is allowed only with a score_kind"


def test_all_wrong_fields_are_named_at_once() -> None:
    fields = [found.field for found in violations(POOL.replace("currency: EUR", "").replace("cron", "corn"))]
    assert fields == ["pools.folk.currency", "pools.folk.schedule.cron", "pools.folk.schedule.corn"]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_declaration(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"\xff")
    with pytest.raises(InputError, match="is not UTF-8"):
        read_declaration(tmp_path / "latin.yaml")


def test_messages_and_plain_data_go_both_ways() -> None:
    values: dict[str, Any] = {
        "version": 2,
        "fee_ppm": 50_000,
        "fee_cap_minor": None,
        "commons_ppm": 0,
        "unattributed": "PRO_RATA",
        "commons_rule": "FUND",
        "tempering": None,
        "floor_minor": 2**60,
        "cap_minor": 0,
        "ai_only_ppm": None,
        "human_ai_ppm": 0,
        "review_seconds": 86_400,
        "rounding": "CARRIED",
        "leaf_index": 0,
        "proposal": "",
        "approval": "SILENCE",
        "period": "MONTH",
        "period_from": "2026-01",
        "recoup_ppm": 0,
        "public": True,
    }
    message = message_of(registry_pb2.Policy, values)
    assert message.unattributed == registry_pb2.UNATTRIBUTED_RULE_PRO_RATA
    assert not message.HasField("fee_cap_minor")
    assert message.HasField("cap_minor")
    assert document(message) == values
