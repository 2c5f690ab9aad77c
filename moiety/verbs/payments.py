"""Verbs of the PaymentsService: where money goes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from moiety.connection import PAGE_SIZE
from moiety.steps import Pages, Steps
from moiety.v1 import payments_pb2 as pb
from moiety.v1.payments_pb2_grpc import PaymentsServiceStub
from moiety.verbs.base import Verbs, listing, pool_name, verb


class PaymentsVerbs(Verbs):
    """Payees, pay runs and what banks say of them."""

    @cached_property
    def _payments(self) -> PaymentsServiceStub:
        return PaymentsServiceStub(self._connection.channel)

    @verb
    def set_payee(self, collective: str, details: pb.AccountDetails, *, reason: str = "") -> Steps[pb.Payee]:
        """Set the account to which a collective is paid; a collective proposes its own.

        Nothing is paid to a new account for three days. Setting the account that holds changes nothing.
        """
        payee = pb.Payee(name=f"collectives/{collective}/payee", details=details)
        request = pb.SetPayeeRequest(payee=payee, reason=reason)
        return self._connection.unary(self._payments.SetPayee, request, repeat=True)

    @verb
    def get_payee(self, collective: str) -> Steps[pb.Payee]:
        """Give the account to which a collective is paid."""
        request = pb.GetPayeeRequest(name=f"collectives/{collective}/payee")
        return self._connection.unary(self._payments.GetPayee, request, repeat=True)

    @verb
    def get_proposed_account(self, proposal: str) -> Steps[pb.ProposedAccount]:
        """Give the account that a proposal would set, of a payee or a bank account, beside the one that holds."""
        request = pb.GetProposedAccountRequest(name=proposal)
        return self._connection.unary(self._payments.GetProposedAccount, request, repeat=True)

    @listing
    def list_payees(self) -> Pages[pb.Payee]:
        """Return the collectives that have an account, without its details."""
        request = pb.ListPayeesRequest(page_size=PAGE_SIZE)
        return self._connection.pages(self._payments.ListPayees, request, lambda page: page.payees)

    @verb
    def set_bank_account(
        self, bank_account: str, account: pb.BankAccount, *, reason: str = ""
    ) -> Steps[pb.BankAccount]:
        """Register a bank account of the operator's, or change it: its details, and the pools whose money it holds."""
        asked = pb.BankAccount()
        asked.CopyFrom(account)
        asked.name = f"bankAccounts/{bank_account}"
        request = pb.SetBankAccountRequest(bank_account=asked, reason=reason)
        return self._connection.unary(self._payments.SetBankAccount, request, repeat=True)

    @listing
    def list_bank_accounts(self) -> Pages[pb.BankAccount]:
        """Return the operator's bank accounts by id."""
        request = pb.ListBankAccountsRequest(page_size=PAGE_SIZE)
        return self._connection.pages(self._payments.ListBankAccounts, request, lambda page: page.bank_accounts)

    @verb
    def create_pay_run(self, pay_run: str, bank_account: str, day: str, *, reason: str = "") -> Steps[pb.PayRun]:
        """Propose to pay everyone whom an account's pools owe something and who can be paid, on a day (2026-03-31).

        A run of the same id gives that run.
        """
        asked = pb.PayRun(bank_account=f"bankAccounts/{bank_account}", day=day)
        request = pb.CreatePayRunRequest(pay_run_id=pay_run, pay_run=asked, reason=reason)
        return self._connection.unary(self._payments.CreatePayRun, request, repeat=True)

    @verb
    def get_pay_run(self, pay_run: str) -> Steps[pb.PayRun]:
        """Give a pay run: whom it pays, and whom it leaves out and why."""
        request = pb.GetPayRunRequest(name=f"payRuns/{pay_run}")
        return self._connection.unary(self._payments.GetPayRun, request, repeat=True)

    @listing
    def list_pay_runs(self) -> Pages[pb.PayRun]:
        """Return pay runs in the order in which they were decided, without their payments."""
        request = pb.ListPayRunsRequest(page_size=PAGE_SIZE)
        return self._connection.pages(self._payments.ListPayRuns, request, lambda page: page.pay_runs)

    @verb
    def create_pay_run_file(self, pay_run: str, *, csv: bool = False) -> Steps[pb.PayRunFile]:
        """Give a pay run's file, pain.001 or CSV, once all pools have answered; the same bytes each time."""
        form = pb.PAYMENT_FILE_FORMAT_CSV if csv else pb.PAYMENT_FILE_FORMAT_PAIN_001
        request = pb.CreatePayRunFileRequest(name=f"payRuns/{pay_run}", format=form)
        return self._connection.unary(self._payments.CreatePayRunFile, request, repeat=True)

    @listing
    def list_payments(self, collective: str) -> Pages[pb.RunPayment]:
        """Return a collective's payments by pay runs, oldest first, with what banks said of each."""
        request = pb.ListCollectivePaymentsRequest(parent=f"collectives/{collective}", page_size=PAGE_SIZE)
        return self._connection.pages(self._payments.ListCollectivePayments, request, lambda page: page.payments)

    @verb
    def import_bank_file(
        self, bank_account: str, content: bytes, *, filename: str = "", reason: str = ""
    ) -> Steps[pb.BankFile]:
        """Take in a file that a bank sent; the same message again changes nothing."""
        request = pb.ImportBankFileRequest(
            parent=f"bankAccounts/{bank_account}", content=content, filename=filename, reason=reason
        )
        return self._connection.unary(self._payments.ImportBankFile, request, repeat=True)

    @listing
    def list_bank_files(self, bank_account: str) -> Pages[pb.BankFile]:
        """Return the files of an account that were taken in, in that order, and those that are only kept."""
        request = pb.ListBankFilesRequest(parent=f"bankAccounts/{bank_account}", page_size=PAGE_SIZE)
        return self._connection.pages(self._payments.ListBankFiles, request, lambda page: page.bank_files)

    @listing
    def list_bank_lines(self, bank_account: str, *, only_open: bool = False) -> Pages[pb.BankLine]:
        """Return lines of an account's statements that are of payers or of nobody yet, as they are booked now."""
        request = pb.ListBankLinesRequest(
            parent=f"bankAccounts/{bank_account}", only_open=only_open, page_size=PAGE_SIZE
        )
        return self._connection.pages(self._payments.ListBankLines, request, lambda page: page.bank_lines)

    @verb
    def match_bank_line(
        self,
        bank_account: str,
        line: str,
        parts: Sequence[pb.BankLinePart] = (),
        *,
        takes_back: str = "",
        charge_of: str = "",
        pays: Sequence[str] = (),
        reason: str = "",
    ) -> Steps[pb.BankLine]:
        """Say what a line is of; the same again changes nothing.

        Args:
            bank_account: the account's id.
            line: the line's id, such as 12-3.
            parts: of a credit, whose it is.
            takes_back: of a debit, the id of the line whose money went back.
            charge_of: of a debit, the pool that bears it as a charge of the bank's.
            pays: of a debit, the end-to-end ids of the payments that it paid.
            reason: why.
        """
        request = pb.MatchBankLineRequest(
            name=f"bankAccounts/{bank_account}/lines/{line}",
            parts=parts,
            takes_back=f"bankAccounts/{bank_account}/lines/{takes_back}" if takes_back else "",
            charge_of=f"pools/{charge_of}" if charge_of else "",
            pays=pays,
            reason=reason,
        )
        return self._connection.unary(self._payments.MatchBankLine, request, repeat=True)

    @listing
    def list_unpaid(self, pool: str) -> Pages[pb.Unpaid]:
        """Return what a pool owes and has not paid, by collective and round, with the reason and age of each amount."""
        request = pb.ListUnpaidRequest(parent=pool_name(pool), page_size=PAGE_SIZE)
        return self._connection.pages(self._payments.ListUnpaid, request, lambda page: page.unpaid)

    @verb
    def get_reconciliation(self, bank_account: str) -> Steps[pb.Reconciliation]:
        """Compare the books with the bank at the end of every statement."""
        request = pb.GetReconciliationRequest(name=f"bankAccounts/{bank_account}/reconciliation")
        return self._connection.unary(self._payments.GetReconciliation, request, repeat=True)
