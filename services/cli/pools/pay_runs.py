"""`moiety payrun` and `moiety bank`: paying, and what banks say of it."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Final

import typer

from moiety import AccountDetails, BankAccount, BankFile, BankLine, BankLineDetail, BankLinePart, PayRun
from moiety.v1 import payments_pb2
from services.cli.base.acts import show_act
from services.cli.base.connection import Session, client_command
from services.cli.base.documents import document, identity
from services.cli.base.exits import Exit, InputError
from services.cli.base.money import amount_in_minor, major
from services.cli.base.output import counted, table, write_bytes, write_file
from services.cli.base.output import details as rows

payrun_app = typer.Typer(help="Pay runs: all payments of a bank account that go together.", no_args_is_help=True)
bank_app = typer.Typer(help="Bank accounts, and what banks send.", no_args_is_help=True)

Account = Annotated[str, typer.Argument(metavar="ACCOUNT", help="The bank account's id.")]
Run = Annotated[str, typer.Argument(metavar="RUN", help="The pay run's id.")]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why.")]

_PAYMENT: Final = re.compile(r"-\d{7}$")
"""How end-to-end ids end."""

_OPEN: Final = (payments_pb2.PAYMENT_STATE_PAYING, payments_pb2.PAYMENT_STATE_REJECTED)


@payrun_app.command("propose")
@client_command
def propose(
    session: Session,
    account: Account,
    run: Run,
    day: Annotated[str, typer.Option(metavar="DAY", help="When the bank is to pay: 2026-03-31.")],
    reason: Reason = "",
) -> None:
    """Pay everyone whom an account's pools owe something and who can be paid. A repeat changes nothing."""
    found = session.client.create_pay_run(run, account, day, reason=reason)
    said = f"{counted(found.payment_count, 'payment')}, {major(found.amount_minor, found.currency)}; see `payrun show`."
    show_act(session.output, found, said if found.currency else "")


@payrun_app.command("show")
@client_command
def show(session: Session, run: Run) -> None:
    """Show whom a pay run pays, how far each payment is, and who is left out and why."""
    found = session.client.get_pay_run(run)
    shown = document(found)
    payments = [
        (
            identity(each.collective),
            major(each.amount_minor, found.currency),
            made["state"] or "-",
            each.day,
            each.reason or each.reference,
        )
        for each, made in zip(found.payments, shown["payments"], strict=True)
    ]
    left_out = [
        (identity(each.collective), major(each.amount_minor, found.currency), each.reason) for each in found.left_out
    ]
    session.output.show(
        shown,
        rows([*_summary(found), ("state", shown["state"]), ("waits for", ", ".join(found.waiting) or "-")]),
        table(("collective", "amount", "state", "day", "bank says"), payments, right=("amount",)),
        *([table(("left out", "owed", "why"), left_out, right=("owed",))] if left_out else []),
    )


@payrun_app.command("file")
@client_command
def file(
    session: Session,
    run: Run,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Where to (default: to the screen).")
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV, for banks that take no pain.001.")] = False,
) -> None:
    """Write a pay run's file for the bank, pain.001.001.09; the same bytes each time."""
    found = session.client.create_pay_run_file(run, csv=as_csv)
    if out is None:
        write_bytes(found.content)
        return
    write_file(out, found.content)
    session.output.show({"file": str(out), "bytes": len(found.content)}, f"{out} is for the bank.")


@payrun_app.command("list")
@client_command
def list_runs(session: Session) -> None:
    """List pay runs in the order in which they were decided."""
    found = list(session.client.list_pay_runs())
    shown = [document(each) for each in found]
    lines = [
        (identity(each.name), identity(each.bank_account), each.day, each.payment_count,
         major(each.amount_minor, each.currency), made["state"])
        for each, made in zip(found, shown, strict=True)
    ]  # fmt: skip
    columns = ("run", "account", "day", "payments", "amount", "state")
    session.output.show(shown, table(columns, lines, right=("payments", "amount")))


