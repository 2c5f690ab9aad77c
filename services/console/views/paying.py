"""Money out: a collective's own account and payments; the operator's bank accounts, pay runs and banks' files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from google.protobuf.message import Message
from starlette.responses import Response

from ledger.errors import InvalidInputError, NotFoundError
from ledger.registry import require_resource_id
from moiety.v1 import payments_pb2 as pb
from services.console.forms import acted, amount_of, id_of, text_of
from services.console.views.contacts import contact_of, wanted_contact
from services.console.views.pools import PAGE, everything
from services.console.visit import PageMissingError, Problem, Visit

SHOWN: Final = 200
"""Payments of a run that its page has: a page is to stay under 100 KB. The file has all."""

_TEXTS: Final = ("holder", "street", "building", "postcode", "town")
_FORMS: Final = {
    "xml": (pb.PAYMENT_FILE_FORMAT_PAIN_001, "application/xml"),
    "csv": (pb.PAYMENT_FILE_FORMAT_CSV, "text/csv; charset=utf-8"),
}
_CODES: Final = ("country", "iban", "account", "bic", "currency")


def own(visit: Visit, *, problem: Problem = "") -> Response:
    """A collective's account and its payments, with what the bank said of each."""
    me = visit.caller.principal.name
    visit.shown["base"] = "/registry"
    try:
        payee = visit.call("PaymentsService/GetPayee", pb.GetPayeeRequest(name=f"{me}/payee"))
    except NotFoundError:
        payee = None
    request = pb.ListCollectivePaymentsRequest(parent=me, page_size=PAGE, page_token=visit.query.get("after", ""))
    payments = visit.call("PaymentsService/ListCollectivePayments", request)
    return visit.page(
        "own_payments.html",
        409 if problem else 200,
        payee=payee,
        contact=contact_of(visit, me),
        payments=payments.payments,
        more=payments.next_page_token,
        problem=problem,
    )


def propose_own(visit: Visit) -> Response:
    """Propose the account to which a collective is paid, or say where it is written to."""
    me = visit.caller.principal.name

    def payee() -> tuple[str, Message]:
        found = pb.Payee(name=f"{me}/payee", details=_details(visit))
        return "PaymentsService/SetPayee", pb.SetPayeeRequest(payee=found, reason=text_of(visit, "reason"))

    acts = {"payee": payee, "contact": lambda: wanted_contact(visit, me)}
    return acted(visit, acts, "/payments", lambda problem: own(visit, problem=problem))


def _details(visit: Visit) -> pb.AccountDetails:
    found = pb.AccountDetails()
    for name in _TEXTS:
        setattr(found, name, text_of(visit, name))
    for name in _CODES:
        setattr(found, name, "".join(text_of(visit, name).split()).upper())
    if text_of(visit, "smallest"):
        found.smallest_minor = amount_of(visit, "smallest", found.currency)
    return found


def bank(visit: Visit, *, problem: Problem = "") -> Response:
    """The operator's bank accounts and pay runs."""
    visit.shown["base"] = "/registry"
    accounts = everything(visit, "PaymentsService/ListBankAccounts", pb.ListBankAccountsRequest(), "bank_accounts")
    request = pb.ListPayRunsRequest(page_size=PAGE, page_token=visit.query.get("after", ""))
    runs = visit.call("PaymentsService/ListPayRuns", request)
    return visit.page(
        "bank.html",
        409 if problem else 200,
        accounts=accounts,
        runs=runs.pay_runs,
        more=runs.next_page_token,
        today=visit.parts.clock().date().isoformat(),
        problem=problem,
    )


def act_on_bank(visit: Visit) -> Response:
    """Pay all that an account's pools owe, or register a bank account or change it; or propose that."""
    run, account = text_of(visit, "run"), text_of(visit, "id")

    def pay() -> tuple[str, Message]:
        asked = pb.PayRun(bank_account=f"bankAccounts/{id_of(visit, 'from')}", day=text_of(visit, "day"))
        request = pb.CreatePayRunRequest(pay_run_id=run, pay_run=asked, reason=text_of(visit, "reason"))
        return "PaymentsService/CreatePayRun", request

    def register() -> tuple[str, Message]:
        details = _details(visit)
        found = pb.BankAccount(
            name=f"bankAccounts/{id_of(visit, 'id')}",
            display_name=text_of(visit, "display_name"),
            details=details,
            pools=[
                f"pools/{require_resource_id(pool.removeprefix('pools/'), 'bank_account.pools')}"
                for pool in text_of(visit, "pools").split()
            ],
            opening_minor=amount_of(visit, "opening", details.currency),
        )
        request = pb.SetBankAccountRequest(bank_account=found, reason=text_of(visit, "reason"))
        return "PaymentsService/SetBankAccount", request

    path = f"/bank/runs/{run}" if visit.form.get("act") == "pay" else f"/bank/{account}"
    return acted(visit, {"pay": pay, "account": register}, path, lambda problem: bank(visit, problem=problem))


