"""Every page of the console that shows something stored, and every download, asked for by whoever may read it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from http.client import IncompleteRead
from typing import Final

import sqlalchemy as sa
from grpc import StatusCode

from ledger.store.desk import tables as desk
from services.access.sessions import Sessions
from tests.support.browsing import Browser, signed_in
from tests.support.deployment import Deployment
from tests.support.http import ask
from tests.support.reading import Proposed, Question
from tests.support.scene import POOL

FOLK: Final = f"/pools/{POOL}"
ROUND: Final = f"{FOLK}/rounds/2"

_STATEMENTS: Final = tuple(
    f"{ROUND}/{name}" for name in ("statement", "statement.csv", "statement.pdf", "statement.json", "adjustments.csv")
)
_LOGS: Final = tuple(f"{log}/{page}" for log in (FOLK, "/registry") for page in ("log", "log/12", "log/report"))

PAGES: Final[dict[str, tuple[str, ...]]] = {
    "operators/olive": (
        "/inbox", "/webhooks", "/bank", "/bank/main", "/bank/runs/jan", "/bank/runs/jan/file.xml",
        "/bank/runs/jan/file.csv", "/registry", "/registry/collectives/irish", "/registry/platforms", "/people",
        "/registry/proposals?all=1", *_LOGS, FOLK, f"{FOLK}/terms", f"{FOLK}/transfers", f"{FOLK}/usage",
        f"{FOLK}/money", f"{FOLK}/proposals?all=1", f"{FOLK}/preview?tempering=TEMPERING_SQRT", f"{FOLK}/rounds",
        f"{FOLK}/rounds/4", f"{ROUND}/changes", f"{FOLK}/rounds/3/changes",
        *(f"{path}?collective=irish" for path in _STATEMENTS),
    ),
    "collectives/irish": ("/pools", FOLK, f"{FOLK}/rounds", f"{FOLK}/rounds/3", *_STATEMENTS[:1], "/payments"),
    "platforms/tunesmith": ("/pools", FOLK, f"{FOLK}/money", f"{FOLK}/usage"),
}  # fmt: skip
"""What auditors see, operators see too."""

BY_FORM: Final = (f"{FOLK}/log/report", "/registry/log/report", f"{ROUND}/replay")
"""Pages that read a whole log, or a round, when they are asked to."""

OF_THE_SCENE: Final = {
    "/pools/{pool}/bodies/{digest}", "/pools/{pool}/proposals/{leaf}", "/pools/{pool}/proposals/{leaf}/rounds",
    "/registry/proposals/{leaf}", "/registry/proposals/{leaf}/rounds", "/public/{pool}", "/sign-in/link/{link}",
    "/unsubscribe/{token}",
}  # fmt: skip
"""Whose addresses only the scene knows."""

NOT_HERE: Final = {
    "/", "/sign-in", "/verify",  # read nothing that is stored
    "/sign-in/openid", "/sign-in/openid/return",  # read what a provider says
    "/registry/bodies/{digest}",  # reads as a pool's, of which there are bodies here
}  # fmt: skip

DOWNLOADS: Final = (
    "log/at", "log/checkpoint", "log/tile/0/000.p/3", "log/tile/entries/000.p/3", "log/30-20/files",
    "log/30/journal.csv", "log/30/balances.csv", "bundle", "rounds/2/statement", "rounds/2/weights",
    "rounds/2/registry", "exports/beancount", "exports/hledger", "exports/parquet",
)  # fmt: skip

_SIGNING_IN: Final = frozenset({"api_key", "session"})
"""What every page of somebody reads first: one page of each role is enough."""

_STATUS: Final = {
    303: StatusCode.UNAUTHENTICATED, 400: StatusCode.INVALID_ARGUMENT, 403: StatusCode.PERMISSION_DENIED,
    404: StatusCode.NOT_FOUND, 409: StatusCode.FAILED_PRECONDITION,
}  # fmt: skip
_OF_A_VISIT: Final = re.compile(r'value="(?:console-)?[0-9a-f]{16,64}"')
_NOBODY_EXPECTED: Final = "Something went wrong here."


def pages(deployment: Deployment, proposed: Proposed) -> Iterator[Question]:
    """Each page."""
    digest = deployment.client("operators/olive").get_round(POOL, 2).statement_sha256.hex()
    named = [f"/{each}" for each in (proposed.account, proposed.contact, proposed.terms, proposed.members)]
    named += [f"/{proposed.terms}/rounds", f"/{proposed.members}/rounds", f"{FOLK}/bodies/{digest}"]
    for principal, paths in PAGES.items():
        browser = signed_in(deployment, principal)
        for number, path in enumerate(paths):
            yield Question(f"{principal} {path}", _opening(browser, path), _SIGNING_IN if number else frozenset())
        if principal == "operators/olive":
            for path in named:
                yield Question(path, _opening(browser, path), _SIGNING_IN)
            for path in BY_FORM:
                yield Question(f"POST {path}", _opening(browser, path, token=browser.token), _SIGNING_IN)
    parts, stranger = deployment.running.parts, Browser(deployment.running.http_address)
    link = Sessions(parts.database, parts.clock).make_link(deployment.key("operators/otto").split("_")[1])
    with parts.database.transaction() as connection:
        token = connection.execute(sa.select(desk.contact.c.token).limit(1)).scalar_one()
    for path in (f"/public/{POOL}", f"/sign-in/link/{link}", f"/unsubscribe/{token}"):
        yield Question(path, _opening(stranger, path))


def _opening(browser: Browser, path: str, **form: str) -> Callable[[], bytes | StatusCode]:
    method, url = "POST" if form else "GET", f"http://{browser.address}{path}"

    def opened() -> bytes | StatusCode:
        answer = browser.http.request(method, url, data=form, timeout=60, allow_redirects=False)
        if answer.status_code == 200:
            return _OF_A_VISIT.sub("", answer.text).encode()
        if answer.status_code == 500:
            return StatusCode.INTERNAL if _NOBODY_EXPECTED in answer.text else StatusCode.DATA_LOSS
        return _STATUS[answer.status_code]

    return opened


def downloads(deployment: Deployment) -> Iterator[Question]:
    """Each download, by an auditor."""
    address, key = deployment.running.http_address, deployment.key("auditors/ada")
    paths = [f"/v1{FOLK}/{path}" for path in DOWNLOADS] + ["/v1/registry/log/at", "/v1/registry/bundle"]
    for path in paths:
        yield Question(path, _loading(address, path, key), frozenset() if path == paths[0] else _SIGNING_IN)


def _loading(address: str, path: str, key: str) -> Callable[[], bytes | StatusCode]:
    def loaded() -> bytes | StatusCode:
        try:
            answer = ask(address, path, key=key)
        except IncompleteRead:
            return StatusCode.DATA_LOSS  # that is how its reader hears that it broke off
        return answer.body if answer.status == 200 else StatusCode[answer.json()["code"].upper()]

    return loaded
