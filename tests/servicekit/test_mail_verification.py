"""A mail that a receiver would read as another one is not sent."""

from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP

import pytest

from servicekit.mail_headers import MAIL_POLICY, WrittenHeader
from servicekit.mail_verification import UnsafeMail, verified


def a_mail(**headers: WrittenHeader) -> EmailMessage:
    mail = EmailMessage(policy=MAIL_POLICY)
    mail["From"] = Address("Convene", "bookings", "example.com")
    mail["To"] = Address("Jürgen", "j", "example.com")
    mail["Subject"] = "New booking"
    mail.set_content("Hello\rthere\n.\n..\nFrom here\n")
    # As a fault of the writer would leave them.
    mail._headers = [(name, headers.get(name, value)) for name, value in mail._headers]  # type: ignore[attr-defined]
    return mail


def test_valid_mail_has_its_envelope() -> None:
    ready = verified(a_mail())
    assert (ready.sender, ready.recipients, ready.smtputf8) == ("bookings@example.com", ["j@example.com"], False)
    assert b"\r\n.\r\n..\r\n" in ready.octets


def test_non_ascii_local_part_requires_smtputf8() -> None:
    mail = a_mail()
    del mail["To"]
    mail["To"] = Address("Jürgen", "jörg", "example.com")
    assert verified(mail).smtputf8


@pytest.mark.parametrize(
    ("header", "lines"),
    [
        ("Subject", ["New booking", "Bcc: eve@example.com"]),
        ("Subject", ["New booking\rBcc: eve@example.com"]),
        ("Subject", ["New booking\0"]),
        ("Subject", ["", "New booking"]),
        ("Subject", ["=?utf-8?b?T3RoZXI=?="]),
        ("To", ["=?utf-8?q?=22X=22_=3Cevil=40example=2Ecom=3E=2C_?= <j@example.com>, eve@example.com"]),
        ("To", ["Eve <j@example.com>"]),
        ("To", ["=?utf-8?q?J=C3=BCrgen?= <eve@example.com>"]),
    ],
)
def test_header_that_parses_to_another_value_is_rejected(header: str, lines: list[str]) -> None:
    addresses = (Address("Jürgen", "j", "example.com"),) if header == "To" else ()
    written = WrittenHeader.of(header, "New booking", lines, addresses)
    written.fold = lambda *, policy: f"{header}: {policy.linesep.join(lines)}\r\n"  # type: ignore[method-assign]
    with pytest.raises(UnsafeMail):
        verified(a_mail(**{header: written}))


@pytest.mark.parametrize("octet", ["\r", "\n", "\0"], ids=ascii)
def test_bare_line_end_or_nul_in_any_header_is_rejected(octet: str) -> None:
    """In the date, which is not compared: a server may read such a line as two."""
    mail = a_mail()
    mail["Date"] = "Mon, 30 Nov 2026 10:00:00 +0000"
    assert verified(mail)
    written = WrittenHeader.of("Date", "Mon", ["Mon"])
    written.fold = lambda *, policy: f"Date: Mon,{octet} 30 Nov 2026{policy.linesep}"  # type: ignore[method-assign]
    mail._headers[-1] = ("Date", written)  # type: ignore[attr-defined]
    with pytest.raises(UnsafeMail):
        verified(mail)


def test_name_encoded_by_the_standard_library_is_rejected() -> None:
    mail = EmailMessage(policy=SMTP)
    mail["From"] = Address("Convene", "bookings", "example.com")
    mail["To"] = Address("=?utf-8?q?=22X=22_=3Cevil=40example=2Ecom=3E=2C_?=", "j", "example.com")
    mail["Subject"] = "New booking"
    mail.set_content("Hello")
    with pytest.raises(UnsafeMail):
        verified(mail)
