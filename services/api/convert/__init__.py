"""Conversions between the contract's messages and our own values: one name each way, and nowhere else.

There is a module for each part of the contract; handlers import the functions from here.
"""

from __future__ import annotations

from services.api.convert.acts import proposal_to_proto
from services.api.convert.checkpoints import checkpoint_to_proto
from services.api.convert.common import timestamp
from services.api.convert.money import (
    grant_to_proto,
    money_receipt_to_proto,
    payment_to_proto,
    purpose_to_proto,
    release_to_proto,
    report_to_proto,
    reversal_to_proto,
    transfer_to_proto,
)
from services.api.convert.parties import (
    api_key_from_proto,
    api_key_to_proto,
    collective_from_proto,
    collective_to_proto,
    controls_from_proto,
    controls_to_proto,
    person_to_proto,
    platform_from_proto,
    platform_to_proto,
    status_of,
)
from services.api.convert.payments import (
    bank_account_to_proto,
    bank_file_to_proto,
    booking_to_proto,
    details_from_proto,
    details_to_proto,
    kept_file_to_proto,
    known_payment_to_proto,
    pay_run_to_proto,
    payee_to_proto,
    position_to_proto,
    proposed_file_to_proto,
    proposed_run_to_proto,
)
from services.api.convert.pools import (
    admission_to_proto,
    distribute_of,
    membership_to_proto,
    method_from_proto,
    method_to_proto,
    policy_from_proto,
    policy_to_proto,
    pool_to_proto,
    schedule_to_proto,
)
from services.api.convert.rounds import (
    allocation_to_proto,
    fairness_to_proto,
    objection_to_proto,
    preview_to_proto,
    round_to_proto,
    split_to_proto,
)
from services.api.convert.usage import (
    id_scheme_from_proto,
    id_scheme_to_proto,
    receipt_to_proto,
    retraction_to_proto,
    validated_to_proto,
)

__all__ = [
    "admission_to_proto",
    "allocation_to_proto",
    "api_key_from_proto",
    "api_key_to_proto",
    "bank_account_to_proto",
    "bank_file_to_proto",
    "booking_to_proto",
    "checkpoint_to_proto",
    "collective_from_proto",
    "collective_to_proto",
    "controls_from_proto",
    "controls_to_proto",
    "details_from_proto",
    "details_to_proto",
    "distribute_of",
    "fairness_to_proto",
    "grant_to_proto",
    "id_scheme_from_proto",
    "id_scheme_to_proto",
    "kept_file_to_proto",
    "known_payment_to_proto",
    "membership_to_proto",
    "method_from_proto",
    "method_to_proto",
    "money_receipt_to_proto",
    "objection_to_proto",
    "pay_run_to_proto",
    "payee_to_proto",
    "payment_to_proto",
    "person_to_proto",
    "platform_from_proto",
    "platform_to_proto",
    "policy_from_proto",
    "policy_to_proto",
    "pool_to_proto",
    "position_to_proto",
    "preview_to_proto",
    "proposal_to_proto",
    "proposed_file_to_proto",
    "proposed_run_to_proto",
    "purpose_to_proto",
    "receipt_to_proto",
    "release_to_proto",
    "report_to_proto",
    "retraction_to_proto",
    "reversal_to_proto",
    "round_to_proto",
    "schedule_to_proto",
    "split_to_proto",
    "status_of",
    "timestamp",
    "transfer_to_proto",
    "validated_to_proto",
]
