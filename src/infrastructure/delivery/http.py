"""HTTP sender of messages: JSON bodies, signatures, timeouts, classification of responses."""

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
"""Bytes read of a response body; the rest is ignored."""
LONGEST_RETRY_AFTER = timedelta(hours=24)

_RETRIED_CLIENT_ERRORS = frozenset({408, 425, 429})
_GONE = 410
_to_json = msgspec.json.Encoder(decimal_format="number").encode


class HttpSender:
    """Posts the result of `to_body` as JSON, with the message id as `Idempotency-Key`.

    Connections are reused; `close` closes them. `seconds` bounds the whole exchange, from the connection to the end of
    the response. `deliver` raises the exceptions of `to_body`.
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
                # A small compressed response may expand to gigabytes.
                "Accept-Encoding": "identity",
                "User-Agent": "Convene",
            },
            timeout=seconds,
            follow_redirects=False,
            # Proxies and .netrc files of the machine must not receive the token.
            trust_env=False,
            # Cookies of a response must not be sent with later requests.
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
        except (httpx.HTTPError, aiohttp.ClientError, UnicodeError) as error:  # an invalid host name
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
            # A 4xx concerns this message only, except for timeouts, rate limits and "gone".
            destination_fault=not response.is_client_error or status in {408, 429, _GONE},
            stop_destination=status == _GONE,
        )


def _session() -> aiohttp.ClientSession:
    """aiohttp's pool: the pool of httpx searches all its connections for each request."""
    # uvicorn closes idle connections after 5 s; younger ones are not closed during a request.
    connector = aiohttp.TCPConnector(ssl=httpx.create_ssl_context(), keepalive_timeout=3)
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


def retry_after(header: str | None, now: datetime) -> timedelta | None:
    """The delay of Retry-After: seconds or an HTTP date (RFC 9110, 10.2.3), at most 24 h. None if it is missing,
    invalid or in the past."""
    text = (header or "").strip()
    if text.isascii() and text.isdecimal():
        # Longer numbers exceed the limit; Python refuses to parse thousands of digits.
        wait = timedelta(seconds=int(text[:9])) if len(text) <= 9 else LONGEST_RETRY_AFTER
    else:
        moment = _date(text)
        if moment is None:
            return None
        wait = moment - now
    return min(wait, LONGEST_RETRY_AFTER) if wait > timedelta(0) else None


def _time_there(response: httpx.Response) -> datetime:
    """The clock of the server, which its Retry-After dates refer to; ours if it sends no Date."""
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
