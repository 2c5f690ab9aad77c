"""The check of the registry: its log, and every table that says who may act and who takes part."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa

from audit.findings import Finding, FoundError
from audit.folds.registry import RegistryFold
from audit.fsck.bodies import BodyRows
from audit.fsck.projections import REGISTRY_TABLES, Followed, rows_following
from audit.fsck.registry import Registry, check_turns
from audit.fsck.report import CheckReport, shown_row
from audit.fsck.rows import LogRows, compare, compare_all
from audit.fsck.stored import Row, key_of, read_by_index, stored_rows
from audit.fsck.walk import LeafWalk
from audit.progress import Progress
from audit.store.snapshot_log import SnapshotLog
from ledger.acts.contacts import Contact
from ledger.acts.entries import (
    BankAccountContent,
    BankFileContent,
    BankMatchContent,
    CollectiveContent,
    ContactContent,
    DeploymentContent,
    KeyContent,
    KeyKind,
    KeyRevocationContent,
    PayeeContent,
    PayRunContent,
    PlatformContent,
    PoolOpenedContent,
    RecoveryContent,
    WebhookContent,
)
from ledger.acts.people import RECOVERY_DELAY
from ledger.errors import InvalidInputError
from ledger.log.leaves import EncodedLeaf, Leaf
from ledger.log.merkle import leaf_hash
from ledger.payments import Bookings
from ledger.store import tables as lt
from ledger.store.desk.tables import contact
from ledger.store.logs.bodies import Bodies
from ledger.store.logs.log import REGISTRY
from ledger.store.tables import metadata
from payout.payments.matching import AFTER
from payout.store import tables as t
from payout.store.bank_lines import row_of

_OWN: Final = {
    table.name
    for table in (
        lt.leaf, lt.node, lt.head, lt.body, lt.body_object, lt.people, lt.key_change, lt.proposal, lt.decision,
        lt.checkpoint, lt.cosignature, lt.turn, lt.signing, lt.pool,
    )
}  # fmt: skip
"""The tables of pools that the registry's log has rows in, too."""

UNLOGGED: Final = (lt.pool_limit, lt.platform_limit, lt.usage_day, lt.signing)
"""Tables of which no log says anything: that the service can read their values is all that can be checked."""


def check_registry_log(
    connection: sa.Connection, registry: Registry, bodies: Bodies, *, every: bool = False
) -> Generator[Progress, None, CheckReport]:
    """Check the registry's log and all that follows from it; yields progress and returns the report.

    The connection's transaction must see one state throughout. `every` says whether the report lists all findings.
    """
    read_by_index(connection)
    check = _RegistryCheck(connection, registry, bodies, CheckReport(REGISTRY.name, every=every))
    yield from check.run()
    return check.report


