"""The accounts service: balances, transfers and payments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import grpc
import sqlalchemy as sa
from google.protobuf.message import DecodeError

from ledger.entries import GrantContent, Movement, PaymentContent, ReleaseContent
from ledger.errors import InvalidInputError
from ledger.journal import PLATFORM_KINDS, credit_account, due_account, owner_of, platform_account
from ledger.money import require_amount
from ledger.registry import MAX_NOTE, require_range, require_request_id, require_text
from ledger.store.logs import log
from ledger.store.logs.log import PoolRef
from ledger.store.money import journal
from ledger.store.money.movements import RecordedLeaf
from ledger.store.pools.pools import pool_ref
from ledger.store.postgres.database import Database
from ledger.store.registry.collectives import require_collective
from ledger.store.registry.platforms import platform_number
from moiety.v1 import accounts_pb2 as pb
from moiety.v1 import accounts_pb2_grpc
from payout.adjustments import MAX_CORRECTIONS, AdjustmentContent
from payout.settlement import require_round_number
from payout.store import adjustments
from services.access.keys import Role
from services.access.permissions import PermissionDeniedError, actor, caller, own_id, require_pool
from services.api import convert
from services.api.names import ids_in, only_id, page_limit, parse_account_name, place_in
from services.api.outcomes import M, told
from services.api.pages import page_of
from services.api.resources import MAX_LEAF, pool_of
from services.parts import Parts


class AccountsService(accounts_pb2_grpc.AccountsServiceServicer):
    """A pool's books."""

    def __init__(self, parts: Parts) -> None:
        self._database, self._readers = parts.database, parts.readers
        self._acts, self._heavy = parts.acts, parts.heavy
        self.balances: Final = Balances(parts.database)

    def GetBalance(self, request: pb.GetBalanceRequest, context: grpc.ServicerContext) -> pb.Balance:
        if not request.HasField("log_size"):
            asked = self.balances.asked(request)
            (found,) = self.balances.do([asked])
            return self.balances.end(asked, found)
        pool_id, account = parse_account_name(request.name, "name")
        _require_own_account(account, "name")
        with self._database.reading() as connection:
            pool = pool_of(connection, f"pools/{pool_id}", "name")
            log_size = _log_size(connection, pool, request.log_size)
            amount = journal.balances_of(connection, pool, [account], log_size=log_size).get(account)
            if amount is None:
                _require_owner_exists(connection, account)
        return _balance(pool, account, amount or 0, log_size)

    def ListBalances(self, request: pb.ListBalancesRequest, context: grpc.ServicerContext) -> pb.ListBalancesResponse:
        asked = request.log_size if request.HasField("log_size") else None
        limit, (after, kept) = page_limit(request.page_size), place_in(request.page_token, "", -1)
        with self._readers.database_for(request.parent).transaction() as connection:
            pool = pool_of(connection, request.parent, "parent")
            log_size = _log_size(connection, pool, asked if kept < 0 else kept)
            found = journal.list_balances(
                connection, pool, log_size=log_size, only=_own_accounts(), after=after, limit=limit
            )
        balances, token = page_of(
            found, limit, lambda row: _balance(pool, *row, log_size), lambda row: (row[0], log_size)
        )
        return pb.ListBalancesResponse(balances=balances, next_page_token=token)

    def ListTransfers(
        self, request: pb.ListTransfersRequest, context: grpc.ServicerContext
    ) -> pb.ListTransfersResponse:
        start = require_range(request.start, "start", 0, MAX_LEAF)
        if start and request.newest_first:
            raise InvalidInputError.of("start", "cannot be used with newest_first")
        # After the last transfer of the leaf before, whichever it is; or before all that there will be.
        end = (MAX_LEAF, 0) if request.newest_first else (start - 1, 2**31)
        limit, after = page_limit(request.page_size), place_in(request.page_token, *end)
        own = _own_accounts()
        if own is not None and not request.account:
            raise InvalidInputError.of("account", "is required; yours are %(own)s", own=", ".join(own))
        if request.account:
            _require_own_account(request.account, "account")
        with self._readers.database_for(request.parent).transaction() as connection:
            pool = pool_of(connection, request.parent, "parent")
            found = journal.list_transfers(
                connection,
                pool,
                account=request.account or None,
                after=(after[0], after[1]),
                limit=limit,
                newest_first=request.newest_first,
            )
        transfers, token = page_of(
            found, limit, convert.transfer_to_proto, lambda transfer: (transfer.leaf_index, transfer.ordinal)
        )
        return pb.ListTransfersResponse(transfers=transfers, next_page_token=token)

    def RecordPayment(self, request: pb.RecordPaymentRequest, context: grpc.ServicerContext) -> pb.Payment:
        payment = request.payment
        content = PaymentContent(
            collective=only_id(payment.collective, "collectives", "payment.collective"),
            request_id=require_request_id(request.request_id, "request_id"),
            amount_minor=require_amount(payment.amount_minor, "payment.amount_minor"),
            reference=require_text(payment.reference, "payment.reference", most=MAX_NOTE),
        )
        return self._moved(request.parent, content, convert.payment_to_proto, payment)

    def ReleaseHeld(self, request: pb.ReleaseHeldRequest, context: grpc.ServicerContext) -> pb.Release:
        release = request.release
        content = ReleaseContent(
            collective=only_id(release.collective, "collectives", "release.collective"),
            request_id=require_request_id(request.request_id, "request_id"),
            amount_minor=require_amount(release.amount_minor, "release.amount_minor"),
            to_commons=release.to_commons,
            reason=require_text(release.reason, "release.reason", least=1, most=MAX_NOTE),
        )
        return self._moved(request.parent, content, convert.release_to_proto, release)

    def GrantFromCommons(self, request: pb.GrantFromCommonsRequest, context: grpc.ServicerContext) -> pb.Grant:
        grant = request.grant
        content = GrantContent(
            collective=only_id(grant.collective, "collectives", "grant.collective"),
            request_id=require_request_id(request.request_id, "request_id"),
            amount_minor=require_amount(grant.amount_minor, "grant.amount_minor"),
            reason=require_text(grant.reason, "grant.reason", least=1, most=MAX_NOTE),
        )
        return self._moved(request.parent, content, convert.grant_to_proto, grant)

    def PreviewAdjustment(
        self, request: pb.PreviewAdjustmentRequest, context: grpc.ServicerContext
    ) -> pb.PreviewAdjustmentResponse:
        with self._heavy.passed(caller().name), self._database.snapshot() as connection:
            pool_id, _ = ids_in(request.name, "pools/*/rounds/*", "name")
            pool = pool_of(connection, f"pools/{pool_id}", "name")
            made = pb.Adjustment(
                round=request.name, pool_leaves=request.pool_leaves, registry_leaves=request.registry_leaves
            )
            asked = _asked(pool, made, "preview", "")
            lines = adjustments.preview_adjustment(connection, pool, asked)
        return pb.PreviewAdjustmentResponse(lines=map(convert.adjusted_to_proto, lines))

    def AdjustRound(self, request: pb.AdjustRoundRequest, context: grpc.ServicerContext) -> pb.Adjustment:
        request_id = require_request_id(request.request_id, "request_id")
        reason = require_text(request.adjustment.reason, "adjustment.reason", least=1, most=MAX_NOTE)
        with self._database.transaction() as connection:
            pool = pool_of(connection, request.parent, "parent")
            asked = _asked(pool, request.adjustment, request_id, reason)
            outcome = self._acts.perform(connection, pool, asked, actor())
        return told(outcome, convert.adjustment_to_proto, request.adjustment)

    def ListAdjustments(
        self, request: pb.ListAdjustmentsRequest, context: grpc.ServicerContext
    ) -> pb.ListAdjustmentsResponse:
        limit, (after,) = page_limit(request.page_size), place_in(request.page_token, -1)
        with self._heavy.passed(caller().name), self._database.snapshot() as connection:
            pool = pool_of(connection, request.parent, "parent")
            found = adjustments.list_adjustments(connection, pool, after=after, limit=limit)
        made, token = page_of(found, limit, convert.adjustment_to_proto, lambda each: (each.recorded.leaf.index,))
        if (collective := own_id(Role.COLLECTIVE)) is not None:
            made = [_as_seen_by(collective, each) for each in made]
        return pb.ListAdjustmentsResponse(adjustments=[each for each in made if each.lines], next_page_token=token)

    def _moved(self, parent: str, content: Movement, to_proto: Callable[[RecordedLeaf], M], asked: M) -> M:
        with self._database.transaction() as connection:
            pool = pool_of(connection, parent, "parent")
            outcome = self._acts.perform(connection, pool, content, actor())
        return told(outcome, to_proto, asked)


