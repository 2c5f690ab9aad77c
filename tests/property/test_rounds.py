"""Rounds by their rules: conservation above all, under any policy and any usage."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from fractions import Fraction
from itertools import pairwise
from typing import Final

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ledger.journal import (
    COMMONS,
    FEES,
    REVENUE,
    ROUNDING,
    Purpose,
    fold,
)
from ledger.registry import NANO, Collective, CollectiveStatus
from ledger.usage.format import AI_ONLY, HUMAN_AI
from payout.amounts import NOTHING_CARRIED, Carried
from payout.apportionment import apportion
from payout.entries import RoundContent, posting_transfers
from payout.policy import (
    CommonsRule,
    Policy,
    Rounding,
    Tempering,
    UnattributedRule,
)
from payout.rounds import Deficits, Distribution, distribute
from payout.statement import carried_of, deficits_of, parse_statement, render_statement, render_weights
from payout.weights import UsageKey, UsageSum

NAMES: Final = ["a", "b-1", "c", "e2"]
METHODS: Final = [("ngram", 1), ("ngram", 2), ("other", 1)]
PPM: Final = 10**6

ppm = st.sampled_from([0, 1, PPM // 3, PPM - 1, PPM]) | st.integers(0, PPM)
mode_ppm = st.sampled_from([0, 1, PPM, 10 * PPM]) | st.integers(0, 10 * PPM)
amounts = st.integers(0, 50) | st.integers(0, 5_000) | st.integers(0, 10**15)
rows = st.tuples(
    st.sampled_from([0, 1, 10**10]) | st.integers(0, 1000),
    st.sampled_from([0, PPM, 10**8]) | st.integers(0, 10**8),
    st.sampled_from(CollectiveStatus),
)
"""Members, equity and status of a collective."""

weights = st.just(0) | st.integers(0, 10) | st.integers(0, 2**80)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Any sound policy, often with floors and caps that matter."""
    floor = draw(st.just(0) | amounts)
    return Policy(
        fee_ppm=draw(ppm),
        fee_cap_minor=draw(st.none() | amounts),
        commons_ppm=draw(ppm),
        unattributed=draw(st.sampled_from(UnattributedRule)),
        commons_rule=draw(st.sampled_from(CommonsRule)),
        tempering=draw(st.sampled_from(Tempering)),
        floor_minor=floor,
        cap_minor=draw(st.none() | st.integers(floor, min(floor + 100, 10**15)) | st.integers(floor, 10**15)),
        ai_only_ppm=draw(mode_ppm),
        human_ai_ppm=draw(mode_ppm),
        review_seconds=draw(st.integers(0, 3600)),
        rounding=draw(st.sampled_from(Rounding)),
    ).require_sound()


@dataclass(frozen=True)
class Case:
    policy: Policy
    pot_minor: int
    usage: dict[UsageKey, UsageSum]
    confidence_ppm: dict[tuple[str, int], int]
    collectives: list[Collective]
    deficits: Deficits
    carried: Carried = NOTHING_CARRIED

    def distribution(self) -> Distribution:
        return distribute(
            self.policy,
            self.pot_minor,
            self.usage,
            self.confidence_ppm,
            self.collectives,
            self.deficits,
            self.carried,
        )


def usage_of(events: int, retracted: int, unattributed: int, claims: dict[str, tuple[int, int]]) -> UsageSum:
    """Claims: weight and count by collective."""
    attributed = {name: weight for name, (weight, _) in claims.items()}
    return UsageSum(events, retracted, unattributed, attributed, {name: count for name, (_, count) in claims.items()})


