"""Double entry by its rules."""

from __future__ import annotations

from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from ledger.journal import Purpose, Transfer, fold

ACCOUNTS: Final = ["revenue", "fees", "commons", "platform/acme", "collective/eire", "held/eire", "paid/eire"]

transfers = st.builds(
    lambda accounts, amount, purpose: Transfer(accounts[0], accounts[1], amount, purpose),
    st.permutations(ACCOUNTS),
    st.integers(1, 10) | st.integers(1, 2**80),
    st.sampled_from(Purpose),
)
balances = st.dictionaries(st.sampled_from(ACCOUNTS), st.integers())


@given(st.lists(transfers))
def test_balances_sum_to_zero(moved: list[Transfer]) -> None:
    """Rule: "the books balance by construction"; "a pool's balances sum to zero"."""
    after = fold({}, moved)
    assert sum(after.values()) == 0
    assert set(map(type, after.values())) <= {int}


@given(balances, st.lists(transfers))
def test_a_balance_is_credits_less_debits(before: dict[str, int], moved: list[Transfer]) -> None:
    """Rule: "a balance is credits less debits", on top of what was there."""
    after = fold(before, moved)
    assert after.keys() == {account for move in moved for account in (move.from_account, move.to_account)}
    for account, amount in after.items():
        credited = sum(move.amount_minor for move in moved if move.to_account == account)
        debited = sum(move.amount_minor for move in moved if move.from_account == account)
        assert amount == before.get(account, 0) + credited - debited


@given(balances, st.lists(transfers), st.data())
def test_the_order_of_transfers_does_not_matter(
    before: dict[str, int], moved: list[Transfer], data: st.DataObject
) -> None:
    """Rule: order independence; and stopping in between changes nothing."""
    shuffled = data.draw(st.permutations(moved))
    assert fold(before, shuffled) == fold(before, moved)
    at = data.draw(st.integers(0, len(moved)))
    between = before | fold(before, moved[:at])
    assert between | fold(between, moved[at:]) == before | fold(before, moved)
