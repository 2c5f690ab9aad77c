"""Mail: who hears what, in their language, once and in the end; sent to a real mail server."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest
import sqlalchemy as sa

from demo.bank import Bank
from ledger.acts.controls import Controls
from ledger.acts.entries import ControlsContent
from ledger.store.desk import tables as desk
from ledger.store.desk.retention import erase_details
from moiety import (
    AbortedError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    Policy,
)
from moiety.v1.registry_pb2 import Schedule
from moiety.v1.rounds_pb2 import OBJECTION_ANSWER_DISMISSED
from services.mail import sender, server
from services.mail.herald import Herald
from services.mail.sender import Post
from services.settings import load_settings
from tests.support.deployment import Deployment
from tests.support.dripping import TLS, dripping
from tests.support.http import ask
from tests.support.mailbox import Mailbox, mail_server
from tests.support.paying import IBANS, OURS, account, pay_scene, require_sound
from tests.support.scene import METHOD, POOL, Scene, event

pytestmark = pytest.mark.surface

IRISH: Final = "office@irish.example"
BRETON: Final = "o'brien+x@breton.example"
OTTO: Final = "otto@operators.example"
CONTACT_SET: Final = "The address for messages to you was changed"
PAYEE_SET: Final = "The account that you are paid to was changed"
WAITS: Final = "Something waits for you"


@pytest.fixture
def box() -> Iterator[Mailbox]:
    with mail_server() as found:
        yield found


@pytest.fixture
def scene(deploy: Callable[..., Deployment], tmp_path: Path) -> Scene:
    return pay_scene(deploy, tmp_path)


def post(scene: Scene, box: Mailbox, **more: Any) -> Post:
    """What sends, as a process with these settings that has just started."""
    asked = {"smtp_server": box.address, "smtp_security": "none", "mail_from": "moiety@moiety.example"}
    running = scene.deployment.running
    settings = load_settings(**{**asked, "public_url": f"http://{running.http_address}", **more})
    return Post(settings, running.parts.database)


def deliver(scene: Scene, box: Mailbox) -> None:
    Herald(scene.deployment.running.parts.database).run_once()
    post(scene, box).run_once()


def next_round(scene: Scene, name: str) -> int:
    scene.platform.submit_events(POOL, [event(len(name))], METHOD, batch_id=name)
    scene.platform.report_revenue(POOL, 100, "EUR", request_id=name)
    scene.operator.record_receipt(POOL, 100, platform="tunesmith", request_id=name)
    return scene.operator.calculate_round(POOL, request_id=name).number


def noticed(scene: Scene, *columns: str) -> list[tuple[Any, ...]]:
    query = sa.select(*(desk.notice.c[name] for name in columns)).order_by(desk.notice.c.notice_id)
    with scene.deployment.running.parts.database.transaction() as connection:
        return [tuple(row) for row in connection.execute(query)]


def test_collectives_hear_of_their_month_and_operators_of_what_waits(scene: Scene, box: Mailbox) -> None:
    operator, irish = scene.operator, scene.deployment.client("collectives/irish")
    deliver(scene, box)  # what was before anybody has a contact is told to nobody
    irish.set_contact("collectives/irish", IRISH, "de")
    operator.set_contact("collectives/breton", BRETON)
    operator.set_contact("operators/otto", OTTO)
    deliver(scene, box)
    assert (box.subjects(BRETON), box.subjects(OTTO)) == ([CONTACT_SET], [CONTACT_SET])
    operator.create_policy(POOL, Policy(review_seconds=86_400))
    number = [next_round(scene, name) for name in ("january", "february")][1]  # the policy is of what starts after it
    irish.object_to_round(POOL, number, "It is too little.")
    scene.reviewer.answer_objection(POOL, number, "irish", OBJECTION_ANSWER_DISMISSED, "It is right.")
    for _ in range(3):  # and what was said once is not said again
        deliver(scene, box)
    assert [subject.split(" ", 3)[0] for subject in box.subjects(IRISH)] == ["Die", "Runde", "Ihr"]
    assert box.subjects(OTTO) == [CONTACT_SET, WAITS]  # within an hour it hears once
    next_proposal = scene.deployment.client("collectives/breton").set_payee("breton", account(OURS))
    deliver(scene, box)
    assert next_proposal.proposal
    assert box.subjects(OTTO) == [CONTACT_SET, WAITS]
    scene.deployment.clock.advance(hours=2)
    deliver(scene, box)
    assert box.subjects(OTTO) == [CONTACT_SET, WAITS, WAITS]

    bank = Bank(OURS, "EUR", balance=1000)
    operator.create_pay_run("jan", "main", "2026-01-05")
    bank.take(operator.create_pay_run_file("jan").content)
    operator.import_bank_file("main", bank.statement("2026-01-05"))
    bank.give_back("jan-0000001", "2026-01-06", kept=5)
    operator.import_bank_file("main", bank.statement("2026-01-06"))
    deliver(scene, box)
    assert box.subjects(BRETON)[-2:] == ["You were paid", "A payment to you came back"]
    assert len(box.messages) == len({message["Message-ID"] for message in box.messages})


def test_operators_hear_once_of_a_late_round_and_of_money_that_is_nobodys(scene: Scene, box: Mailbox) -> None:
    deliver(scene, box)
    scene.operator.set_contact("operators/otto", OTTO, "de")
    deliver(scene, box)
    late, waits = "Eine Runde von Folk tunes ist überfällig", "Es wartet etwas auf Sie"
    scene.operator.update_schedule(POOL, Schedule(cron="0 6 * * *", time_zone="UTC"))
    scene.deployment.clock.advance(days=1)
    heralds = [Herald(scene.deployment.running.parts.database) for _ in range(3)]
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(lambda herald: herald.run_once(), heralds))
    deliver(scene, box)
    assert box.subjects(OTTO)[1:] == [late]
    assert "Nach dem Zeitplan war eine Runde am" in box.messages[-1].get_body(("plain",)).get_content()  # type: ignore[union-attr]
    scene.operator.update_schedule(POOL, Schedule(cron="0 6 * * *", time_zone="UTC", paused=True))
    scene.deployment.clock.advance(days=1)
    deliver(scene, box)
    assert box.subjects(OTTO)[1:] == [late]
    bank = Bank(OURS, "EUR", balance=1000)
    bank.receive(77, "2026-01-06", reference="gift")
    scene.operator.import_bank_file("main", bank.statement("2026-01-06"))
    deliver(scene, box)
    assert box.subjects(OTTO)[1:] == [late, waits]
    scene.operator.record_receipt(POOL, 5, request_id="by-hand")
    scene.deployment.clock.advance(hours=2)
    deliver(scene, box)
    assert box.subjects(OTTO)[1:] == [late, waits, waits]


def test_a_changed_account_is_told_to_the_contact_before_too_and_to_who_unsubscribed(
    scene: Scene, box: Mailbox, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever takes over both an account and an address is found out."""
    irish = scene.deployment.client("collectives/irish")
    deliver(scene, box)
    irish.set_contact("collectives/irish", IRISH)
    assert irish.set_contact("collectives/irish", IRISH).leaf_index == irish.get_contact("collectives/irish").leaf_index
    deliver(scene, box)
    (token,) = _tokens(scene)
    path, address = f"/unsubscribe/{token}", scene.deployment.running.http_address
    assert ask(address, path).status == 200
    assert not irish.get_contact("collectives/irish").HasField("unsubscribe_time")
    for _ in range(2):  # as a mail program does it: from nowhere, without a cookie
        one_click = ask(
            address, path, b"List-Unsubscribe=One-Click", content_type="application/x-www-form-urlencoded",
            origin="https://mail.example",
        )  # fmt: skip
        assert one_click.status == 200
    assert ask(address, f"{path}x", b"List-Unsubscribe=One-Click").status == 404
    assert irish.get_contact("collectives/irish").HasField("unsubscribe_time")
    scene.operator.record_payment(POOL, "irish", 10, reference="cash", request_id="p")
    deliver(scene, box)
    assert box.subjects(IRISH) == [CONTACT_SET]
    scene.operator.set_contact("collectives/irish", "thief@evil.example")
    scene.operator.set_payee("irish", account(OURS))
    deliver(scene, box)
    assert box.subjects(IRISH) == [CONTACT_SET, CONTACT_SET, PAYEE_SET]
    assert box.subjects("thief@evil.example") == [CONTACT_SET, PAYEE_SET]
    scene.deployment.clock.advance(days=31)
    scene.operator.set_payee("irish", account(IBANS["irish"]))
    deliver(scene, box)
    assert len(box.subjects(IRISH)) == 3
    assert b"irish.example" not in _logged(scene)
    require_sound(scene, tmp_path, database_url, monkeypatch)


