"""Which collective a piece of content belongs to: by the domain that it was found at, and by the prefix of its id.

Content Telemetry (1.0, section 7.3) resolves content owners in these two ways, of equal rank. Of content for which they
give two owners it asks that neither gets it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from moiety.errors import InvalidDomainError

_HOST_CHARACTERS_MAX: Final = 254  # 253 by RFC 1035, and the dot of the root
_HOST: Final = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9_-]{1,63}\.)*(?![0-9]+\Z)[a-z0-9_-]{1,63}")
"""Labels of letters, digits, hyphen and underscore. The last is not a number, so that an IP address is not a domain."""

_DEVIATIONS: Final = frozenset("ßẞς\u200c\u200d")
"""Letters that IDNA 2003, the codec of Python, takes for others, and today's registries do not (UTS 46, section 7):
with them the name of one owner would become that of another.
"""


CONTENT_ID: Final = "content-id:"
"""The text before the prefix of content ids among a collective's domains."""

_PREFIX_BYTES_MAX: Final = 256


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a piece of content is.

    Attributes:
        collective: its id; None if it belongs to nobody.
        is_contested: whether the domain is one collective's and the content id another's, so that it is nobody's.
    """

    collective: str | None
    is_contested: bool = False


class DomainMap:
    """Collectives by domain and by prefix of content ids.

    The longest domain that is a suffix of a host, label by label, decides: `example.org` covers
    `news.example.org` and not `badexample.org`. Case, ports, user names and the dot of the root make no difference,
    and international names are compared as A-labels (`xn--...`). Anything may be declared, a single label too;
    a public suffix such as `co.uk` covers everybody under it, so declare none that is not yours.

    `content-id:` and a prefix, such as `content-id:mkt:irish:`, means all content whose id begins with the prefix,
    byte for byte. The longest prefix decides.

    Args:
        domains: the domains and prefixes of each collective, by collective id.

    Raises:
        InvalidDomainError: a domain is none (a URL, a wildcard, an IP address), or two collectives declare it.
    """

    __slots__ = ("_collectives", "_lengths")

    def __init__(self, domains: Mapping[str, Iterable[str]]) -> None:
        self._collectives: dict[str, str] = {}
        for collective, declared in domains.items():
            for domain in [declared] if isinstance(declared, str) else declared:
                canonical = _prefix(domain) if domain.startswith(CONTENT_ID) else _host(domain)
                if canonical is None:
                    raise InvalidDomainError(collective, domain, _reason(domain))
                other = self._collectives.setdefault(canonical, collective)
                if other != collective:
                    raise InvalidDomainError(collective, domain, f"is declared by {other!r} too")
        prefixes = [domain for domain in self._collectives if domain.startswith(CONTENT_ID)]
        self._lengths = sorted({len(prefix) for prefix in prefixes}, reverse=True)

    def __len__(self) -> int:
        return len(self._collectives)

    def domains_of(self, collective: str) -> list[str]:
        """A collective's domains and prefixes as they are compared, sorted: domains as A-labels in lower case."""
        return sorted(domain for domain, owner in self._collectives.items() if owner == collective)

    def owner_of(self, url: str | None, content_id: str | None) -> Owner:
        """Give whose content is, by its URL and its id, either of which may be unknown."""
        by_url = self.collective_of(url)
        by_id = self._by_id(content_id)
        if by_url and by_id and by_url != by_id:
            return Owner(None, is_contested=True)
        return Owner(by_url or by_id)

    def _by_id(self, content_id: str | None) -> str | None:
        text = f"{CONTENT_ID}{content_id}" if content_id else ""
        prefixes = (text[:length] for length in self._lengths if length <= len(text))
        return next((self._collectives[prefix] for prefix in prefixes if prefix in self._collectives), None)

    def collective_of(self, url: str | None) -> str | None:
        """Return the collective that content at a URL belongs to; None if it belongs to nobody, or not a URL with a
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


def _prefix(declared: str) -> str | None:
    """A prefix of content ids as it is declared; None if it is not one: empty, too long, or with what is not seen."""
    prefix = declared.removeprefix(CONTENT_ID)
    size = len(prefix.encode("utf-8", "replace"))
    return declared if 0 < size <= _PREFIX_BYTES_MAX and prefix.isprintable() and " " not in prefix else None


def _host(name: str) -> str | None:
    """A host name as A-labels in lower case without the dot of the root; None if it is not one."""
    if len(name) > _HOST_CHARACTERS_MAX or not _DEVIATIONS.isdisjoint(name):
        return None
    try:
        host = name.encode("idna").decode("ascii").lower().removesuffix(".")
    except UnicodeError:
        return None
    return host if _HOST.fullmatch(host) else None


def _reason(domain: str) -> str:
    if domain.startswith(CONTENT_ID):
        return f"must be {CONTENT_ID} and 1 to {_PREFIX_BYTES_MAX} bytes of visible characters"
    if not _DEVIATIONS.isdisjoint(domain):
        return "must be written with A-labels (xn--...), since its letters are read in two ways"
    if "*" in domain:
        return "must be written without a wildcard; a domain covers its subdomains"
    if "/" in domain or ":" in domain:
        return "must be a domain alone, without scheme, port or path"
    return "is not a domain"