@st.composite
def cases(draw: st.DrawFn, *, retractions: bool = True) -> Case:
    """Any round; without retractions no weight is negative and nothing is owed from before."""
    names = sorted(draw(st.sets(st.sampled_from(NAMES))))
    events = st.integers(0, 10**6)
    net = (weights | weights.map(int.__neg__)) if retractions else weights
    claims = st.dictionaries(st.sampled_from(names), st.tuples(net, net)) if names else st.just({})
    sums = st.builds(usage_of, events, events if retractions else st.just(0), net, claims)
    owed = st.dictionaries(st.sampled_from(names), weights) if names else st.just({})
    nano = st.sampled_from([0, 1, NANO - 1]) | st.integers(0, NANO - 1)
    fractions = st.dictionaries(st.sampled_from(names), nano) if names else st.just({})
    keys = st.builds(UsageKey, st.just("ngram"), st.sampled_from([1, 2]), st.sampled_from([AI_ONLY, HUMAN_AI]))
    keys |= st.builds(UsageKey, st.just("other"), st.just(1), st.sampled_from([AI_ONLY, HUMAN_AI]))
    return Case(
        policy=draw(policies()),
        pot_minor=draw(amounts | st.integers(0, 2**63 - 1)),
        usage=draw(st.dictionaries(keys, sums, max_size=4)),
        confidence_ppm=dict(zip(METHODS, draw(st.tuples(ppm, ppm, ppm)), strict=True)),
        collectives=[
            Collective(name, name, *row) for name, row in zip(names, draw(st.tuples(*[rows] * len(names))), strict=True)
        ],
        deficits=draw(st.builds(Deficits, weights, owed)) if retractions else Deficits(),
        carried=draw(st.builds(Carried, nano, fractions, fractions)) if retractions else NOTHING_CARRIED,
    )


def content_of(found: Distribution) -> RoundContent:
    figures = {field.name: getattr(found, field.name) for field in fields(found) if field.name != "lines"}
    return RoundContent(
        number=1, previous=0, start=0, end=5, root="0" * 64, policy_leaf=0, policy_version=1,
        registry_root="0" * 64, registry_sha256="0" * 64, statement_sha256="0" * 64, weights_sha256="0" * 64,
        salt_sha256="0" * 64, statement_root="0" * 64, statement_lines=0,
        by="operators/o",
        request_id="r", fire_times=None, **figures,
    )  # fmt: skip


@given(cases())
def test_nothing_is_lost_and_nothing_is_made(case: Case) -> None:
    """Rule: "Always: P == fee + sum of allocations + kept in the commons fund + carried over + rounding"."""
    found = case.distribution()
    assert found.pot_minor == case.pot_minor
    parts = (
        found.fee_minor,
        found.attributed_minor,
        found.commons_minor,
        found.commons_kept_minor,
        found.carried_minor,
    )
    assert sum(parts) + found.rounding_minor == case.pot_minor
    assert min(parts) >= 0
    assert found.attributed_minor == sum(line.attributed_minor for line in found.lines)
    assert found.commons_minor == sum(line.commons_minor for line in found.lines)
    assert all(line.attributed_minor >= 0 and line.commons_minor >= 0 for line in found.lines)
    assert [line.collective for line in found.lines] == [collective.name for collective in case.collectives]


def exact_parts(case: Case, found: Distribution) -> dict[tuple[str, str], Fraction]:
    """What each part of each line comes to before any rounding, but for the fee's, in minor units."""
    policy, parts = case.policy, dict[tuple[str, str], Fraction]()
    if not found.weight + found.weight_unattributed:
        return parts
    net = Fraction(found.pot_minor - found.fee_minor)
    pot = net - net * policy.commons_ppm / PPM
    if policy.unattributed is UnattributedRule.COMMONS:
        pot = pot * found.weight / (found.weight + found.weight_unattributed)
    claims = policy.claims([line.weight for line in found.lines])
    covered = policy.floor_minor * sum(map(bool, claims)) <= pot
    own = water_filled(pot, claims, policy.floor_minor, policy.cap_minor) if covered else [Fraction(0)] * len(claims)
    factors = {
        CommonsRule.EQUAL: [1 for _ in case.collectives],
        CommonsRule.PER_CAPITA: [collective.members for collective in case.collectives],
        CommonsRule.EQUITY: [collective.members * collective.equity_ppm for collective in case.collectives],
        CommonsRule.FUND: [0 for _ in case.collectives],
    }[policy.commons_rule]
    common = [(net - pot) * factor / sum(factors) if factor else Fraction(0) for factor in factors]
    for line, attributed, of_commons in zip(found.lines, own, common, strict=True):
        parts[line.collective, "attributed"], parts[line.collective, "commons"] = attributed, of_commons
    return parts


