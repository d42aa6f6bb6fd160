"""HTTP sender: posts JSON to one server, signed, bounded in time and size, without redirects and proxies."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import MappingProxyType

import httpx

from servicekit.clock import machine_time
from servicekit.signatures import Signer

MOST_OF_AN_ANSWER = 20_000
"""Bytes read of a response body; the rest is ignored."""
LONGEST_RETRY_AFTER = timedelta(hours=24)
KEEPALIVE_SECONDS = 3
"""uvicorn closes idle connections after 5 s; younger ones are not closed during a request."""

_RETRIED_CLIENT_ERRORS = frozenset({408, 425, 429})


class NoAnswer(Exception):
    """There was no complete response in time. The message says why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response. `body` is its beginning."""

    status: int
    reason: str
    body: str
    retry_after: timedelta | None

    @property
    def accepted(self) -> bool:
        return 200 <= self.status < 300

    @property
    def permanent(self) -> bool:
        """Whether the same request would be refused again: a client error other than timeouts and rate limits."""
        return 400 <= self.status < 500 and self.status not in _RETRIED_CLIENT_ERRORS

    def __str__(self) -> str:
        return f"{self.status} {self.reason}: {self.body}".rstrip(": ")


class HttpSender:
    """Posts to one address with a bearer token. Connections are reused; `close` closes them.

    `seconds` bounds a whole exchange, from the connection to the end of the response. `transport` replaces the
    connection pool of httpx. `now` is the time of the signatures.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        user_agent: str,
        keys: Sequence[bytes] = (),
        seconds: float = 15,
        transport: httpx.AsyncBaseTransport | None = None,
        now: Callable[[], datetime] = machine_time,
    ) -> None:
        self._url = url
        self._now = now
        self._signer = Signer(keys)
        self._seconds = seconds
        self._client = httpx.AsyncClient(
            headers={
                "Authorization": f"Bearer {token}",
                "Content-Type": "application/json",
                "Accept": "application/json",
                # A small compressed response may expand to gigabytes.
                "Accept-Encoding": "identity",
                "User-Agent": user_agent,
            },
            timeout=seconds,
            follow_redirects=False,
            # Proxies and .netrc files of the machine must not receive the token.
            trust_env=False,
            # Cookies of a response must not be sent with later requests.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            transport=transport
            or httpx.AsyncHTTPTransport(
                verify=httpx.create_ssl_context(), limits=httpx.Limits(keepalive_expiry=KEEPALIVE_SECONDS)
            ),
        )

    async def post(self, body: bytes, message_id: str, headers: Mapping[str, str] = MappingProxyType({})) -> Answer:
        """Posts `body`, with the message id as `Idempotency-Key`. Raises `NoAnswer`."""
        signature = self._signer.headers(message_id, int(self._now().timestamp()), body)
        try:
            async with asyncio.timeout(self._seconds):
                return await self._exchange(body, {"Idempotency-Key": message_id, **signature, **headers})
        except TimeoutError:
            raise NoAnswer(f"no complete answer within {self._seconds:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:  # an invalid host name
            raise NoAnswer(f"{type(error).__name__}: {error}") from error

    async def close(self) -> None:
        await self._client.aclose()

    async def _exchange(self, body: bytes, headers: dict[str, str]) -> Answer:
        async with self._client.stream("POST", self._url, content=body, headers=headers) as response:
            beginning = await _first_bytes(response)
        wait = retry_after(response.headers.get("Retry-After"), date_of(response.headers) or self._now())
        return Answer(response.status_code, response.reason_phrase, beginning, wait)


def retry_after(header: str | None, now: datetime | None) -> timedelta | None:
    """The delay of Retry-After: seconds or an HTTP date (RFC 9110, 10.2.3), at most 24 h. None if it is missing,
    invalid, in the past, or a date without `now`."""
    text = (header or "").strip()
    if text.isascii() and text.isdecimal():
        # Longer numbers exceed the limit; Python refuses to parse thousands of digits.
        wait = timedelta(seconds=int(text[:9])) if len(text) <= 9 else LONGEST_RETRY_AFTER
    else:
        moment = _date(text)
        if moment is None or now is None:
            return None
        wait = moment - now
    return min(wait, LONGEST_RETRY_AFTER) if wait > timedelta(0) else None


def date_of(headers: Mapping[str, str]) -> datetime | None:
    """The clock of the server, which its Retry-After dates refer to."""
    return _date(headers.get("Date", ""))


def _date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


async def _first_bytes(response: httpx.Response) -> str:
    read = b""
    async for chunk in response.aiter_raw():
        read += chunk
        if len(read) >= MOST_OF_AN_ANSWER:
            break
    return read[:MOST_OF_AN_ANSWER].decode(errors="replace")
