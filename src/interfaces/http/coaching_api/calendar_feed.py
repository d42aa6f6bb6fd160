"""Calendar feed: an account's bookings as iCalendar, for calendar programs that subscribe to it."""

from typing import Any

from litestar import Request, Response, delete, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath
from msgspec import Struct

from application.accounts.sessions import Actor
from application.calendars.feeds import CloseFeed, OpenFeed, ReadFeed
from domain.api_keys import Scope
from interfaces.http.authentication import ISSUES_TOKENS, public, signed_in
from interfaces.http.coaching_api.parameters import FeedToken
from interfaces.http.injection import Inject

TAGS = ["Contract E: calendar feed"]
MEDIA_TYPE = "text/calendar"


class FeedAddress(Struct):
    url: str


@post(
    "/calendar/feed",
    operation_id="openCalendarFeed",
    tags=TAGS,
    guards=[signed_in.without_keys],
    opt={ISSUES_TOKENS: True},
)
async def open_own_feed(actor: Inject[Actor], open_feed: Inject[OpenFeed]) -> FeedAddress:
    return FeedAddress(await open_feed(actor.user))


@delete(
    "/calendar/feed", operation_id="closeCalendarFeed", tags=TAGS, guards=[signed_in.with_scope(Scope.CALENDARS_WRITE)]
)
async def close_own_feed(actor: Inject[Actor], close_feed: Inject[CloseFeed]) -> None:
    await close_feed(actor.user)


@get(
    "/calendar/feed/{feed:str}",
    operation_id="readCalendarFeed",
    tags=TAGS,
    opt=public,
    media_type=MEDIA_TYPE,
    responses={304: ResponseSpec(None, description="It is as `If-None-Match` says")},
)
async def show_feed(
    feed: FromPath[FeedToken], request: Request[Any, Any, Any], read_feed: Inject[ReadFeed]
) -> Response[str]:
    known = _known(request)
    calendar = await read_feed(feed, lambda version: not known.isdisjoint({f'"{version}"', "*"}))
    headers = {"ETag": f'"{calendar.version}"', "Cache-Control": "private, no-cache"}
    if calendar.text is None:
        return Response("", status_code=304, headers=headers)
    return Response(calendar.text, headers=headers)


ROUTES = [open_own_feed, close_own_feed, show_feed]


def _known(request: Request[Any, Any, Any]) -> frozenset[str]:
    """The entity tags in `If-None-Match` (RFC 9110, 13.1.2)."""
    tags = ",".join(request.headers.getall("If-None-Match", [])).split(",")
    return frozenset(tag.strip().removeprefix("W/") for tag in tags)