@given(cases())
def test_a_carried_line_follows_from_its_own_figures(case: Case) -> None:
    """Rule: "each part of an amount is floor(quota + carried), and what the floor leaves, in [0, 1), is carried"."""
    policy = case.policy.model_copy(update={"rounding": Rounding.CARRIED})
    case = replace(case, policy=policy)
    found = case.distribution()
    exact = exact_parts(case, found)
    for line in found.lines:
        for part in ("attributed", "commons"):
            before, after = getattr(line, f"{part}_before_nano"), getattr(line, f"{part}_after_nano")
            gained = getattr(line, f"{part}_minor") * NANO + after - before
            assert 0 <= after < NANO
            assert abs(exact.get((line.collective, part), Fraction(0)) * NANO - gained) < 2


@settings(max_examples=60)
@given(cases(retractions=False), st.lists(cases(), min_size=1, max_size=12))
def test_over_any_number_of_rounds_nobody_is_off_by_a_unit_and_nothing_is_lost(case: Case, others: list[Case]) -> None:
    """Rule: "over any number of rounds, policies, floors, caps and suspensions nobody is off by a unit".

    What each was paid is held against the sum of exact fractions, of which less than two billionths a round are lost.
    """
    names = [collective.name for collective in case.collectives]
    owed = {(name, part): Fraction(0) for name in names for part in ("attributed", "commons")}
    carried, deficits, revenue, rounding, put_in, out = NOTHING_CARRIED, Deficits(), 0, 0, 0, 0
    for other in others:
        put_in += other.pot_minor % NANO
        usage = {key: only_of(total, names) for key, total in other.usage.items()}
        cut = replace(
            other,
            policy=other.policy.model_copy(update={"rounding": Rounding.CARRIED}),
            pot_minor=revenue + other.pot_minor % NANO,
            usage=usage,
            collectives=case.collectives,
            deficits=deficits,
            carried=carried,
        )
        found = cut.distribution()
        for place, amount in exact_parts(cut, found).items():
            owed[place] += amount
        for line in found.lines:
            owed[line.collective, "attributed"] -= line.attributed_minor
            owed[line.collective, "commons"] -= line.commons_minor
        carried = carried_of(found.lines, found.kept_after_nano)
        deficits = deficits_of(found.lines, found.deficit_unattributed)
        revenue, rounding = found.carried_minor, rounding + found.rounding_minor
        out += found.fee_minor + found.commons_kept_minor + sum(line.amount_minor for line in found.lines)
        assert revenue >= 0
        assert rounding == carried.whole_minor() >= 0
        assert put_in == out + revenue + rounding
    lost = Fraction(2 * len(others), NANO)
    assert all(-lost < off < 1 + lost for off in owed.values())


def only_of(total: UsageSum, names: list[str]) -> UsageSum:
    """What of a sum names these collectives."""
    attributed = {name: weight for name, weight in total.attributed.items() if name in names}
    return replace(total, attributed=attributed, counts={name: total.counts[name] for name in attributed})


def water_filled(total: Fraction, weights: list[int], floor: int, limit: int | None) -> list[Fraction]:
    """`clamp(k * weight, floor, limit)` for the `k` at which the sum is the total; all limits where these are less."""
    positive, cap = [weight for weight in weights if weight], total if limit is None else limit
    if cap * len(positive) <= total:
        return [Fraction(cap if weight else 0) for weight in weights]

    def at(k: Fraction) -> list[Fraction]:
        return [min(max(k * weight, Fraction(floor)), Fraction(cap)) if weight else Fraction(0) for weight in weights]

    breaks = sorted({Fraction(0)} | {Fraction(bound, weight) for weight in positive for bound in (floor, cap)})
    place = next(place for place, k in enumerate(breaks) if sum(at(k)) >= total)
    if place == 0:
        return at(breaks[0])
    low, high = breaks[place - 1], breaks[place]
    below, above = sum(at(low), Fraction()), sum(at(high), Fraction())
    return at(low + (high - low) * (total - below) / (above - below))


