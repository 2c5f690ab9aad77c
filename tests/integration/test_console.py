"""The console: signing in and out, who sees what, forms from elsewhere, and what a page may not contain."""

from __future__ import annotations

import asyncio
import re
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from hashlib import sha256
from html import unescape
from itertools import pairwise
from typing import Final

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from ledger.acts.controls import Controls
from ledger.store.desk.tables import session
from moiety import Collective, MoietyError, Policy, Pool
from moiety.v1.registry_pb2 import COMMONS_RULE_FUND
from services.access.sessions import Sessions
from services.api.contract import Services
from services.console.app import Console
from services.console.assets import VERIFIER
from services.console.documents import statement_pdf
from services.console.texts import tongue_of
from services.console.views import inbox, rounds
from services.parts import Parts
from tests.support.browsing import Browser, signed_in
from tests.support.deployment import Deployment, SteppedClock, as_owner
from tests.support.fsck_scene import sign
from tests.support.http import Answered, ask, call
from tests.support.scene import POOL, Scene, event, open_scene

pytestmark = pytest.mark.surface

HOSTILE: Final = "<script>alert('x')</script>\"'&{{7*7}}"
REVIEWED: Final = Policy(fee_ppm=50_000, commons_ppm=100_000, review_seconds=3 * 24 * 3600)


@pytest.fixture
def scene(deployment: Deployment) -> Scene:
    """A pool with a round in review, of which the Irish get most."""
    found = open_scene(deployment, policy=REVIEWED)
    found.submit([event(0), event(1, shares={"breton": 300_000_000})], "b1")
    found.pay_in(100_000, "r1")
    found.operator.calculate_round(POOL, request_id="c1")
    return found


def browser_of(scene: Scene, principal: str) -> Browser:
    return signed_in(scene.deployment, principal)


def paths_of(role: str) -> Iterator[str]:
    yield from ("/pools", f"/pools/{POOL}", f"/pools/{POOL}/terms", f"/pools/{POOL}/transfers", f"/pools/{POOL}/rounds")
    yield from (f"/pools/{POOL}/rounds/1", f"/pools/{POOL}/log/0", "/registry/log/0")
    if role != "platforms":
        yield f"/pools/{POOL}/rounds/1/statement"
    if role != "collectives":
        yield f"/pools/{POOL}/usage"
    if role in ("operators", "auditors"):
        yield from ("/bank", f"/pools/{POOL}/money")
        pages = ("log", "log/report", "proposals", "proposals?all=1", "preview")
        yield from (f"/pools/{POOL}/{page}" for page in pages)
        yield from (f"/pools/{POOL}/rounds/1/changes", f"/pools/{POOL}/rounds/1/statement?collective=irish")
        yield from ("/registry", "/registry/platforms", "/registry/proposals", "/registry/log", "/people")
        yield "/registry/collectives/irish"
    yield "/webhooks"
    if role == "operators":
        yield "/inbox"


_TERMS: Final = re.compile(r'<dl class="terms">.*?</dl>', re.DOTALL)
_ROW_OF_LOG: Final = re.compile(r"<tr>(?:(?!</tr>).)*/log/(?:(?!</tr>).)*</tr>", re.DOTALL)
_FIGURE: Final = re.compile(r"<(?:td|dd)\b[^>]*>(?:(?!<a|</t?dd?>).)*?\d\.\d\d(?:(?!<a).)*?</(?:td|dd)>", re.DOTALL)


_WITHOUT_ENTRIES: Final = ("/preview", "/inbox")
"""What a round would be has no entry, and what waits leads to its page."""


def unlinked(html: str) -> list[str]:
    """Amounts that lead nowhere. Terms have their entry beside them, and a row may have it in another column."""
    return _FIGURE.findall(_ROW_OF_LOG.sub("", _TERMS.sub("", html)))


@pytest.mark.parametrize("principal", ["operators/olive", "auditors/ada", "collectives/irish", "platforms/tunesmith"])
def test_every_page_opens_for_its_readers(scene: Scene, principal: str) -> None:
    browser = browser_of(scene, principal)
    for path in paths_of(principal.partition("/")[0]):
        shown = browser.open(path)
        assert (shown.status, path) == (200, path), shown.text
        assert len(shown.html.encode()) < 100_000
        assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son[a-z]+=|javascript:", shown.html), path
        policy = shown.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert shown.headers["cache-control"] == "no-store"
        if not path.endswith(_WITHOUT_ENTRIES):
            assert unlinked(shown.html) == [], path


