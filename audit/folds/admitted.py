"""Which platforms a pool's log has admitted so far: they alone may report to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from audit.findings import at
from audit.steps import Step
from ledger.log.leaves import Content
from ledger.usage.entries import AdmissionContent
from payout.entries import PoolContent
from payout.tariffs import TariffContent


@dataclass(slots=True)
class Admitted:
    """The platforms that may report now."""

    platforms: set[str] = field(default_factory=set)

    def take_in(self, leaf_index: int, content: Content, is_registered: Callable[[str], bool]) -> None:
        """Take in the next leaf; `is_registered` says which platforms the registry has that it was judged by.

        Raises:
            FoundError: a platform reports that is not admitted; or it is admitted unregistered, or twice; or has a
                tariff unregistered.
        """
        here = at(leaf_index, step=Step.DECISIONS)
        match content:
            case PoolContent(platforms=platforms):
                here.same("platforms", platforms, sorted(set(platforms)))
                self.platforms |= set(platforms)
            case AdmissionContent(platform=platform, admitted=admitted):
                self._admit(leaf_index, platform, admitted=admitted)
            case TariffContent(platform=platform) if platform:
                here.holds(is_registered(platform), "platform", platform, "one that is registered")
        if isinstance(content, PoolContent | AdmissionContent):
            unknown = sorted(platform for platform in self.platforms if not is_registered(platform))
            here.holds(not unknown, "platform", ", ".join(unknown), "platforms that are registered")
        if content.reporter is not None:
            here.holds(content.reporter in self.platforms, "platform", content.reporter, "one that is admitted")

    def _admit(self, leaf_index: int, platform: str, *, admitted: bool) -> None:
        here = at(leaf_index, step=Step.DECISIONS)
        expected = "one that is not admitted" if admitted else "one that is admitted"
        here.holds(admitted == (platform not in self.platforms), "platform", platform, expected)
        (self.platforms.add if admitted else self.platforms.remove)(platform)
