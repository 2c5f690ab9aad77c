"""A pool's terms so far: its policies, and how much its methods are believed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from audit.findings import Finding, at, noting, raise_finding
from ledger.acts.act import ActContent
from ledger.log.leaves import Leaf
from ledger.registry import PPM, require_range
from ledger.usage.entries import MethodContent
from payout.entries import PolicyContent, PoolContent
from payout.policy import Policy, policy_in_force


@dataclass(slots=True)
class Terms:
    """The terms by which a pool's rounds are calculated, as its log has them."""

    note: Callable[[Finding], None] = raise_finding
    policies: list[tuple[int, int, Policy]] = field(default_factory=list)
    """(leaf index, version, terms), oldest first."""
    confidence_ppm: dict[tuple[str, int], int] = field(default_factory=dict)
    """By method and version."""
    corrections: dict[int, ActContent] = field(default_factory=dict)
    """What adjustments may name, by leaf: policies and methods."""

    def take_in(self, leaf: Leaf[Any]) -> None:
        """Take in the leaf that opens the pool, or one that changes its policy or declares a method.

        Raises:
            UNSOUND: its terms are none.
        """
        match leaf.content:
            case PoolContent(policy=policy):
                self.policies.append((leaf.index, 1, policy.require_sound()))
            case PolicyContent(version=version, policy=policy):
                with noting(self.note):
                    at(leaf.index).same("version", version, self.policies[-1][1] + 1)
                self.corrections[leaf.index] = leaf.content
                self.policies.append((leaf.index, version, policy.require_sound()))
            case MethodContent(method=method, version=version, confidence_ppm=confidence):
                self.corrections[leaf.index] = leaf.content
                self.confidence_ppm[method, version] = require_range(confidence, "confidence_ppm", 0, PPM)

    def in_force(self, start: int) -> tuple[int, int, Policy]:
        """Returns leaf, version and policy by which a round is calculated that starts there."""
        return policy_in_force(self.policies, start)

    def policy_at(self, leaf_index: int) -> Policy:
        """Returns the policy that a leaf set."""
        return next(policy for index, _, policy in self.policies if index == leaf_index)
