"""A mail that a receiver would read as another one is not sent."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.parser import HeaderParser
from email.policy import SMTP, default

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from servicekit.mail_headers import Header
from servicekit.mail_message import Mail
from servicekit.mail_verification import UnsafeMail, read_mailboxes, read_text, verified

SECOND_MAILBOX = "=?utf-8?q?=22X=22_=3Cevil=40example=2Ecom=3E=2C_?="


JUERGEN = Address("Jürgen", "j", "example.com")


def a_mail(recipient: Address = JUERGEN, raw: Mapping[str, str] | None = None) -> Mail:
    """`raw`: lines of headers as a fault of the writer would leave them."""
    mail = Mail(
        sender=Address("Convene", "bookings", "example.com"),
        recipients=[recipient],
        subject="New booking",
        date=datetime(2026, 11, 30, 10, tzinfo=UTC),
        message_id="<1@example.com>",
        text="Hello\rthere\n.\n..\nFrom here\n",
    )
    for number, header in enumerate(mail.headers):
        if raw and header.name in raw:
            mail.headers[number] = replace(header, lines=[raw[header.name]])
    return mail


def test_valid_mail_has_its_envelope() -> None:
    ready = verified(a_mail())
    assert (ready.sender, ready.recipients, ready.smtputf8) == ("bookings@example.com", ["j@example.com"], False)
    assert b"\r\n.\r\n..\r\n" in ready.octets


def test_non_ascii_local_part_requires_smtputf8() -> None:
    assert verified(a_mail(Address("Jürgen", "jörg", "example.com"))).smtputf8


@pytest.mark.parametrize(
    ("header", "raw"),
    [
        ("Subject", "New booking\r\nBcc: eve@example.com"),
        ("Subject", "New booking\rBcc: eve@example.com"),
        ("Subject", "New booking\0"),
        ("Subject", "\r\nNew booking"),
        ("Subject", "\r\n New booking"),
        ("Subject", "New\r\n \r\n booking"),
        ("Subject", "New booking "),
        ("Subject", "New booking\r\n\r\nHello"),
        ("Subject", "=?utf-8?b?T3RoZXI=?="),
        ("Subject", "=?utf-8?b?TmV3IGJvb2tpbmc=?"),
        ("To", f"{SECOND_MAILBOX} <j@example.com>, eve@example.com"),
        ("To", "Eve <j@example.com>"),
        ("To", "=?utf-8?q?J=C3=BCrgen?= <eve@example.com>"),
        ("To", "=?utf-8?q?J=C3=BCrgen?= <j@example.com>, eve@example.com"),
        ("To", "=?utf-8?q?J=C3=BCrgen?= <j@example.com> eve@example.com"),
        ("To", '"=?utf-8?q?J=C3=BCrgen?=" <j@example.com>'),
    ],
)
def test_header_that_parses_to_another_value_is_rejected(header: str, raw: str) -> None:
    with pytest.raises(UnsafeMail):
        verified(a_mail(raw={header: raw}))


@pytest.mark.parametrize("octet", ["\r", "\n", "\0"], ids=ascii)
def test_bare_line_end_or_nul_in_any_header_is_rejected(octet: str) -> None:
    with pytest.raises(UnsafeMail):
        verified(a_mail(raw={"Date": f"Mon,{octet} 30 Nov 2026 10:00:00 +0000"}))


@pytest.mark.parametrize("octet", ["\r", "\n", "\0"], ids=ascii)
def test_bare_line_end_or_nul_in_the_body_is_rejected(octet: str) -> None:
    mail = a_mail()
    mail.headers.append(Header("X", "1", [f"1\r\nMIME-Version: 1.0\r\n\r\nHello{octet}"]))
    with pytest.raises(UnsafeMail, match="bare"):
        verified(mail)


def test_name_encoded_by_the_standard_library_is_rejected() -> None:
    standard = EmailMessage(policy=SMTP)
    standard["To"] = Address(SECOND_MAILBOX, "j", "example.com")
    raw = bytes(standard).decode().removeprefix("To: ").rstrip()
    with pytest.raises(UnsafeMail):
        verified(a_mail(Address(SECOND_MAILBOX, "j", "example.com"), {"To": raw}))


PIECES = st.sampled_from(
    ["Ada", " ", "  ", "=?utf-8?q?J=C3=BC?=", "=?utf-8?b?w7w=?=", "=?utf-8?q?a?=", "=?utf-8?q?=C3?=", "=?", "?=", "="]
) | st.sampled_from(
    ["<j@example.com>", "j@example.com", '"A, \\"B" <b@c.de>', "@", ", ", ",", "<", ">", '"', "\\", "(x)", ";:", "ü"]
)
VALUES = st.lists(PIECES, min_size=1, max_size=7).map("".join)
HEADERS = HeaderParser(policy=default)


@given(VALUES)
@example('"Ada \\"B\\", C" <j@example.com>, =?utf-8?q?J=C3=BC?= <b@c.de>')
@settings(max_examples=150, deadline=None)
def test_mailboxes_are_read_as_by_the_standard_library_or_rejected(value: str) -> None:
    mailboxes = read_mailboxes(value)
    if mailboxes is not None:
        read = HEADERS.parsestr(f"To: {value}\r\n\r\n")["To"].addresses
        assert [(mailbox.display_name, mailbox.addr_spec) for mailbox in read] == [*mailboxes]


@given(VALUES)
@example("=?utf-8?q?J=C3=BC?= =?utf-8?b?w7w=?=")
@settings(max_examples=150, deadline=None)
def test_text_is_read_as_by_the_standard_library_or_rejected(value: str) -> None:
    text = read_text(value)
    if text is not None:
        assert HEADERS.parsestr(f"Subject: {value}\r\n\r\n")["Subject"] == text
