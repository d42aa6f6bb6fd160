"""Types and parsers of requests that all contracts share."""

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, NewType, Protocol, TypeVar
from urllib.parse import quote, urlencode

from litestar import Request, Response
from msgspec import UNSET, Meta, Struct, UnsetType

from application.ports import Page
from domain.accounts import Role, require_self_assignable
from domain.errors import Invalid
from domain.events import EventType
from domain.money import exponent
from domain.time import as_utc
from servicekit.json_responses import JsonResponse

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

T = TypeVar("T")
View = TypeVar("View")


class Done(Struct):
    """The body of responses that contain only a message."""

    message: str


def array_page(request: Request[Any, Any, Any], page: Page[View], present: Callable[[View], T]) -> Response[list[T]]:
    """A page whose body is a bare array: the way to the next one stands in a `Link` header (RFC 8288)."""
    return JsonResponse([present(item) for item in page.items], headers=next_link(request, page.next))


class PageBody(Protocol):
    next_cursor: str | None


Body = TypeVar("Body", bound=PageBody)


def object_page(request: Request[Any, Any, Any], body: Body) -> Response[Body]:
    """A page whose body is an object: the same `Link` header beside its `next_cursor`."""
    return JsonResponse(body, headers=next_link(request, body.next_cursor))


def next_link(request: Request[Any, Any, Any], cursor: str | None) -> dict[str, str]:
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
    require_self_assignable(text)
    return Role(text)


def number(amount: Decimal, currency: str) -> float:
    """An amount as a JSON number, in the currency's own precision."""
    return float(round(amount, exponent(currency)))


def whole_seconds(moment: datetime) -> datetime:
    """An instant for an answer: UTC (`Z`), without fractions of a second."""
    return as_utc(moment).replace(microsecond=0)
