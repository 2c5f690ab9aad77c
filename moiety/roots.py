"""What every error of this package is made of, whether or not gRPC is there. `moiety.errors` hands it on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moiety.v1.usage_pb2 import Receipt


class MoietyError(Exception):
    """The root of the errors that this package raises on purpose.

    Attributes:
        receipts: where a submission failed on the way, the receipts of the batches that are recorded, in order.
        refusals: the batches of it that the service refused (`moiety.BatchRefusal`), in order.
        submission: what is left of it, which `resume` of a client goes on with; None if nothing is.
    """

    receipts: Sequence[Receipt] = ()
    refusals: Sequence[Any] = ()
    submission: Any = None


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing wrong with a request: the field (or the resource) as the contract names it, and what is wrong."""

    field: str
    description: str
