"""Which collective a piece of content belongs to, by the domain that it was found at.

Content Telemetry (version 0.1, section 7.3) resolves content owners by the domain of `content_url`. So do we: a
collective declares domains, and a domain covers itself and its subdomains.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from moiety.errors import InvalidDomainError

_HOST_CHARACTERS_MAX = 254  # 253 by RFC 1035, and the dot of the root
_HOST = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9_-]{1,63}\.)*(?![0-9]+\Z)[a-z0-9_-]{1,63}")
"""Labels of letters, digits, hyphen and underscore. The last is no number, so that an IP address is no domain."""

_DEVIATIONS = frozenset("ßẞς\u200c\u200d")
"""Letters that IDNA 2003, the codec of Python, takes for others, and today's registries do not (UTS 46, section 7):
with them the name of one owner would become that of another.
"""


class DomainMap:
    """Collectives by domain.

    The longest domain that is a suffix of a host, label by label, decides: `example.org` covers
    `news.example.org` and not `badexample.org`. Case, ports, user names and the dot of the root make no difference,
    and international names are compared as A-labels (`xn--...`). Anything may be declared, a single label too;
    a public suffix such as `co.uk` covers everybody under it, so declare none that is not yours.

    Args: domains: the domains of each collective, by collective id.

    Raises:
        InvalidDomainError: a domain is none (a URL, a wildcard, an IP address), or two collectives declare it.
    """

    __slots__ = ("_collectives",)

    def __init__(self, domains: Mapping[str, Iterable[str]]) -> None:
        self._collectives: dict[str, str] = {}
        for collective, declared in domains.items():
            for domain in [declared] if isinstance(declared, str) else declared:
                host = _host(domain)
                if host is None:
                    raise InvalidDomainError(collective, domain, _reason(domain))
                other = self._collectives.setdefault(host, collective)
                if other != collective:
                    raise InvalidDomainError(collective, domain, f"is declared by {other!r} too")

    def __len__(self) -> int:
        return len(self._collectives)

    def domains_of(self, collective: str) -> list[str]:
        """Give a collective's domains in the form in which they are compared, sorted: A-labels in lower case."""
        return sorted(domain for domain, owner in self._collectives.items() if owner == collective)

    def collective_of(self, url: str | None) -> str | None:
        """Give the collective that content at a URL belongs to; None where it is nobody's, or not a URL with a
        host.
        """
        host = _host_of(url) if url else None
        while host:
            if found := self._collectives.get(host):
                return found
            host = host.partition(".")[2]
        return None


def _host_of(url: str) -> str | None:
    if "\\" in url:  # some take it for a slash and some for a part of the user name: two readers, two hosts
        return None
    try:
        return _host(urlsplit(url).hostname or "")
    except ValueError:
        return None


def _host(name: str) -> str | None:
    """A host name as A-labels in lower case without the dot of the root; None where it is none."""
    if len(name) > _HOST_CHARACTERS_MAX or not _DEVIATIONS.isdisjoint(name):
        return None
    try:
        host = name.encode("idna").decode("ascii").lower().removesuffix(".")
    except UnicodeError:
        return None
    return host if _HOST.fullmatch(host) else None


def _reason(domain: str) -> str:
    if not _DEVIATIONS.isdisjoint(domain):
        return "must be written with A-labels (xn--...), since its letters are read in two ways"
    if "*" in domain:
        return "must be written without a wildcard; a domain covers its subdomains"
    if "/" in domain or ":" in domain:
        return "must be a domain alone, without scheme, port or path"
    return "is not a domain"
