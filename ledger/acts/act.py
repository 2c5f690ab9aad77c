"""What every act's entry says: who did it, by which key, and the size of the registry's log by which it was allowed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final

from pydantic import Field, StringConstraints

from ledger.acts.controls import ONE, Controls, Kind
from ledger.log.leaves import Content, is_none, is_zero

Salt = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]

OPERATORS: Final = "operators/"
COLLECTIVES: Final = "collectives/"
PLATFORMS: Final = "platforms/"

NOBODY: Final = ""
"""The actor of an act that is not logged yet."""

SCHEDULER: Final = "scheduler"
"""The actor of a round that a schedule asks for."""

POLICY: Final = "policy"
"""The actor who approves a round if neither its policy nor the controls need a person."""

LEDGER: Final = "ledger"
"""The actor who rejects a round whose pot the bank took back in part."""


class ActContent(Content):
    """Something that an operator did, or a collective that objects.

    It names who did it, the key that was used, and the size of the registry's log that it was checked against. If it
    needed a second person, it also names the proposal that it carries out, which is in the same log.

    `people_leaf` chains the registry's leaves about operators: an act names the last one below `registry_size`, which
    is itself an act and names the one before it. So a few leaves with their proofs show all that there was to say of
    who may act, and none can be left away.
    """

    kind: ClassVar[Kind | None]
    """The kind of act; None for an act that one person may always do."""
    done_by: ClassVar[str] = OPERATORS
    """The collection of principals that may do it, as their names begin."""

    by: str = NOBODY
    by_key: str = ""
    registry_size: int = 0
    people_leaf: int = Field(default=0, exclude_if=is_zero)
    proposal: int | None = Field(default=None, exclude_if=is_none)

    @property
    def actor(self) -> str:
        """The operator; the proposer, if it was proposed."""
        return self.by

    @property
    def own_of(self) -> str:
        """The principal whose own matter it is, which may propose it too; empty if there is none."""
        return ""

    def needed(self, controls: Controls) -> int:
        """Returns how many people it needs under these controls."""
        return ONE if self.kind is None else controls.needed(self.kind)

    def said(self) -> dict[str, Any]:
        """Returns its content without the actor: the content of a proposal."""
        return self.model_dump(mode="json", exclude=set(ActContent.model_fields))


class SaltedContent(ActContent):
    """An act about what somebody is paid.

    Its salt is random, so that nobody can try out amounts against its hash, which proofs of other entries show.
    """

    salt: Salt = ""
    """32 bytes in hexadecimal, added when the act is done or proposed; empty only before."""


def without_salt(said: Mapping[str, Any]) -> dict[str, Any]:
    """Returns an act's content as it was asked for: the same request asks the same, whatever its salt."""
    return {name: value for name, value in said.items() if name != "salt"}
