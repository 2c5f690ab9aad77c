"""A browser without a screen: it keeps cookies, follows links and sends the forms of the pages that it gets."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html import unescape
from typing import Final

import requests

from tests.support.deployment import Deployment

_TOKEN: Final = re.compile(r'name="token" value="([0-9a-f]{64})"')
_TAG: Final = re.compile(r"<[^>]+>")


@dataclass(frozen=True)
class Shown:
    """A page."""

    status: int
    url: str
    html: str
    headers: dict[str, str]

    @property
    def text(self) -> str:
        """What a reader reads: without tags, and with every run of blanks as one."""
        return " ".join(unescape(_TAG.sub(" ", self.html)).split())

    @property
    def alert(self) -> str:
        """What the page says is wrong; empty where it says nothing of the kind."""
        found = re.search(r'role="alert"><p>(.*?)</p>', self.html, re.DOTALL)
        return unescape(found[1]) if found else ""


@dataclass
class Browser:
    """A person at the console."""

    address: str
    language: str = "en-GB"
    http: requests.Session = field(default_factory=requests.Session)
    page: Shown = field(init=False)

    def __post_init__(self) -> None:
        self.http.headers["accept-language"] = self.language
        self.http.trust_env = False

    def open(self, path: str, **headers: str) -> Shown:
        """Open a page."""
        return self._kept(self.http.get(f"http://{self.address}{path}", headers=headers, timeout=60))

    @property
    def session(self) -> str:
        """What the session's cookie has."""
        return self.http.cookies["moiety_session"] or ""

    @property
    def token(self) -> str:
        """What the forms of the present page have; empty where it has none."""
        found = _TOKEN.search(self.page.html)
        return found[1] if found else ""

    def send(self, path: str, *, headers: dict[str, str] | None = None, **fields: str) -> Shown:
        """Send a form with the token that the present page has."""
        form = {"token": self.token, **fields}
        return self._kept(self.http.post(f"http://{self.address}{path}", form, headers=headers, timeout=60))

    def upload(self, path: str, field_: str, filename: str, content: bytes, **fields: str) -> Shown:
        """Send a form with a file."""
        form = {"token": self.token, **fields}
        sent = {field_: (filename, content)}
        return self._kept(self.http.post(f"http://{self.address}{path}", form, files=sent, timeout=60))

    def _kept(self, answer: requests.Response) -> Shown:
        self.page = Shown(
            answer.status_code, answer.url, answer.text, {k.lower(): v for k, v in answer.headers.items()}
        )
        return self.page


def signed_in(deployment: Deployment, principal: str, language: str = "en-GB") -> Browser:
    """Someone who signed in by a key."""
    browser = Browser(deployment.running.http_address, language)
    browser.open("/sign-in")
    shown = browser.send("/sign-in", key=deployment.key(principal))
    assert shown.status == 200, shown.text
    return browser
