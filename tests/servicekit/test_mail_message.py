"""A mail has the bytes that the standard library writes, and any text in it is received as it was given."""

import re
from datetime import UTC, datetime
from email.headerregistry import Address
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from servicekit.mail_message import Calendar, Mail
from servicekit.mail_verification import verified
from tests.support.standard_mail import received, written

MOMENT = datetime(2026, 11, 20, 13, 8, 10, tzinfo=UTC)
ANY = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
LINES = st.lists(
    st.text(ANY, max_size=30)
    | st.text(st.sampled_from("a =\t.x"), max_size=240)
    | st.text(st.sampled_from("ü日=\t a"), max_size=100)
    | st.integers(70, 160).map(lambda length: "x" * length)
    | st.sampled_from(
        [".", "..", "--", "From here", "=20 ", "a" * 77 + " ", "a" * 76 + "\t ", "\x0b\x0c\x1c\x85\u2028"]
    ),
    max_size=14,
)
BODY = st.builds(lambda lines, end: end.join(lines), LINES, st.sampled_from(["\n", "\r\n", "\r", "\n\n"]))
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"), max_size=150)


def a_mail(**changes: Any) -> Mail:
    parts: dict[str, Any] = {
        "sender": Address("Convene", "no-reply", "example.org"),
        "recipients": [Address("Ada Lovelace", "ada", "example.com")],
        "reply_to": Address("John", "john", "example.com"),
        "subject": "You are booked",
        "date": MOMENT,
        "message_id": "<0198@example.org>",
        "text": "Hello",
        "html": "<p>Hello</p>",
        "calendar": Calendar("BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n", "REQUEST"),
    }
    return Mail(**(parts | changes))


def lines_of(text: str) -> list[str]:
    """As in any mail: one line end, also at the end."""
    return re.sub(r"\r\n|\r", "\n", text).removesuffix("\n").split("\n")


KINDS: list[dict[str, Any]] = [
    {},
    {"calendar": None},
    {"text": None, "calendar": None, "reply_to": None},
    {"html": None, "calendar": None, "is_automatic": False},
]


@given(BODY, BODY, BODY, st.sampled_from(KINDS))
@example("", "", "", KINDS[0])
@example("x" * 79, "ü" * 300, "日本語\n" * 30, KINDS[0])
@example("é" * 9 + "\n" * 11, "=" * 79, "a\n" * 10 + "ü", KINDS[0])
@settings(max_examples=60, deadline=None)
def test_any_body_has_the_bytes_of_the_standard_library(
    text: str, html: str, calendar: str, kind: dict[str, Any]
) -> None:
    mail = a_mail(**({"text": text, "html": html, "calendar": Calendar(calendar, "CANCEL")} | kind))
    assert mail.octets() == written(mail)


@given(TEXT, TEXT, TEXT, BODY)
@example("=?utf-8?q?=22X=22_=3Cevil=40example=2Ecom=3E=2C_?=", '"X" <evil@example.com>, ', "=?utf-8?b?SGk=?=", ".\n..")
@settings(max_examples=60, deadline=None)
def test_any_text_is_received_as_it_was_given(recipient: str, sender: str, subject: str, body: str) -> None:
    mail = received(
        a_mail(
            recipients=[Address(recipient, "ada", "example.com")],
            sender=Address(sender, "no-reply", "example.org"),
            subject=subject,
            text=body,
            html=body,
        )
    )
    for header, name, address in (
        ("To", recipient, "ada@example.com"),
        ("From", sender, "no-reply@example.org"),
        ("Reply-To", "John", "john@example.com"),
    ):
        [mailbox] = mail[header].addresses
        assert (mailbox.display_name, mailbox.addr_spec) == (" ".join(name.split()), address)
    assert mail["Subject"] == subject
    for kind in ("plain", "html"):
        part = mail.get_body((kind,))
        assert part is not None
        assert lines_of(part.get_content()) == lines_of(body)
    assert mail.keys() == [header.name for header in a_mail().headers] + ["MIME-Version", "Content-Type"]


@given(TEXT, TEXT, BODY)
@settings(max_examples=30, deadline=None)
def test_every_composed_mail_is_verified(name: str, subject: str, body: str) -> None:
    mail = a_mail(recipients=[Address(name, "ada", "example.com")], subject=subject, text=body)
    assert verified(mail).octets == mail.octets()


def test_line_of_a_body_is_never_a_boundary() -> None:
    def boundaries(mail: Mail) -> list[str | None]:
        return [part.get_boundary() for part in received(mail).walk() if part.is_multipart()]

    first = boundaries(a_mail())
    assert first == boundaries(a_mail(text="Another text"))
    taken = a_mail(text=f"--{first[0]}--")
    assert not set(first) & set(boundaries(taken))
    assert received(taken).get_body(("plain",)).get_content().strip() == f"--{first[0]}--"  # type: ignore[union-attr]
