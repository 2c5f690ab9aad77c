"""The console in a real browser: the months of operators and collectives, a verified statement and a tampered one, and
each view by axe and at three widths.

With MOIETY_SCREENSHOTS=1 the pictures in docs/console are taken anew.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from demo.bank import Bank
from ledger.acts.controls import Controls
from ledger.acts.entries import ControlsContent
from ledger.log.note_keys import VerifierKey
from moiety import Collective, Policy
from tests.support.deployment import Deployment
from tests.support.exports import KEY
from tests.support.paying import OURS, owe, payee_key
from tests.support.scene import POOL, Scene, event, open_scene
from tests.support.screen import HEIGHT, WIDTHS, chromium, person, require_chromium

ROOT: Final = Path(__file__).parents[2]
PICTURES: Final = ROOT / "docs" / "console"
HOSTILE: Final = "<img src=x onerror=alert(1)>\u200f" + "wide" * 40
REVIEWED: Final = Policy(fee_ppm=50_000, commons_ppm=100_000, review_seconds=3 * 24 * 3600, public=True)

VIEWS: Final = {
    "operators/otto": (
        "/inbox", "/pools", f"/pools/{POOL}", f"/pools/{POOL}/rounds", f"/pools/{POOL}/rounds/2",
        f"/pools/{POOL}/rounds/2/changes", f"/pools/{POOL}/rounds/2/statement", f"/pools/{POOL}/transfers",
        f"/pools/{POOL}/terms", f"/pools/{POOL}/usage", f"/pools/{POOL}/preview", f"/pools/{POOL}/proposals?all=1",
        f"/pools/{POOL}/log", f"/pools/{POOL}/log/3", f"/pools/{POOL}/log/report", "/registry",
        "/registry/collectives/scottish",
        "/registry/platforms", "/registry/log", "/people", "/verify", "/bank", f"/pools/{POOL}/money",
        f"/public/{POOL}",
    ),
    "collectives/irish": (
        "/pools", f"/pools/{POOL}", f"/pools/{POOL}/rounds", f"/pools/{POOL}/rounds/1/statement",
        f"/pools/{POOL}/rounds/2", f"/pools/{POOL}/transfers", "/payments",
    ),
    "platforms/tunesmith": (f"/pools/{POOL}", f"/pools/{POOL}/usage", f"/pools/{POOL}/money", "/webhooks"),
}  # fmt: skip
PAID_VIEWS: Final = {
    "operators/otto": (
        "/inbox", "/bank", "/bank/main", "/bank/runs/jan", "/webhooks", "{proposal}", "{proposal}/rounds",
    ),
    "collectives/irish": ("/payments",),
    "platforms/tunesmith": (),
}  # fmt: skip
"""Once money was paid by the bank, a webhook was registered, and terms were proposed."""
SHOWN: Final = {
    "operator-inbox": ("operators/otto", "/inbox"),
    "operator-round": ("operators/otto", f"/pools/{POOL}/rounds/2"),
    "collective": ("collectives/irish", f"/pools/{POOL}"),
    "auditor-log": ("auditors/ada", f"/pools/{POOL}/log"),
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    require_chromium()
    with chromium() as opened:
        yield opened


@pytest.fixture
def scene(deploy: Callable[..., Deployment], tmp_path: Path) -> Scene:
    """Two rounds: one posted, and one in review to which the Irish object."""
    found = open_scene(deploy(payee_key_file=payee_key(tmp_path)), policy=REVIEWED)
    for number in range(12):
        found.operator.create_collective(f"choir-{number}", Collective(display_name=f"Choir {number}", members=number))
    first = [
        event(n, shares={"irish": 400_000_000, f"choir-{n % 12}": 300_000_000}, units=n % 5 + 1) for n in range(60)
    ]
    found.submit(first, "b1")
    found.pay_in(1_234_567, "r1")
    found.cut("c1")
    found.operator.update_collective("scottish", Collective(display_name=HOSTILE, members=4_200))
    second = [event(n, shares={"breton": 500_000_000, f"choir-{n % 7}": 200_000_000}) for n in range(100, 150)]
    found.submit(second, "b2")
    found.pay_in(2_000_000, "r2")
    found.operator.calculate_round(POOL, request_id="c2")
    return found


def open_page(page: Page, scene: Scene, path: str) -> None:
    page.goto(f"http://{scene.deployment.running.http_address}{path}")
    if page.locator("script").count():  # a page without any fetches nothing more, and need not be waited for
        page.wait_for_load_state("networkidle")


def at_console(browser: Browser, scene: Scene, principal: str, **options: object) -> Any:
    return person(browser, scene.deployment.running.http_address, scene.deployment.key(principal), **options)


def test_an_operators_month_takes_two_people(browser: Browser, deployment: Deployment) -> None:
    scene = open_scene(deployment, policy=REVIEWED)
    scene.submit([event(0), event(1, shares={"breton": 300_000_000})], "b1")
    scene.pay_in(100_000, "r1")
    with at_console(browser, scene, "operators/olive") as olive:
        open_page(olive, scene, f"/pools/{POOL}/rounds")
        olive.get_by_role("button", name="Cut the next round").click()
        expect(olive.get_by_role("heading", level=1)).to_contain_text("In review")
        expect(olive.get_by_role("button", name="Approve and post")).to_be_disabled()
    scene.after_review(1)
    with at_console(browser, scene, "operators/otto") as otto:
        open_page(otto, scene, "/inbox")
        otto.get_by_role("link", name="Round 1").click()
        expect(otto.get_by_role("heading", name="Where the pot goes")).to_be_visible()
        otto.get_by_role("button", name="Approve and post").click()
        expect(otto.get_by_role("heading", level=1)).to_contain_text("Posted")
        otto.get_by_role("button", name="Recompute it from the log").click()
        expect(otto.get_by_role("heading", level=1)).to_contain_text("matches")
    assert scene.operator.get_round(POOL, 1).decided_by == "operators/otto"


def test_a_collectives_month_with_an_objection(browser: Browser, scene: Scene) -> None:
    with at_console(browser, scene, "collectives/irish") as irish:
        open_page(irish, scene, f"/pools/{POOL}")
        irish.get_by_role("link", name="Look at it").click()
        irish.get_by_label("Why").fill("We count 412 uses, and this says none.")
        irish.get_by_role("button", name="Object to this round").click()
        expect(irish.get_by_role("status")).to_contain_text("Your objection is on the log")
        open_page(irish, scene, f"/pools/{POOL}/rounds/1/statement")
        with irish.expect_download() as kept:
            irish.get_by_role("link", name="As PDF").click()
        assert Path(kept.value.path()).read_bytes().startswith(b"%PDF-")
    with at_console(browser, scene, "operators/otto") as otto:
        open_page(otto, scene, f"/pools/{POOL}/rounds/2")
        otto.get_by_label("Your answer").fill("We look into it.")
        otto.get_by_role("button", name="Set aside").click()
        expect(otto.get_by_role("status")).to_have_text("Answered.")


def test_what_was_typed_outlives_a_session(browser: Browser, scene: Scene) -> None:
    key = scene.deployment.key("collectives/irish")
    context = browser.new_context(locale="en-GB")
    page, other = context.new_page(), context.new_page()

    def sign_in(tab: Page) -> None:
        open_page(tab, scene, "/sign-in")
        tab.get_by_label("API key").fill(key)
        tab.get_by_role("button", name="Sign in").click()
        tab.wait_for_url(lambda url: "/sign-in" not in url)

    sign_in(page)
    open_page(page, scene, f"/pools/{POOL}/rounds/2")
    page.get_by_label("Why").fill("We count 412 uses, and this says none.")
    scene.deployment.clock.advance(hours=13)
    page.get_by_role("button", name="Object to this round").click()
    expect(page.get_by_role("main")).to_contain_text("You are no longer signed in.")
    sign_in(other)
    page.go_back()
    expect(page.get_by_label("Why")).to_have_value("We count 412 uses, and this says none.")
    page.get_by_role("button", name="Object to this round").click()
    expect(page.get_by_role("status")).to_contain_text("Your objection is on the log")
    context.close()


def test_a_statement_is_verified_in_the_browser_and_a_tampered_one_turns_red(
    browser: Browser, scene: Scene, tmp_path: Path
) -> None:
    vectors = json.loads((ROOT / "tests/vectors/statements.json").read_text())
    whole = next(each["file"] for each in vectors if each["failed"] is None)
    changed = json.loads(whole)
    flipped = changed["dossier"].replace("1", "2", 1) if isinstance(changed.get("dossier"), str) else None
    tampered = json.dumps({**changed, "dossier": flipped}) if flipped else whole.replace("1", "2", 1)
    vkey = str(VerifierKey("moiety.example", KEY.verifier_key.public_key))
    page = browser.new_page()
    open_page(page, scene, "/verify")
    page.get_by_text("Witnesses, and changes of the key").click()
    (tmp_path / "nobody").write_text("quorum none\n")
    (tmp_path / "wrong").write_text("quorum nobody\n")
    cases = (("whole", whole, "nobody", "holds"), ("tampered", tampered, "nobody", "fails"))
    for name, content, policy, verdict in (*cases, ("unknown", whole, "wrong", "fails")):
        path = tmp_path / f"{name}.json"
        path.write_text(content)
        page.get_by_label("Who must have cosigned").set_input_files(tmp_path / policy)
        page.get_by_label("Statement file").set_input_files(path)
        page.get_by_label("Public key").fill(vkey)
        page.get_by_role("button", name="Verify").click()
        expect(page.locator(f"#result[data-verdict={verdict}]")).to_be_visible()
    red, green, blue = page.locator("#verdict").evaluate("e => getComputedStyle(e).color.match(/\\d+/g).map(Number)")
    assert red > 2 * max(green, blue)
    page.close()


OF_COLOURS: Final = ("color-contrast", "link-in-text-block")
SCHEMES: Final[dict[Literal["light", "dark"], dict[str, Any]]] = {
    "light": {"resultTypes": ["violations"]},
    "dark": {"resultTypes": ["violations"], "runOnly": {"type": "rule", "values": OF_COLOURS}},
}
"""What axe looks at in each scheme: the second has the first one's page in other colours."""


