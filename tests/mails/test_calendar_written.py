"""A calendar entry has the bytes that the library `icalendar` writes, and is read by it as it was entered."""

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from icalendar import Calendar

from infrastructure.icalendar.components import Attendee, Entry, Method, Organizer, Status, invitation
from tests.support import standard_calendar

MOMENT = datetime(2026, 12, 1, 10, tzinfo=UTC)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=200) | st.text(
    st.sampled_from("aN\\,;:\"^'’ \r\n\t日ü🧘=%"), max_size=200
)
LINE = TEXT.map(lambda text: re.sub(r"[\r\n]", " ", text))
MOMENTS = st.builds(
    datetime.fromtimestamp, st.integers(0, 2**32 - 1), st.sampled_from([UTC, timezone(timedelta(hours=5.5))])
)
EMAIL = st.sampled_from(["ada@example.com", "jörg@faß.de", "o'brien+x@example.com"])
LINK = st.sampled_from([None, "https://meet.example.com/abc?x=1,2;3", "javascript:x", "https://例え.jp/" + "x" * 80])
ENTRIES = st.builds(
    Entry,
    uid=st.sampled_from(["booking-12@book.example.org", "a,b;c@example.com"]),
    sequence=st.integers(0, 10**9),
    stamp=MOMENTS,
    starts_at=MOMENTS,
    ends_at=MOMENTS,
    status=st.sampled_from(get_args(Status)),
    summary=TEXT,
    description=TEXT,
    location=st.none() | TEXT,
    url=LINK,
    organizer=st.none()
    | st.builds(Organizer, LINE, EMAIL, st.none() | st.sampled_from(["no-reply@convene.example", "a^b@x.example"])),
    attendees=st.lists(st.builds(Attendee, LINE, EMAIL, st.sampled_from(["ACCEPTED", "NEEDS-ACTION"])), max_size=2).map(
        tuple
    ),
)


def an_entry(text: str, name: str = "Ada") -> Entry:
    return Entry(
        "1@x", 1, MOMENT, MOMENT, MOMENT, "CONFIRMED", text, text, text, None, None, (Attendee(name, "ada@x.example"),)
    )


@given(ENTRIES, st.sampled_from(get_args(Method)))
@example(an_entry("x" * 67 + "日" * 40), "REQUEST")
@example(an_entry("one\r\ntwo\rthree\nfour; five, six \\ seven", 'Ada "The Countess" ^ ’'), "CANCEL")
@settings(max_examples=50, deadline=None)
def test_entry_has_the_bytes_of_the_library(entry: Entry, method: Method) -> None:
    if r"\N" not in f"{entry.summary} {entry.description} {entry.location}":  # see the next test
        assert invitation([entry], method) == standard_calendar.invitation(entry, method)


@given(TEXT)
@example(r"C:\New \n folder")
@settings(max_examples=50, deadline=None)
def test_any_text_is_read_as_it_was_entered(text: str) -> None:
    """The library writes `\\N` as a line break."""
    written = invitation([an_entry(text)], "REQUEST")
    [entry] = Calendar.from_ical(written).walk("VEVENT")
    assert str(entry["DESCRIPTION"]) == re.sub(r"\r\n|\r", "\n", text)
    assert all(len(line.encode()) <= 75 for line in written.split("\r\n"))


@pytest.mark.parametrize("line_break", ["\r", "\n", "\r\n"], ids=ascii)
def test_line_break_in_an_address_is_rejected(line_break: str) -> None:
    attendee = Attendee("Ada", f"ada@example.com{line_break}STATUS:CANCELLED")
    with pytest.raises(ValueError, match="line break"):
        invitation(
            [Entry("1@x", 1, MOMENT, MOMENT, MOMENT, "CONFIRMED", "", "", None, None, None, (attendee,))], "REQUEST"
        )
