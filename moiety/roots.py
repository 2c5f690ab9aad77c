"""What every error of this package is made of, whether or not gRPC is there. `moiety.errors` hands it on."""

from dataclasses import dataclass


class MoietyError(Exception):
    """The root of the errors that this package raises on purpose."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing wrong with a request: the field (or the resource) as the contract names it, and what is wrong."""

    field: str
    description: str
