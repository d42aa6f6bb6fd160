"""Messages by HTTP: what every courier that posts JSON to another service has in common."""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from urllib.parse import urlsplit

import aiohttp
import httpx
import msgspec
from aiohttp.connector import Connection
from httpx_aiohttp import AiohttpTransport

from domain.outbox import Delivered, Failed, Message, Outcome
from infrastructure.delivery.signing import Signer
from infrastructure.observability.tracing import traceparent

MOST_OF_AN_ANSWER = 20_000
"""Bytes that are read of an answer; what is beyond is not waited for."""
LONGEST_RETRY_AFTER = timedelta(hours=24)

_RETRIED_CLIENT_ERRORS = frozenset({408, 425, 429})
_GONE = 410
_to_json = msgspec.json.Encoder(decimal_format="number").encode


class HttpSender:
    """Posts what `write` makes of a message, as JSON, with the message's id as `Idempotency-Key`.

    Connections are kept open between messages; `close` ends them. `seconds` bounds the whole exchange, from the
    connection to the end of the answer. What `write` raises is raised by `deliver`.
    """

    def __init__(
        self,
        url: str,
        token: str,
        to_body: Callable[[Message], object],
        *,
        signing_secrets: Sequence[str] = (),
        seconds: float = 15,
    ) -> None:
        self._url = url
        self._to_body = to_body
        self._signer = Signer(signing_secrets)
        self._seconds = seconds
        self._client = httpx.AsyncClient(
            headers={
                "Authorization": f"Bearer {token}",
                "Content-Type": "application/json",
                "Accept": "application/json",
                # A small compressed answer may unfold to gigabytes.
                "Accept-Encoding": "identity",
                "User-Agent": "Convene",
            },
            timeout=seconds,
            follow_redirects=False,
            # Neither a proxy nor a .netrc of the machine may change where the token goes.
            trust_env=False,
            # What one answer leaves behind must not grow into the head of every later request.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            transport=AiohttpTransport(client=_session),
        )

    async def deliver(self, message: Message) -> Outcome:
        body = _to_json(self._to_body(message))
        headers = {"Idempotency-Key": str(message.id), **self._signer.headers(str(message.id), int(time.time()), body)}
        if message.request_id:
            headers["X-Request-ID"] = message.request_id
        if (parent := traceparent()) is not None:
            headers["traceparent"] = parent
        try:
            async with asyncio.timeout(self._seconds):
                return await self._exchange(body, headers)
        except TimeoutError:
            return Failed(f"no complete answer within {self._seconds:g} s", destination_fault=True)
        except (httpx.HTTPError, aiohttp.ClientError, UnicodeError) as error:  # a host's name that is none
            return Failed(f"{type(error).__name__}: {error}", destination_fault=True)

    async def close(self) -> None:
        await self._client.aclose()

    async def _exchange(self, body: bytes, headers: dict[str, str]) -> Outcome:
        async with self._client.stream("POST", self._url, content=body, headers=headers) as response:
            answer = await _beginning(response)
        status = response.status_code
        if response.is_success:
            return Delivered(answer, status)
        return Failed(
            f"{status} {response.reason_phrase}: {answer}".rstrip(": "),
            permanent=response.is_client_error and status not in _RETRIED_CLIENT_ERRORS and status != _GONE,
            status_code=status,
            retry_after=retry_after(response.headers.get("Retry-After"), _time_there(response)),
            # A 4xx is about this one message, except that it came too soon or that nothing is wanted any more.
            destination_fault=not response.is_client_error or status in {408, 429, _GONE},
            stop_destination=status == _GONE,
        )


def _session() -> aiohttp.ClientSession:
    """httpx's own pool looks through all its connections for each request: the more at once, the dearer each."""
    # uvicorn closes idle connections after 5 s: one that is younger is never closed under a request.
    connector = aiohttp.TCPConnector(ssl=httpx.create_ssl_context(), keepalive_timeout=3)
    return aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, response_class=_Response
    )


class _Response(aiohttp.ClientResponse):
    """Its reason phrase may hold any bytes (RFC 9110, 15.1); the transport stumbles over those that are no UTF-8, and
    what was taken over would be sent again until it is dead."""

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        await super().start(connection)
        self.reason = (self.reason or "").encode(errors="replace").decode()
        return self


def endpoint(url: str, path: str) -> str:
    """The address to post to: `url` as it is where it has a path of its own, else `path` of that server."""
    parts = urlsplit(url)
    return url if parts.path.strip("/") else parts._replace(path=path).geturl()


def retry_after(header: str | None, now: datetime) -> timedelta | None:
    """How long the destination asks to be left alone: seconds or an HTTP date (RFC 9110, 10.2.3), at most 24 h.
    None for what is missing, past or neither."""
    text = (header or "").strip()
    if text.isascii() and text.isdecimal():
        # More digits than these are past the cap; Python refuses to read thousands of them.
        wait = timedelta(seconds=int(text[:9])) if len(text) <= 9 else LONGEST_RETRY_AFTER
    else:
        moment = _date(text)
        if moment is None:
            return None
        wait = moment - now
    return min(wait, LONGEST_RETRY_AFTER) if wait > timedelta(0) else None


def _time_there(response: httpx.Response) -> datetime:
    """A date is meant by the clock of whoever names it, and ours may be another."""
    return _date(response.headers.get("Date", "")) or datetime.now(UTC)


def _date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


async def _beginning(response: httpx.Response) -> str:
    read = b""
    async for chunk in response.aiter_raw():
        read += chunk
        if len(read) >= MOST_OF_AN_ANSWER:
            break
    return read[:MOST_OF_AN_ANSWER].decode(errors="replace")
