"""Live updates as Server-Sent Events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

import contextlib
import time
from collections.abc import Sequence
from typing import Annotated, Any

from litestar import Request, Response, get
from litestar.openapi import ResponseSpec
from litestar.params import HeaderParameter
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Send
from litestar.types import Scope as ConnectionScope

from application.accounts.sessions import Actor, Authenticate, AuthenticateFollower
from application.notifications.live_updates import FollowLiveUpdates
from application.notifications.ports import EntryId, LiveUpdate
from domain.errors import Unauthenticated
from interfaces.http.authentication import bearer_token, facilitators
from interfaces.http.injection import Inject
from interfaces.http.live.entries import SCOPES, Entry, as_json, last_seen
from interfaces.http.live.followers import Followers, feed, first_of
from interfaces.http.middleware import ONLY_HEAD
from interfaces.http.parameters import Converter

EVENT_STREAM = "text/event-stream"
LAST_SEEN = "Last-Event-ID"
HEARTBEAT_SECONDS = 15
"""Interval of comments that keep proxies from closing an idle stream."""

# Sent immediately, so that the client sees the connection; it reconnects after 2 s.
_WELCOME = b"retry: 2000\n\n"
_HEARTBEAT = b": still here\n\n"


LastEventId = Annotated[
    EntryId | None,
    HeaderParameter(name=LAST_SEEN),
    Converter(
        "The id of the last received entry: the entries after it are sent first.",
        {"type": "integer", "format": "int64", "minimum": 0},
        last_seen,
    ),
]


@get(
    "/facilitator/feed",
    operation_id="followFeed",
    tags=["Live updates"],
    guards=[facilitators.with_scope(*SCOPES)],
    responses={200: ResponseSpec(Entry, media_type=EVENT_STREAM, generate_examples=False)},
)
async def follow_by_stream(
    request: Request[Any, Any, Any],
    actor: Inject[Actor],
    followers: Inject[Followers],
    authenticate_follower: Inject[AuthenticateFollower],
    follow_live_updates: Inject[FollowLiveUpdates],
    last_event_id: LastEventId = None,
) -> Response[None]:
    """Changes to the calling facilitator's bookings, as Server-Sent Events.

    - `id` is the entry's id, `event` the message type, `data` the entry as JSON; its `data` is the payload that the
      CRM receives.
    - With `Last-Event-ID` the entries after that id come first, at most 30 days back; else the stream begins now.
    - The stream ends with the token and when the server restarts: connect again with the last received id.
    - One account has at most 10 connections, including WebSockets (`/ws/notifications`).
    """
    return _EventStream(
        followers,
        follow_live_updates,
        authenticate_follower,
        actor,
        bearer_token(request),
        last_event_id,
    )


class _EventStream(Response[None]):
    def __init__(
        self,
        followers: Followers,
        follow_live_updates: FollowLiveUpdates,
        authenticate: Authenticate,
        actor: Actor,
        token: str,
        seen: EntryId | None,
    ) -> None:
        # Proxies such as nginx would buffer small chunks of a slow answer.
        super().__init__(None, media_type=EVENT_STREAM, headers={"X-Accel-Buffering": "no"})
        self.followers = followers
        self.follow_live_updates = follow_live_updates
        self.authenticate = authenticate
        self.actor = actor
        self.token = token
        self.seen = seen

    def to_asgi_response(self, app: Any, request: Any, **_options: Any) -> ASGIResponse:  # noqa: ARG002
        return _Sending(self)


class _Sending(ASGIResponse):
    _should_set_content_length = False

    def __init__(self, stream: _EventStream) -> None:
        super().__init__(media_type=EVENT_STREAM, headers=stream.headers, status_code=200)
        self._stream = stream

    async def __call__(self, scope: ConnectionScope, receive: Receive, send: Send) -> None:
        """Raises `TooManyFollowers` and `Unavailable` before anything is sent."""
        stream = self._stream
        async with stream.followers.joined(stream.actor.user.id):
            after = await stream.follow_live_updates.begin(stream.actor.user.id, stream.seen)
            await self.start_response(send)
            if not scope.get(ONLY_HEAD):
                try:
                    await self._follow(after, receive, send)
                except TimeoutError:
                    return  # the client reads nothing: the server ends the connection
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _follow(self, after: EntryId, receive: Receive, send: Send) -> None:
        stream = self._stream
        spoken = 0.0

        async def say(chunk: bytes) -> None:
            nonlocal spoken
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            spoken = time.monotonic()

        async def take(entries: Sequence[LiveUpdate]) -> None:
            if entries:
                await say(b"".join(map(_event, entries)))
            elif time.monotonic() - spoken >= HEARTBEAT_SECONDS:
                await say(_HEARTBEAT)

        await say(_WELCOME)
        with contextlib.suppress(Unauthenticated):
            await first_of(
                _left(receive),
                stream.followers.disconnected(),
                feed(stream.follow_live_updates, stream.authenticate, stream.actor, stream.token, after, take),
            )


async def _left(receive: Receive) -> None:
    """Waits until the client disconnects."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _event(entry: LiveUpdate) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (entry.id, entry.message_type.encode(), as_json(entry))
