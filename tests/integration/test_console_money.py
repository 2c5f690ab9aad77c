"""Money in the console: reports and receipts, pay runs and what banks say, and terms, moved by forms that propose."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from demo.bank import Bank
from ledger.acts.controls import Controls
from ledger.acts.entries import ControlsContent
from moiety import Policy, Pool
from services.console.views import pools
from tests.support.browsing import Browser, Shown, signed_in
from tests.support.deployment import Deployment
from tests.support.paying import IBANS, OURS, pay_scene
from tests.support.scene import NAMED_PLATFORMS, POOL, Scene

pytestmark = pytest.mark.surface

HOSTILE: Final = "<script>alert('x')</script>\"'&"


@pytest.fixture
def scene(deploy: Callable[..., Deployment], tmp_path: Path) -> Scene:
    return pay_scene(deploy, tmp_path)


def browser_of(scene: Scene, principal: str, path: str) -> Browser:
    browser = signed_in(scene.deployment, principal)
    browser.open(path)
    return browser


def opened(browser: Browser, path: str) -> str:
    """What a page says, which must be there, and small, and have nothing hostile in it."""
    shown = browser.open(path)
    assert shown.status == 200, shown.text
    assert len(shown.html.encode()) < 100_000
    assert "<script>alert" not in shown.html
    return shown.text


def require_figures_lead_to_entries(scene: Scene, operator: Browser) -> None:
    entry = scene.operator.get_reconciliation("main").positions[-1].leaf_index
    statement = operator.open("/bank/main").html
    assert statement.count(f'<a class="fig" href="/registry/log/{entry}">') >= 2, statement
    paid = operator.open("/bank/runs/jan").html
    assert re.search(r'<td class="n"><a class="fig" href="/registry/log/\d+">', paid), paid


def require_lines_are_matched(scene: Scene, operator: Browser) -> None:
    (line,) = scene.operator.list_bank_lines("main", only_open=True)
    fields = {"act": "match", "name": line.name, "pool": POOL}
    assert operator.send("/bank/main", headers=None, platform="nobody", **fields).status == 409
    shown = operator.send("/bank/main", headers=None, platform=NAMED_PLATFORMS[0], **fields)
    assert "Done" in shown.text, shown.alert
    assert "Whose a line is" not in shown.text
    assert operator.send("/bank/main", headers=None, platform=NAMED_PLATFORMS[0], **fields).status == 409


def test_a_run_is_paid_from_the_proposal_to_the_banks_word(scene: Scene) -> None:
    scene.deployment.act(ControlsContent(controls=Controls.of_two()))
    olive, otto = (browser_of(scene, f"operators/{name}", "/bank") for name in ("olive", "otto"))
    shown = olive.send(
        "/bank", headers=None, **{"act": "pay", "from": "main", "run": "jan", "day": "2026-01-05", "reason": HOSTILE}
    )
    assert "It waits for another operator" in shown.text
    proposal = "/" + shown.url.split("/", 3)[3].partition("?")[0]
    assert "Proposal payrun" in otto.open("/inbox").text
    otto.open(proposal)
    assert "Proposed Amount €10.00 Bank account main Currency EUR Day 5 Jan 2026 Pay run jan" in otto.page.text
    assert "Approved" in otto.send(proposal, decision="approve").text
    assert "Pools are answering" in opened(otto, "/bank/runs/jan")
    scene.deployment.running.parts.paying.run_once()
    file = otto.http.get(f"http://{otto.address}/bank/runs/jan/file.xml", timeout=60)
    assert file.content == scene.operator.create_pay_run_file("jan").content
    assert "attachment" in file.headers["content-disposition"]
    assert "Ready for the bank" in opened(otto, "/bank/runs/jan")
    assert otto.http.get(f"http://{otto.address}/bank/runs/jan/file.csv", timeout=60).status_code == 200
    assert otto.open("/bank/runs/jan/file.pdf").status == 404
    bank = Bank(OURS, "EUR", balance=1000)
    bank.take(file.content)
    payments = {each.collective: each.end_to_end_id for each in scene.operator.get_pay_run("jan").payments}
    bank.give_back(payments["collectives/irish"], "2026-01-06")
    bank.receive(77, "2026-01-06", reference=HOSTILE[:20].replace("<", "").replace("&", ""))
    scene.deployment.act(ControlsContent(controls=Controls.of_one()))
    olive.open("/bank/main")
    shown = olive.upload("/bank/main", "file", "camt.xml", bank.statement("2026-01-06"), act="import")
    assert "Done" in shown.text
    assert "Without a partner" in shown.text
    require_figures_lead_to_entries(scene, olive)
    waits = opened(otto, "/inbox")
    assert "Bank line without a partner" in waits
    assert "Receipt without a payer" not in waits  # it is one thing, and said once
    assert "Came back" in opened(otto, "/bank/runs/jan")
    require_lines_are_matched(scene, olive)
    own = browser_of(scene, "collectives/irish", "/payments")
    assert "Came back; owed again" in own.page.text
    assert IBANS["irish"] in own.page.text
    auditor = browser_of(scene, "auditors/ada", "/bank/main")
    assert auditor.upload("/bank/main", "file", "x", b"x", act="import").status == 409
    assert auditor.open("/bank/runs/jan/file.xml").status == 404


def test_a_collective_proposes_its_own_account_and_nobody_elses(scene: Scene) -> None:
    browser = browser_of(scene, "collectives/scottish", "/payments")
    assert "no account yet" in browser.page.text
    fields = {"holder": HOSTILE, "town": "Town", "country": "gb", "currency": "eur", "act": "payee"}
    shown = browser.send("/payments", headers=None, iban="GB29NWBK60161331926810", **fields)
    assert shown.status == 409
    assert "<script>alert" not in shown.html
    shown = browser.send("/payments", headers=None, iban=" gb29 nwbk 6016 1331 9268 19 ", smallest="5.00", **fields)
    assert "It waits for another operator" in shown.text
    operator = browser_of(scene, "operators/olive", "/inbox")
    assert "Proposal payee" in operator.page.text
    (waiting,) = scene.operator.list_proposals(only_open=True)
    operator.open(f"/{waiting.name}")
    assert "Approved" in operator.send(f"/{waiting.name}", decision="approve").text
    assert "GB29NWBK60161331926819" in opened(browser, "/payments")
    assert scene.operator.get_payee("scottish").details.smallest_minor == 500


def test_a_platform_reports_and_an_operator_matches_what_arrives(scene: Scene) -> None:
    trad = Pool(display_name="Trad", currency="EUR", policy=Policy(), platforms=NAMED_PLATFORMS)
    scene.operator.create_pool("trad", trad)
    path = "/pools/trad/money"
    platform = browser_of(scene, "platforms/tunesmith", path)
    shown = platform.send(path, act="report", amount="12.34", period="", note=HOSTILE, request_id="console-1")
    assert "12.34" in shown.text
    platform.send(path, act="report", amount="12.34", period="", note=HOSTILE, request_id="console-1")
    assert [each.amount_minor for each in scene.operator.list_reports("trad")] == [1234]
    assert platform.send(path, act="receive", amount="1", request_id="c").status == 409
    operator = browser_of(scene, "operators/olive", path)
    shown = operator.send(path, act="receive", amount="5,50", platform="", reference="ABC", request_id="console-2")
    assert "nobody knows from whom" in shown.text, shown.alert
    assert "Receipt without a payer" in operator.open("/inbox").text
    operator.open(path)
    receipt = "pools/trad/receipts/console-2"
    shown = operator.send(path, act="match", name=receipt, platform="tunesmith", request_id="console-3")
    assert "nobody knows from whom" not in shown.text
    shown = operator.send(path, act="reverse-receipt", name=receipt, amount="1", reason=HOSTILE, request_id="console-4")
    assert "Taken back" in shown.text
    assert "<script>alert" not in shown.html
    assert operator.send(path, act="match", name="pools/other/receipts/x", platform="x", request_id="y").status == 409
    assert operator.send(path, act="receive", amount="1.234", request_id="console-5").status == 409
    huge = {"collective": "irish", "amount": "1e999", "reason": "x", "request_id": "z"}
    assert operator.send(path, headers=None, act="grant", **huge).status == 409
    assert "5.50" in opened(browser_of(scene, "auditors/ada", path), path)
    terms, tariff = "/pools/trad/terms", {"act": "tariff", "platform": "", "rate": "", "rate_units": ""}
    operator.open(terms)
    assert operator.send(terms, headers=None, period_from=HOSTILE, **tariff).status == 409
    shown = operator.send(terms, headers=None, period_from="2026-01", share="2", minimum="1.00", **tariff)
    assert "all others 2026-01 2% \N{EN DASH} €1.00 1" in shown.text, shown.text
    assert "Set a tariff" not in platform.open(terms).text
    assert platform.send(terms, headers=None, period_from="2026-01", minimum="0", **tariff).status == 409
    platform.open(path)
    month = "2026-01"
    shown = platform.send(path, act="report", amount="1", income="900", period=month, request_id="console-6")
    assert "tunesmith 0 18.00 1.00 17.00" in " ".join(shown.text.split())
    assert platform.open(f"{path}?due=<script>").status in (400, 409)


def test_terms_are_proposed_from_the_simulator(scene: Scene) -> None:
    scene.deployment.act(ControlsContent(controls=Controls.of_one().model_copy(update={"people": 2, "terms": 2})))
    fields = {"fee_ppm": "10", "commons_ppm": "5", "tempering": "TEMPERING_SQRT", "commons_rule": "COMMONS_RULE_EQUAL"}
    fields["unattributed"] = "UNATTRIBUTED_RULE_COMMONS"
    path = f"/pools/{POOL}/preview"
    olive = browser_of(scene, "operators/olive", path)
    shown = olive.open(path + "?number=1&" + "&".join(f"{name}={value}" for name, value in fields.items()))
    assert "Put these terms into force" in shown.text
    shown = olive.send(path, headers=None, act="terms", **fields)
    assert "It waits for another operator" in shown.text, shown.alert
    assert "Field Now Proposed Fee 0% 10%" in shown.text
    beside = olive.open("/" + shown.url.split("/", 3)[3].partition("?")[0] + "/rounds")
    assert "Round 1 of Folk tunes, as proposed" in beside.text
    assert "Fee 0.00 1.00 +1.00" in beside.text
    olive.open(path)
    assert scene.operator.get_pool(POOL).policy.version == 1
    otto = browser_of(scene, "operators/otto", "/" + shown.url.split("/", 3)[3])
    otto.send("/" + shown.url.split("/", 3)[3].partition("?")[0], decision="approve")
    assert scene.operator.get_pool(POOL).policy.fee_ppm == 100_000
    assert browser_of(scene, "auditors/ada", path).send(path, headers=None, act="terms", **fields).status == 409


def test_whom_to_write_to_and_where_money_and_events_go_are_set_by_forms(scene: Scene) -> None:
    operator, irish = scene.operator, browser_of(scene, "collectives/irish", "/payments")
    assert "must be an address" in irish.send("/payments", act="contact", email=HOSTILE, language="en").alert
    assert "Done" in irish.send("/payments", act="contact", email="office@irish.example", language="de").text
    assert 'value="office@irish.example"' in irish.open("/payments").html
    path = "/registry/collectives/irish"
    olive = browser_of(scene, "operators/olive", path)
    assert 'value="office@irish.example"' in olive.page.html
    olive.send(path, act="contact", email="new@irish.example", language="en")
    assert operator.get_contact("collectives/irish").email == "new@irish.example"
    assert "example" not in browser_of(scene, "auditors/ada", path).page.html
    olive.open("/people")
    olive.send("/people", act="contact", name="operators/otto", email="otto@moiety.example", language="en")
    assert operator.get_contact("operators/otto").email == "otto@moiety.example"

    shown = olive.upload("/people", "certificate", "x.pem", b"none", act="certificate", name="platforms/tunesmith")
    assert "must be an X.509 certificate" in shown.alert
    with_key = {"act": "certificate", "name": "platforms/tunesmith"}
    assert "Client certificate" in olive.upload("/people", "certificate", "x.pem", certificate(), **with_key).text

    olive.open("/bank")
    details = {"holder": "Trad", "town": "Town", "country": "IE", "currency": "EUR", "iban": OURS}
    asked = {"act": "account", "id": "main", "display_name": HOSTILE, "pools": POOL, "opening": "10"}
    assert olive.send("/bank", headers=None, **asked, **{**details, "iban": "DE00"}).status == 409
    assert "<script>alert" not in olive.page.html
    assert "Done" in olive.send("/bank", headers=None, **asked, **details).text, olive.page.alert
    assert [each.display_name for each in operator.list_bank_accounts()] == [HOSTILE]
    path = f"/pools/{POOL}/money"
    olive.open(path)
    paid = {"act": "pay", "collective": "irish", "amount": "1.50", "reference": HOSTILE, "request_id": "console-1"}
    assert "Done" in olive.send(path, headers=None, **paid).text, olive.page.alert
    assert operator.get_balance(POOL, "paid/irish").amount_minor == 150


def test_a_webhook_s_secret_is_shown_once(scene: Scene) -> None:
    platform = browser_of(scene, "platforms/tunesmith", "/webhooks")
    asked = {"act": "create", "id": "hook", "log": POOL, "url": "https://hooks.example/x", "types": "posting.v1"}
    assert platform.send("/webhooks", headers=None, **{**asked, "url": "http://hooks.example"}).status == 409
    assert platform.send("/webhooks", headers=None, **{**asked, "owner": "platforms/songbird"}).status == 409
    (secret,) = secrets_on(platform.send("/webhooks", headers=None, **asked))
    assert not secrets_on(platform.open("/webhooks"))
    again = platform.send("/webhooks", headers=None, **asked)
    assert "was there already" in again.text
    assert not secrets_on(again)
    (rotated,) = secrets_on(platform.send("/webhooks", act="rotate", name="webhooks/hook"))
    assert rotated != secret
    (hook,) = scene.operator.list_webhooks()
    assert (hook.owner, hook.log, list(hook.types)) == ("platforms/tunesmith", f"pools/{POOL}", ["posting.v1"])
    other = browser_of(scene, "platforms/songbird", "/webhooks")
    assert "hook" not in other.page.text.replace("ebhook", "")
    assert other.send("/webhooks", act="rotate", name="webhooks/hook").status in (404, 409)
    assert browser_of(scene, "auditors/ada", "/webhooks").send("/webhooks", headers=None, **asked).status == 409


def secrets_on(shown: Shown) -> list[str]:
    return re.findall(r"whsec_[A-Za-z0-9+/=]+", shown.html)


def certificate() -> bytes:
    """A certificate for a new key, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tunesmith")])
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, begin, begin + timedelta(days=90))
    return made.sign(key, SHA256()).public_bytes(Encoding.PEM)


