"""Words of the contract, said to people."""

from __future__ import annotations

from typing import Final

from jinja2 import pass_context
from jinja2.runtime import Context

from moiety.v1 import accounts_pb2, acts_pb2, payments_pb2, registry_pb2, rounds_pb2
from services.console.texts import marked

_ENUMS: Final = {
    "state": rounds_pb2.RoundState,
    "answer": rounds_pb2.ObjectionAnswer,
    "proposal": acts_pb2.ProposalState,
    "purpose": accounts_pb2.TransferPurpose,
    "status": registry_pb2.CollectiveStatus,
    "person": registry_pb2.PrincipalStatus,
    "key": registry_pb2.KeyKind,
    "payment": payments_pb2.PaymentState,
    "run": payments_pb2.PayRunState,
    "unattributed": registry_pb2.UnattributedRule,
    "commons": registry_pb2.CommonsRule,
    "tempering": registry_pb2.Tempering,
    "rounding": registry_pb2.Rounding,
    "period": registry_pb2.Periods,
    "approval": registry_pb2.Approval,
    "skip": registry_pb2.SkipReason,
    "score": registry_pb2.ScoreKind,
}

LABELS: Final[dict[str, str]] = {
    "ROUND_STATE_UNSPECIFIED": marked("Preview"),
    "ROUND_STATE_CALCULATED": marked("In review"),
    "ROUND_STATE_APPROVED": marked("Approved"),
    "ROUND_STATE_POSTED": marked("Posted"),
    "ROUND_STATE_REJECTED": marked("Rejected"),
    "OBJECTION_ANSWER_UNSPECIFIED": marked("Open"),
    "OBJECTION_ANSWER_DISMISSED": marked("Dismissed"),
    "OBJECTION_ANSWER_UPHELD": marked("Upheld"),
    "OBJECTION_ANSWER_SET_ASIDE": marked("Set aside"),
    "PROPOSAL_STATE_OPEN": marked("Open"),
    "PROPOSAL_STATE_APPROVED": marked("Approved"),
    "PROPOSAL_STATE_REJECTED": marked("Rejected"),
    "PROPOSAL_STATE_WITHDRAWN": marked("Withdrawn"),
    "PROPOSAL_STATE_LAPSED": marked("Lapsed"),
    "TRANSFER_PURPOSE_REPORT": marked("Reported"),
    "TRANSFER_PURPOSE_RECEIPT": marked("Received"),
    "TRANSFER_PURPOSE_CREDIT": marked("Credit"),
    "TRANSFER_PURPOSE_MATCH": marked("Payer found"),
    "TRANSFER_PURPOSE_REVERSAL": marked("Reversed"),
    "TRANSFER_PURPOSE_CHARGEBACK": marked("Charged back"),
    "TRANSFER_PURPOSE_FEE": marked("Fee"),
    "TRANSFER_PURPOSE_ATTRIBUTED": marked("Attributed"),
    "TRANSFER_PURPOSE_COMMONS": marked("Commons"),
    "TRANSFER_PURPOSE_COMMONS_FUND": marked("Kept in the commons fund"),
    "TRANSFER_PURPOSE_PAYMENT": marked("Payment"),
    "TRANSFER_PURPOSE_RELEASE": marked("Released"),
    "TRANSFER_PURPOSE_RETURN": marked("Returned to the commons fund"),
    "TRANSFER_PURPOSE_GRANT": marked("Grant from the commons fund"),
    "TRANSFER_PURPOSE_ROUNDING": marked("Rounding"),
    "TRANSFER_PURPOSE_DISPUTED": marked("Held as disputed"),
    "COLLECTIVE_STATUS_UNSPECIFIED": marked("Active"),
    "COLLECTIVE_STATUS_ACTIVE": marked("Active"),
    "COLLECTIVE_STATUS_SUSPENDED": marked("Suspended"),
    "PRINCIPAL_STATUS_UNSPECIFIED": marked("Active"),
    "PRINCIPAL_STATUS_ACTIVE": marked("Active"),
    "PRINCIPAL_STATUS_SUSPENDED": marked("Suspended"),
    "PAYMENT_STATE_UNSPECIFIED": marked("Planned"),
    "PAYMENT_STATE_PAYING": marked("In payment"),
    "PAYMENT_STATE_REJECTED": marked("Rejected by the bank"),
    "PAYMENT_STATE_PAID": marked("Paid"),
    "PAYMENT_STATE_UNPAID": marked("Not paid; owed again"),
    "PAYMENT_STATE_RETURNED": marked("Came back; owed again"),
    "PAY_RUN_STATE_PROPOSED": marked("Proposed"),
    "PAY_RUN_STATE_ANSWERING": marked("Pools are answering"),
    "PAY_RUN_STATE_READY": marked("Ready for the bank"),
    "NO_PAYEE": marked("it has named no account"),
    "COOLING": marked("its account is too new"),
    "OTHER_CURRENCY": marked("its account is in another currency"),
    "BELOW_SMALLEST": marked("it is less than its smallest payment"),
    "ABOVE_LARGEST": marked("it is more than a bank takes as one payment"),
    "ERASED": marked("its account was erased"),
    "SUSPENDED": marked("it is suspended"),
    "UNMATCHED": marked("A receipt without a payer"),
    "CHARGE": marked("A charge of the bank's"),
    "UNKNOWN": marked("Nobody's"),
    "TAKEN_BACK": marked("Taken back"),
    "KEY_KIND_SECRET": marked("API key"),
    "KEY_KIND_IDENTITY": marked("Account"),
    "KEY_KIND_CERTIFICATE": marked("Client certificate"),
    "UNATTRIBUTED_RULE_COMMONS": marked("goes to the commons"),
    "UNATTRIBUTED_RULE_PRO_RATA": marked("is left out"),
    "COMMONS_RULE_EQUAL": marked("the same to every collective"),
    "COMMONS_RULE_PER_CAPITA": marked("by members"),
    "COMMONS_RULE_EQUITY": marked("by members and equity factor"),
    "COMMONS_RULE_FUND": marked("kept in the commons fund"),
    "TEMPERING_PROPORTIONAL": marked("in proportion to weight"),
    "TEMPERING_SQRT": marked("by the square root of weight"),
    "TEMPERING_EQUAL": marked("the same for all with weight"),
    "PERIODS_NONE": marked("of what was logged since the last one"),
    "PERIODS_MONTH": marked("of a month each"),
    "PERIODS_QUARTER": marked("of a quarter each"),
    "PERIODS_YEAR": marked("of a year each"),
    "ROUNDING_CARRIED": marked("fractions carry to the next round"),
    "ROUNDING_PLACED": marked("largest remainder in each round"),
    "APPROVAL_OPERATOR": marked("by an operator"),
    "APPROVAL_SILENCE": marked("by silence: posted after the review unless somebody objects"),
    "SKIP_REASON_NO_MONEY": marked("there was no revenue"),
    "SKIP_REASON_NO_USAGE": marked("there was no usage"),
    "SKIP_REASON_NOT_PLACED": marked("the policy lets nobody take anything of the pot"),
    "SKIP_REASON_PERIOD_RUNS": marked("the next period is not over"),
    "SKIP_REASON_REPORTS_MISSING": marked("reports of the next period are missing or not received"),
    "SCORE_KIND_UNSPECIFIED": marked("shares"),
    "SCORE_KIND_SIGNED_INFLUENCE": marked("signed influence"),
    "SCORE_KIND_SIMILARITY": marked("similarity"),
    "SCORE_KIND_COUNT": marked("counts"),
    "SCORE_KIND_SHARE": marked("fractions"),
    "platforms": marked("platform"),
    "collectives": marked("collective"),
    "operators": marked("operator"),
    "auditors": marked("auditor"),
    "scheduler": marked("the schedule"),
    "policy": marked("the policy"),
}
"""What is said for each value. One that is missing is said as the contract has it."""

STATES: Final = ("ROUND_STATE", "PROPOSAL_STATE", "OBJECTION_ANSWER", "PAYMENT_STATE")
"""Enums of which sentences name values by what follows the enum's name."""


@pass_context
def label(context: Context, value: int | str, kind: str = "") -> str:
    """What a value of the contract is called: a number of the enum `kind`, or a word."""
    name = _ENUMS[kind].Name(value) if kind else str(value)  # type: ignore[arg-type]  # numbers of an enum
    known = LABELS.get(name)
    if known is None:
        return name.rpartition("_")[2].lower() if kind else name
    said: str = context["tongue"].text(known)
    return said