@bank_app.command("account")
@client_command
def account_(  # noqa: PLR0917  # an account has many parts, and each is an option
    session: Session,
    account: Account,
    name: Annotated[str, typer.Option(metavar="NAME", help="What payees read beside their payment.")],
    holder: Annotated[str, typer.Option(metavar="NAME", help="Whose account it is, as the bank knows it.")],
    town: Annotated[str, typer.Option(metavar="TOWN", help="The holder's town.")],
    country: Annotated[str, typer.Option(metavar="CC", help="The holder's country: two letters, such as DE.")],
    currency: Annotated[str, typer.Option(metavar="CODE", help="The account's currency: EUR.")],
    pool: Annotated[list[str], typer.Option(metavar="POOL", help="A pool whose money it holds; repeatable.")],
    iban: Annotated[str, typer.Option("--iban", metavar="IBAN", help="The IBAN; spaces are left out.")] = "",
    number: Annotated[str, typer.Option(metavar="NUMBER", help="The account's number, where there is no IBAN.")] = "",
    bic: Annotated[str, typer.Option("--bic", metavar="BIC", help="The bank's BIC.")] = "",
    opening: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="What is on it before its first statement (default: nothing).")
    ] = None,
    reason: Reason = "",
) -> None:
    """Register a bank account of yours, or add pools to it."""
    details = AccountDetails(
        holder=holder, town=town, country=country.upper(), currency=currency, iban=iban.replace(" ", "").upper(),
        account=number, bic=bic.replace(" ", "").upper(),
    )  # fmt: skip
    asked = BankAccount(
        display_name=name,
        details=details,
        pools=[f"pools/{each}" for each in pool],
        opening_minor=0 if opening is None else amount_in_minor(opening, None, currency),
    )
    found = session.client.set_bank_account(account, asked, reason=reason)
    show_act(session.output, found, f"{account} holds the money of {', '.join(pool)}.")


@bank_app.command("import")
@client_command
def import_file(
    session: Session,
    account: Account,
    path: Annotated[Path, typer.Argument(metavar="FILE", help="pain.002, camt.053 or camt.054.")],
    reason: Reason = "",
) -> None:
    """Take in a file that the bank sent. The same message again changes nothing."""
    from payout.payments.bank_messages import MAX_BYTES

    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError.of("FILE", f"cannot read {path}: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise InputError.of("FILE", f"{path} is larger than {MAX_BYTES // 2**20} MiB")
    found = session.client.import_bank_file(account, content, filename=path.name, reason=reason)
    show_act(session.output, found, _taken_in(found))


@bank_app.command("list")
@client_command
def list_files(session: Session, account: Account) -> None:
    """List the files of an account that were taken in, and those that are only kept, with the reason."""
    found = list(session.client.list_bank_files(account))
    lines = [(each.message_id, each.message, each.day or "-", each.problem or "taken in") for each in found]
    session.output.show([document(each) for each in found], table(("message", "kind", "day", "state"), lines))


@bank_app.command("lines")
@client_command
def lines(
    session: Session,
    account: Account,
    only_open: Annotated[
        bool, typer.Option("--open", help="Only those of which somebody has yet to say what they are of.")
    ] = False,
) -> None:
    """List the lines of statements that are of payers or of nobody yet, and what each is booked as."""
    found = list(session.client.list_bank_lines(account, only_open=only_open))
    rows_ = [
        (
            identity(each.name),
            each.day,
            major(each.amount_minor, each.currency),
            ", ".join(_part_text(part, each) for part in each.parts) or "-",
            each.payment_reference or each.reference,
        )
        for each in found
    ]
    columns = ("line", "day", "amount", "booked as", "reference")
    told = [
        (identity(each.name), major(detail.amount_minor, each.currency), _payer(detail), detail.payment_reference)
        for each in found
        for detail in each.details
    ]
    session.output.show(
        [document(each) for each in found],
        table(columns, rows_, right=("amount",)),
        *([table(("line", "told later", "of", "reference"), told, right=("told later",))] if told else []),
    )


def _payer(detail: BankLineDetail) -> str:
    if detail.platform:
        return f"{identity(detail.platform)} in {identity(detail.pool)}"
    return detail.end_to_end_id or "an unknown payer"


@bank_app.command("match")
@client_command
def match(
    session: Session,
    account: Account,
    line: Annotated[str, typer.Argument(metavar="LINE", help="The line's id, as `moiety bank lines` shows it.")],
    to: Annotated[
        list[str] | None,
        typer.Option(
            metavar="POOL/PLATFORM[=AMOUNT]",
            help="Whose a credit is; repeatable, then each with an amount. POOL alone: of an unknown payer again.",
        ),
    ] = None,
    *,
    as_told: Annotated[
        bool, typer.Option("--as-told", help="It is of the reports or the payments that a later camt.054 tells of.")
    ] = False,
    pays: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PAYMENT", help="What a debit paid: a payment, like jan-0000001, or a whole run; repeatable."
        ),
    ] = None,
    takes_back: Annotated[
        str, typer.Option(metavar="LINE", help="The credit whose money went back by this debit.")
    ] = "",
    charge: Annotated[str, typer.Option(metavar="POOL", help="The pool that bears this debit as a charge.")] = "",
    reason: Reason = "",
) -> None:
    """Say what a line of a statement is of. What was said of it before no longer holds."""
    if bool(to) + as_told + bool(pays) + bool(takes_back) + bool(charge) != 1:
        raise InputError.of("--to", "or --as-told, --pays, --takes-back or --charge is required, and one of them alone")
    parts, paid = [], _payments(session, pays or [])
    if to or as_told:
        known = next((each for each in session.client.list_bank_lines(account) if identity(each.name) == line), None)
        if known is None:
            raise InputError.of("LINE", f"is not one of {account}: {line}")
        if to:
            parts = [_part_in(text, known, alone=len(to) == 1) for text in to]
        elif known.amount_minor < 0:
            paid = [each.end_to_end_id for each in known.details]
        else:
            parts = _parts_told(known)
    found = session.client.match_bank_line(
        account, line, parts, takes_back=takes_back, charge_of=charge, pays=paid, reason=reason
    )
    said = ", ".join(_part_text(part, found) for part in found.parts) or "settled"
    show_act(session.output, found, f"Line {line}: {said}.")