def test_a_collective_sees_what_it_gets_and_nothing_of_others(scene: Scene) -> None:
    browser = browser_of(scene, "collectives/irish")
    assert "€" in browser.open(f"/pools/{POOL}").text
    shown = browser.open(f"/pools/{POOL}/rounds/1/statement?collective=breton").text
    assert "irish" in shown
    assert "breton" not in shown
    assert browser.open(f"/pools/{POOL}/transfers?account=collective/breton").status == 403
    shown = browser.open(f"/pools/{POOL}/log/0").text
    assert "Proof that it is in the log" in shown
    assert "What it says" not in shown


def test_a_collective_keeps_the_file_that_verifies_its_statement(scene: Scene) -> None:
    path = f"/pools/{POOL}/rounds/1/statement"
    browser = browser_of(scene, "collectives/irish")
    assert "To verify and keep" not in browser.open(path).text
    sign(scene.deployment)
    assert "To verify and keep" in browser.open(path).text
    kept = browser.http.get(f"http://{browser.address}{path}.json?collective=breton", timeout=60)
    assert kept.content == scene.deployment.client("collectives/irish").get_statement_file(POOL, 1)
    assert "attachment" in kept.headers["content-disposition"]
    reader = browser_of(scene, "auditors/ada")
    assert reader.open(f"{path}.json").status == 404
    assert reader.open(f"{path}.json?collective=irish").html.encode() == kept.content
    assert browser_of(scene, "platforms/tunesmith").open(f"{path}.json").status == 404


def test_a_collective_objects_once_and_its_words_stay(scene: Scene) -> None:
    browser = browser_of(scene, "collectives/irish")
    browser.open(f"/pools/{POOL}/rounds/1")
    shown = browser.send(f"/pools/{POOL}/rounds/1/object", reason=f"Too little {HOSTILE}")
    assert "Your objection is on the log" in shown.text
    (objection,) = scene.operator.list_objections(POOL, 1)
    assert objection.reason == f"Too little {HOSTILE}"
    assert "<script>alert" not in shown.html
    assert browser.send(f"/pools/{POOL}/rounds/1/object", reason="Another").status == 409
    assert "In objection" in browser.open(f"/pools/{POOL}").text


def test_paragraphs_are_logged_on_one_line(scene: Scene) -> None:
    browser = browser_of(scene, "collectives/irish")
    browser.open(f"/pools/{POOL}/rounds/1")
    browser.send(f"/pools/{POOL}/rounds/1/object", reason="We count 412 uses. \r\n\r\nThis says none.\r\n")
    (objection,) = scene.operator.list_objections(POOL, 1)
    assert objection.reason == "We count 412 uses. This says none."


def test_what_is_refused_stays_in_the_form_that_was_sent_and_in_no_other(scene: Scene) -> None:
    irish = browser_of(scene, "collectives/irish")
    irish.open(f"/pools/{POOL}/rounds/1")
    refused = irish.send(f"/pools/{POOL}/rounds/1/object", reason=f"{HOSTILE}\u202e")
    assert (refused.status, refused.alert) == (
        409, "Reason: must not contain characters that break lines, or reorder or hide others",
    )  # fmt: skip
    assert areas_of(refused.html) == [f"{HOSTILE}\u202e"]
    assert irish.send(f"/pools/{POOL}/rounds/1/object", reason=HOSTILE).status == 200
    olive = browser_of(scene, "operators/olive")
    olive.open(f"/pools/{POOL}/rounds/1")
    refused = olive.send(f"/pools/{POOL}/rounds/1/answer", collective="irish", answer="dismiss", reason="x" * 1001)
    assert areas_of(refused.html) == ["x" * 1001, ""]
    refused = olive.send(f"/pools/{POOL}/rounds/1", decision="reject", reason="y\0")
    assert areas_of(refused.html) == ["", "y\0"]