class Balances:
    """Latest balances, of which those of one pool that are asked for at the same time are read by one statement."""

    groups_at_once: int = 2

    def __init__(self, database: Database) -> None:
        self._database = database

    def kind(self, raw: bytes) -> str | None:
        """The pool of a request; None for a balance as of another time, or what is no request."""
        try:
            request = pb.GetBalanceRequest.FromString(raw)
        except DecodeError:
            return None
        return None if request.HasField("log_size") else request.name.partition("/accounts/")[0]

    def begin(self, raw: bytes, read: Callable[[bytes], pb.GetBalanceRequest]) -> tuple[str, str]:
        """Returns the same of a message."""
        return self.asked(read(raw))

    def asked(self, request: pb.GetBalanceRequest) -> tuple[str, str]:
        """Returns the pool's id, and the account."""
        pool_id, account = parse_account_name(request.name, "name")
        _require_own_account(account, "name")
        require_pool(pool_id)
        return pool_id, account

    def do(self, asked: Sequence[tuple[str, str]]) -> list[tuple[PoolRef, int | None, int]]:
        """Returns of each its pool, amount (None without transfers) and log size."""
        with self._database.reading(shared=len(asked) > 1) as connection:
            pool = pool_ref(connection, asked[0][0])
            if len(asked) == 1:
                return [(pool, *journal.latest_balance(connection, pool, asked[0][1]))]
            found = journal.latest_balances(connection, pool, [account for _, account in asked])
        return [(pool, *each) for each in found]

    def end(self, asked: tuple[str, str], found: tuple[PoolRef, int | None, int] | Exception) -> pb.Balance:
        """Returns the balance, of an account whose owner exists."""
        if isinstance(found, Exception):
            raise found
        pool, amount, log_size = found
        if amount is None:
            with self._database.reading() as connection:
                _require_owner_exists(connection, asked[1])
        return _balance(pool, asked[1], amount or 0, log_size)


