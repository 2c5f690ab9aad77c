"""What mail says, whatever the names in it are."""

from __future__ import annotations

from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.headerregistry import Address
from email.message import EmailMessage
from typing import Any, Final

import pytest

from ledger.acts.contacts import Contact
from ledger.errors import InvalidInputError
from services.mail.letters import LETTERS, SUBJECT_MAX, Recipient, Sender, write

NOON: Final = datetime(2026, 1, 1, 12, tzinfo=UTC)
FACTS: Final[dict[str, Any]] = {
    "id": "folk", "pool": "Folk & <i>", "round": 3, "until": "2026-01-15T12:00:00+00:00",
    "principal": "collectives/irish", "by": "operators/olive", "days": 3,
}  # fmt: skip
SENDER: Final = Sender(Address(addr_spec="moiety@moiety.example"), "https://moiety.example")


def written(topic: str, language: str = "en", sender: Sender = SENDER, **facts: Any) -> EmailMessage:
    recipient = Recipient("office@irish.example", language, "token")
    sent = write(topic, {**FACTS, **facts}, sender, recipient, "<1@moiety.example>", NOON).as_bytes(policy=policy.SMTP)
    message = message_from_bytes(sent, policy=policy.default)
    assert isinstance(message, EmailMessage)
    return message


def bodies(message: EmailMessage) -> tuple[str, str]:
    assert message.get_content_type() == "multipart/alternative"
    plain, html = message.iter_parts()
    assert (plain.get_content_type(), html.get_content_type()) == ("text/plain", "text/html")
    return plain.get_content(), html.get_content()


@pytest.mark.parametrize("language", ["en", "de", "fr"])
@pytest.mark.parametrize("topic", LETTERS)
def test_each_is_text_and_html_and_one_click_ends_it_unless_it_must_be_known(topic: str, language: str) -> None:
    message = written(topic, language)
    is_required = topic in ("payee", "contact")
    assert (message["List-Unsubscribe"] is None) == is_required
    if not is_required:
        assert message["List-Unsubscribe"] == "<https://moiety.example/unsubscribe/token>"
        assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert message["Content-Language"] == ("de" if language == "de" else "en")
    for body in bodies(message):
        assert "%(" not in body
        assert "https://moiety.example/" in body


def test_times_and_texts_are_in_the_reader_s_language() -> None:
    assert "15. Januar 2026, 12:00 UTC" in bodies(written("round", "de"))[0]
    assert "15 January 2026, 12:00 UTC" in bodies(written("round", "en"))[0]


@pytest.mark.parametrize(
    "ends", ["\r\n", "\n", "\r", "\u2028", "\u2029", "\x85", "\x0b", "\x00", "\N{RIGHT-TO-LEFT OVERRIDE}"]
)
def test_no_name_adds_a_header_a_recipient_or_markup(ends: str) -> None:
    hostile = f"Folk{ends}Bcc: all@evil.example{ends}{ends}<script>alert(1)</script> %(by)s {{{{ 7 * 7 }}}}"
    message = written("round", pool=hostile)
    plain, html = bodies(message)
    assert message["Bcc"] is None
    assert [str(each.addr_spec) for each in message["To"].addresses] == ["office@irish.example"]
    assert message["Subject"].startswith("Round 3 of Folk Bcc: all@evil.example")
    assert {name for name, _ in message.items()} == {name for name, _ in written("round").items()}
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert ends not in plain.replace("\n", "") or ends in "\r\n"
    assert len(written("round", pool="x" * 10_000)["Subject"]) <= SUBJECT_MAX


def test_without_an_address_of_the_console_nothing_is_linked() -> None:
    message = written("round", sender=Sender(SENDER.address, ""))
    assert message["List-Unsubscribe"] is None
    assert not any("http" in body for body in bodies(message))


@pytest.mark.parametrize(
    "wrong",
    ["a", "a@", "@b.example", "a@b", "a@b..example", "a@-b.example", "a.@b.example", '"a b"@b.example', "a@b.example\n",
     "a@b.example, c@d.example", "a@[127.0.0.1]", "ä@b.example", f"{'a' * 65}@b.example", f"a@{'b.' * 126}example"],
)  # fmt: skip
def test_an_address_is_one_mailbox_in_ascii(wrong: str) -> None:
    with pytest.raises(InvalidInputError):
        Contact(wrong)