def _tokens(scene: Scene) -> list[str]:
    with scene.deployment.running.parts.database.transaction() as connection:
        return list(connection.execute(sa.select(desk.contact.c.token)).scalars())


def _logged(scene: Scene) -> bytes:
    with scene.deployment.running.parts.database.transaction() as connection:
        return b"".join(bytes(entry) for (entry,) in connection.exec_driver_sql("SELECT entry FROM leaf"))


def test_what_the_server_does_not_take_is_tried_again_and_given_up_in_the_end(scene: Scene, box: Mailbox) -> None:
    clock = scene.deployment.clock
    deliver(scene, box)
    for name, address in (("irish", IRISH), ("breton", BRETON)):
        scene.operator.set_contact(f"collectives/{name}", address)
    Herald(scene.deployment.running.parts.database).run_once()
    box.says_to = {IRISH: "421 4.3.0 closing"}
    post(scene, box).run_once()
    box.says_to = {IRISH: "450 4.2.0 greylisted", BRETON: "450 4.2.0 busy"}
    post(scene, box).run_once()  # what breaks the connection off keeps no other waiting
    assert noticed(scene, "attempts", "problem") == [(1, "421 4.3.0 closing"), (1, "450 4.2.0 busy")]
    clock.advance(minutes=2)
    box.says_to = {IRISH: "450 4.2.0 greylisted", BRETON: f"550 5.1.1 <{BRETON}>: no such user\x07"}
    deliver(scene, box)
    assert noticed(scene, "attempts", "problem") == [(2, "450 4.2.0 greylisted"), (1, "550 5.1.1 <...>: no such user")]
    box.says_to.clear()
    deliver(scene, box)
    assert not box.messages  # the first waits, and the second will never be taken
    clock.advance(minutes=3)
    deliver(scene, box)
    assert box.to == [IRISH]
    scene.operator.set_contact("collectives/breton", "new@breton.example")
    Herald(scene.deployment.running.parts.database).run_once()
    nowhere = post(scene, box, smtp_server="127.0.0.1:1")
    nowhere.run_once()
    assert [row for row in noticed(scene, "given_up_at") if row[0] is None]
    clock.advance(days=4)
    post(scene, box, smtp_server="127.0.0.1:1").run_once()
    assert len([row for row in noticed(scene, "given_up_at") if row[0]]) == 3
    metrics = ask(scene.deployment.running.http_address, "/metrics").text
    assert "moiety_mail_waiting 0.0" in metrics
    assert "moiety_mail_given_up 3.0" in metrics


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (b"5.1.1 <a@irish.example>: unknown", "5.1.1 <...>: unknown"),
        (b"to=a.b@irish.example, c@d; e", "..., ...; e"),
        (b"x" * 4_000_000, "x" * 300),
        (b"@" * 4_000_000, "..."),
    ],
)
def test_no_reply_is_kept_with_addresses_or_takes_long(said: bytes, kept: str) -> None:
    """Each would take hours if it were looked through from each of its characters on."""
    assert sender._text(said) == kept