@pytest.mark.parametrize("principal", ["collectives/irish", "platforms/tunesmith"])
def test_the_bank_is_closed_to_others(scene: Scene, principal: str) -> None:
    browser = browser_of(scene, principal, "/pools")
    for path in ("/bank", "/bank/main", "/bank/runs/jan", "/bank/runs/jan/file.xml"):
        assert browser.open(path).status == 404
    browser.open("/pools")
    assert browser.send("/bank", act="pay", run="x", day="2026-01-05").status == 404
    assert browser.send(f"/pools/{POOL}/money", act="grant", collective="irish", amount="1").status in (404, 409)


def test_a_form_with_a_file_is_bounded(scene: Scene) -> None:
    browser = browser_of(scene, "operators/olive", "/bank/main")
    assert browser.upload("/bank/main", "file", "x.xml", b"x" * 5_000_000, act="import").status == 400
    browser.open("/bank")
    assert browser.upload("/bank", "file", "x.xml", b"x" * 100_000, act="pay").status == 400
    browser.open("/bank/main")
    kind = {"content-type": "multipart/form-data; boundary=x"}
    answer = browser.http.post(f"http://{browser.address}/bank/main", b"--y\r\n", headers=kind, timeout=60)
    assert answer.status_code in (400, 403)
    browser.open("/bank/main")
    assert browser.upload("/bank/main", "file", "../" * 200 + HOSTILE, b"<x/>", act="import").status in (200, 409)
    assert "<script>alert" not in browser.page.html