def test_no_page_leaves_out_what_waits_without_saying_so(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    for collective in ("breton", "irish", "scottish"):
        scene.deployment.client(f"collectives/{collective}").object_to_round(POOL, 1, f"of {collective}")
    monkeypatch.setattr(rounds, "PAGE", 2)
    olive = browser_of(scene, "operators/olive")
    first = olive.open(f"/pools/{POOL}/rounds/1")
    assert re.findall("of (breton|irish|scottish)<", first.html) == ["breton", "irish"]
    (following,) = re.findall(r'<a href="(\?after=[^"]+)" rel="next">', first.html)
    assert "of scottish" in olive.open(f"/pools/{POOL}/rounds/1{unescape(following)}").text
    (answering,) = re.findall(r'action="([^"]+/answer[^"]*)"', olive.page.html)
    refused = olive.send(unescape(answering), collective="scottish", answer="dismiss", reason="\0")
    assert "of scottish" in refused.text
    assert "looked through" not in olive.open("/inbox").text
    monkeypatch.setattr(inbox, "POOLS_MOST", 1)
    assert "Only the first 1 pools were looked through" in olive.open("/inbox").text


def test_whom_a_round_says_nothing_of_is_told_so_and_offered_nothing(scene: Scene) -> None:
    scene.operator.create_collective("welsh", Collective(display_name="Welsh", members=3))
    welsh = browser_of(scene, "collectives/welsh")
    shown = welsh.open(f"/pools/{POOL}/rounds/1")
    assert "This round has no line of yours" in shown.text
    for path in (f"/pools/{POOL}", f"/pools/{POOL}/rounds", f"/pools/{POOL}/rounds/1"):
        shown = welsh.open(path)
        assert shown.status == 200
        assert "rounds/1/statement" not in shown.html
        assert "/object" not in shown.html
        assert "You may object" not in shown.text


def areas_of(html: str) -> list[str]:
    """What the large fields of a page have in them."""
    return [unescape(each) for each in re.findall(r"<textarea[^>]*>(.*?)</textarea>", html, re.DOTALL)]


def test_a_form_that_is_not_in_utf_8_is_refused(scene: Scene) -> None:
    browser = browser_of(scene, "collectives/irish")
    token = re.search(r'name="token" value="(\w+)"', browser.open(f"/pools/{POOL}/rounds/1").html)
    assert token
    path = f"http://{browser.address}/pools/{POOL}/rounds/1/object"
    answer = browser.http.post(path, {"token": token[1], "reason": b"Zu wenig f\xfcr uns"}, timeout=60)
    assert (answer.status_code, answer.text) == (400, "The form: must be fields in UTF-8, as pages send them\n")


def test_a_stranger_is_asked_to_sign_in_and_then_led_on(scene: Scene) -> None:
    browser = Browser(scene.deployment.running.http_address)
    shown = browser.open(f"/pools/{POOL}")
    assert shown.url.endswith(f"/sign-in?next=/pools/{POOL}")
    key = scene.deployment.key("auditors/ada")
    assert browser.send("/sign-in", key=key, next=f"/pools/{POOL}").url.endswith(f"/pools/{POOL}")


def test_signing_in_never_leads_elsewhere(scene: Scene) -> None:
    address, key = scene.deployment.running.http_address, scene.deployment.key("auditors/ada")
    for elsewhere in ("https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)"):
        browser = Browser(address)
        browser.open("/sign-in")
        assert browser.send("/sign-in", key=key, next=elsewhere).url == f"http://{address}/pools", elsewhere


def test_a_wrong_key_signs_nobody_in(scene: Scene) -> None:
    browser = Browser(scene.deployment.running.http_address)
    browser.open("/sign-in")
    assert browser.send("/sign-in", key=f"moiety_{'0' * 16}_{'0' * 43}").status == 403
    assert "moiety_session" not in browser.http.cookies


def test_a_cookie_is_no_key_and_a_key_is_no_cookie(scene: Scene) -> None:
    browser = browser_of(scene, "operators/olive")
    token = browser.session
    address, key = browser.address, scene.deployment.key("operators/olive")
    called = ask(address, "/moiety.v1.RegistryService/ListPools", b"{}", content_type="application/json",
                 cookie=f"moiety_session={token}")  # fmt: skip
    assert called.status == 401
    assert call(address, "RegistryService/ListPools", token).status == 401
    assert ask(address, "/pools", key=key).status == 303
    assert ask(address, "/pools", cookie=f"moiety_session={key}").status == 303


def test_the_cookie_is_closed_to_scripts_and_to_other_sites(scene: Scene) -> None:
    browser = Browser(scene.deployment.running.http_address)
    browser.open("/sign-in")
    key = scene.deployment.key("auditors/ada")
    form = {"token": re.findall(r'name="token" value="(\w+)"', browser.page.html)[0], "key": key}
    answer = browser.http.post(f"http://{browser.address}/sign-in", form, allow_redirects=False, timeout=60)
    (cookie,) = (each for each in answer.headers["set-cookie"].split(", ") if each.startswith("moiety_session="))
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie


def test_behind_an_encrypting_proxy_no_cookie_goes_in_the_clear(
    scene: Scene, deploy: Callable[..., Deployment]
) -> None:
    browser = Browser(deploy(public_url="https://moiety.example").running.http_address)
    url = f"http://{browser.address}/sign-in"
    shown = browser.http.get(url, timeout=60)
    visitor = shown.headers["set-cookie"]
    assert "; Secure" in visitor
    token = re.findall(r'name="token" value="(\w+)"', shown.text)[0]
    form = {"token": token, "key": scene.deployment.key("auditors/ada")}
    sent = {"cookie": visitor.partition(";")[0], "origin": "https://moiety.example"}
    answer = browser.http.post(url, form, headers=sent, allow_redirects=False, timeout=60)
    assert answer.status_code == 303
    assert "moiety_session=" in answer.headers["set-cookie"]
    assert answer.headers["set-cookie"].count("moiety_") == answer.headers["set-cookie"].count("; Secure")


def test_a_session_ends_with_its_time_its_key_and_by_signing_out(scene: Scene) -> None:
    browser = browser_of(scene, "auditors/ada")
    scene.deployment.clock.advance(hours=11)
    assert browser.open("/pools").url.endswith("/pools")
    scene.deployment.clock.advance(hours=1)
    assert "/sign-in" in browser.open("/pools").url
    browser = browser_of(scene, "auditors/ada")
    for each in scene.operator.list_api_keys():
        if each.principal == "auditors/ada" and not each.HasField("revoke_time"):
            scene.operator.revoke_api_key(each.name.removeprefix("keys/"))
    assert "/sign-in" in browser.open("/pools").url
    browser = browser_of(scene, "auditors/ada")
    token = browser.session
    browser.open("/pools")
    browser.send("/sign-out")
    assert ask(browser.address, "/pools", cookie=f"moiety_session={token}").status == 303


def test_only_the_hash_of_a_session_is_stored(scene: Scene, owner: sa.Engine) -> None:
    token = browser_of(scene, "auditors/ada").session
    with owner.connect() as connection:
        assert token not in str(connection.execute(sa.select(session)).all())


def test_a_link_signs_in_once_and_not_by_being_looked_at(scene: Scene) -> None:
    parts = scene.deployment.running.parts
    key_id = scene.deployment.key("operators/otto").split("_")[1]
    link = Sessions(parts.database, parts.clock).make_link(key_id)
    browser = Browser(scene.deployment.running.http_address)
    for _ in range(2):
        assert "Sign in as otto" in browser.open(f"/sign-in/link/{link}").text
    assert browser.send(f"/sign-in/link/{link}").status == 200
    assert "otto" in browser.page.text
    other = Browser(scene.deployment.running.http_address)
    other.open("/sign-in")
    assert other.send(f"/sign-in/link/{link}").status == 403
    late = Sessions(parts.database, parts.clock).make_link(key_id)
    scene.deployment.clock.advance(hours=1)
    assert other.open(f"/sign-in/link/{late}").status == 403


def test_a_link_that_could_not_be_used_is_not_in_the_log(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    key_id = scene.deployment.key("operators/otto").split("_")[1]
    link = Sessions(scene.deployment.running.parts.database, scene.deployment.clock).make_link(key_id)
    browser = Browser(scene.deployment.running.http_address)

    def fail(*_: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as broken, capture_logs() as logged:
        broken.setattr(Sessions, "owner", fail)
        assert browser.open(f"/sign-in/link/{link}").status == 500
    (failed,) = [each for each in logged if each["event"] == "page failed"]
    assert failed["path"] == "/sign-in/link/{link}"
    assert link not in str(logged)
    assert "Sign in as otto" in browser.open(f"/sign-in/link/{link}").text


def test_forms_from_elsewhere_do_nothing(scene: Scene) -> None:
    browser = browser_of(scene, "collectives/irish")
    path = f"/pools/{POOL}/rounds/1/object"
    browser.open(f"/pools/{POOL}/rounds/1")
    assert browser.send(path, reason="x", token="").status == 403
    browser.open(f"/pools/{POOL}/rounds/1")
    assert browser.send(path, reason="x", headers={"origin": "https://evil.example"}).status == 403
    browser.open(f"/pools/{POOL}/rounds/1")
    assert browser.send(path, reason="x", headers={"sec-fetch-site": "cross-site"}).status == 403
    other = browser_of(scene, "collectives/breton")
    other.open(f"/pools/{POOL}/rounds/1")
    browser.page = other.page
    assert browser.send(path, reason="x").status == 403
    assert list(scene.operator.list_objections(POOL, 1)) == []


def test_hostile_names_are_words_on_every_page(scene: Scene) -> None:
    scene.operator.update_collective("irish", Collective(display_name=HOSTILE, members=10))
    for principal in ("operators/olive", "collectives/irish"):
        browser = browser_of(scene, principal)
        for path in paths_of(principal.partition("/")[0]):
            assert "<script>alert" not in browser.open(path).html
            assert "49" not in re.findall(r"&#39;&amp;(.*?)<", browser.page.html)


NOWHERE: Final = (
    "/nowhere", "/pools/nowhere", f"/pools/{POOL}/rounds/999", f"/pools/{POOL}/rounds/x", f"/pools/{POOL}/log/999999",
    f"/pools/{POOL}/log/-1", "/static/x/y",
)  # fmt: skip


def test_what_is_not_there_is_said_so(scene: Scene) -> None:
    browser = browser_of(scene, "auditors/ada")
    assert {path: browser.open(path).status for path in NOWHERE} == dict.fromkeys(NOWHERE, 404)


def test_what_is_no_token_unsubscribes_nobody_and_breaks_nothing(scene: Scene) -> None:
    """Postgres holds no NUL in a text: a stranger's address would be an error of ours, with a traceback in the log."""
    for token in ("%00", "%ff", "x" * 200, "no-such-token"):
        for body in (None, b"List-Unsubscribe=One-Click"):
            assert ask(scene.deployment.running.http_address, f"/unsubscribe/{token}", body).status == 404


def test_of_a_strangers_form_little_is_kept(scene: Scene) -> None:
    """Anybody may send as many forms as there are connections, and 4 MiB of each would be all memory."""
    parts = scene.deployment.running.parts
    assert memory_of_a_form(parts, "/bank/main", 4 * 2**20) < 2**20
    address = scene.deployment.running.http_address
    assert ask(address, "/sign-in", b"key=" + b"x" * 20_000).status == 400
    assert ask(address, "/bank/main", b"key=" + b"x" * 20_000).status == 403


def memory_of_a_form(parts: Parts, path: str, size: int) -> int:
    """By how much the memory grows while a stranger's form comes in, in pieces of 16 KiB; it breaks off at its end."""
    piece, left, taken = 16 * 1024, size // (16 * 1024), []

    async def receive() -> dict[str, object]:
        taken.append(tracemalloc.get_traced_memory()[0])
        if len(taken) > left:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": bytes(piece), "more_body": True}

    async def send(_: object) -> None: ...

    console = Console(parts, Services(parts))
    scope = {
        "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "scheme": "http", "headers": [(b"host", b"x"), (b"content-type", b"application/x-www-form-urlencoded")],
        "server": ("x", 80), "client": ("x", 1), "http_version": "1.1",
    }  # fmt: skip
    tracemalloc.start()
    try:
        asyncio.run(console(scope, receive, send))
    finally:
        tracemalloc.stop()
        console.close()
    assert len(taken) > left
    return taken[-1] - taken[0]


def test_strangers_leave_threads_to_whoever_is_signed_in(deploy: Callable[..., Deployment], owner: sa.Engine) -> None:
    """Each of their pages waits for the database, which somebody holds up."""
    reader = signed_in(deploy(threads=4), "auditors/ada")

    def stranger(_: int) -> int:
        return ask(reader.address, f"/sign-in/link/{'A' * 43}").status

    with ThreadPoolExecutor(64) as threads, owner.connect() as holding:
        holding.exec_driver_sql("LOCK TABLE desk.sign_in_link IN ACCESS EXCLUSIVE MODE")
        strangers = [threads.submit(stranger, number) for number in range(64)]
        refused = (each for each in as_completed(strangers) if each.result() == 503)
        for _ in range(8):
            next(refused)
        assert reader.open("/pools").status == 200
        holding.rollback()


def test_a_body_without_end_is_refused(scene: Scene) -> None:
    browser = browser_of(scene, "collectives/irish")
    browser.open(f"/pools/{POOL}/rounds/1")
    assert browser.send(f"/pools/{POOL}/rounds/1/object", reason="x" * 200_000).status == 400


def two_people(scene: Scene) -> tuple[Browser, Browser]:
    return browser_of(scene, "operators/olive"), browser_of(scene, "operators/otto")


def test_an_operators_month_takes_two_people(deploy: Callable[..., Deployment]) -> None:
    scene = open_scene(deploy(), policy=REVIEWED)
    scene.submit([event(0), event(1, shares={"breton": 300_000_000})], "b1")
    scene.pay_in(100_000, "r1")
    olive, otto = two_people(scene)
    olive.open(f"/pools/{POOL}/rounds")
    assert "In review" in olive.send(f"/pools/{POOL}/rounds", once="1").text
    irish = browser_of(scene, "collectives/irish")
    irish.open(f"/pools/{POOL}/rounds/1")
    irish.send(f"/pools/{POOL}/rounds/1/object", reason="Too little")
    inbox = otto.open("/inbox").text
    assert inbox.index("Round 1") < inbox.index("Objection irish")
    otto.open(f"/pools/{POOL}/rounds/1")
    assert (
        "Set aside"
        in otto.send(
            f"/pools/{POOL}/rounds/1/answer", collective="irish", answer="set-aside", reason="We look into it."
        ).text
    )
    assert otto.send(f"/pools/{POOL}/rounds/1", decision="approve").status == 409
    scene.after_review(1)
    olive.open("/sign-in")
    olive, otto = two_people(scene)
    otto.open(f"/pools/{POOL}/rounds/1")
    assert "Posted" in otto.send(f"/pools/{POOL}/rounds/1", decision="approve").text
    assert "matches" in otto.send(f"/pools/{POOL}/rounds/1/replay").text
    assert scene.balances()["held/irish"] == scene.allocations(1)["irish"]


def test_what_needs_two_people_waits_for_the_second(deploy: Callable[..., Deployment]) -> None:
    deployment = deploy(controls=Controls.of_two())
    olive, otto = (signed_in(deployment, f"operators/{name}") for name in ("olive", "otto"))
    olive.open("/registry")
    fields = {"display_name": HOSTILE, "equity": "1.5", "status": "ACTIVE", "domains": ""}
    shown = olive.send("/registry", headers=None, id="irish", members="10", **fields)
    assert "It waits for another operator" in shown.text
    path = "/" + shown.url.partition("//")[2].partition("/")[2].partition("?")[0]
    assert "<script>alert" not in shown.html
    assert olive.send(path, decision="approve").status == 409
    assert "Proposal collective" in otto.open("/inbox").text
    assert f"Name {HOSTILE} Members 10 Equity factor 1.5 Status ACTIVE" in otto.open(path).text
    assert "Approved" in otto.send(path, decision="approve").text
    assert "What it would change" not in otto.open(path).text  # it has happened
    olive.open("/registry/collectives/irish")
    shown = olive.send("/registry/collectives/irish", headers=None, members="12", **fields)
    assert "Field Now Proposed Members 10 12 What it would log" in shown.text
    assert "1.5" in otto.open("/registry").text
    assert otto.open("/registry/collectives/irish").status == 200


def test_a_log_that_lost_what_was_seen_is_said_so(scene: Scene) -> None:
    browser = browser_of(scene, "auditors/ada")
    assert "saw last" not in browser.open(f"/pools/{POOL}/log").text
    scene.pay_in(5, "r2")
    assert "are still there, unchanged. One entry is new." in browser.open(f"/pools/{POOL}/log").text
    size = scene.operator.get_log_head(POOL).size
    address = f"/pools/{POOL}/log"
    for seen in (f"{size - 1}.{'0' * 64}", f"{size + 5}.{'0' * 64}", f"{size}.{'0' * 64}"):
        cookies = f"moiety_session={browser.session}; moiety_seen_pools_{POOL}={seen}"
        assert "does not have the" in ask(browser.address, address, cookie=cookies).text


def test_a_report_says_who_signed_that_the_log_only_grew_and_that_rounds_come_out_the_same(
    deployment: Deployment, database_url: str, clock: SteppedClock
) -> None:
    scene = open_scene(deployment)
    for number in (1, 2):
        scene.submit([event(number)], f"b{number}")
        scene.pay_in(1_000 * number, f"r{number}")
        scene.operator.calculate_round(POOL, request_id=f"c{number}")
        clock.advance(hours=1)
    sign(scene.deployment)
    scene.submit([event(3)], "b3")
    path = f"/pools/{POOL}/log/report"
    browser = browser_of(scene, "auditors/ada")
    assert "Verify now" in browser.open(path).text
    report = browser.send(path).text
    assert "all holds" in report
    sizes = [each.size for each in scene.operator.list_checkpoints(POOL)]
    end = scene.operator.get_log_head(POOL).size
    for old, size in pairwise([*sizes, end]):
        assert f"They only grew, from {old} entries to {size} holds" in report
    assert f"The first {sizes[0]} entries were signed holds" in report
    assert "Round 2, recomputed from the log and the bodies holds" in report
    with as_owner(database_url) as connection:
        connection.exec_driver_sql("UPDATE checkpoint SET note = overlay(note placing 'x'::bytea from 1)")
    assert "a check fails" in browser.send(path).text
    assert browser_of(scene, "collectives/irish").open(path).status == 404


def test_another_policy_is_computed_and_nothing_of_it_kept(scene: Scene) -> None:
    browser = browser_of(scene, "auditors/ada")
    form = "fee_ppm=10&commons_ppm=0&tempering=TEMPERING_EQUAL&unattributed=UNATTRIBUTED_RULE_PRO_RATA"
    shown = browser.open(f"/pools/{POOL}/preview?number=1&{form}&commons_rule=COMMONS_RULE_EQUAL&cap_minor=")
    assert "100.00" in shown.text
    assert "+50.00" in shown.text
    assert scene.operator.get_pool(POOL).policy.version == 1
    other = f"{form}&commons_rule=COMMONS_RULE_EQUAL&period=PERIODS_QUARTER&period_from=2026-Q1&public=yes"
    quarters = browser.open(f"/pools/{POOL}/preview?{other}").html
    assert 'value="2026-Q1"' in quarters
    assert re.search('<option value="PERIODS_QUARTER" selected>.*<option value="yes" selected>', quarters, re.DOTALL)
    wrong = browser.open(f"/pools/{POOL}/preview?number=1&{form}&commons_rule=COMMONS_RULE_EQUAL&floor_minor=0.001")
    assert wrong.status == 409


@pytest.mark.parametrize("principal", ["collectives/irish", "platforms/tunesmith"])
def test_pages_of_readers_are_closed_to_others(scene: Scene, principal: str) -> None:
    browser = browser_of(scene, principal)
    for path in ("/inbox", "/registry", "/people", f"/pools/{POOL}/log", f"/pools/{POOL}/rounds/1/changes"):
        assert browser.open(path).status == 404
    browser.open("/pools")
    assert browser.send("/people", act="register", name="operators/mallory").status == 404
    assert browser.send(f"/pools/{POOL}/rounds/1", decision="approve").status == 404


def test_an_auditor_reads_and_does_nothing(scene: Scene) -> None:
    browser = browser_of(scene, "auditors/ada")
    browser.open("/people")
    assert "This is not for you" in browser.send("/people", act="register", name="operators/mallory").alert
    fields = {"id": "x", "display_name": "x", "members": "1", "equity": "1", "status": "ACTIVE", "domains": ""}
    assert "This is not for you" in browser.send("/registry", headers=None, **fields).alert
    assert "Approve" not in browser.open(f"/pools/{POOL}/rounds/1").text


def test_the_pages_speak_german_and_write_numbers_so(scene: Scene) -> None:
    browser = signed_in(scene.deployment, "collectives/irish", "de-DE,de;q=0.9,en;q=0.5")
    shown = browser.open(f"/pools/{POOL}/rounds/1")
    assert '<html lang="de">' in shown.html
    assert "Runde 1" in shown.text
    assert "1.000,00" in shown.text
    assert "01.01.2026" in shown.text
    browser.send("/language", language="en", next="/pools")
    assert '<html lang="en">' in browser.page.html


def test_a_statement_is_given_as_csv_and_as_pdf(scene: Scene) -> None:
    browser = browser_of(scene, "collectives/irish")
    address, cookie = browser.address, f"moiety_session={browser.session}"
    path = f"/pools/{POOL}/rounds/1/statement"
    given = ask(address, f"{path}.csv?collective=breton", cookie=cookie)
    assert given.body == scene.deployment.client("collectives/irish").get_statement(POOL, 1)
    assert given.headers["content-disposition"] == f'attachment; filename="{POOL}-1-irish.csv"'
    first, again = (ask(address, f"{path}.pdf", cookie=cookie) for _ in range(2))
    assert first.headers["content-type"] == "application/pdf"
    assert first.body.startswith(b"%PDF-")
    assert first.body == again.body
    reader = browser_of(scene, "auditors/ada")
    assert reader.open(f"{path}.pdf").status == 404
    assert ask(address, f"{path}.csv", cookie=f"moiety_session={reader.session}").body.count(b"\n") == 4
    assert browser_of(scene, "platforms/tunesmith").open(f"{path}.csv").status == 404


def test_a_pool_with_any_name_has_its_pdf(scene: Scene) -> None:
    found = scene.operator.get_round(POOL, 1)
    line = dict.fromkeys(
        ("attributed_minor", "commons_minor", "amount_minor", "weight_ai_only", "weight_human_ai", "deficit_before",
         "weight", "deficit_after", "events"), "9" * 30)  # fmt: skip
    weights = [{"method": "m" * 63, "method_version": "1", "mode": "1", "weight": "9" * 40}] * 60
    for language in ("en", "de"):
        pdf = statement_pdf(tongue_of(language, ""), f"民謡 {HOSTILE} \N{EM DASH}", found, "x" * 63, line, weights)
        assert pdf.startswith(b"%PDF-")


def test_statements_are_verified_without_an_account(scene: Scene) -> None:
    stranger = Browser(scene.deployment.running.http_address)
    shown = stranger.open("/verify")
    assert shown.status == 200
    program = re.findall(r'href="(/static/[0-9a-f]{16}/verify\.mjs)"', shown.html)[0]
    served = ask(stranger.address, program).body
    assert served == VERIFIER.read_bytes()
    assert sha256(served).hexdigest() in shown.text


def test_a_platform_sees_what_was_refused_and_why(scene: Scene) -> None:
    with pytest.raises(MoietyError):
        scene.submit([event(9, shares={"nobody": 1}), event(10, units=0)], "broken")
    shown = browser_of(scene, "platforms/tunesmith").open(f"/pools/{POOL}/usage").text
    assert "Refused in the last 30 days broken" in re.sub(r"Batch When Times Why ", "", shown)
    german = signed_in(scene.deployment, "platforms/tunesmith", "de").open(f"/pools/{POOL}/usage").text
    assert "In den Worten des Dienstes: " in german
    assert "broken" not in browser_of(scene, "platforms/songbird").open(f"/pools/{POOL}/usage").text


def test_everyone_sees_a_pool_s_sums_where_its_policy_says_so_and_nobody_s(scene: Scene) -> None:
    address = scene.deployment.running.http_address
    assert ask(address, f"/public/{POOL}").status == 404
    sign(scene.deployment)
    scene.approve(1)
    public = Policy()
    public.CopyFrom(REVIEWED)
    public.public = True
    scene.operator.create_policy(POOL, public)
    shown = ask(address, f"/public/{POOL}", accept_language="de")
    assert (shown.status, shown.headers["cache-control"]) == (200, "public, max-age=60")
    assert "set-cookie" not in shown.headers
    assert "accept-language" in shown.headers["vary"]
    assert len(shown.body) < 100_000
    for sum_ in ("1.000,00", "50,00"):  # the pot, and the fee of 5 %
        assert sum_ in shown.text
    named = re.compile(r"\b(irish|breton|scottish|tunesmith|songbird|olive|otto)\b", re.IGNORECASE)
    assert not named.search(shown.text)
    assert "token" not in shown.text
    for each in scene.operator.list_allocations(POOL, 1):
        assert f"{each.amount_minor / 100:.2f}".replace(".", ",") not in shown.text
    browser = browser_of(scene, "operators/olive")
    signed = ask(address, f"/public/{POOL}", accept_language="de", cookie=f"moiety_session={browser.session}")
    assert signed.body == shown.body
    missing = ask(address, "/public/none")
    assert (missing.status, missing.headers["cache-control"]) == (404, "no-store")
    for path in ("/public/registry", "/public/%27", f"/public/{POOL}/rounds"):
        assert ask(address, path).status == 404
    scene.operator.create_policy(POOL, REVIEWED)
    private = ask(address, f"/public/{POOL}")
    assert private.status == 404
    assert unlike(private) == unlike(missing)


def unlike(answer: Answered) -> str:
    """An answer without what differs between any two: the path that was asked for, and the token of the browser."""
    return re.sub(r'name="(token|next)" value="[^"]*"', "", answer.text)


def test_a_round_of_few_shows_no_sums_to_everyone(deploy: Callable[..., Deployment]) -> None:
    scene = open_scene(deploy(), policy=Policy(public=True, commons_ppm=100_000, commons_rule=COMMONS_RULE_FUND))
    scene.submit([event(0), event(1, shares={"breton": 300_000_000})], "b1")
    scene.pay_in(123_456, "r1")
    scene.cut("c1")
    shown = ask(scene.deployment.running.http_address, f"/public/{POOL}")
    assert "too few collectives" in shown.text
    assert "not shown</span>" in shown.text
    for sum_ in ("1,234.56", "123.4"):
        assert sum_ not in shown.text
    scene.operator.create_pool("odd", Pool(display_name=HOSTILE, currency="EUR", policy=Policy(public=True)))
    odd = ask(scene.deployment.running.http_address, "/public/odd")
    assert unescape(odd.text).count(HOSTILE) >= 2
    assert "<script>alert" not in odd.text
