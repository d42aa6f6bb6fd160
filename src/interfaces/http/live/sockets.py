"""Live updates over a WebSocket."""

import contextlib
import time
from collections.abc import Coroutine, Sequence
from typing import Any, NewType

import msgspec
import structlog
from litestar import WebSocket, websocket
from litestar.exceptions import WebSocketDisconnect

from application.accounts.sessions import Authenticate, AuthenticateFollower
from application.notifications.live_updates import FollowLiveUpdates
from application.notifications.ports import LiveUpdate
from domain.errors import DomainError, Forbidden, Unauthenticated
from interfaces.http.authentication import bearer_token
from interfaces.http.errors import CountError, ErrorFormat, ErrorFormats, ErrorResponse, body_of, error_response
from interfaces.http.injection import Inject
from interfaces.http.live.entries import SCOPES, as_json, last_seen
from interfaces.http.live.followers import Followers, feed, first_of
from servicekit.logging import current_request_id

_log = structlog.get_logger()

SUBPROTOCOL = "convene.v1"
BEARER = "bearer."
"""Scripts in a browser can set no other header of a WebSocket handshake than the list of subprotocols, so the token may
be one of them."""
MESSAGES_A_MINUTE = 100

# RFC 6455, 7.4.1, and IANA's registry.
POLICY_VIOLATION, INTERNAL_ERROR, SERVICE_RESTART = 1008, 1011, 1012

Socket = WebSocket[Any, Any, Any]
SocketOrigins = NewType("SocketOrigins", frozenset[str])
"""Origins whose pages may open a WebSocket; `*` for all."""


class ForeignOrigin(Forbidden):
    code = "foreign_origin"
    message = "Pages of this origin may not follow the feed"


class _TooManyMessages(Exception):
    pass


@websocket("/ws/notifications")
async def follow_by_socket(
    socket: Socket,
    followers: Inject[Followers],
    authenticate: Inject[Authenticate],
    authenticate_follower: Inject[AuthenticateFollower],
    follow_live_updates: Inject[FollowLiveUpdates],
    allowed_origins: Inject[SocketOrigins],
    error_formats: Inject[ErrorFormats],
    count_error: Inject[CountError],
) -> None:
    """For facilitators and admins. The token or API key is sent in the `Authorization` header or as the subprotocol
    `bearer.<token>` beside `convene.v1`; never in the address, which proxies and servers log."""
    async with contextlib.AsyncExitStack() as stack:
        try:
            _refuse_foreign(socket, allowed_origins)
            token = _token(socket)
            actor = await authenticate(token)
            actor.require(*SCOPES)
            if not actor.user.can_facilitate:
                raise Forbidden
            seen = last_seen("last_event_id", socket.query_params.get("last_event_id"))
            await stack.enter_async_context(followers.joined(actor.user.id))
            after = await follow_live_updates.begin(actor.user.id, seen)
        except DomainError as error:
            response = error_response(error)
            count_error(response.code)
            await _refuse(socket, response, error_formats.of(socket.scope["path"]))
            return

        async def take(entries: Sequence[LiveUpdate]) -> None:
            for entry in entries:
                await socket.send_text(as_json(entry).decode())

        await socket.accept(subprotocols=SUBPROTOCOL if SUBPROTOCOL in socket.scope["subprotocols"] else None)
        await _converse(socket, followers, feed(follow_live_updates, authenticate_follower, actor, token, after, take))


async def _converse(socket: Socket, followers: Followers, updates: Coroutine[Any, Any, None]) -> None:
    try:
        await first_of(_receive(socket), followers.disconnected(), updates)
    except Unauthenticated:
        await _close(socket, POLICY_VIOLATION, "The token has ended")
    except _TooManyMessages:
        await _close(socket, POLICY_VIOLATION, "Too many messages")
    except TimeoutError:
        return  # the client reads nothing, so it would not read a close frame either: the server ends the connection
    except (OSError, WebSocketDisconnect):
        return  # the client left before the end
    except Exception as error:
        _log.error("socket.failed", path=socket.scope["path"], exc_info=error)
        await _close(socket, INTERNAL_ERROR, "Internal server error")
    else:
        await _close(socket, SERVICE_RESTART, "The server is about to restart")


async def _receive(socket: Socket) -> None:
    """Reads until the client disconnects. Ignores the contents of messages and limits their rate."""
    said, since = 0, time.monotonic()
    while (await socket.receive())["type"] != "websocket.disconnect":
        if time.monotonic() - since >= 60:
            said, since = 0, time.monotonic()
        said += 1
        if said > MESSAGES_A_MINUTE:
            raise _TooManyMessages


async def _close(socket: Socket, code: int, reason: str) -> None:
    if socket.connection_state != "disconnect":
        await socket.close(code, reason)


def _token(socket: Socket) -> str:
    """Raises `Unauthenticated`."""
    if "authorization" in socket.headers:
        return bearer_token(socket)
    offered: list[str] = socket.scope["subprotocols"]
    tokens = [each.removeprefix(BEARER) for each in offered if each.startswith(BEARER)]
    if len(tokens) != 1:
        raise Unauthenticated
    return tokens[0]


def _refuse_foreign(socket: Socket, allowed: SocketOrigins) -> None:
    """Browsers send the origin of the page and let every page connect; other programs send no origin. Raises
    `ForeignOrigin`."""
    if "*" not in allowed and not allowed.issuperset(socket.headers.getall("origin", [])):
        raise ForeignOrigin


async def _refuse(socket: Socket, response: ErrorResponse, error_format: ErrorFormat) -> None:
    """Answers the handshake with an HTTP error: the close codes of a WebSocket need an open connection."""
    body = msgspec.json.encode(body_of(response, error_format, current_request_id()))
    headers = [(name.lower().encode(), value.encode()) for name, value in response.headers.items()]
    headers.append((b"content-type", b"application/json"))
    await socket.send({"type": "websocket.http.response.start", "status": response.status, "headers": headers})
    await socket.send({"type": "websocket.http.response.body", "body": body, "more_body": False})
