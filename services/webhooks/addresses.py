"""Where webhooks may go: public addresses by https, and what the settings allow beyond.

A name says nothing about where it leads, and may lead elsewhere at each look. So what is checked is each address that a
connection is about to be made to, and no name is resolved again after that.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

from ledger.errors import InvalidInputError
from services.settings import MAX_PORT, Settings, parse_networks

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_URL: Final = 2_000
MAX_HOST: Final = 253
_PORTS: Final = {"https": 443, "http": 80}

_GLOBAL_UNICAST: Final = ipaddress.ip_network("2000::/3")
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_IPV4_COMPATIBLE: Final = ipaddress.ip_network("::/96")
_LOW_BITS: Final = 0xFFFF_FFFF

_SPECIAL: Final = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32")))
"""Public to some Python, but for protocols alone, or for relays; the last is the host's own agent inside Azure."""


@dataclass(frozen=True, slots=True)
class Target:
    """An address of a webhook, taken apart: what to connect to and what to ask there."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def origin(self) -> str:
        """Scheme and host, and the port where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + ("" if self.port == _PORTS[self.scheme] else f":{self.port}")


@dataclass(frozen=True, slots=True)
class Reach:
    """What the settings allow beyond public addresses and https."""

    networks: tuple[Network, ...] = ()
    plain_http: bool = False

    @classmethod
    def of(cls, settings: Settings) -> Reach:
        """Returns what these settings allow."""
        return cls(parse_networks(settings.webhook_networks), settings.webhook_http)

    def target(self, url: str, field: str = "webhook.url") -> Target:
        """Returns the parts of a URL that events may be posted to, as far as can be told without resolving its name.

        Raises:
            InvalidInputError: it is not an http or https URL, is not allowed, or has parts that it must not have.
        """
        if not url.isascii() or not url.isprintable() or " " in url or len(url) > MAX_URL:
            raise InvalidInputError.of(
                field, "must have at most %(most)s characters, all of them printable ASCII", most=MAX_URL
            )
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise InvalidInputError.of(field, "is not a URL") from None
        self._require_sound(parts, port, field)
        host = (parts.hostname or "").removesuffix(".")
        target = Target(parts.scheme, host, port or _PORTS[parts.scheme], _path_of(parts))
        literal = _literal(host)
        if literal is not None and not self.allows(literal):
            raise InvalidInputError.of(field, "must lead to a public address")
        return target

    def _require_sound(self, parts: SplitResult, port: int | None, field: str) -> None:
        if parts.scheme not in _PORTS or (parts.scheme == "http" and not self.plain_http):
            raise InvalidInputError.of(field, "must begin with https://")
        if not parts.hostname or len(parts.hostname) > MAX_HOST or "%" in parts.hostname or "\\" in parts.netloc:
            raise InvalidInputError.of(field, "must name a host")
        if "@" in parts.netloc or parts.fragment:
            raise InvalidInputError.of(field, "must have neither user, password nor fragment")
        if port is not None and not 0 < port <= MAX_PORT:
            raise InvalidInputError.of(field, "must have a port of 1 to 65,535, or none")

    def allows(self, address: Address) -> bool:
        """Whether a connection to an address may be made: it is public, or the settings name its network."""
        if any(address in network for network in self.networks):
            return True
        return is_public(address) and all(self.allows(each) for each in _within(address))


def is_public(address: Address) -> bool:
    """Whether an address is one that anyone's machine on the Internet may have, but for what `_within` finds in it."""
    if isinstance(address, ipaddress.IPv6Address) and (address.ipv4_mapped or address in _NAT64):
        return True  # it only carries an IPv4 address, which is judged by itself
    if address.is_multicast or not address.is_global or any(address in network for network in _SPECIAL):
        return False
    return isinstance(address, ipaddress.IPv4Address) or address in _GLOBAL_UNICAST


def _within(address: Address) -> list[Address]:
    """The IPv4 addresses that an IPv6 address carries: mapped, translated or tunnelled."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    found: list[Address | None] = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64 or address in _IPV4_COMPATIBLE:
        found.append(ipaddress.IPv4Address(int(address) & _LOW_BITS))
    return [each for each in found if each is not None]


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _path_of(parts: SplitResult) -> str:
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
