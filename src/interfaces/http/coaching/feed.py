"""A person's bookings as a calendar that programs subscribe to."""

import hashlib
from typing import Any

from litestar import Request, Response, delete, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath
from msgspec import Struct

from application.accounts import Actor
from application.feeds import CloseFeed, OpenFeed, ReadFeed
from domain.feeds import FeedNotFound
from interfaces.http.actor import GIVES_TOKENS, public, signed_in
from interfaces.http.injection import Given

TAGS = ["Contract E: calendar feed"]
MEDIA_TYPE = "text/calendar"


class FeedAddress(Struct):
    url: str


@post(
    "/calendar/feed",
    operation_id="openCalendarFeed",
    tags=TAGS,
    guards=[signed_in],
    opt={GIVES_TOKENS: True},
)
async def open_own_feed(actor: Given[Actor], open_feed: Given[OpenFeed]) -> FeedAddress:
    return FeedAddress(await open_feed(actor.user))


@delete("/calendar/feed", operation_id="closeCalendarFeed", tags=TAGS, guards=[signed_in])
async def close_own_feed(actor: Given[Actor], close_feed: Given[CloseFeed]) -> None:
    await close_feed(actor.user)


@get(
    "/calendar/feed/{feed:str}",
    operation_id="readCalendarFeed",
    tags=TAGS,
    opt=public,
    media_type=MEDIA_TYPE,
    responses={304: ResponseSpec(None, description="It is as `If-None-Match` says")},
)
async def show_feed(feed: FromPath[str], request: Request[Any, Any, Any], read_feed: Given[ReadFeed]) -> Response[str]:
    token, _, extension = feed.rpartition(".")
    if extension != "ics":
        raise FeedNotFound
    text = await read_feed(token)
    etag = f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    if _has(request, etag):
        return Response("", status_code=304, headers=headers)
    return Response(text, headers=headers)


ROUTES = [open_own_feed, close_own_feed, show_feed]


def _has(request: Request[Any, Any, Any], etag: str) -> bool:
    """Whether the caller has it already (RFC 9110, 13.1.2)."""
    known = [tag.strip() for tag in ",".join(request.headers.getall("If-None-Match", [])).split(",")]
    return any(tag.removeprefix("W/") in {etag, "*"} for tag in known)
