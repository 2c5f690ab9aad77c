"""Verbs of the AccountsService: who holds what."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from moiety.connection import PAGE_SIZE
from moiety.steps import Pages, Steps
from moiety.v1 import accounts_pb2 as pb
from moiety.v1.accounts_pb2_grpc import AccountsServiceStub
from moiety.verbs.base import Verbs, listing, pool_name, round_name, verb


class AccountsVerbs(Verbs):
    """A pool's accounts, named `revenue`, `fees`, `commons`, `platform/{id}`, `collective/{id}` and so on."""

    @cached_property
    def _accounts(self) -> AccountsServiceStub:
        return AccountsServiceStub(self._connection.channel)

    @verb
    def get_balance(self, pool: str, account: str, *, log_size: int | None = None) -> Steps[pb.Balance]:
        """Give one account's balance, now or as of a log size."""
        request = pb.GetBalanceRequest(name=f"pools/{pool}/accounts/{account}", log_size=log_size)
        return self._connection.unary(self._accounts.GetBalance, request, repeat=True)

    @listing
    def list_balances(self, pool: str, *, log_size: int | None = None) -> Pages[pb.Balance]:
        """Return the balances of all accounts that were ever touched, by account, now or as of a log size."""
        request = pb.ListBalancesRequest(parent=pool_name(pool), log_size=log_size, page_size=PAGE_SIZE)
        return self._connection.pages(self._accounts.ListBalances, request, lambda page: page.balances)

    @listing
    def list_transfers(self, pool: str, *, account: str = "", start: int = 0) -> Pages[pb.Transfer]:
        """Give transfers in the order of the log, all or those from or to one account, from leaf `start` on."""
        request = pb.ListTransfersRequest(parent=pool_name(pool), account=account, start=start, page_size=PAGE_SIZE)
        return self._connection.pages(self._accounts.ListTransfers, request, lambda page: page.transfers)

    @verb
    def preview_adjustment(
        self, pool: str, number: int, *, pool_leaves: Sequence[int] = (), registry_leaves: Sequence[int] = ()
    ) -> Steps[pb.PreviewAdjustmentResponse]:
        """Return what a posted round would have given over the corrected log: the accounts that differ.

        The leaves log the policies and methods (in the pool's log) and the collectives (in the registry's) that are
        right.
        """
        request = pb.PreviewAdjustmentRequest(
            name=round_name(pool, number), pool_leaves=pool_leaves, registry_leaves=registry_leaves
        )
        return self._connection.unary(self._accounts.PreviewAdjustment, request, repeat=True)

    @verb
    def adjust_round(
        self,
        pool: str,
        number: int,
        *,
        request_id: str,
        reason: str,
        pool_leaves: Sequence[int] = (),
        registry_leaves: Sequence[int] = (),
        source: str = "",
    ) -> Steps[pb.Adjustment]:
        """Adjust a posted round by the difference that the same function gives over the corrected log.

        Args:
            pool: the pool's id.
            number: the round's.
            request_id: your own id for the request; a repeat changes nothing.
            reason: why.
            pool_leaves: the policies and methods that are right, by their leaves.
            registry_leaves: the collectives that are right, by their leaves in the registry's log.
            source: `fees` or `commons` to pay at once what is due; otherwise it is paid as what is asked back arrives.
        """
        made = pb.Adjustment(
            round=round_name(pool, number), pool_leaves=pool_leaves, registry_leaves=registry_leaves, source=source,
            reason=reason,
        )  # fmt: skip
        request = pb.AdjustRoundRequest(parent=pool_name(pool), adjustment=made, request_id=request_id)
        return self._connection.unary(self._accounts.AdjustRound, request, repeat=True)

    @listing
    def list_adjustments(self, pool: str) -> Pages[pb.Adjustment]:
        """Return a pool's adjustments in the order of the log. A collective sees its own."""
        request = pb.ListAdjustmentsRequest(parent=pool_name(pool), page_size=PAGE_SIZE)
        return self._connection.pages(self._accounts.ListAdjustments, request, lambda page: page.adjustments)

    @verb
    def record_payment(
        self, pool: str, collective: str, amount_minor: int, *, request_id: str, reference: str = ""
    ) -> Steps[pb.Payment]:
        """Record that a collective was paid outside the system, in minor units of the pool's currency.

        Repeating a request id with the same content gives the first answer.
        """
        payment = pb.Payment(collective=f"collectives/{collective}", amount_minor=amount_minor, reference=reference)
        request = pb.RecordPaymentRequest(parent=pool_name(pool), payment=payment, request_id=request_id)
        return self._connection.unary(self._accounts.RecordPayment, request, repeat=True)

    @verb
    def release_held(
        self, pool: str, collective: str, amount_minor: int, *, request_id: str, reason: str, to_commons: bool = False
    ) -> Steps[pb.Release]:
        """Release what was held for a suspended collective: to it, or back to the commons fund."""
        release = pb.Release(
            collective=f"collectives/{collective}", amount_minor=amount_minor, to_commons=to_commons, reason=reason
        )
        request = pb.ReleaseHeldRequest(parent=pool_name(pool), release=release, request_id=request_id)
        return self._connection.unary(self._accounts.ReleaseHeld, request, repeat=True)

    @verb
    def grant_from_commons(
        self, pool: str, collective: str, amount_minor: int, *, request_id: str, reason: str
    ) -> Steps[pb.Grant]:
        """Grant a collective an amount from the commons fund."""
        grant = pb.Grant(collective=f"collectives/{collective}", amount_minor=amount_minor, reason=reason)
        request = pb.GrantFromCommonsRequest(parent=pool_name(pool), grant=grant, request_id=request_id)
        return self._connection.unary(self._accounts.GrantFromCommons, request, repeat=True)
