"""Types of path, query and header parameters: a handler's signature names one, which decides what a text becomes, which
error a wrong text raises, and how the API's description shows the parameter.

    async def show_event(event_id: FromPath[EventIdInPath], limit: FromQuery[PageSize] = MAX_PAGE) -> …

Parameters are converted in the order of the signature, after the guards and after the body has its type.
"""

import functools
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from copy import copy
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from enum import StrEnum
from typing import Annotated, Any, TypeVar, get_type_hints
from uuid import UUID

import msgspec
from litestar.handlers import BaseRouteHandler
from litestar.params import ParameterKwarg, SkipValidationMarker

from application.ports import MAX_PAGE
from domain.bookings import BookingNotFound
from domain.errors import Invalid, NotFound
from domain.events import EventId, EventNotFound
from domain.ids import BookingId
from domain.time import entered_day, entered_instant

Handler = TypeVar("Handler", bound=BaseRouteHandler)
Member = TypeVar("Member", bound=StrEnum)
Convert = Callable[[str, str], Any]
"""From a parameter's name and text to its value."""


def as_text(_name: str, text: str) -> str:
    return text


@dataclass(frozen=True, eq=False)
class Converter(SkipValidationMarker):
    """Metadata of a parameter's type. `schema` is JSON schema; a default that is a number or a text is added to it.
    `raises`: the error of a path parameter that names nothing."""

    description: str
    schema: Mapping[str, Any]
    convert: Convert = as_text
    raises: type[NotFound] | None = None


def converter_in(metadata: Iterable[Any]) -> Converter | None:
    return next((each for each in metadata if isinstance(each, Converter)), None)


def with_converters(handler: Handler) -> Handler:
    """A copy whose function receives converted parameters; the handler itself if there are none."""
    function: Any = handler.fn
    converting = _converting(function)
    if converting is function:
        return handler
    copied = copy(handler)
    copied(converting)
    return copied


@functools.cache
def _converting(function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    converters = _converters(function)
    if not converters:
        return function

    @functools.wraps(function)
    async def convert(**values: Any) -> Any:
        for parameter, (name, converter) in converters.items():
            given = values[parameter]
            if isinstance(given, str):
                values[parameter] = converter(name, given)
        return await function(**values)

    return convert


def _converters(function: Callable[..., Any]) -> dict[str, tuple[str, Convert]]:
    """By parameter: its name in the request, and what converts its text."""
    found = {}
    for parameter, annotation in get_type_hints(function, include_extras=True).items():
        converter = converter_in(getattr(annotation, "__metadata__", ()))
        if converter is not None and converter.convert is not as_text:
            sent = [each.name for each in annotation.__metadata__ if isinstance(each, ParameterKwarg) and each.name]
            found[parameter] = (*sent, parameter)[0], converter.convert
    return found


# How texts are converted

_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_ID = re.compile(r"[1-9][0-9]{0,18}", re.ASCII)
_FLAGS = {"true": True, "1": True, "false": False, "0": False}
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)

LONGEST_SEARCH = 100

ID_SCHEMA = {"type": "integer", "format": "int64", "minimum": 1}
UUID_SCHEMA = {"type": "string", "format": "uuid"}


def _is_id(text: str) -> bool:
    return bool(_ID.fullmatch(text)) and int(text) < 2**63


def positive(name: str, text: str) -> int:
    if not _is_id(text):
        raise Invalid({name: "Must be a positive whole number"})
    return int(text)


def id_in_path(description: str, not_found: type[NotFound]) -> Converter:
    """What cannot be an id (`+1`, `1_000`, 2^63) names nothing."""

    def convert(_name: str, text: str) -> int:
        if not _is_id(text):
            raise not_found
        return int(text)

    return Converter(description, ID_SCHEMA, convert, not_found)


def uuid_in_path(description: str, not_found: type[NotFound]) -> Converter:
    """A UUID in its usual spelling; any other text names nothing."""

    def convert(_name: str, text: str) -> UUID:
        if not _UUID.fullmatch(text):
            raise not_found
        return UUID(text)

    return Converter(description, UUID_SCHEMA, convert, not_found)


def member_of(
    values: type[Member], description: str, sentence: str, words: Mapping[str, Member] | None = None
) -> Converter:
    """`sentence` is the error, with the values in place of `{}`; `words` are other spellings of some of them."""
    texts = {member.value: member for member in values} | dict(words or {})

    def convert(name: str, text: str) -> Member:
        if text not in texts:
            raise Invalid({name: sentence.format(", ".join(values))})
        return texts[text]

    return Converter(description, {"type": "string", "enum": [*texts]}, convert)


def flag(name: str, text: str) -> bool:
    if text.lower() not in _FLAGS:
        raise Invalid({name: "Must be true or false"})
    return _FLAGS[text.lower()]


def search_text(name: str, text: str) -> str | None:
    if not text.strip():
        return None
    if len(text) > LONGEST_SEARCH:
        raise Invalid({name: f"Must be at most {LONGEST_SEARCH} characters"})
    return text


def _page_size(name: str, text: str) -> int:
    return min(positive(name, text), MAX_PAGE)


def page_size_up_to(most: int) -> Convert:
    """More than the maximum is an error: a client that expects pages of 200 would skip half of the items."""

    def convert(name: str, text: str) -> int:
        size = positive(name, text)
        if size > most:
            raise Invalid({name: f"Must be between 1 and {most}"})
        return size

    return convert


def instant(name: str, text: str) -> datetime:
    """RFC 3339, or a date, which is its first instant in UTC. It keeps the offset it was given in."""
    # A `+` that was not encoded arrives as a space.
    text = text.replace(" ", "+")
    try:
        if _DATE.fullmatch(text):
            return datetime.combine(entered_day(date.fromisoformat(text), name), time.min, UTC)
        moment = msgspec.convert(text, datetime)
    except (ValueError, msgspec.ValidationError):
        raise Invalid({name: "Must be a date or an RFC 3339 date and time"}) from None
    entered_instant(moment, name)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


# Types of several contracts

EventIdInPath = Annotated[EventId, id_in_path("The event's id.", EventNotFound)]
SessionIdInPath = Annotated[EventId, id_in_path("The session's id.", EventNotFound)]
BookingIdInPath = Annotated[BookingId, id_in_path("The booking's id.", BookingNotFound)]
SearchText = Annotated[
    str | None,
    Converter(
        "Only events with all of these words, or words that begin so, in the title, the description, the category or"
        " the facilitator's name, ignoring case.",
        {"type": "string", "maxLength": LONGEST_SEARCH},
        search_text,
    ),
]
"""None where there is nothing but blanks."""
PageSize = Annotated[
    int,
    Converter(
        f"The maximum number of items; more than {MAX_PAGE} counts as {MAX_PAGE}.",
        {"type": "integer", "minimum": 1},
        _page_size,
    ),
]
Cursor = Annotated[
    str | None, Converter("The start of the page: the cursor of the page before it.", {"type": "string"})
]
