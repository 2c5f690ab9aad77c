"""The payments service: payees, pay runs and banks' files. Each part is in the module of its noun."""

from __future__ import annotations

from moiety.v1 import payments_pb2_grpc
from services.api.payments.bank_accounts import BankAccountMethods
from services.api.payments.bank_files import BankFileMethods
from services.api.payments.pay_runs import PayRunMethods
from services.parts import Parts


class PaymentsService(BankAccountMethods, PayRunMethods, BankFileMethods, payments_pb2_grpc.PaymentsServiceServicer):
    """Where money goes."""

    def __init__(self, parts: Parts) -> None:
        self._database, self._acts, self._vault = parts.database, parts.acts, parts.vault
        self._paying, self._banking = parts.paying, parts.banking
