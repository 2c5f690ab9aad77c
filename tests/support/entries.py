"""Strategies for log entries: any content of any type, sensible or not."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Final

from hypothesis import strategies as st

from ledger.errors import LedgerCorruptError
from ledger.log.leaves import AmountMinor, C, Content, T
from ledger.money import MAX_BALANCE_MINOR
from ledger.usage.entries import ModeTotals, encode_positions
from payout.entries import CONTENTS, FireTimes
from payout.policy import (
    Approval,
    CommonsRule,
    Periods,
    Policy,
    Rounding,
    Tempering,
    UnattributedRule,
)


@dataclass(frozen=True)
class Balances:
    """A log of which only the balances are known, as `Past` has it."""

    of: Callable[[str], int]

    def entry(self, kind: type[C], key: Hashable) -> C:
        raise LedgerCorruptError(f"{kind.type} {key}", "there is nothing before it")

    def balance(self, account: str) -> int:
        return self.of(account)

    def parsed(self, digest: str, parse: Callable[[bytes], T]) -> T:  # noqa: ARG002
        raise LedgerCorruptError(digest, "there is nothing before it")


NOTHING_BEFORE: Final = Balances(lambda _: 0)

SAFE: Final = 2**53 - 1
"""The last integer of which every reader of JSON gets the right one."""

texts = st.text(max_size=20)
counts = st.integers(-SAFE, SAFE)
decimals = st.integers() | st.integers(-(2**200), 2**200)
amounts = st.integers(-MAX_BALANCE_MINOR, MAX_BALANCE_MINOR)
digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
totals = st.builds(ModeTotals, events=counts, attributed=decimals, unattributed=decimals)
policies = st.builds(
    Policy,
    fee_ppm=counts,
    fee_cap_minor=st.none() | decimals,
    commons_ppm=counts,
    unattributed=st.sampled_from(UnattributedRule),
    commons_rule=st.sampled_from(CommonsRule),
    tempering=st.sampled_from(Tempering),
    floor_minor=decimals,
    cap_minor=st.none() | decimals,
    ai_only_ppm=counts,
    human_ai_ppm=counts,
    review_seconds=counts,
    rounding=st.sampled_from(Rounding),
    approval=st.sampled_from(Approval),
    period=st.sampled_from(Periods),
    period_from=texts,
    recoup_ppm=counts,
    public=st.booleans(),
)
STRATEGIES: Final[dict[Any, st.SearchStrategy[Any]]] = {
    str: texts,
    int: counts,
    str | None: st.none() | texts,
    int | None: st.none() | counts,
    AmountMinor | None: st.none() | amounts,
    bool: st.booleans(),
    list[int]: st.lists(st.integers(0, 20), max_size=3),
    list[str]: st.lists(texts, max_size=3),
    dict[str, str]: st.dictionaries(texts, texts, max_size=3),
    dict[str, Any]: st.dictionaries(texts, texts | counts | st.none(), max_size=3),
    ModeTotals: totals,
    Policy: policies,
    FireTimes | None: st.none() | st.builds(FireTimes, first=texts, last=texts, count=counts),
}
DECIMALS: Final = {
    "amount_minor", "weight", "weight_unattributed", "pot_minor", "fee_minor", "attributed_minor", "commons_minor",
    "commons_kept_minor", "carried_minor", "rounding_minor", "deficit_unattributed", "late_minor", "rate_minor",
    "minimum_minor",
}  # fmt: skip
DIGESTS: Final = {
    "round_hash", "objection_hash", "body_sha256", "root", "registry_root", "registry_sha256", "statement_sha256",
    "weights_sha256", "salt_sha256", "statement_root", "split_root", "salt", "bookings_sha256", "parts_sha256",
    "lines_root", "lines_sha256",
}  # fmt: skip


def contents_of(kind: type[Content]) -> st.SearchStrategy[Content]:
    """Any content of a kind, sensible or not: the log keeps what it is given."""
    return st.builds(kind, **{name: values_of(kind, name) for name in kind.model_fields})


def values_of(kind: type[Content], name: str) -> st.SearchStrategy[Any]:
    """Any value of a field."""
    if name in DECIMALS:
        return amounts if name.endswith("_minor") else decimals
    if name == "batch_leaf":
        return counts | st.integers(-1, 20)
    if name == "positions":
        return texts | st.lists(st.integers(0, 9), unique=True).map(encode_positions)
    return digests if name in DIGESTS else STRATEGIES[kind.model_fields[name].annotation]


contents = st.one_of(*map(contents_of, CONTENTS.values()))
