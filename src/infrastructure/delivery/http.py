"""HTTP sender of messages: JSON bodies, the connection pool, classification of responses."""

from collections.abc import Callable, Sequence
from datetime import datetime
from urllib.parse import urlsplit

import aiohttp
import httpx
import msgspec
from aiohttp.connector import Connection
from httpx_aiohttp import AiohttpTransport

from domain.outbox import Delivered, Failed, Message, Outcome
from infrastructure.observability.tracing import traceparent
from servicekit.clock import machine_time
from servicekit.http_sender import KEEPALIVE_SECONDS, HttpSender, NoAnswer
from servicekit.signatures import key_of

_GONE = 410
_to_json = msgspec.json.Encoder(decimal_format="number").encode


class MessageSender:
    """Posts the result of `to_body` as JSON. `deliver` raises the exceptions of `to_body`. `now` is the time of the
    signatures."""

    def __init__(
        self,
        url: str,
        token: str,
        to_body: Callable[[Message], object],
        *,
        signing_secrets: Sequence[str] = (),
        seconds: float = 15,
        now: Callable[[], datetime] = machine_time,
    ) -> None:
        self._to_body = to_body
        self._sender = HttpSender(
            url,
            token,
            user_agent="Convene",
            keys=[key_of(secret) for secret in signing_secrets],
            seconds=seconds,
            transport=AiohttpTransport(client=_session),
            now=now,
        )

    async def deliver(self, message: Message) -> Outcome:
        headers = {"X-Request-ID": message.request_id} if message.request_id else {}
        if (parent := traceparent()) is not None:
            headers["traceparent"] = parent
        body = _to_json(self._to_body(message))
        try:
            answer = await self._sender.post(body, str(message.id), headers)
        except NoAnswer as error:
            return Failed(str(error), destination_fault=True)
        except aiohttp.ClientError as error:  # those that the transport does not translate
            return Failed(f"{type(error).__name__}: {error}", destination_fault=True)
        if answer.accepted:
            return Delivered(answer.body, answer.status)
        return Failed(
            str(answer),
            permanent=answer.permanent and answer.status != _GONE,
            status_code=answer.status,
            retry_after=answer.retry_after,
            # A 4xx concerns this message only, except for timeouts, rate limits and "gone".
            destination_fault=not 400 <= answer.status < 500 or answer.status in {408, 429, _GONE},
            stop_destination=answer.status == _GONE,
        )

    async def close(self) -> None:
        await self._sender.close()


def _session() -> aiohttp.ClientSession:
    """aiohttp's pool: the pool of httpx searches all its connections for each request."""
    connector = aiohttp.TCPConnector(ssl=httpx.create_ssl_context(), keepalive_timeout=KEEPALIVE_SECONDS)
    return aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, response_class=_Response
    )


class _Response(aiohttp.ClientResponse):
    """Accepts any bytes in the reason phrase (RFC 9110, 15.1). The transport fails on invalid UTF-8, and an accepted
    message would be sent again until it is dead."""

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        await super().start(connection)
        self.reason = (self.reason or "").encode(errors="replace").decode()
        return self


def endpoint(url: str, path: str) -> str:
    """`url` if it has a path, otherwise `url` with `path`."""
    parts = urlsplit(url)
    return url if parts.path.strip("/") else parts._replace(path=path).geturl()
