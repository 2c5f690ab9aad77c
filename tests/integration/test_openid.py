"""Sign-in by OpenID Connect at a real provider: who gets in, for how long, and what of it may not be replayed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import requests

from ledger.acts.controls import Controls
from moiety import MoietyError
from moiety.keys import identity_hash, make_key
from moiety.v1.registry_pb2 import KEY_KIND_IDENTITY
from services.access.openid import ATTEMPT_SECONDS, SKEW_SECONDS, Attempt, SignInError
from tests.support.browsing import Browser, signed_in
from tests.support.deployment import Deployment, SteppedClock
from tests.support.openid_provider import CLIENT, openid_provider, sign_in_at

pytestmark = pytest.mark.surface

SUBJECT: Final = "ada@example"
VISITOR: Final = "v" * 43


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    with openid_provider() as address:
        yield address


@pytest.fixture
def openid(clock: SteppedClock, issuer: str, tmp_path: Path) -> dict[str, object]:
    """Settings of a service at which one signs in there."""
    clock.now = datetime.now(UTC)  # the provider's clock is the machine's
    secret = tmp_path / "secret"
    secret.write_text("known to the two\n")
    return {"openid_issuer": issuer, "openid_client_id": CLIENT, "openid_client_secret_file": secret}


@pytest.fixture
def deployment(deploy: Callable[..., Deployment], openid: dict[str, object]) -> Deployment:
    return deploy(**openid)


def bind(deployment: Deployment, issuer: str, principal: str, subject: str = SUBJECT) -> str:
    """Issue a key for an account; its id."""
    key_id = make_key().key_id
    deployment.key(principal)
    line = f"{key_id}:{identity_hash(issuer, subject)}"
    deployment.client().create_api_key(principal, line, kind=KEY_KIND_IDENTITY, issuer=issuer)
    return key_id


def begun(browser: Browser, next_: str = "/") -> str:
    """Begin a sign-in; where the browser is led."""
    url = f"http://{browser.address}/sign-in/openid?{urlencode({'next': next_})}"
    answer = browser.http.get(url, allow_redirects=False, timeout=60)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def returned(browser: Browser, subject: str = SUBJECT, next_: str = "/") -> str:
    """Begin a sign-in and sign in at the provider; the path that leads back."""
    back = urlsplit(sign_in_at(requests.Session(), begun(browser, next_), subject))
    assert back.netloc == browser.address
    return f"{back.path}?{back.query}"


def visitor(deployment: Deployment) -> Browser:
    return Browser(deployment.running.http_address)


def test_an_account_signs_in_once_an_operator_has_issued_its_key(deployment: Deployment, issuer: str) -> None:
    browser = visitor(deployment)
    assert "Sign in at 127.0.0.1" in browser.open("/sign-in").text
    asked = parse_qs(urlsplit(begun(browser)).query)
    assert asked["scope"] == ["openid"]
    assert asked["code_challenge_method"] == ["S256"]
    refused = browser.open(returned(browser))
    assert refused.status == 403
    (line,) = re.findall(r"[0-9a-f]{16}:[0-9a-f]{64}", refused.html)
    assert line.endswith(identity_hash(issuer, SUBJECT))
    deployment.key("auditors/ada")
    operator = signed_in(deployment, "operators/olive")
    operator.open("/people")
    shown = operator.send("/people", act="issue", name="auditors/ada", kind="IDENTITY", hash=line)
    assert "Done" in shown.text
    assert issuer in shown.text
    assert browser.open(returned(browser, next_="/registry")).url.endswith("/registry")
    assert "ada" in browser.page.text
    assert SUBJECT not in str(deployment.client("auditors/ada").list_leaves("registry"))


def test_who_is_let_in_acts_by_the_identitys_key(deployment: Deployment, issuer: str) -> None:
    key_id = bind(deployment, issuer, "operators/olive")
    browser = visitor(deployment)
    browser.open(returned(browser))
    browser.open("/registry")
    fields = {"id": "irish", "display_name": "Irish", "members": "10", "equity": "1", "status": "ACTIVE", "domains": ""}
    browser.send("/registry", headers=None, **fields)
    *_, last = deployment.client("auditors/ada").list_leaves("registry")
    acts = [each for each in deployment.client("auditors/ada").list_leaves("registry") if b'"irish"' in each.entry]
    assert last.index >= acts[-1].index
    assert key_id.encode() in acts[-1].entry


def test_a_session_ends_with_its_identity_and_its_principal(deployment: Deployment, issuer: str) -> None:
    operator = deployment.client()
    key_id = bind(deployment, issuer, "auditors/ada")
    browser = visitor(deployment)
    browser.open(returned(browser))
    assert browser.open("/registry").url.endswith("/registry")
    operator.update_principal("auditors/ada", suspended=True)
    assert "/sign-in" in browser.open("/registry").url
    assert browser.open(returned(browser)).status == 403
    operator.update_principal("auditors/ada")
    assert browser.open(returned(browser)).status == 200
    operator.revoke_api_key(key_id)
    assert "/sign-in" in browser.open("/registry").url
    assert browser.open(returned(browser)).status == 403


def test_an_account_is_one_person_at_a_time(deployment: Deployment, issuer: str) -> None:
    key_id = bind(deployment, issuer, "operators/olive")
    with pytest.raises(MoietyError, match="is that of operators/olive already"):
        bind(deployment, issuer, "operators/otto")
    deployment.client().revoke_api_key(key_id)
    bind(deployment, issuer, "operators/otto")


def test_an_answer_is_good_once_and_in_its_own_browser(deployment: Deployment, issuer: str) -> None:
    bind(deployment, issuer, "auditors/ada")
    browser, other = visitor(deployment), visitor(deployment)
    back = returned(browser)
    other.open("/sign-in")
    assert other.open(back).status == 403
    assert visitor(deployment).open(back).status == 403
    assert browser.open(back).status == 200
    browser.http.cookies.pop("moiety_session")
    assert browser.open(back).status == 403
    assert "moiety_session" not in browser.http.cookies


def test_a_code_of_another_attempt_or_person_is_refused(deployment: Deployment, issuer: str) -> None:
    bind(deployment, issuer, "auditors/ada")
    browser, mallory = visitor(deployment), visitor(deployment)
    own, theirs = returned(browser), returned(mallory, "mallory@example")
    code = parse_qs(urlsplit(theirs).query)["code"][0]
    state = parse_qs(urlsplit(own).query)["state"][0]
    shown = browser.open(f"/sign-in/openid/return?{urlencode({'code': code, 'state': state})}")
    assert shown.status == 403
    assert "could not be signed in" in shown.text


@pytest.mark.parametrize(
    "answer",
    [
        {}, {"code": "x"}, {"error": "access_denied"}, {"error": "<script>alert(1)</script>"}, {"code": ""},
        {"code": "x" * 100_000}, {"code": "x", "iss": "https://evil.example"},
    ],
)  # fmt: skip
def test_what_is_no_answer_signs_nobody_in(deployment: Deployment, answer: dict[str, str]) -> None:
    browser = visitor(deployment)
    state = parse_qs(urlsplit(begun(browser)).query)["state"][0]
    for sent in ({**answer, "state": state}, {**answer, "state": state + "x"}, answer):
        shown = browser.http.get(
            f"http://{browser.address}/sign-in/openid/return?{urlencode(sent)}"[:12_000], timeout=60
        )
        assert shown.status_code == 403
        assert "<script>alert" not in shown.text
        assert "moiety_session" not in browser.http.cookies


@pytest.mark.parametrize("next_", ["https://evil.example", "//evil.example", "/\\evil.example"])
def test_signing_in_never_leads_elsewhere(deployment: Deployment, issuer: str, next_: str) -> None:
    bind(deployment, issuer, "auditors/ada")
    browser = visitor(deployment)
    assert browser.open(returned(browser, next_=next_)).url == f"http://{browser.address}/pools"


def test_a_provider_that_is_away_is_said_so(deploy: Callable[..., Deployment]) -> None:
    browser = visitor(deploy(openid_issuer="http://127.0.0.1:9", openid_client_id=CLIENT))
    assert browser.open("/sign-in").status == 200
    assert browser.open("/sign-in/openid").status == 403
    assert "could not be signed in" in browser.page.text


def test_an_identity_waits_for_the_second_person(
    deploy: Callable[..., Deployment], openid: dict[str, object], issuer: str
) -> None:
    deployment = deploy(**openid, controls=Controls.of_two())
    deployment.key("operators/mallory")
    line = f"{make_key().key_id}:{identity_hash(issuer, SUBJECT)}"
    olive = deployment.client("operators/olive")
    issued = olive.create_api_key("operators/mallory", line, kind=KEY_KIND_IDENTITY, issuer=issuer)
    browser = visitor(deployment)
    assert browser.open(returned(browser)).status == 403
    deployment.client("operators/otto").approve_proposal(issued.proposal)
    assert browser.open(returned(browser)).status == 200


def test_an_attempt_holds_in_its_browser_and_for_its_time() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    attempt = Attempt.begin(VISITOR, "/pools", now)
    # The other server's clock may be a little ahead or back.
    for seconds in (0, -SKEW_SECONDS, ATTEMPT_SECONDS, ATTEMPT_SECONDS + SKEW_SECONDS):
        assert Attempt.of(VISITOR, attempt.state, now + timedelta(seconds=seconds)) == attempt
    late = now + timedelta(seconds=ATTEMPT_SECONDS + SKEW_SECONDS + 1)
    early = now - timedelta(seconds=SKEW_SECONDS + 1)
    forged = Attempt.begin("w" * 43, "/pools", now).state
    head, _, tail = attempt.state.partition(".")
    for visitor_, state, at in (
        (VISITOR, attempt.state, late), (VISITOR, attempt.state, early), (VISITOR, forged, now), ("", forged, now),
        (VISITOR, "", now), (VISITOR, ".", now), (VISITOR, f"{head}A.{tail}", now),
        (VISITOR, f"{head}.{tail[:-1]}", now),
        (VISITOR, "W10." + tail, now), (VISITOR, "\udcff", now),
    ):  # fmt: skip
        with pytest.raises(SignInError):
            Attempt.of(visitor_, state, at)
