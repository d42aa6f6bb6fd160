"""Every header is read back as exactly the text it was written from, and its first line carries text."""

import email
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, default
from email.utils import format_datetime
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from servicekit.mail_headers import UnsafeHeader, address_header, date_header, text_header
from tests.support.process_harness import LONG_RUN

SCRIPTS = {
    "ascii": "New booking: Ada for Yoga, then some tea ",
    "one word": "x",
    "umlauts": "Größe für Jürgen ",
    "cjk": "春天的瑜伽课程",
    "emoji": "🧘👩‍🦰 🇩🇪",
    "rtl": "יוגה בגן العربية ",
    "encoded": "=?utf-8?b?SGk=?= ",
}
LENGTHS = [*range(1, 160), *range(160, 999, 23), 996, 997, 998]
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"), min_size=1, max_size=300)
ERROR_FORMATS = st.text(st.sampled_from('a =?utf-8qb_"\\<>@,;:()ü\u3000.'), min_size=1, max_size=120)


def sent(name: str, value: Any) -> bytes:
    header = text_header(name, value) if isinstance(value, str) else address_header(name, value)
    return f"{header}\r\nHello".encode()


def read(octets: bytes) -> EmailMessage:
    return email.message_from_bytes(octets, policy=default)


def lines_of(octets: bytes, name: str) -> list[bytes]:
    first, *rest = octets.split(b"\r\n\r\n")[0].split(b"\r\n")
    assert first.startswith(f"{name}: ".encode())
    return [first, *(line for line in rest if line[:1] == b" ")]


def of_length(script: str, length: int) -> str:
    text = (SCRIPTS[script] * length)[:length]
    return f"{text[:-1]}." if text.endswith(" ") else text


def some_of(lengths: Sequence[int], script: str) -> Sequence[int]:
    """Every third length, beginning at another one with each script: all of them in LONG_RUN."""
    return lengths if LONG_RUN else lengths[list(SCRIPTS).index(script) % 3 :: 3]


@pytest.mark.parametrize("script", SCRIPTS)
def test_text_of_every_length_round_trips(script: str) -> None:
    for length in some_of(LENGTHS, script):
        text = of_length(script, length)
        octets = sent("Subject", text)
        lines = lines_of(octets, "Subject")
        assert read(octets)["Subject"] == text, length
        assert lines[0] != b"Subject: "
        assert all(line.strip() for line in lines)
        assert max(map(len, lines)) <= 78


@pytest.mark.parametrize("name", ["To", "Reply-To"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_name_of_every_length_round_trips(script: str, name: str) -> None:
    for length in [*some_of(range(1, 100), script), 119, 120, 160, 300, 998]:
        text = " ".join(of_length(script, length).split())
        octets = sent(name, [Address(text, "ada", "example.com")])
        lines = lines_of(octets, name)
        assert len(lines[0]) > len(name) + 2
        assert max(map(len, lines)) <= 998
        mailbox = read(octets)[name].addresses[0]
        assert mailbox.addr_spec == "ada@example.com"
        if length <= 160:
            assert mailbox.display_name == text, length
        else:
            assert text.startswith(mailbox.display_name.removesuffix("…"))
            assert len(mailbox.display_name) >= 160


@given(ANY_TEXT | ERROR_FORMATS)
@example(" leading and trailing ")
@example("two  spaces " * 12 + ".")
@settings(max_examples=200, deadline=None)
def test_any_text_round_trips(text: str) -> None:
    octets = sent("Subject", text)
    assert read(octets)["Subject"] == text
    assert read(octets).keys() == ["Subject"]
    assert read(octets).get_payload() == "Hello"


@given(ANY_TEXT | ERROR_FORMATS)
@example('"X" <evil@example.com>, ')
@example("=?utf-8?q?=22X=22_=3Cevil=40example=2Ecom=3E=2C_?=")
@example("Ada\u3000Lovelace  King")
@settings(max_examples=200, deadline=None)
def test_any_name_is_one_mailbox(name: str) -> None:
    mailboxes = read(sent("To", [Address(name, "ada", "example.com")]))["To"].addresses
    assert [mailbox.addr_spec for mailbox in mailboxes] == ["ada@example.com"]
    assert mailboxes[0].display_name == " ".join(name.split())


def test_several_mailboxes_round_trip() -> None:
    people = [Address(f"Jürgen, the {number}.", f"j{number}", "example.com") for number in range(5)]
    assert read(sent("To", people))["To"].addresses == tuple(people)


def test_standard_library_policy_does_not_round_trip() -> None:
    """The negative control: the same with the standard policy."""
    broken = 0
    for length in range(1, 100):
        mail = EmailMessage(policy=SMTP)
        mail["Subject"] = of_length("ascii", length)
        mail.set_content("Hello")
        broken += bytes(mail).startswith(b"Subject: \r\n")
    mail = EmailMessage(policy=SMTP)
    mail["To"] = Address("=?utf-8?q?=22X=22_=3Cevil=40example=2Ecom=3E=2C_?=", "ada", "example.com")
    assert broken or len(read(bytes(mail))["To"].addresses) > 1


@pytest.mark.parametrize("character", ["\r", "\n", "\0", "\ud800"])
@pytest.mark.parametrize("name", ["Subject", "Message-ID", "Auto-Submitted", "X-Other"])
def test_characters_that_break_a_header_are_rejected_each_time(name: str, character: str) -> None:
    for _ in range(2):
        with pytest.raises(UnsafeHeader):
            sent(name, f"text/plain{character}Bcc: all@example.com")


def test_address_header_needs_an_address() -> None:
    with pytest.raises(UnsafeHeader):
        address_header("To", [])


@pytest.mark.parametrize("domain", ["example.com>, <eve@example.com", "exam ple.com", "example.com, eve", ""])
def test_address_with_a_second_address_is_rejected(domain: str) -> None:
    with pytest.raises(UnsafeHeader):
        sent("To", [Address("Ada", "ada", domain)])


@given(st.integers(0, 2**32 - 1), st.sampled_from([UTC, timezone(timedelta(hours=5.5))]))
@settings(max_examples=30, deadline=None)
def test_date_is_written_as_by_the_standard_library(seconds: int, zone: timezone) -> None:
    moment = datetime.fromtimestamp(seconds, zone)
    assert str(date_header(moment)) == f"Date: {format_datetime(moment.astimezone(UTC))}\r\n"


def test_lines_are_folded_at_spaces_of_the_text() -> None:
    text = "Your seat in Sunrise Yoga in the Garden is booked: Friday, 4 December 2026, 10:00 to 11:00 (Europe/Berlin)"
    lines = lines_of(sent("Subject", text), "Subject")
    assert len(lines) == 2
    assert b"".join(lines).decode() == f"Subject: {text}"
    assert all(second.startswith(b" ") for _, second in pairwise(lines))