def serious_findings(page: Page) -> Iterator[tuple[str, list[str]]]:
    """What axe finds that is serious: which rule, and the first places."""
    for scheme, looked_at in SCHEMES.items():
        page.emulate_media(color_scheme=scheme)
        for each in Axe().run(page, options=looked_at).response["violations"]:
            if each["impact"] in ("serious", "critical"):
                yield f"{each['id']} ({scheme})", [node["html"][:120] for node in each["nodes"][:3]]


def unsound(page: Page, scene: Scene, paths: Sequence[str]) -> Iterator[tuple[str, str, list[str]]]:
    """What is wrong with views, in every scheme and at every width."""
    for path in paths:
        page.set_viewport_size({"width": WIDTHS["desk"], "height": HEIGHT})
        open_page(page, scene, path)
        assert page.evaluate("window.hurt") is None
        yield from ((path, *each) for each in serious_findings(page))
        for name, width in WIDTHS.items():
            page.set_viewport_size({"width": width, "height": HEIGHT})
            if page.evaluate("document.documentElement.scrollWidth") > width:
                yield path, f"overflows on a {name}", []


def pay_and_propose(scene: Scene) -> str:
    """Pay by the bank, of whose lines one is nobody's, register a webhook, and propose terms; returns the proposal."""
    operator = owe(scene, ["trad"]).operator
    operator.create_webhook("hook", "registry", "https://hooks.example/" + "long" * 40)
    day = scene.deployment.clock().date().isoformat()
    operator.create_pay_run("jan", "main", day)
    bank = Bank(OURS, "EUR", balance=1000)
    bank.take(operator.create_pay_run_file("jan").content)
    bank.receive(77, day, reference="LONG" * 8)
    operator.import_bank_file("main", bank.statement(day))
    scene.deployment.act(ControlsContent(controls=Controls.of_one().model_copy(update={"people": 2, "terms": 2})))
    return f"/{operator.create_policy(POOL, Policy(fee_ppm=100_000)).proposal}"