@pytest.mark.parametrize("security", ["none", "starttls", "tls"])
@pytest.mark.parametrize(("begin", "drip"), [(b"", b"220-wait\r\n"), (b"", b"2"), (b"", b"\x16"), (TLS, b"x")])
def test_a_server_that_only_drips_is_one_that_cannot_be_used(
    scene: Scene, box: Mailbox, security: str, begin: bytes, drip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each byte comes in time, and the last one never: in greetings, their lines, and handshakes of TLS."""
    monkeypatch.setattr(server, "EXCHANGE_SECONDS", 0.5)
    Herald(scene.deployment.running.parts.database).run_once()
    scene.operator.set_contact("collectives/irish", IRISH)
    Herald(scene.deployment.running.parts.database).run_once()
    with dripping(drip, begin) as address:
        began = time.monotonic()
        post(scene, box, smtp_server=address, smtp_security=security).run_once()
        assert time.monotonic() - began < server.SILENCE_SECONDS
    deliver(scene, box)
    assert box.to == [IRISH]


def test_several_send_each_message_once(scene: Scene, box: Mailbox) -> None:
    deliver(scene, box)
    for _ in range(3):
        for language in ("de", "en"):
            scene.operator.set_contact("collectives/irish", IRISH, language)
    heralds = [Herald(scene.deployment.running.parts.database) for _ in range(3)]
    posts = [post(scene, box) for _ in range(3)]
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(lambda herald: herald.run_once(), heralds))
        list(threads.map(lambda sender: sender.run_once(), posts))
    sent = len(box.messages)
    assert sent == len({message["Message-ID"] for message in box.messages}) == len(noticed(scene, "notice_id"))
    deliver(scene, box)
    assert len(box.messages) == sent


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate with openssl")
def test_it_signs_in_over_tls_and_to_no_server_that_it_does_not_know(
    scene: Scene, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    certificate, key, password = (tmp_path / name for name in ("mail.pem", "mail.key", "password"))
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-out", certificate, "-keyout", key],
        check=True, capture_output=True,
    )  # fmt: skip
    password.write_text("wrong-secret\n")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    Herald(scene.deployment.running.parts.database).run_once()
    scene.operator.set_contact("collectives/irish", IRISH)
    Herald(scene.deployment.running.parts.database).run_once()
    signed_in = {"smtp_user": "moiety", "smtp_password_file": password, "smtp_security": "starttls"}
    with mail_server(context, "moiety", "right-secret") as box:
        post(scene, box, **signed_in).run_once()
        assert not box.signed_in
        post(scene, box, smtp_ca_file=certificate, **signed_in).run_once()
        assert ({*box.signed_in}, box.messages) == ({"moiety"}, [])
        password.write_text("right-secret\n")
        post(scene, box, smtp_ca_file=certificate, **signed_in).run_once()
        assert box.to == [IRISH]
    scene.operator.set_contact("collectives/irish", IRISH, "de")
    Herald(scene.deployment.running.parts.database).run_once()
    direct = {**signed_in, "smtp_security": "tls"}
    with mail_server(context, "moiety", "right-secret", direct=True) as box:
        post(scene, box, **direct).run_once()
        assert not box.signed_in
        post(scene, box, smtp_ca_file=certificate, **direct).run_once()
        assert ({*box.signed_in}, {*box.to}) == ({"moiety"}, {IRISH})
    told = "".join(capfd.readouterr())
    assert "SMTPAuthenticationError" in told
    assert "secret" not in told


def test_where_it_needs_two_an_operators_contact_waits_and_gets_nothing_before(
    scene: Scene, box: Mailbox, owner: sa.Engine, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(scene, box)
    scene.deployment.act(ControlsContent(controls=Controls.of_two().model_copy(update={"registry": 2})))
    olive, otto, irish = (
        scene.deployment.client(name) for name in ("operators/olive", "operators/otto", "collectives/irish")
    )
    irish.set_contact("collectives/irish", IRISH)
    asked = olive.set_contact("collectives/irish", BRETON, "de")
    assert asked.proposal == olive.set_contact("collectives/irish", BRETON, "de").proposal
    assert olive.get_contact("collectives/irish").email == IRISH
    found = otto.get_proposed_contact(asked.proposal)
    assert (found.standing.email, found.proposed.email, found.proposed.language) == (IRISH, BRETON, "de")
    with pytest.raises(PermissionDeniedError):
        irish.get_proposed_contact(asked.proposal)
    with pytest.raises(FailedPreconditionError):
        olive.approve_proposal(asked.proposal)
    otto.approve_proposal(olive.set_payee("irish", account(OURS)).proposal)
    deliver(scene, box)
    assert (box.subjects(IRISH), box.subjects(BRETON)) == ([CONTACT_SET, PAYEE_SET], [])
    otto.approve_proposal(asked.proposal)
    deliver(scene, box)
    assert olive.get_contact("collectives/irish").email == BRETON
    assert box.subjects(IRISH) == [CONTACT_SET, PAYEE_SET, CONTACT_SET]
    assert len(box.subjects(BRETON)) == 1

    later = olive.set_contact("collectives/irish", OTTO).proposal
    irish.set_contact("collectives/irish", IRISH)  # alone, and at once
    assert irish.get_contact("collectives/irish").email == IRISH
    with pytest.raises(AbortedError):
        otto.approve_proposal(later)
    erased = olive.set_contact("collectives/breton", BRETON).proposal
    with owner.begin() as connection:
        erase_details(connection, "collectives/breton")
    with pytest.raises(FailedPreconditionError, match="erased"):
        otto.approve_proposal(erased)
    assert not otto.get_proposed_contact(erased).HasField("proposed")
    require_sound(scene, tmp_path, database_url, monkeypatch)


def test_a_contact_is_its_owner_s_and_an_exchanged_one_gets_nothing_and_is_found(
    scene: Scene, box: Mailbox, owner: sa.Engine, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    irish, auditor = (scene.deployment.client(name) for name in ("collectives/irish", "auditors/ada"))
    for principal in ("collectives/breton", "operators/otto"):
        with pytest.raises(PermissionDeniedError):
            irish.set_contact(principal, IRISH)
        with pytest.raises(PermissionDeniedError):
            irish.get_contact(principal)
    with pytest.raises(PermissionDeniedError):
        auditor.get_contact("collectives/irish")
    with pytest.raises(NotFoundError):
        irish.get_contact("collectives/irish")
    for missing in ("collectives/atlantean", "operators/nobody"):
        with pytest.raises(NotFoundError):
            scene.operator.set_contact(missing, IRISH)
    for wrong in (
        "a@b\r\nRCPT TO:<x@evil.example>",
        "a b@irish.example",
        "<a@irish.example>",
        "ü@irish.example",
        "a@b",
    ):
        with pytest.raises(InvalidArgumentError):
            irish.set_contact("collectives/irish", wrong)
    scene.operator.set_contact("collectives/irish", IRISH)
    with owner.begin() as connection:
        connection.exec_driver_sql("UPDATE desk.contact SET email = 'thief@evil.example'")
    deliver(scene, box)
    assert not box.messages
    with pytest.raises(AssertionError):
        require_sound(scene, tmp_path, database_url, monkeypatch)
