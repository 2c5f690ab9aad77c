"""Double entry by example: the accounts, and what each kind of leaf moves."""

from __future__ import annotations

import pytest

from ledger.entries import (
    GrantContent,
    PaymentContent,
    ReleaseContent,
)
from ledger.errors import InvalidInputError
from ledger.income import ReportContent
from ledger.journal import (
    COMMONS,
    FEES,
    REVENUE,
    Purpose,
    Transfer,
    collective_account,
    fold,
    held_account,
    owner_of,
    paid_account,
    platform_account,
)
from ledger.log.leaves import Content
from tests.support.entries import NOTHING_BEFORE


def test_accounts_have_the_names_of_design_section_4() -> None:
    assert (REVENUE, FEES, COMMONS) == ("revenue", "fees", "commons")
    assert platform_account("acme") == "platform/acme"
    assert collective_account("eire") == "collective/eire"
    assert held_account("eire") == "held/eire"
    assert paid_account("eire") == "paid/eire"


def test_an_account_tells_its_owner() -> None:
    assert [owner_of(account) for account in (REVENUE, FEES, COMMONS)] == [None, None, None]
    for account in (platform_account, collective_account, held_account, paid_account):
        assert owner_of(account("a-1")) == "a-1"


@pytest.mark.parametrize(
    "account",
    ["", "/", "revenue/", "revenue/x", "fees/x", "commons/x", "collective", "collective/", "/eire", "Collective/eire",
     "operator/olive", "collective /eire", "collectives/eire", "platform", " revenue", "paid/Eire", "held/a/b",
     "collective/eire/", "collective/\0", "platform/" + "x" * 64],
)  # fmt: skip
def test_what_is_no_account_has_no_owner(account: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        owner_of(account, "name")
    assert [violation.field for violation in refused.value.violations] == ["name"]


@pytest.mark.parametrize(("amount_minor", "to_account"), [(0, FEES), (-1, FEES), (1, REVENUE)])
def test_nothing_less_than_nothing_and_to_itself_are_no_transfers(amount_minor: int, to_account: str) -> None:
    with pytest.raises(ValueError, match=r"^not a transfer: 'revenue' to "):
        Transfer(REVENUE, to_account, amount_minor, Purpose.FEE)


def moved(content: Content) -> list[Transfer]:
    return list(content.transfers(NOTHING_BEFORE))


def test_revenue_moves_from_the_platform_into_the_pool() -> None:
    content = ReportContent(
        platform="acme",
        request_id="r",
        period="2026-05",
        amount_minor=500,
        currency="EUR",
        distribute="REPORTED",
        payment_reference="RF1",
        note="",
    )
    assert moved(content) == [Transfer("platform/acme", "revenue", 500, Purpose.REPORT)]


def test_a_payment_moves_from_payable_to_paid() -> None:
    content = PaymentContent(collective="eire", request_id="p", amount_minor=7, reference="", by="operators/o")
    assert moved(content) == [Transfer("collective/eire", "paid/eire", 7, Purpose.PAYMENT)]


@pytest.mark.parametrize(
    ("to_commons", "target", "purpose"),
    [(False, "collective/eire", Purpose.RELEASE), (True, "commons", Purpose.RETURN)],
)
def test_a_release_moves_from_held_to_payable_or_to_the_commons(
    to_commons: bool, target: str, purpose: Purpose
) -> None:
    content = ReleaseContent(
        collective="eire", request_id="p", amount_minor=7, to_commons=to_commons, reason="x", by="operators/o"
    )
    assert moved(content) == [Transfer("held/eire", target, 7, purpose)]


def test_a_grant_moves_from_the_commons_to_payable() -> None:
    content = GrantContent(collective="eire", request_id="p", amount_minor=7, reason="x", by="operators/o")
    assert moved(content) == [Transfer("commons", "collective/eire", 7, Purpose.GRANT)]


def test_balances_after_transfers_are_those_of_the_accounts_that_they_touch() -> None:
    before = {"revenue": 100, "platform/acme": -100, "fees": 3}
    transfers = [
        Transfer("revenue", "collective/eire", 60, Purpose.ATTRIBUTED),
        Transfer("revenue", "collective/eire", 10, Purpose.COMMONS),
        Transfer("collective/eire", "paid/eire", 70, Purpose.PAYMENT),
    ]
    assert fold(before, transfers) == {"revenue": 30, "collective/eire": 0, "paid/eire": 70}
    assert before == {"revenue": 100, "platform/acme": -100, "fees": 3}
    assert fold(before, []) == {}