class _RegistryCheck:
    def __init__(self, connection: sa.Connection, registry: Registry, bodies: Bodies, report: CheckReport) -> None:
        self._connection, self._registry, self.report = connection, registry, report
        self._walk = LeafWalk(connection, REGISTRY.pool_id, self.report)
        log = SnapshotLog(connection, REGISTRY, bodies)
        self._fold = RegistryFold(log, refuse=self._take_in)
        self._bodies = BodyRows(log, self.report)
        self._tables = LogRows(connection, REGISTRY.pool_id, REGISTRY_TABLES, self.report)
        self._keys: dict[str, Row] = {}
        self._platforms: dict[str, Row] = {}
        self._collectives: dict[str, Row] = {}
        self._payees: dict[int, Row] = {}
        self._webhooks: dict[int, Row] = {}
        self._contacts: dict[int, ContactContent] = {}
        self._bank_accounts: dict[int, Row] = {}
        self._pay_runs: dict[str, Row] = {}
        self._planned: dict[str, Row] = {}
        self._messages: dict[int, Row] = {}
        self._lines: dict[tuple[str, int], Row] = {}
        self._matches: dict[int, Row] = {}
        self._events: dict[tuple[str, int, str], Row] = {}
        self._pools: dict[str, Row] = {}

    def run(self) -> Generator[Progress, None, None]:
        """Take in all leaves, then compare the tables that say what is so now."""
        for row, sound in self._walk.rows():
            if self.report.unfollowed_from is None and not (sound and self._follow(row)):
                self.report.unfollowed_from = row["leaf_index"]
            yield Progress(self.report.leaves, self._walk.total, 0, 0)
        size = self._walk.finish()
        check_turns(self._connection, REGISTRY.pool_id, self.report)
        unfollowed = self.report.unfollowed_from
        for table, place, row in self._tables.rest():
            if unfollowed is None or not unfollowed <= place < size:
                compare(self.report, table, [row], [])
        self._require_nothing_else()
        if unfollowed is None:
            self._bodies.finish(self._connection, REGISTRY.pool_id)
            self._compare_tables()

    def _follow(self, row: Row) -> bool:
        """Take in a leaf. Returns False if what follows from it and from later leaves cannot be told."""
        try:
            leaf = self._fold.fold(EncodedLeaf(row["leaf_index"], row["entry"], leaf_hash(row["entry"])))
        except FoundError as found:
            self._take_in(found.finding)
            return False
        self._bodies.follow(leaf.content)
        self._take_rows(leaf)
        stored = self._tables.take(leaf.index)
        compare_all(self.report, REGISTRY_TABLES, stored, rows_following(Followed(leaf, {})))
        return True

    def _take_in(self, finding: Finding) -> None:
        if not self._bodies.takes(finding):
            key = f"leaf_index={finding.where.leaf_index}"
            self.report.add(lt.leaf.name, key, finding.figure, finding.claimed, finding.expected)

    # What the leaves so far say.

    def _take_rows(self, leaf: Leaf[Any]) -> None:
        self._take_payments(leaf)
        at = {"leaf_index": leaf.index, "created_at": leaf.time}
        match leaf.content:
            case DeploymentContent(founders=founders):
                self._pools[REGISTRY.name] = {
                    "pool_id": REGISTRY.pool_id,
                    "currency": "",
                    "distribute": "",
                    "created_at": leaf.time,
                }
                for founder in founders:
                    self._keys[founder.key_id] = _key(founder.operator, founder.secret_hash, at)
            case KeyContent() as key:
                expires = datetime.fromisoformat(key.expires_at).astimezone(UTC) if key.expires_at else None
                row = _key(key.principal, key.secret_hash, at, expires_at=expires, pools=key.pools)
                held = {"key_kind": key.key_kind, "issuer": key.issuer}
                self._keys[key.key_id] = {**row, **held}
            case RecoveryContent() as key:
                begins = leaf.time + RECOVERY_DELAY
                self._keys[key.key_id] = _key(key.operator, key.secret_hash, at, begins_at=begins)
            case KeyRevocationContent(key_id=key_id) if key_id in self._keys:
                self._keys[key_id]["revoked_at"] = leaf.time
            case PlatformContent() as platform:
                self._platforms[platform.platform] = {"display_name": platform.display_name, **at}
            case CollectiveContent() as said:
                known = self._collectives.get(said.collective, at)
                figures = {name: getattr(said, name) for name in ("display_name", "members", "equity_ppm", "status")}
                self._collectives[said.collective] = {**at, **figures, "created_at": known["created_at"]}
            case ContactContent() as content:
                self._contacts[leaf.index] = content
            case PoolOpenedContent() as opened:
                self._pools[opened.pool_id] = {
                    "currency": opened.currency,
                    "distribute": opened.distribute,
                    "created_at": leaf.time,
                }
            case WebhookContent() as webhook:
                row = {"name": webhook.webhook, "owner": webhook.owner, "created_at": leaf.time}
                self._webhooks[leaf.index] = row

    def _take_payments(self, leaf: Leaf[Any]) -> None:
        at = {"leaf_index": leaf.index, "created_at": leaf.time}
        match leaf.content:
            case PayeeContent() as payee:
                details_hash = bytes.fromhex(payee.details_hash)
                row = {"collective": payee.collective, "details_hash": details_hash, "created_at": leaf.time}
                self._payees[leaf.index] = row
            case BankAccountContent() as account:
                details_hash = bytes.fromhex(account.details_hash)
                row = {"name": account.bank_account, "details_hash": details_hash, "created_at": leaf.time}
                self._bank_accounts[leaf.index] = row
            case PayRunContent() as run:
                self._pay_runs[run.pay_run] = {"bank_account": run.bank_account, **at}
                for planned in self._fold.payments.runs[run.pay_run][2].payments:
                    row = {"collective": planned.collective, "leaf_index": leaf.index}
                    self._planned[planned.end_to_end_id] = row
            case BankFileContent() as file:
                self._take_file(leaf.index, leaf.time, file)
                self._take_lines(leaf.index, file.bank_account)
            case BankMatchContent() as match:
                self._matches[leaf.index] = {"bank_account": match.bank_account, "line": match.line}
                self._take_events(leaf.index, self._fold.payments.booked[leaf.index])
                self._take_lines(leaf.index, match.bank_account)

    def _take_file(self, leaf_index: int, time: datetime, file: BankFileContent) -> None:
        said = {name: getattr(file, name) for name in ("bank_account", "message", "message_id", "closing_minor")}
        self._messages[leaf_index] = {**said, "created_at": time}
        self._take_events(leaf_index, self._fold.payments.files[leaf_index][1])

    def _take_events(self, leaf_index: int, bookings: Bookings) -> None:
        for booking in bookings.bookings:
            if booking.kind in AFTER:
                row = {name: getattr(booking, name) for name in ("day", "reference", "reason")}
                self._events[booking.end_to_end_id, leaf_index, booking.kind] = row

    def _take_lines(self, leaf_index: int, bank_account: str) -> None:
        for line in self._fold.payments.changed:
            self._lines[line.name, leaf_index] = {**row_of(line), "bank_account": bank_account}

    def _compare_tables(self) -> None:
        self._compare(lt.api_key, self._keys)
        self._compare(lt.platform, self._platforms)
        self._compare(lt.collective, self._collectives)
        self._compare(lt.pool, self._pools)
        self._compare(lt.webhook, self._webhooks)
        self._compare(t.payee, self._payees)
        self._compare_contacts()
        self._compare(t.bank_account, self._bank_accounts)
        self._compare(t.pay_run, self._pay_runs)
        self._compare(t.planned_payment, self._planned)
        self._compare(t.bank_message, self._messages)
        self._compare(t.payment_event, self._events)
        self._compare(t.bank_line, self._lines)
        self._compare(t.bank_match, self._matches)
        numbers = self._registry.collective_ids
        owners = {domain: {"collective_id": numbers.get(name)} for domain, name in self._fold.domains.items()}
        self._compare(lt.collective_domain, owners, nobodys="collective_id")
        for table in UNLOGGED:
            for _ in stored_rows(self._connection, sa.select(table), self.report):
                self.report.count(table.name)

    def _compare(self, table: sa.Table, following: Mapping[Any, Row], *, nobodys: str = "") -> None:
        """Compare the rows of a table by their keys. A row whose column `nobodys` is null may be left over."""
        left, names = dict(following), key_of(table)
        query = sa.select(table).order_by(*(table.c[name] for name in names))
        for row in stored_rows(self._connection, query, self.report):
            self.report.count(table.name)
            key, identity = shown_row(row, names), tuple(row[name] for name in names)
            expected = left.pop(identity if len(names) > 1 else identity[0], None)
            if expected is None:
                if not nobodys or row[nobodys] is not None:
                    self.report.add(table.name, key, "row", shown_row(row), "none: no leaf says so")
                continue
            for column, value in expected.items():
                if row[column] != value:
                    self.report.add(table.name, key, column, row[column], value)
        for missing, expected in left.items():
            self.report.add(table.name, f"{'/'.join(names)}={missing}", "row", "none", shown_row(expected))

    def _compare_contacts(self) -> None:
        """Compare the contacts that are still kept: where one is missing, it was erased, as may be."""
        query = sa.select(contact).where(contact.c.leaf_index.is_not(None))
        for row in stored_rows(self._connection, query, self.report):
            self.report.count(contact.fullname)
            said = self._contacts.get(row["leaf_index"])
            key = f"leaf_index={row['leaf_index']}"
            if said is None or said.principal != row["principal"]:
                self.report.add(contact.fullname, key, "row", row["principal"], "none: no leaf says so")
            elif said.contact_hash != row["contact_hash"].hex():
                self.report.add(contact.fullname, key, "contact_hash", row["contact_hash"].hex(), said.contact_hash)
            elif not _is_what_was_hashed(row):
                self.report.add(contact.fullname, key, "email", "another", "what contact_hash is of")

    def _require_nothing_else(self) -> None:
        """Report rows that only pools have under the registry's number."""
        for table in metadata.sorted_tables:
            if "pool_id" not in table.columns or table.name in _OWN:
                continue
            query = sa.select(sa.func.count()).select_from(table).where(table.c.pool_id == REGISTRY.pool_id)
            if count := self._connection.execute(query).scalar_one():
                self.report.add(table.name, "pool_id=0", "row", f"{count} rows", "none of the registry", count=count)


def _is_what_was_hashed(row: Row) -> bool:
    try:
        return bool(Contact(row["email"], row["language"]).hash(row["salt"]) == row["contact_hash"])
    except InvalidInputError:
        return False


def _key(
    principal: str,
    secret_hash: str,
    at: Row,
    *,
    begins_at: datetime | None = None,
    expires_at: datetime | None = None,
    pools: list[str] | None = None,
) -> Row:
    try:
        secret = bytes.fromhex(secret_hash)
    except ValueError:
        secret = b""
    bounds = {"begins_at": begins_at, "expires_at": expires_at, "pools": list(pools or ()), "revoked_at": None}
    kept = {"key_kind": KeyKind.SECRET.value, "issuer": ""}
    return {"principal": principal, "secret_sha256": secret, **at, **bounds, **kept}
