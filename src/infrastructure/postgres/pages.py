"""Keyset pagination: the start of a page is given by the sort keys of the entry before it.

A cursor is the text of these keys in base64. It names a position, not an entry, so a forged cursor reveals nothing that
the list does not contain. Malformed cursors raise `Invalid`.
"""

import base64
import binascii
import re
from datetime import datetime
from uuid import UUID

from application.ports import PageRequest
from domain.errors import Invalid
from domain.time import as_utc

LAST_UUID = UUID(int=2**128 - 1)

_LONGEST = 200
_NUMBER = re.compile(r"[0-9]{1,19}", re.ASCII)
_SKEW = 3600.0
"""Seconds: the maximum difference between the clock of timestamps and the clock of row ids."""


def limited(query: str, page: PageRequest) -> str:
    """The query with the number of rows to read in place of `:rows`: one more than the page has, if there is a next
    one. There are as many statements as page sizes in use."""
    return query.replace(":rows", str(page.limit + 1))


def unplanned(value: str) -> str:
    """A value that the planner does not look at. PostgreSQL keeps a plan for any values only if it looks as cheap as
    those for the given ones; otherwise it plans each request anew, which takes longer than reading the page."""
    return f"(SELECT {value})"


def cursor_of(*keys: object) -> str:
    return base64.urlsafe_b64encode(" ".join(map(_text, keys)).encode()).decode()


def id_after(cursor: str | None) -> int | None:
    return None if cursor is None else _id(*_keys(cursor, 1))


def uuid_after(cursor: str | None) -> UUID | None:
    return None if cursor is None else _uuid(*_keys(cursor, 1))


def moment_and_id_after(cursor: str | None) -> tuple[datetime | None, int | None]:
    if cursor is None:
        return None, None
    moment, number = _keys(cursor, 2)
    return _moment(moment), _id(number)


def moment_and_uuid_after(cursor: str | None) -> tuple[datetime | None, UUID | None]:
    if cursor is None:
        return None, None
    moment, unique = _keys(cursor, 2)
    return _moment(moment), _uuid(unique)


def first_uuid(since: datetime | None) -> UUID:
    """The smallest id of rows of that time: a UUIDv7 begins with the milliseconds since 1970 (RFC 9562, 5.7)."""
    milliseconds = 0 if since is None else max(0, int((since.timestamp() - _SKEW) * 1000))
    return UUID(int=milliseconds << 80)


def refused() -> Invalid:
    return Invalid({"cursor": "Is not a cursor of this list"})


def _text(key: object) -> str:
    return key.isoformat() if isinstance(key, datetime) else str(key)


def _keys(cursor: str, number: int) -> list[str]:
    if len(cursor) > _LONGEST:
        raise refused()
    try:
        keys = base64.b64decode(cursor, altchars=b"-_", validate=True).decode().split(" ")
    except (binascii.Error, ValueError):
        raise refused() from None
    if len(keys) != number:
        raise refused()
    return keys


def _id(text: str) -> int:
    if not _NUMBER.fullmatch(text) or int(text) >= 2**63:
        raise refused()
    return int(text)


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise refused() from None


def _moment(text: str) -> datetime:
    try:
        return as_utc(datetime.fromisoformat(text))
    except (ValueError, OverflowError, Invalid):
        raise refused() from None