def test_a_receipt_without_a_payer_is_found_behind_many_others(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        scene.operator.record_receipt(POOL, 5, platform="tunesmith", request_id=f"known-{number}")
    scene.operator.record_receipt(POOL, 700, payment_reference="WHOSE", request_id="unknown")
    monkeypatch.setattr(pools, "MOST", 2)
    text = browser_of(scene, "operators/olive", f"/pools/{POOL}/money").page.text
    assert "Received, and nobody knows from whom" in text
    assert "WHOSE" in opened(browser_of(scene, "operators/olive", "/inbox"), "/inbox")


def test_what_is_refused_stays_in_its_own_form(scene: Scene) -> None:
    operator = browser_of(scene, "operators/olive", f"/pools/{POOL}/money")
    wanted = {"act": "grant", "collective": "irish", "amount": "1e3", "reason": HOSTILE}
    shown = operator.send(f"/pools/{POOL}/money", headers=None, **wanted)
    assert shown.alert == "Amount: must be a number in digits 0 to 9, with a point or a comma before decimals"
    typed = {
        name: unescape(value) for name, value in re.findall(r'<input id="([\w-]+)"[^>]* value="([^"]+)"', shown.html)
    }
    assert typed == {"grant-of": "irish", "grant-amount": "1e3", "grant-reason": HOSTILE}
    operator.open("/bank")
    shown = operator.send("/bank", act="pay", run="March", day="2026-03-31", reason="late")
    assert 'id="run" name="run" value="March"' in shown.html
    assert shown.html.count('value="late"') == 1
    operator.open("/registry/collectives/irish")
    shown = operator.send(
        "/registry/collectives/irish", display_name="Irish", members="ten", domains="a.example b.example"
    )
    assert 'value="ten"' in shown.html
    assert ">a.example b.example</textarea>" in shown.html


def test_a_refusal_is_said_in_german_with_amounts_in_euro(scene: Scene) -> None:
    olive, irish = (signed_in(scene.deployment, name, "de") for name in ("operators/olive", "collectives/irish"))
    money = f"/pools/{POOL}/money"
    olive.open(money)
    fields = {"act": "grant", "collective": "irish", "amount": "999,50", "reason": "x", "request_id": "console-1"}
    shown = olive.send(money, headers=None, **fields)
    assert (shown.status, shown.alert) == (
        409, "Konto commons: hat 0,00\N{NO-BREAK SPACE}€, und 999,50\N{NO-BREAK SPACE}€ sind nötig",
    )  # fmt: skip
    irish.open("/payments")
    shown = irish.send("/payments", act="contact", email="office", language="de")
    assert shown.alert == "Adresse: muss eine Adresse wie office@irish.example sein, in ASCII"
    assert olive.open(f"/pools/{POOL}/rounds/77").text.count("Runde 77 gibt es nicht") == 1
