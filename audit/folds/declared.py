"""The methods, memberships and tariffs that a pool's log has declared so far, by version.

The first two say how to read each batch's body.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from audit.findings import Finding, FoundError, at, raise_finding
from audit.reader import BodyReader, checked_body
from ledger.errors import LedgerCorruptError
from ledger.log.leaves import Content
from ledger.usage.entries import (
    ClosingContent,
    IdSchemeContent,
    MembershipContent,
    MethodContent,
    RetractionContent,
    UsageContent,
)
from ledger.usage.ids import IdScheme
from ledger.usage.membership import ParsedMemberships
from ledger.usage.methods import Method, method_of
from ledger.usage.reading import Reading
from payout.tariffs import TariffContent


@dataclass(slots=True)
class Declared:
    """What a replay knows of methods, memberships, id schemes and versions of tariffs.

    A membership's body is read and checked when it is first needed.
    """

    note: Callable[[Finding], None] = raise_finding
    """Called with a version that is not the next one. If it returns, the version counts all the same."""

    _methods: dict[tuple[str, int], Method] = field(default_factory=dict)
    _memberships: dict[tuple[str, int], tuple[int, MembershipContent]] = field(default_factory=dict)
    """By name and version: the leaf's index, and the content."""
    _latest: dict[tuple[str, str], int] = field(default_factory=dict)
    """By type and name: the latest version."""
    _id_schemes: dict[str, str] = field(default_factory=dict)
    """By platform: the scheme that it declared, or that its first batch assumed."""
    _closed: int | None = None
    """The leaf that closed the pool to usage."""
    _parsed: ParsedMemberships = field(default_factory=ParsedMemberships)

    def take_in(self, leaf_index: int, content: Content) -> None:
        """Take in what the next leaf declares or assumes. Raises what `method_of` does."""
        match content:
            case MethodContent(method=name, version=version):
                self._next(leaf_index, content.type, name, version)
                self.know(leaf_index, content)
            case MembershipContent():
                self._membership_declared(leaf_index, content)
            case TariffContent(platform=platform, version=version):
                self._next(leaf_index, content.type, platform, version)
                self._latest[content.type, platform] = version
                content.require_sound()
            case IdSchemeContent():
                self._id_scheme(leaf_index, content)
            case ClosingContent():
                at(leaf_index).holds(self._closed is None, "type", content.type, "once in a log")
                self._closed = leaf_index
            case RetractionContent():
                self._require_open(leaf_index, content)
            case UsageContent(platform=platform, id_scheme=scheme):
                self._require_open(leaf_index, content)
                at(leaf_index).same("id_scheme", scheme, self._id_schemes.setdefault(platform, IdScheme.OWN))
                self._require_latest(leaf_index, content)

    def know(self, leaf_index: int, content: MethodContent) -> None:
        """Take in a version of a method without the versions before it. Raises what `method_of` does."""
        self._methods[content.method, content.version] = method_of(content, leaf_index)
        self._latest[content.type, content.method] = content.version

    def _membership_declared(self, leaf_index: int, content: MembershipContent) -> None:
        """Take in a version of a membership, which must be the next one."""
        self._next(leaf_index, content.type, content.membership, content.version)
        self._memberships[content.membership, content.version] = (leaf_index, content)
        self._latest[content.type, content.membership] = content.version

    def _require_open(self, leaf_index: int, content: Content) -> None:
        expected = f"none: leaf {self._closed} closed the pool to usage"
        at(leaf_index).holds(self._closed is None, "usage", content.type, expected)

    def _require_latest(self, leaf_index: int, content: UsageContent) -> None:
        """Check that a new batch uses the latest versions, which must have been declared before it."""
        self._method(leaf_index, content)
        here = at(leaf_index)
        here.same("method_version", content.method_version, self._latest[MethodContent.type, content.method])
        if content.membership:
            latest = self._latest.get((MembershipContent.type, content.membership), "a version declared before")
            here.same("membership_version", content.membership_version, latest)

    def _id_scheme(self, leaf_index: int, content: IdSchemeContent) -> None:
        """Take in how a platform makes its ids, which it declares once and before its first batch."""
        known = content.scheme in set(IdScheme)
        at(leaf_index).holds(known, "scheme", content.scheme, f"one of {', '.join(IdScheme)}")
        fresh = content.platform not in self._id_schemes
        at(leaf_index).holds(fresh, "platform", content.platform, "a platform without an earlier scheme or batch")
        self._id_schemes[content.platform] = content.scheme

    def reading(self, log: BodyReader, leaf_index: int, content: UsageContent) -> Reading:
        """Returns how to read the body of a usage leaf: by the versions that it names, both declared before it."""
        method = self._method(leaf_index, content)
        if not method.membership:
            return Reading(method.score_rule)
        found = self._memberships.get((method.membership, content.membership_version or 0))
        if found is None:
            raise at(leaf_index).error("membership_version", content.membership_version, "a version declared before")
        return Reading(method.score_rule, self._membership(log, *found), content.membership_version)

    def has_shares(self, leaf_index: int, content: UsageContent) -> bool:
        """Whether the body of a usage leaf holds shares, and nothing else is needed to read it. Raises as `reading`."""
        method = self._method(leaf_index, content)
        return method.score_rule is None and not method.membership

    def _next(self, leaf_index: int, kind: str, name: str, version: int) -> None:
        try:
            at(leaf_index).same("version", version, self._latest.get((kind, name), 0) + 1)
        except FoundError as found:
            self.note(found.finding)

    def _method(self, leaf_index: int, content: UsageContent) -> Method:
        """Returns the method of a batch, which must name the method's own membership."""
        here = at(leaf_index)
        method = self._methods.get((content.method, content.method_version))
        if method is None:
            raise here.error("method_version", content.method_version, "a version declared before")
        here.same("membership", content.membership, method.membership)
        if not method.membership:
            here.same("membership_version", content.membership_version, None)
        return method

    def _membership(self, log: BodyReader, leaf_index: int, content: MembershipContent) -> Mapping[str, str]:
        membership = self._parsed.get(content.body_sha256)
        if membership is None:
            body = checked_body(log, leaf_index, "body_sha256", content.body_sha256)
            at(leaf_index).same("body_bytes", content.body_bytes, len(body))
            try:
                membership = self._parsed.parse(content.body_sha256, body)
            except LedgerCorruptError as error:
                raise at(leaf_index).error("body", error, "a canonical membership") from None
        at(leaf_index).same("sources", content.sources, len(membership))
        at(leaf_index).same("collectives", content.collectives, len(set(membership.values())))
        return membership
