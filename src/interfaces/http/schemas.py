"""Types and parsers of requests that all contracts share."""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, NewType, Protocol, TypeVar
from urllib.parse import quote, urlencode
from uuid import UUID

import msgspec
from litestar import Request, Response
from msgspec import UNSET, Meta, Struct, UnsetType

from application.ports import MAX_PAGE, Page, PageRequest
from domain.accounts import SELF_ASSIGNABLE_ROLES, Role
from domain.errors import Invalid, NotFound
from domain.events import EventType
from domain.money import exponent
from domain.time import as_utc, entered_day, entered_instant

DefaultCurrency = NewType("DefaultCurrency", str)
"""The ISO 4217 code of a price that is given without a currency (`DEFAULT_CURRENCY`)."""
PublicUrl = NewType("PublicUrl", str)
"""The address of this API for browsers (`PUBLIC_URL`)."""

BodyId = Annotated[int, Meta(ge=1, le=2**63 - 1)]
"""An id inside a body: a whole number that PostgreSQL's bigint can hold."""


class PaymentLinkRequest(Struct):
    """`return_url`: where the buyer goes after paying, as in `POST /bookings`. Without it the address of the earlier
    request is used."""

    return_url: str | None = None


LONGEST_SEARCH = 100

ONE_OF = "one_of"


def one_of(values: type[StrEnum]) -> Meta:
    """Describes a string as one of these values. A body with another value is still decoded, and rejected with the
    contract's message."""
    return Meta(extra={ONE_OF: values})


class RegistrationRole(StrEnum):
    USER = Role.USER
    FACILITATOR = Role.FACILITATOR


EnteredEventType = Annotated[str, one_of(EventType)]
EnteredRole = Annotated[str, one_of(RegistrationRole)]

_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_ID = re.compile(r"[1-9][0-9]{0,18}", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)

T = TypeVar("T")
View = TypeVar("View")


class Done(Struct):
    """The body of responses that contain only a message."""

    message: str


def path_id(text: str, not_found: type[NotFound]) -> int:
    """An id inside a path. What cannot be one (`+1`, `1_000`, 2^63) names nothing: raises `not_found`."""
    if not _ID.fullmatch(text) or int(text) >= 2**63:
        raise not_found
    return int(text)


def path_uuid(text: str, not_found: type[NotFound]) -> UUID:
    """A UUID inside a path, in its usual spelling. What is none names nothing: raises `not_found`."""
    if not _UUID.fullmatch(text):
        raise not_found
    return UUID(text)


def query_id(field: str, text: str | None) -> int | None:
    if text is None:
        return None
    if not _ID.fullmatch(text) or int(text) >= 2**63:
        raise Invalid({field: "Must be a positive whole number"})
    return int(text)


def query_search(field: str, text: str | None) -> str | None:
    """Words to search for, at most 100 characters; None where there is nothing but blanks."""
    if text is None or not text.strip():
        return None
    if len(text) > LONGEST_SEARCH:
        raise Invalid({field: f"Must be at most {LONGEST_SEARCH} characters"})
    return text


def query_flag(field: str, text: str | None) -> bool | None:
    if text is None:
        return None
    if text.lower() not in {"true", "false", "1", "0"}:
        raise Invalid({field: "Must be true or false"})
    return text.lower() in {"true", "1"}


def query_instant(field: str, text: str) -> datetime:
    """RFC 3339, or a date, which is its first instant in UTC. It keeps the offset it was given in."""
    # A `+` that was not encoded arrives as a space.
    text = text.replace(" ", "+")
    try:
        if _DATE.fullmatch(text):
            return datetime.combine(entered_day(date.fromisoformat(text), field), time.min, UTC)
        moment = msgspec.convert(text, datetime)
    except (ValueError, msgspec.ValidationError):
        raise Invalid({field: "Must be a date or an RFC 3339 date and time"}) from None
    entered_instant(moment, field)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def page_request(limit: str | None, cursor: str | None, *, default: int = MAX_PAGE) -> PageRequest:
    """`limit` counts from 1; more than 500 counts as 500. `default` is for a request without one."""
    if limit is None:
        return PageRequest(default, cursor)
    size = query_id("limit", limit)
    return PageRequest(limit=min(size or MAX_PAGE, MAX_PAGE), after=cursor)


def array_page(request: Request[Any, Any, Any], page: Page[View], present: Callable[[View], T]) -> Response[list[T]]:
    """A page whose body is a bare array: the way to the next one stands in a `Link` header (RFC 8288)."""
    return Response([present(item) for item in page.items], headers=_next_link(request, page.next))


class PageBody(Protocol):
    next_cursor: str | None


Body = TypeVar("Body", bound=PageBody)


def object_page(request: Request[Any, Any, Any], body: Body) -> Response[Body]:
    """A page whose body is an object: the same `Link` header beside its `next_cursor`."""
    return Response(body, headers=_next_link(request, body.next_cursor))


def _next_link(request: Request[Any, Any, Any], cursor: str | None) -> dict[str, str]:
    """Repeats the other parameters of the query. A cursor takes the place of `skip`."""
    if cursor is None:
        return {}
    repeated = {name: value for name, value in request.query_params.items() if name != "skip"}
    following = urlencode(repeated | {"cursor": cursor})
    return {"Link": f'<{quote(request.scope["path"])}?{following}>; rel="next"'}


def require_one_seat(quantity: int | None) -> None:
    """Raises `Invalid` for a booking of more seats than one, or of none."""
    if quantity not in {None, 1}:
        raise Invalid({"quantity": "Must be 1: a booking is one seat, for the person who makes it"})


def kept(given: T | UnsetType, present: T) -> T:
    """A field of a partial update: what was not given stays."""
    return present if given is UNSET else given


def event_type(field: str, text: str) -> EventType:
    try:
        return EventType(text)
    except ValueError:
        raise Invalid({field: "Must be session, workshop or retreat"}) from None


def self_assigned_role(text: str) -> Role:
    """The role of a registration; `admin` is rejected."""
    if text not in {role.value for role in SELF_ASSIGNABLE_ROLES}:
        raise Invalid({"role": "Must be user or facilitator"})
    return Role(text)


def number(amount: Decimal, currency: str) -> float:
    """An amount as a JSON number, in the currency's own precision."""
    return float(round(amount, exponent(currency)))


def whole_seconds(moment: datetime) -> datetime:
    """An instant for an answer: UTC (`Z`), without fractions of a second."""
    return as_utc(moment).replace(microsecond=0)