def run(visit: Visit) -> Response:
    """One pay run: whom it pays, how far each payment is, and who is left out and why."""
    visit.shown["base"] = "/registry"
    found = visit.call("PaymentsService/GetPayRun", pb.GetPayRunRequest(name=f"payRuns/{visit.ids['run']}"))
    return visit.page("pay_run.html", found=found, shown=SHOWN)


def run_file(visit: Visit) -> Response:
    """A pay run's file for the bank."""
    if visit.ids["form"] not in _FORMS:
        raise PageMissingError
    form, kind = _FORMS[visit.ids["form"]]
    request = pb.CreatePayRunFileRequest(name=f"payRuns/{visit.ids['run']}", format=form)
    made = visit.call("PaymentsService/CreatePayRunFile", request)
    headers = {"content-disposition": f'attachment; filename="{made.filename}"'}
    return Response(made.content, 200, headers, kind)


def account(visit: Visit, *, problem: Problem = "") -> Response:
    """One bank account: what its bank sent, what has no partner, and how the books compare with the bank."""
    visit.shown["base"] = "/registry"
    name = f"bankAccounts/{visit.ids['account']}"
    accounts = everything(visit, "PaymentsService/ListBankAccounts", pb.ListBankAccountsRequest(), "bank_accounts")
    found = next((each for each in accounts if each.name == name), None)
    if found is None:
        raise PageMissingError
    request = pb.ListBankFilesRequest(parent=name, page_size=PAGE, page_token=visit.query.get("after", ""))
    files = visit.call("PaymentsService/ListBankFiles", request)
    compared = visit.call(
        "PaymentsService/GetReconciliation", pb.GetReconciliationRequest(name=f"{name}/reconciliation")
    )
    return visit.page(
        "bank_account.html",
        409 if problem else 200,
        found=found,
        files=files.bank_files,
        more=files.next_page_token,
        positions=list(reversed(compared.positions))[:PAGE],
        announced=compared.announced[:PAGE],
        lines=_open_lines(visit, name),
        problem=problem,
    )


def _open_lines(visit: Visit, account_name: str) -> Sequence[pb.BankLine]:
    request = pb.ListBankLinesRequest(parent=account_name, only_open=True, page_size=PAGE)
    found: Sequence[pb.BankLine] = visit.call("PaymentsService/ListBankLines", request).bank_lines
    return found


def act_on_account(visit: Visit) -> Response:
    """Take in a file that the bank sent, or say what a line is of; or propose that."""
    name = f"bankAccounts/{visit.ids['account']}"

    def match() -> tuple[str, Message]:
        line = next((each for each in _open_lines(visit, name) if each.name == text_of(visit, "name")), None)
        if line is None:
            raise InvalidInputError.of("name", "must be a line of this page that has no partner yet")
        pool = f"pools/{id_of(visit, 'pool', of='pools')}"
        request = pb.MatchBankLineRequest(name=line.name, reason=text_of(visit, "reason"))
        if line.amount_minor < 0:
            request.charge_of = pool
        else:
            platform = f"platforms/{id_of(visit, 'platform', of='platforms')}"
            request.parts.add(pool=pool, platform=platform, amount_minor=line.amount_minor)
        return "PaymentsService/MatchBankLine", request

    def file() -> tuple[str, Message]:
        content = visit.files.get("file")
        request = pb.ImportBankFileRequest(parent=name, reason=text_of(visit, "reason"))
        if content is not None:
            request.content, request.filename = content.content, content.filename[:200]
        return "PaymentsService/ImportBankFile", request

    acts = {"import": file, "match": match}
    return acted(visit, acts, f"/bank/{visit.ids['account']}", lambda problem: account(visit, problem=problem))