def _part_in(text: str, line: BankLine, *, alone: bool) -> BankLinePart:
    whose, _, amount = text.partition("=")
    pool, _, platform = whose.partition("/")
    if not amount and not alone:
        raise InputError.of("--to", f"needs an amount where there are several: {text}")
    return BankLinePart(
        pool=f"pools/{pool}",
        platform=f"platforms/{platform}" if platform else "",
        amount_minor=amount_in_minor(amount, None, line.currency) if amount else line.amount_minor,
    )


def _payments(session: Session, named: list[str]) -> list[str]:
    """End-to-end ids; of a run, those of its payments of which no statement has said anything."""
    found = list[str]()
    for name in named:
        if _PAYMENT.search(name):
            found.append(name)
        else:
            run = session.client.get_pay_run(name)
            found += [each.end_to_end_id for each in run.payments if each.amount_minor and each.state in _OPEN]
    return found


def _parts_told(line: BankLine) -> list[BankLinePart]:
    """What a notification tells of a line, by payer; reports that it does not name are of an unknown one."""
    if not line.details:
        raise InputError.of("--as-told", "needs a camt.054 that came after the statement, and has this entry alone")
    first = next((each.pool for each in line.details if each.pool), "")
    if not first:
        raise InputError.of("--as-told", "needs a report's payment reference in the camt.054; say --to by hand")
    amounts = Counter[tuple[str, str]]()
    for each in line.details:
        amounts[each.pool or first, each.platform] += each.amount_minor
    return [
        BankLinePart(pool=pool, platform=platform, amount_minor=amount) for (pool, platform), amount in amounts.items()
    ]


def _part_text(part: BankLinePart, line: BankLine) -> str:
    whose = identity(part.platform) if part.platform else "an unknown payer"
    return f"{major(part.amount_minor, line.currency)} of {whose} in {identity(part.pool)}"


@bank_app.command("reconcile")
@client_command
def reconcile(session: Session, account: Account) -> None:
    """Compare the books with the bank at the end of every statement. Exits with status 1 if the last one differs."""
    found = session.client.get_reconciliation(account)
    lines = [
        (
            each.day,
            each.message_id,
            major(each.closing_minor, found.currency),
            _amount(each.books_minor if each.HasField("books_minor") else None, found.currency),
            _amount(each.difference_minor if each.HasField("difference_minor") else None, found.currency),
        )
        for each in found.positions
    ]
    alone = [
        (line.day, line.kind, major(line.amount_minor, found.currency), line.reference)
        for each in found.positions
        for line in each.without_partner
    ]
    until = found.positions[-1].day if found.positions else ""
    announced = [
        (line.day, major(line.amount_minor, found.currency), line.reference or line.end_to_end_id,
         "never stated" if line.day <= until else "not stated yet")
        for line in found.announced
    ]  # fmt: skip
    columns = ("day", "statement", "bank", "books", "difference")
    session.output.show(
        document(found),
        table(columns, lines, right=("bank", "books", "difference")),
        *([table(("day", "without partner", "amount", "reference"), alone, right=("amount",))] if alone else []),
        *([table(("day", "announced", "reference", "state"), announced, right=("announced",))] if announced else []),
    )
    if found.positions and found.positions[-1].difference_minor:
        raise typer.Exit(Exit.DOES_NOT_HOLD)


def _amount(amount_minor: int | None, currency: str) -> str:
    return "-" if amount_minor is None else major(amount_minor, currency)


def _summary(run: PayRun) -> list[tuple[str, str]]:
    return [
        ("account", identity(run.bank_account)),
        ("day", run.day),
        ("planned", f"{counted(run.payment_count, 'payment')}, {major(run.amount_minor, run.currency)}"),
    ]


def _taken_in(found: BankFile) -> str:
    if found.problem:
        return f"Message {found.message_id} is kept, and moves nothing: it {found.problem}."
    kinds = sorted({line.kind for line in found.bookings})
    counts = ", ".join(f"{sum(line.kind == kind for line in found.bookings)} {kind}" for kind in kinds)
    return f"Message {found.message_id} is taken in: {counts or 'nothing moved'}."
