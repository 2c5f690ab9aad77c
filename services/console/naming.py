"""What pages call the contract's fields and resources."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from services.console.texts import Tongue, marked

TERMS: Final[Mapping[str, str]] = {
    "fee_ppm": marked("Fee"),
    "fee_cap_minor": marked("The most a fee may be"),
    "commons_ppm": marked("Commons share"),
    "unattributed": marked("Unclaimed weight"),
    "commons_rule": marked("Commons shared"),
    "tempering": marked("Attributed shared"),
    "floor_minor": marked("Floor"),
    "cap_minor": marked("Cap"),
    "ai_only_ppm": marked("Weight of AI-only use"),
    "human_ai_ppm": marked("Weight of human and AI use"),
    "review_seconds": marked("Review"),
    "rounding": marked("Fractions"),
    "approval": marked("Posted"),
    "period": marked("Rounds"),
    "period_from": marked("First period"),
    "recoup_ppm": marked("Share that pays back adjustments"),
    "public": marked("Public page"),
}
"""Fields of a policy, in the order in which they are shown."""

FIELDS: Final[Mapping[str, str]] = {
    "account": marked("Account"),
    "admitted": marked("Admitted"),
    "amount": marked("Amount"),
    "amount_minor": marked("Amount"),
    "api_key.principal": marked("Owner, as collectives/irish"),
    "bank_account": marked("Bank account"),
    "bank_account.name": marked("Id, for good"),
    "bank_account.display_name": marked("Name, which payees read"),
    "bank_account.pools": marked("Pools whose money it holds, by id"),
    "bic": marked("Bank (BIC)"),
    "building": marked("Number"),
    "certificate": marked("Certificate, in PEM or DER"),
    "charge_of": marked("Pool"),
    "chargeback": marked("The bank has taken it back already"),
    "collective": marked("Collective"),
    "collective_id": marked("Id, for good"),
    "collectives": marked("Collectives"),
    "confidence_ppm": marked("Confidence"),
    "content": marked("File from the bank: camt.053, camt.054 or pain.002"),
    "country": marked("Country, as DE"),
    "covers": marked("What it covers"),
    "cron": marked("When"),
    "currency": marked("Currency"),
    "day": marked("Day"),
    "display_name": marked("Name"),
    "domains": marked("Domains"),
    "email": marked("Address; an empty one is sent nothing"),
    "equity": marked("Equity factor"),
    "equity_ppm": marked("Equity factor"),
    "evidence_uri": marked("Evidence"),
    "file": marked("File from the bank: camt.053, camt.054 or pain.002"),
    "from": marked("Account"),
    "hash": marked("Hash, which `moiety key make` prints for its owner"),
    "holder": marked("Holder"),
    "iban": marked("IBAN"),
    "id": marked("Id, for good"),
    "income": marked("Your income in the period, if a tariff asks for a share"),
    "income_minor": marked("Your income in the period, if a tariff asks for a share"),
    "language": marked("Language"),
    "log": marked("Pool, by id"),
    "members": marked("Members"),
    "membership": marked("Membership"),
    "method": marked("Method"),
    "minimum": marked("Minimum for a period, %(currency)s"),
    "minimum_minor": marked("Minimum"),
    "money": marked("Money"),
    "name": marked("Name"),
    "note": marked("Note; it stays in the log, so nothing personal"),
    "number": marked("Round; 0 is the next one"),
    "opening": marked("What is on it before its first statement"),
    "opening_minor": marked("Opening balance"),
    "owner": marked("Owner"),
    "parts": marked("Whose it is"),
    "paused": marked("Paused"),
    "pay_run": marked("Pay run"),
    "pay_run.bank_account": marked("Account"),
    "pay_run.day": marked("When the bank is to pay"),
    "pay_run_id": marked("Name of the run, as march-2026"),
    "payment_reference": marked("Reference"),
    "payments": marked("Payments"),
    "people": marked("People and keys"),
    "period": marked("Period"),
    "period_from": marked("First period"),
    "platform": marked("Platform"),
    "platforms": marked("Platforms"),
    "pool": marked("Pool"),
    "pools": marked("Pools"),
    "postcode": marked("Postcode"),
    "principal": marked("Owner"),
    "principal.name": marked("Name, as operators/alice or auditors/ada"),
    "rate": marked("Amount for usage, %(currency)s"),
    "rate_minor": marked("Rate"),
    "rate_units": marked("Units of a rate"),
    "reason": marked("Reason"),
    "received_on": marked("Day"),
    "reference": marked("Reference"),
    "registry": marked("Names"),
    "round": marked("Round"),
    "rounds": marked("Posting a round"),
    "run": marked("Name of the run, as march-2026"),
    "score_kind": marked("Kind of score"),
    "score_order": marked("Order of scores"),
    "share": marked("Share of the declared income"),
    "share_ppm": marked("Share"),
    "smallest": marked("Smallest payment"),
    "smallest_minor": marked("Smallest payment"),
    "sources": marked("Sources"),
    "status": marked("Status"),
    "street": marked("Street"),
    "tariff.minimum_minor": marked("Minimum for a period, %(currency)s"),
    "tariff.rate_minor": marked("Amount for usage, %(currency)s"),
    "tariff.rate_units": marked("for so many units"),
    "tariff.share_ppm": marked("Share of the declared income"),
    "terms": marked("Terms of a pool"),
    "time_zone": marked("Time zone"),
    "to": marked("To"),
    "to_commons": marked("To the commons fund"),
    "town": marked("Town"),
    "types": marked("Types of entries, as posting.v1; none for all"),
    "url": marked("Address, with https"),
    "version": marked("Version"),
    "webhook_id": marked("Id, for good"),
    "weights": marked("Platforms, collectives and what counts of them"),
    **dict.fromkeys(
        ("act", "all", "answer", "decision", "etag", "form", "once", "request", "request_id"), marked("The form")
    ),
    **dict.fromkeys(("page_size", "page_token", "parent", "start"), marked("The address")),
}
"""Fields of the contract and of forms, as forms call them; with what they are of where that matters."""

THINGS: Final[Mapping[str, str]] = {
    "accounts": marked("Account"),
    "auditors": marked("Auditor"),
    "bankAccounts": marked("Bank account"),
    "batches": marked("Batch"),
    "checkpoints": marked("Checkpoints"),
    "collectives": marked("Collective"),
    "contact": marked("Address"),
    "keys": marked("Key"),
    "leaves": marked("Entry"),
    "lines": marked("Bank line"),
    "memberships": marked("Membership"),
    "methods": marked("Method"),
    "objections": marked("Objection"),
    "operators": marked("Operator"),
    "payRuns": marked("Pay run"),
    "payee": marked("Bank account"),
    "payment": marked("Payment"),
    "platforms": marked("Platform"),
    "pools": marked("Pool"),
    "proposals": marked("Proposal"),
    "receipts": marked("Receipt"),
    "reports": marked("Report"),
    "rounds": marked("Round"),
    "schedule": marked("Schedule"),
    "statement": marked("Statement"),
    "the account or certificate": marked("The account or certificate"),
    "the database": marked("The database"),
    "the deployment": marked("The deployment"),
    "webhooks": marked("Webhook"),
}
"""Resources by their collections, and what else sentences are said of."""

FACTORS: Final = frozenset({"ai_only_ppm", "equity", "equity_ppm", "human_ai_ppm"})
"""Fields of millionths that are factors, where others are percentages."""

_BESIDE: Final = re.compile("[,;:] ")
"""What parts a field's name from what its label says beside it."""


def field_label(tongue: Tongue, path: str) -> str:
    """Returns what a field of the contract, or of a form, is called by forms: what its label begins with."""
    name = re.sub(r"\[[0-9]+\]", "", path)
    last = name.rpartition(".")[2]
    of_policy = TERMS.get(last) if name.startswith("policy.") else None
    known = of_policy or FIELDS.get(name) or FIELDS.get(last) or TERMS.get(last)
    return _BESIDE.split(tongue.text(known))[0] if known else name