@pytest.mark.parametrize("principal", list(VIEWS))
def test_every_view_is_sound_for_everyone_in_every_scheme_and_at_every_width(
    browser: Browser, scene: Scene, principal: str
) -> None:
    found: list[tuple[str, str, list[str]]] = []
    # Without motion: colours that are still on their way to the other scheme's are nobody's.
    with at_console(browser, scene, principal, reduced_motion="reduce") as page:
        found += unsound(page, scene, VIEWS[principal])
        if PAID_VIEWS[principal]:
            proposal = pay_and_propose(scene)
            paths = [path.replace("{proposal}", proposal) for path in PAID_VIEWS[principal]]
            found += unsound(page, scene, paths)
    assert found == []


A4_WIDTH: Final = 717
"""Of a sheet's 794 pixels, without the margins that browsers leave."""


@pytest.mark.parametrize("path", [f"/pools/{POOL}/rounds", f"/pools/{POOL}/rounds/1/statement", f"/public/{POOL}"])
def test_a_sheet_of_paper_has_every_column(browser: Browser, scene: Scene, path: str) -> None:
    with at_console(browser, scene, "auditors/ada", viewport={"width": A4_WIDTH, "height": HEIGHT}) as page:
        open_page(page, scene, path)
        page.emulate_media(media="print")
        hidden = page.evaluate("[...document.querySelectorAll('th, td')].filter(e => !e.offsetParent).length")
        assert hidden == 0
        assert page.evaluate("document.documentElement.scrollWidth") <= A4_WIDTH


def test_the_keyboard_reaches_what_the_mouse_does(browser: Browser, scene: Scene) -> None:
    with at_console(browser, scene, "collectives/irish") as page:
        open_page(page, scene, f"/pools/{POOL}")
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("main")).to_be_focused()
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Pools").last).to_be_focused()


@pytest.mark.parametrize("name", list(SHOWN))
def test_the_pictures_in_the_docs_are_of_what_there_is(
    browser: Browser, scene: Scene, name: str, tmp_path: Path
) -> None:
    principal, path = SHOWN[name]
    scene.deployment.client("collectives/irish").object_to_round(POOL, 2, "We count 412 uses, and this says none.")
    taken = tmp_path / f"{name}.png"
    with at_console(browser, scene, principal) as page:
        open_page(page, scene, path)
        page.screenshot(path=taken)
    kept = PICTURES / taken.name
    if os.environ.get("MOIETY_SCREENSHOTS"):
        PICTURES.mkdir(exist_ok=True)
        kept.write_bytes(taken.read_bytes())
    size = slice(16, 24)  # the width and height that a PNG has there
    assert kept.read_bytes()[size] == taken.read_bytes()[size]