@given(cases())
def test_every_figure_is_an_integer(case: Case) -> None:
    """Rule: "nothing that decides money is ever a float"."""
    found = case.distribution()
    figures = [getattr(found, field.name) for field in fields(found) if field.name != "lines"]
    for line in found.lines:
        figures += line[2:]
        figures.append(line.amount_minor)
    assert {type(figure) for figure in figures} == {int}


@given(cases())
def test_the_figures_follow_the_formulas(case: Case) -> None:
    """Rule: the formulas of design section 3, written out once more from its text."""
    policy, found = case.policy, case.distribution()
    names = [collective.name for collective in case.collectives]
    factor = {AI_ONLY: policy.ai_only_ppm, HUMAN_AI: policy.human_ai_ppm}
    claimed = dict.fromkeys(names, 0)
    unclaimed = 0
    for (method, version, mode), total in case.usage.items():
        sure = case.confidence_ppm[method, version]
        for name in names:
            claimed[name] += factor[mode] * sure * total.attributed.get(name, 0)
        doubted = (PPM - sure) * sum(total.attributed.values())
        unclaimed += factor[mode] * (PPM * total.unattributed + doubted)
    unclaimed -= case.deficits.unattributed
    claimed = {name: weight - case.deficits.by_collective.get(name, 0) for name, weight in claimed.items()}
    assert [line.weight - line.deficit_after for line in found.lines] == list(claimed.values())
    assert all(line.weight == 0 or line.deficit_after == 0 for line in found.lines)
    assert [line.deficit_before for line in found.lines] == [case.deficits.by_collective.get(name, 0) for name in names]
    claimed, unclaimed = {name: max(0, weight) for name, weight in claimed.items()}, max(0, unclaimed)
    assert (found.weight, found.weight_unattributed) == (sum(claimed.values()), unclaimed)
    if not found.weight + unclaimed:
        assert found.carried_minor == case.pot_minor
        return
    fee = min(
        case.pot_minor * policy.fee_ppm // PPM, case.pot_minor if policy.fee_cap_minor is None else policy.fee_cap_minor
    )
    assert found.fee_minor == fee
    if policy.rounding is Rounding.PLACED:
        require_placed(case, found)


def require_placed(case: Case, found: Distribution) -> None:
    """Both pots to the last unit, under largest remainder."""
    policy, net = case.policy, case.pot_minor - found.fee_minor
    standing = net * policy.commons_ppm // PPM
    pro_rata = policy.unattributed is UnattributedRule.PRO_RATA
    claims = [found.weight, found.weight_unattributed]
    pot, rest = (net - standing, 0) if pro_rata else apportion(net - standing, claims)
    assert found.attributed_minor <= pot
    unbounded = not policy.floor_minor and policy.cap_minor is None
    assert not unbounded or found.attributed_minor == (pot if found.weight else 0)
    shared = found.commons_minor + found.commons_kept_minor
    members = sum(collective.members for collective in case.collectives)
    equity = sum(collective.members * collective.equity_ppm for collective in case.collectives)
    takers = {
        CommonsRule.EQUAL: len(case.collectives),
        CommonsRule.PER_CAPITA: members,
        CommonsRule.EQUITY: equity,
        CommonsRule.FUND: 1,
    }
    assert shared == (standing + rest if takers[policy.commons_rule] else 0)
    assert not found.commons_kept_minor or policy.commons_rule is CommonsRule.FUND


