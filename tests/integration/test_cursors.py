"""A cursor holds sort keys and nothing else: it comes back as it went out, and any other text is refused."""

from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Invalid
from infrastructure.postgres.pages import (
    cursor_of,
    first_uuid,
    id_after,
    moment_and_id_after,
    moment_and_uuid_after,
    uuid_after,
)

READERS: list[Callable[[str | None], object]] = [id_after, uuid_after, moment_and_id_after, moment_and_uuid_after]
IDS = st.integers(0, 2**63 - 1)
MOMENTS = st.datetimes(timezones=st.just(UTC)).filter(lambda moment: 1 < moment.year < 9999)


@given(MOMENTS, IDS, st.uuids())
def test_cursor_round_trips(moment: datetime, number: int, unique: UUID) -> None:
    assert id_after(cursor_of(number)) == number
    assert uuid_after(cursor_of(unique)) == unique
    assert moment_and_id_after(cursor_of(moment, number)) == (moment, number)
    assert moment_and_uuid_after(cursor_of(moment, unique)) == (moment, unique)


@pytest.mark.parametrize("read", READERS)
def test_missing_cursor_starts_at_the_beginning(read: Callable[[str | None], object]) -> None:
    assert read(None) in (None, (None, None))


@given(st.text(max_size=300))
def test_other_text_is_rejected(text: str) -> None:
    for read in READERS:
        for cursor in (text, cursor_of(text)):
            try:
                found = read(cursor)
            except Invalid as refused:
                assert refused.details == {"cursor": "Is not a cursor of this list"}
            else:
                keys = found if isinstance(found, tuple) else (found,)
                assert all(isinstance(key, int | UUID | datetime) for key in keys)


@pytest.mark.parametrize(
    "keys", [("1_0",), ("+1",), (" 1",), ("١",), (str(2**63),), ("-1",), ("",), ("1", "2"), ("1" * 200,)]
)
def test_id_in_a_cursor_consists_of_digits(keys: tuple[str, ...]) -> None:
    with pytest.raises(Invalid):
        id_after(cursor_of(*keys))


@given(MOMENTS.filter(lambda moment: moment.year >= 1970))
def test_later_uuids_are_not_smaller_than_the_first_of_a_moment(moment: datetime) -> None:
    assert first_uuid(moment) <= UUID(int=int(moment.timestamp() * 1000) << 80)
