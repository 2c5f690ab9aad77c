"""Rounds that no log has: what an example needs of one."""

from __future__ import annotations

from payout.entries import RoundContent
from payout.rounds import Distribution


def round_content_of(found: Distribution) -> RoundContent:
    """The entry of a round with these figures; whatever else an entry says is made up."""
    return RoundContent(
        number=1, previous=0, start=0, end=5, root="0" * 64, policy_leaf=0, policy_version=1,
        registry_root="0" * 64, registry_sha256="0" * 64, statement_sha256="0" * 64, weights_sha256="0" * 64,
        salt_sha256="0" * 64, statement_root="0" * 64, statement_lines=0,
        events=found.events,
        retracted=found.retracted, weight=found.weight, weight_unattributed=found.weight_unattributed,
        deficit_unattributed=found.deficit_unattributed, pot_minor=found.pot_minor, fee_minor=found.fee_minor,
        attributed_minor=found.attributed_minor, commons_minor=found.commons_minor,
        commons_kept_minor=found.commons_kept_minor, carried_minor=found.carried_minor,
        rounding_minor=found.rounding_minor, kept_after_nano=found.kept_after_nano, by="operators/o",
        request_id="r", fire_times=None,
    )  # fmt: skip
