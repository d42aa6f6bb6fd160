"""Text and links of others in the CRM's mails."""

from datetime import UTC, datetime
from email.message import EmailMessage
from typing import Any
from uuid import UUID

import httpx
import pytest

from crm.email.content import NotificationEmailWriter
from crm.notification_store import MailClaim
from crm.notifications import read_notification
from tests.crm.parts import a_message
from tests.support.standard_mail import received

HEBREW = "יוגה"
ISOLATED = f"\u2068{HEBREW}\u2069"


def composed(name: str = "John Doe", **changes: Any) -> EmailMessage:
    message = a_message()
    for part, value in changes.items():
        message[part] = message[part] | value if isinstance(value, dict) else value
    received_at = datetime(2026, 11, 20, tzinfo=UTC)
    claim = MailClaim(1, UUID(int=1), read_notification(message), received_at, name, "john@example.com", 1)
    return received(NotificationEmailWriter("Convene <crm@convene.example>").compose(claim))


def text_of(mail: EmailMessage, kind: str) -> str:
    body = mail.get_body((kind,))
    assert body is not None
    content: str = body.get_content()
    return content.replace("\r\n", "\n")


def test_right_to_left_text_is_isolated() -> None:
    mail = composed(HEBREW, user={"name": HEBREW}, event={"title": HEBREW}, notes=f"{HEBREW}\nx")
    assert f"New booking: {ISOLATED} for {ISOLATED} (1 Dec" in str(mail["Subject"])
    text, html = text_of(mail, "plain"), text_of(mail, "html")
    for line in (f"Hello {ISOLATED},", f"{ISOLATED} booked a place in {ISOLATED}.", f"> {ISOLATED}\n> x"):
        assert line in text
    assert f"{ISOLATED} <ada@example.com>" in text
    assert f"Hello <bdi>{HEBREW}</bdi>," in html
    assert f"<bdi>{HEBREW}</bdi>" in html


def test_other_text_is_not_isolated() -> None:
    mail = composed(user={"name": "Zoë 瑜伽"})
    assert not {"\u2068", "\u2069"} & set(f"{mail['Subject']}{text_of(mail, 'plain')}{text_of(mail, 'html')}")


def test_bidirectional_overrides_are_removed() -> None:
    turned = "Yo\u202ega \u2067by\u200b night\ufeff"
    mail = composed(turned, user={"name": turned}, event={"title": turned, "location": turned}, notes=turned)
    shown = f"{mail['Subject']}{mail['To']}{text_of(mail, 'plain')}{text_of(mail, 'html')}"
    assert not {"\u202e", "\u2067", "\u200b", "\ufeff"} & set(shown)
    assert "New booking: Yoga by night for Yoga by night" in str(mail["Subject"])


async def test_names_and_titles_are_cleaned_in_lists(crm: httpx.AsyncClient) -> None:
    message = a_message()
    message["user"] |= {"name": "A\u202eda\u200b"}
    message["event"] |= {"title": "\u2067Yoga \U0001f9d8", "version": 1}
    assert (await crm.post("/notify", json=message)).status_code == 200
    [item] = (await crm.get("/notifications")).json()
    assert (item["user_name"], item["event_title"]) == ("Ada", "Yoga \U0001f9d8")
    [event] = (await crm.get(f"/api/facilitator/events/{message['facilitator_id']}")).json()
    assert event["title"] == "Yoga \U0001f9d8"


def test_emoji_sequences_are_kept() -> None:
    family = "👩\u200d👩\u200d👧"
    assert family in text_of(composed(event={"title": family}), "plain")


@pytest.mark.parametrize(
    "link", ["https://", "http://[::1", "https://accounts.google.com@evil.example/", "javascript:x"]
)
def test_invalid_link_is_omitted(link: str) -> None:
    mail = composed(event={"virtual_link": link})
    assert "Online" not in text_of(mail, "plain")
    assert f"{link}<" not in text_of(mail, "html")


def test_valid_link_is_shown() -> None:
    assert "https://meet.example.com/a" in text_of(
        composed(event={"virtual_link": "https://meet.example.com/a"}), "html"
    )


def test_notes_are_truncated() -> None:
    text = text_of(composed(notes="line\n" * 5_000), "plain")
    assert 1_900 < text.count("> line") < 2_100
    assert "> …" in text
