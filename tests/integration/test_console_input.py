"""Addresses and forms that no page of the console leads to or sends: refused, with the field, and never a failure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from typing import Any, Final

import pytest
from structlog.testing import capture_logs

from services.console.routes import PAGES as ROUTES
from tests.support.browsing import Browser, signed_in
from tests.support.reading import Everything, everything
from tests.support.reading_pages import PAGES
from tests.support.scene import POOL

pytestmark = pytest.mark.surface

IDS: Final = (
    "x", "-1", "-0", str(2**70), "%00", "%2e%2e", "%ff", "%ed%a0%80", "a%2fb", "%e2%80%a8", "%d9%a3", "1e3", "%0a",
    "x" * 5000,
)  # fmt: skip
GOOD: Final = {
    "pool": "folk", "number": "2", "leaf": "12", "run": "jan", "account": "main", "collective": "irish", "form": "xml",
    "digest": "0" * 64, "link": "x", "token": "x",
}  # fmt: skip

TOKENS: Final = ("WzEyLCAwXQ==", "WyJicmV0b24iXQ==", "WzFd", "e30=")
"""Of pages of other lists, and of none."""

PARAMETERS: Final = {
    "/money": ("due", "dues_after", "reports_after", "receipts_after", "reversals_after"),
    "/usage": ("refused_after",),
    "/log": ("before",),
    "/transfers": ("account",),
    "/statement": ("collective",),
    "/preview": ("number", "tempering", "fee_ppm", "ai_only_ppm", "floor_minor", "review_seconds", "period_from"),
}
"""What else than `after` the addresses of pages have, by their end."""

SPOILT: Final = ("1e3", "-0", "99999999999999", "\0", "\u2028", "a/b")
"""What fields are sent with: the third is a number that people write, and is too large once it is in millionths."""

NAMED: Final = re.compile(r"[^:;]+(: | does not exist| gibt es nicht)|.* (too large|zu groß)\.$")
"""How what is said begins: with a field, or with what is meant by one, or it is about all of it."""

CONTRACT: Final = re.compile(r"[a-z]_[a-z]|(pools|collectives|platforms|bankAccounts)/\w|minor unit|[^\w.,]\d{5}")
"""What pages never call anything by: names of the contract, and amounts in minor units."""

ENGLISH: Final = re.compile(r"\b(must|is|are|the|not|has|have|of|with|may|and|be)\b")
"""Words that every English sentence has one of, and no German one has."""

AS_SENT: Final = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|\(.*?\)|`.*?`|(?<=: )[a-z-]+(, [a-z-]+)+")
"""What is quoted, or listed, because it is to be written so."""


@pytest.fixture(scope="module")
def scene(shared_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everything]:
    with everything(shared_database_url, tmp_path_factory.mktemp("input") / "payee-key") as found:
        yield found


@pytest.fixture(scope="module")
def browsers(scene: Everything) -> dict[str, Browser]:
    return {principal: signed_in(scene.deployment, principal) for principal in PAGES}


@pytest.fixture(scope="module")
def german_browsers(scene: Everything) -> dict[str, Browser]:
    return {principal: signed_in(scene.deployment, principal, "de") for principal in PAGES}


@pytest.fixture(autouse=True)
def nothing_failed() -> Iterator[None]:
    with capture_logs() as logged:
        yield
    assert [each for each in logged if each["log_level"] == "error"] == []


def status_of(browser: Browser, path: str) -> int:
    return browser.http.get(f"http://{browser.address}{path}", timeout=60, allow_redirects=False).status_code


def addresses() -> Iterator[str]:
    """Each route with each of its ids as nobody wrote it."""
    for route in ROUTES:
        for name in re.findall(r"{(\w+)}", route.path):
            for text in IDS:
                yield route.path.format(**{**GOOD, name: text})


def test_no_id_and_no_parameter_breaks_a_page(browsers: dict[str, Browser]) -> None:
    operator = browsers["operators/olive"]
    found = {path: status_of(operator, path) for path in addresses()}
    for principal, paths in PAGES.items():
        for path in {each.partition("?")[0] for each in paths}:
            for name in ("after", *(more for end, names in PARAMETERS.items() if path.endswith(end) for more in names)):
                for text in (*IDS[3:10], "1e3", "99999999999999", *TOKENS):
                    also = "&tempering=TEMPERING_SQRT" if name != "tempering" and path.endswith("/preview") else ""
                    asked = f"{path}?{name}={text}{also}"
                    found[f"{principal} {asked}"] = status_of(browsers[principal], asked)
    assert {path: status for path, status in found.items() if status >= 500} == {}


_FORM: Final = re.compile(r'<form method="post"([^>]*)>(.*?)</form>', re.DOTALL)
_FIELD: Final = re.compile(r'<(?:input|select|textarea|button)[^>]* name="([^"]+)"(?:[^>]* value="([^"]*)")?')


def forms_of(browser: Browser, paths: tuple[str, ...]) -> dict[Any, tuple[str, bool, dict[str, str]]]:
    """Each kind of form on these pages: where it goes, whether as one with a file, and what it has."""
    found = {}
    for path in paths:
        for about, inner in _FORM.findall(browser.open(path).html):
            to = re.search(r'action="([^"]*)"', about)
            action = to[1] if to else path.partition("?")[0]
            fields = {name: unescape(value) or "1" for name, value in reversed(_FIELD.findall(inner))}
            kind = (action, fields.get("act"), *sorted(fields))
            found[kind] = action, "multipart" in about, fields
    return found


def spoilt(fields: dict[str, str]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """What a form has with one field otherwise, and which."""
    for name in fields.keys() - {"token"}:
        others = [each for each in fields.items() if each[0] != name]
        yield f"no {name}", others
        yield f"two {name}", [*fields.items(), (name, "2")]
        for text in SPOILT:
            yield f"{name}={text!r}", [*others, (name, text)]
    yield "a long one", [*fields.items(), ("more", "x" * 10**5)]


def answer_of(browser: Browser, action: str, sent: list[tuple[str, str]], *, is_multipart: bool) -> tuple[int, str]:
    """The status and what it says is wrong."""
    body: dict[str, Any] = {"files": [(name, (None, text)) for name, text in sent]} if is_multipart else {"data": sent}
    answer = browser.http.post(f"http://{browser.address}{action}", timeout=60, allow_redirects=False, **body)
    said = re.search(r'role="alert"><p>(.*?)</p>|<h1>.*?</h1><p>(.*?)</p>', answer.text, re.DOTALL)
    return answer.status_code, unescape(next(filter(None, said.groups()), "")) if said else answer.text


def test_a_form_without_a_decision_or_with_two_decides_nothing(browsers: dict[str, Browser]) -> None:
    operator, path = browsers["operators/olive"], f"/pools/{POOL}/rounds/4"
    operator.open(path)
    fields = [("token", operator.token), ("reason", "too much")]
    lacking = answer_of(operator, path, fields, is_multipart=False)
    assert lacking == (400, "The form: must be one of approve, reject")
    twice = answer_of(operator, path, [*fields, ("decision", "approve"), ("decision", "reject")], is_multipart=False)
    assert twice == (400, "The form: is sent more than once\n")


@pytest.mark.parametrize("principal", PAGES)
def test_no_form_breaks_a_page_and_what_is_refused_is_named(browsers: dict[str, Browser], principal: str) -> None:
    assert badly_refused(browsers[principal], principal, CONTRACT) == []


@pytest.mark.parametrize("principal", PAGES)
def test_what_is_refused_is_said_in_german_to_who_reads_it(german_browsers: dict[str, Browser], principal: str) -> None:
    assert badly_refused(german_browsers[principal], principal, ENGLISH) == []


def badly_refused(browser: Browser, principal: str, never_said: re.Pattern[str]) -> list[tuple[object, ...]]:
    """What is wrong about what a principal's pages say to forms with one field that nobody would send."""
    wrong: list[tuple[object, ...]] = []
    forms = forms_of(browser, tuple(path for path in PAGES[principal] if "/statement" not in path))
    assert len(forms) > 2
    for action, is_multipart, fields in forms.values():
        for how, sent in spoilt(fields) if action not in ("/sign-out", "/language") else ():
            status, said = answer_of(browser, action, sent, is_multipart=is_multipart)
            is_bad = not NAMED.match(said) or never_said.search(AS_SENT.sub("", said))
            if status >= 500 or (status >= 400 and is_bad):
                wrong.append((action, fields.get("act"), how, status, said[:200]))
    return wrong
