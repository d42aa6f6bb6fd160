"""Times that clients write: how they are read, and that they come back as they were meant."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.support.appointments import books, free_hour, uuid_of, wanted
from tests.support.people import Person

# How a client may write fourteen o'clock UTC.
SPELLINGS = {
    "Z": "{date}T{hour:02}:00:00Z",
    "no offset": "{date}T{hour:02}:00:00",
    "+00:00": "{date}T{hour:02}:00:00+00:00",
    "-00:00": "{date}T{hour:02}:00:00-00:00",
    "lower case": "{date}t{hour:02}:00:00z",
    "a space": "{date} {hour:02}:00:00Z",
    "milliseconds": "{date}T{hour:02}:00:00.000Z",
    "nanoseconds": "{date}T{hour:02}:00:00.123456789Z",
}
NONSENSE: list[Any] = [
    "",
    "tomorrow",
    "2030-06-01",
    "2030-06-01T14:00Z",
    "14:00:00Z",
    "2030-13-01T14:00:00Z",
    "2030-02-29T14:00:00Z",
    "2030-06-01T24:00:01Z",
    "2030-06-01T23:59:60Z",
    "2030-06-01T14:00:00+25:00",
    "2030-06-01T14:00:00 UTC",
    " 2030-06-01T14:00:00Z",
    "10000-01-01T00:00:00Z",
    "0000-01-01T00:00:00Z",
    "2030-06-01T14:00:00Z\n",
    None,
    True,
    [],
    {},
]
ENDS_OF_THE_CALENDAR = [
    "0001-01-01T00:00:00+05:00",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59-05:00",
    "9999-12-31T23:59:59Z",
]


@pytest.fixture(scope="module")
async def coach(john: Person) -> str:
    return await uuid_of(john)


@pytest.fixture(scope="module")
async def unchanged(ada: Person, coach: str) -> dict[str, Any]:
    """A booking. Every request to change it is refused."""
    booking = await books(ada, coach, free_hour())
    del booking["payment_url"]
    return booking


def shown(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
async def test_every_notation_of_a_time_is_the_same_time(ada: Person, coach: str, spelling: str) -> None:
    begins = free_hour()
    written = spelling.format(date=begins.date(), hour=begins.hour)
    booking = await books(ada, coach, begins, session_datetime=written)
    assert (booking["session_datetime"], booking["end_datetime"]) == (
        shown(begins),
        shown(begins + timedelta(hours=1)),
    )
    [first] = (await ada.get(f"/booking/{booking['id']}/history")).json()["history"]
    assert first["after"]["session_datetime"] == shown(begins)


@pytest.mark.parametrize("offset", ["+05:30", "-08:00", "+14:00", "-12:00", "+00:01"])
async def test_time_with_an_offset_is_returned_in_utc(ada: Person, coach: str, offset: str) -> None:
    begins = free_hour()
    zone = datetime.fromisoformat(f"2030-01-01T00:00:00{offset}").tzinfo
    written = begins.astimezone(zone).isoformat()
    assert written.endswith(offset)
    booking = await books(ada, coach, begins, session_datetime=written)
    assert booking["session_datetime"] == shown(begins)
    moved = free_hour()
    answer = await ada.post(
        f"/booking/{booking['id']}/reschedule", json={"session_datetime": moved.astimezone(zone).isoformat()}
    )
    assert (answer.status_code, answer.json()["session_datetime"]) == (200, shown(moved))
    assert (await ada.get(f"/booking/{booking['id']}")).json() == answer.json()


@pytest.mark.parametrize("written", NONSENSE, ids=repr)
async def test_invalid_time_returns_400_with_its_field(
    ada: Person, coach: str, unchanged: dict[str, Any], written: object
) -> None:
    booking = unchanged
    answers = [
        await ada.post("/booking", json=wanted(coach, free_hour()) | {"session_datetime": written}),
        await ada.post(f"/booking/{booking['id']}/reschedule", json={"session_datetime": written}),
    ]
    for answer in answers:
        assert answer.status_code == 400
        assert answer.json()["detail"].startswith("session_datetime: ")
    assert (await ada.get(f"/booking/{booking['id']}")).json() == booking


@pytest.mark.parametrize("written", ENDS_OF_THE_CALENDAR)
async def test_time_outside_the_date_range_is_rejected(
    ada: Person, john: Person, coach: str, unchanged: dict[str, Any], written: str
) -> None:
    booking = unchanged["id"]
    answers = [
        await ada.post("/booking", json=wanted(coach, free_hour(), session_datetime=written)),
        await ada.post(f"/booking/{booking}/reschedule", json={"session_datetime": written}),
        await john.post(f"/booking/{booking}/reschedule", json={"session_datetime": written}),
    ]
    for answer in answers:
        assert answer.status_code == 400
        assert answer.json()["detail"] == "session_datetime: Must be between 1970-01-01 and 2099-12-31"