def _require_own_account(account: str, field: str) -> None:
    owner_of(account, field)
    own = _own_accounts()
    if own is not None and account not in own:
        raise PermissionDeniedError(caller(), f"account {account}")


def _own_accounts() -> list[str] | None:
    """The accounts of a platform or collective that is calling, which sees no others; None for those who see all."""
    if (platform := own_id(Role.PLATFORM)) is not None:
        return [platform_account(platform), due_account(platform), credit_account(platform)]
    collective = own_id(Role.COLLECTIVE)
    return None if collective is None else journal.own_accounts(collective)


def _asked(pool: PoolRef, message: pb.Adjustment, request_id: str, reason: str) -> AdjustmentContent:
    pool_id, number = ids_in(message.round, "pools/*/rounds/*", "adjustment.round")
    if pool_id != pool.name:
        raise InvalidInputError.of("adjustment.round", "must be of %(pool)s", pool=f"pools/{pool.name}")
    leaves = {"pool_leaves": list(message.pool_leaves), "registry_leaves": list(message.registry_leaves)}
    for name, named in leaves.items():
        if len(named) > MAX_CORRECTIONS or len(set(named)) < len(named):
            raise InvalidInputError.of(
                f"adjustment.{name}", "must be at most %(most)s leaves, each once", most=MAX_CORRECTIONS
            )
        for leaf in named:
            require_range(leaf, f"adjustment.{name}", 0, MAX_LEAF)
    return AdjustmentContent(
        request_id=request_id,
        round=require_round_number(number, "adjustment.round"),
        amount_minor=0,
        lines_sha256=adjustments.NO_LINES,
        lines=0,
        lines_root=adjustments.NO_LINES,
        pool_leaves=leaves["pool_leaves"],
        registry_leaves=leaves["registry_leaves"],
        source=message.source,
        reason=reason,
    )


def _as_seen_by(collective: str, made: pb.Adjustment) -> pb.Adjustment:
    """The adjustment with the collective's own lines."""
    own = [line for line in made.lines if line.account.partition("/")[2] == collective]
    seen = pb.Adjustment(lines=own)
    made.ClearField("lines")
    seen.MergeFrom(made)
    return seen


def _log_size(connection: sa.Connection, pool: PoolRef, asked: int | None) -> int:
    size = log.read_head(connection, pool).size
    if asked is None:
        return size
    if asked > size:
        raise InvalidInputError.of("log_size", "must be at most %(size)s, the log's, got %(got)s", size=size, got=asked)
    return require_range(asked, "log_size", 0, size)


def _require_owner_exists(connection: sa.Connection, account: str) -> None:
    owner = owner_of(account)
    if owner is None:
        return
    if account.partition("/")[0] in PLATFORM_KINDS:
        platform_number(connection, owner)
    else:
        require_collective(connection, owner)


def _balance(pool: PoolRef, account: str, amount_minor: int, log_size: int) -> pb.Balance:
    return pb.Balance(
        name=f"pools/{pool.name}/accounts/{account}",
        amount_minor=amount_minor,
        currency=pool.currency,
        log_size=log_size,
    )