@given(cases())
def test_without_weight_there_is_no_attributed_part_and_bounds_hold_with_it(case: Case) -> None:
    """Rule: "a zero weight gets zero, whatever the floor"; a floor that cannot be covered leaves the pot as it is."""
    found = case.distribution()
    weighty = [line for line in found.lines if line.weight]
    assert all(line.attributed_minor == 0 for line in found.lines if not line.weight)
    if found.attributed_minor:
        assert all(line.attributed_minor >= case.policy.floor_minor for line in weighty)
    if case.policy.cap_minor is not None:
        assert all(line.attributed_minor <= case.policy.cap_minor for line in weighty)


@given(cases(), st.data())
def test_the_order_of_the_usage_does_not_matter(case: Case, data: st.DataObject) -> None:
    """Rule: no iteration over an unordered set reaches an amount."""
    reordered = {}
    for key in data.draw(st.permutations(list(case.usage))):
        total = case.usage[key]
        names = data.draw(st.permutations(list(total.attributed)))
        attributed = {name: total.attributed[name] for name in names}
        reordered[key] = replace(total, attributed=attributed, counts={name: total.counts[name] for name in names})
    assert replace(case, usage=reordered).distribution() == case.distribution()


@given(cases())
def test_splitting_usage_over_keys_that_count_alike_changes_no_amount(case: Case) -> None:
    """Rule: weights are sums; the same confidence and mode count the same under whichever method."""
    split = {}
    confidence = dict(case.confidence_ppm)
    for key, total in case.usage.items():
        confidence[f"{key.method}-too", key.method_version] = confidence[key.method, key.method_version]
        halves = {name: weight // 2 for name, weight in total.attributed.items()}
        rest = {name: weight - halves[name] for name, weight in total.attributed.items()}
        some = {name: count // 3 for name, count in total.counts.items()}
        others = {name: count - some[name] for name, count in total.counts.items()}
        half = total.unattributed // 2
        split[key] = UsageSum(total.events, 0, half, halves, some)
        split[key._replace(method=f"{key.method}-too")] = UsageSum(
            0, total.retracted, total.unattributed - half, rest, others
        )
    assert replace(case, usage=split, confidence_ppm=confidence).distribution() == case.distribution()


@given(cases(), st.integers(1, 2**70))
def test_the_unit_of_usage_does_not_matter(case: Case, factor: int) -> None:
    """Rule: only the ratios of weights count, where claims are in proportion or equal."""
    assume(case.policy.tempering is not Tempering.SQRT)
    scaled = {
        key: replace(
            total,
            unattributed=total.unattributed * factor,
            attributed={name: weight * factor for name, weight in total.attributed.items()},
        )
        for key, total in case.usage.items()
    }
    owed = {name: weight * factor for name, weight in case.deficits.by_collective.items()}
    deficits = Deficits(case.deficits.unattributed * factor, owed)
    ours, theirs = case.distribution(), replace(case, usage=scaled, deficits=deficits).distribution()
    assert [(line.attributed_minor, line.commons_minor) for line in ours.lines] == [
        (line.attributed_minor, line.commons_minor) for line in theirs.lines
    ]
    assert (ours.fee_minor, ours.commons_kept_minor) == (theirs.fee_minor, theirs.commons_kept_minor)


@given(cases())
def test_a_method_that_is_not_trusted_at_all_attributes_nothing(case: Case) -> None:
    """Rule: "how sure an attribution method is of itself decides how much it may move"."""
    found = replace(case, confidence_ppm=dict.fromkeys(METHODS, 0)).distribution()
    assert found.attributed_minor == found.weight == 0


@given(cases(retractions=False), st.sampled_from(METHODS))
def test_more_confidence_never_makes_the_commons_larger(case: Case, method: tuple[str, int]) -> None:
    """Rule: doubted weight goes to the commons, so the attributed pot grows with confidence."""
    sure = replace(case, confidence_ppm=case.confidence_ppm | {method: PPM})
    ours, theirs = case.distribution(), sure.distribution()
    assert theirs.weight >= ours.weight
    assert theirs.weight_unattributed <= ours.weight_unattributed
    if ours.weight + ours.weight_unattributed:
        assert theirs.commons_minor + theirs.commons_kept_minor <= ours.commons_minor + ours.commons_kept_minor


@given(cases())
def test_an_equal_commons_differs_by_one_unit_at_most_in_favour_of_the_first(case: Case) -> None:
    """Rule: EQUAL; under PLACED ties go to the lower position, by the bytes of ids."""
    policy = case.policy.model_copy(update={"commons_rule": CommonsRule.EQUAL, "rounding": Rounding.PLACED})
    equal = replace(case, policy=policy)
    parts = [line.commons_minor for line in equal.distribution().lines]
    assert parts == sorted(parts, reverse=True)
    assert not parts or parts[0] - parts[-1] <= 1


@given(cases())
def test_the_status_of_a_collective_reaches_no_amount(case: Case) -> None:
    """Rule: what a suspended collective earns is held, not lost and not shared out."""
    active = [replace(collective, status=CollectiveStatus.ACTIVE) for collective in case.collectives]
    found = replace(case, collectives=active).distribution()
    assert [line.amount_minor for line in found.lines] == [line.amount_minor for line in case.distribution().lines]


@given(cases())
def test_what_posting_moves_is_what_leaves_the_revenue(case: Case) -> None:
    """Rule: posting writes the transfers; "a pool's balances sum to zero", and only platforms are below zero."""
    found = case.distribution()
    moved = posting_transfers(content_of(found), found.lines)
    assert {transfer.from_account for transfer in moved} <= {REVENUE, ROUNDING}
    covered = case.carried.whole_minor()
    before = {REVENUE: case.pot_minor, ROUNDING: covered, "platform/acme": -case.pot_minor - covered}
    after = before | fold(before, moved)
    assert after[ROUNDING] == carried_of(found.lines, found.kept_after_nano).whole_minor() >= 0
    assert after[REVENUE] == found.carried_minor
    assert after.get(FEES, 0) == found.fee_minor
    assert after.get(COMMONS, 0) == found.commons_kept_minor
    for line in found.lines:
        kind, other = ("held", "collective") if line.status is CollectiveStatus.SUSPENDED else ("collective", "held")
        assert after.get(f"{kind}/{line.collective}", 0) == line.amount_minor
        assert f"{other}/{line.collective}" not in after
    assert sum(after.values()) == 0
    by_purpose = {
        purpose: sum(transfer.amount_minor for transfer in moved if transfer.purpose is purpose) for purpose in Purpose
    }
    assert by_purpose[Purpose.ATTRIBUTED] == found.attributed_minor
    assert by_purpose[Purpose.COMMONS] == found.commons_minor


def taken_back(usage: dict[UsageKey, UsageSum]) -> dict[UsageKey, UsageSum]:
    """The same usage as retractions and nothing else."""
    return {
        key: UsageSum(
            0,
            total.events,
            -total.unattributed,
            {name: -weight for name, weight in total.attributed.items()},
            {name: -count for name, count in total.counts.items()},
        )
        for key, total in usage.items()
    }


def together(ours: dict[UsageKey, UsageSum], theirs: dict[UsageKey, UsageSum]) -> dict[UsageKey, UsageSum]:
    """Both in one round."""
    none = UsageSum(0, 0, 0, {}, {})
    sums = {}
    for key in {**ours, **theirs}:
        one, other = ours.get(key, none), theirs.get(key, none)
        names = {**one.attributed, **other.attributed}
        sums[key] = UsageSum(
            one.events + other.events,
            one.retracted + other.retracted,
            one.unattributed + other.unattributed,
            {name: one.attributed.get(name, 0) + other.attributed.get(name, 0) for name in names},
            {name: one.counts.get(name, 0) + other.counts.get(name, 0) for name in names},
        )
    return sums


@given(cases(retractions=False))
def test_retracting_everything_leaves_every_weight_at_zero_and_pays_nobody(case: Case) -> None:
    """Rule: "retracting everything leaves every weight at zero"; without usage the pot carries over."""
    found = replace(case, usage=together(case.usage, taken_back(case.usage))).distribution()
    assert found.events == found.retracted
    assert (found.weight, found.weight_unattributed, found.deficit_unattributed) == (0, 0, 0)
    assert found.carried_minor == case.pot_minor
    for line in found.lines:
        figures = (line.events, line.weight_ai_only, line.weight_human_ai, line.weight, line.deficit_after)
        assert figures == (0, 0, 0, 0, 0)
        assert line.amount_minor == 0


@given(cases(retractions=False), st.data())
def test_what_is_taken_back_rounds_later_is_subtracted_once_in_all(case: Case, data: st.DataObject) -> None:
    """Rule: deficits are carried, so that over all rounds each has the weight that it would have had."""
    first = case.distribution()
    more = data.draw(cases(retractions=False)).usage
    known = {collective.name for collective in case.collectives}
    more = {key: total for key, total in more.items() if total.attributed.keys() <= known}
    rounds = [together(taken_back(case.usage), {}), more, more]
    paid, deficits = [], deficits_of(first.lines, first.deficit_unattributed)
    assert deficits == Deficits()
    for usage in rounds:
        found = replace(case, usage=usage, deficits=deficits).distribution()
        deficits = deficits_of(found.lines, found.deficit_unattributed)
        paid.append(found)
    # First and last deficits aside, the weights that were paid for are those of all the usage that stands.
    stands = replace(case, usage=together(more, more)).distribution()
    unattributed = first.weight_unattributed + sum(found.weight_unattributed for found in paid)
    assert unattributed - deficits.unattributed == stands.weight_unattributed
    for place, line in enumerate(stands.lines):
        weight = first.lines[place].weight + sum(found.lines[place].weight for found in paid)
        assert weight - deficits.by_collective.get(line.collective, 0) == line.weight
    for before, after in pairwise([first, *paid]):
        assert [line.deficit_before for line in after.lines] == [line.deficit_after for line in before.lines]


@given(cases())
def test_deficits_survive_the_statement(case: Case) -> None:
    """Rule: the statement carries the deficits; replay has them from nowhere else."""
    found = case.distribution()
    read = parse_statement(render_statement(found.lines))
    assert read == list(found.lines)
    deficits = deficits_of(read, found.deficit_unattributed)
    assert deficits.by_collective == {line.collective: line.deficit_after for line in found.lines if line.deficit_after}
    assert all(weight > 0 for weight in deficits.by_collective.values())


@given(cases(), st.data())
def test_the_table_of_weights_has_one_spelling_and_adds_up_to_the_statement(case: Case, data: st.DataObject) -> None:
    """Rule: canonical; a line per collective, method version and mode, and one of each for nobody."""
    table = render_weights(case.usage)
    shuffled = {}
    for key in data.draw(st.permutations(list(case.usage))):
        total = case.usage[key]
        names = data.draw(st.permutations(list(total.attributed)))
        shuffled[key] = replace(total, attributed={name: total.attributed[name] for name in names})
    assert render_weights(shuffled) == table
    header, *rows = table.decode().removesuffix("\n").split("\n")
    assert header == "collective,method,method_version,mode,events,weight"
    read = [row.split(",") for row in rows]
    places = [(name, method, int(version), int(mode)) for name, method, version, mode, _, _ in read]
    assert places == sorted(set(places))
    found = case.distribution()
    assert sum(int(row[4]) for row in read if not row[0]) == found.events - found.retracted
    for line in found.lines:
        mine = [
            (int(mode), int(events), int(weight))
            for name, _, _, mode, events, weight in read
            if name == line.collective
        ]
        assert sum(events for _, events, _ in mine) == line.events
        assert sum(weight for mode, _, weight in mine if mode == AI_ONLY) == line.weight_ai_only
        assert sum(weight for mode, _, weight in mine if mode == HUMAN_AI) == line.weight_human_ai
