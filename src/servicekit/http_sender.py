"""HTTP sender: posts JSON to one server, signed, bounded in time and size, without redirects and proxies."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import TYPE_CHECKING

from servicekit.clock import machine_time
from servicekit.signatures import Signer

if TYPE_CHECKING:
    from servicekit.http_pool import HttpPool

MOST_OF_AN_ANSWER = 20_000
"""Bytes read of a response body; the rest is ignored."""
LONGEST_RETRY_AFTER = timedelta(hours=24)

_RETRIED_CLIENT_ERRORS = frozenset({408, 425, 429})


class NoAnswer(Exception):
    """There was no complete response in time, or none that is HTTP. The message says why."""


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

    `seconds` bounds a whole exchange, from the connection to the end of the response. `now` is the time of the
    signatures.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        user_agent: str,
        keys: Sequence[bytes] = (),
        seconds: float = 15,
        now: Callable[[], datetime] = machine_time,
    ) -> None:
        self._url = url
        self._now = now
        self._signer = Signer(keys) if keys else None
        self._seconds = seconds
        self._headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "Accept": "application/json",
            # A small compressed response may expand to gigabytes.
            "Accept-Encoding": "identity",
            "User-Agent": user_agent,
            "Connection": "keep-alive",  # the default of HTTP/1.1, for receivers and proxies of HTTP/1.0
        }
        self._pool: HttpPool | None = None

    async def post(self, body: bytes, message_id: str, headers: Mapping[str, str] = MappingProxyType({})) -> Answer:
        """Posts `body`, with the message id as `Idempotency-Key`. Raises `NoAnswer`."""
        sent = {"Idempotency-Key": message_id, **headers}
        if self._signer is not None:
            sent |= self._signer.headers(message_id, int(self._now().timestamp()), body)
        pool = self._pool or self._open()
        try:
            async with asyncio.timeout(self._seconds):
                answer = await pool.post(body, sent, MOST_OF_AN_ANSWER)
        except TimeoutError:
            raise NoAnswer(f"no complete answer within {self._seconds:g} s") from None
        text = answer.beginning.decode(errors="replace")
        return Answer(answer.status, answer.reason, text, self._wait(answer.headers))

    async def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()

    def _open(self) -> "HttpPool":
        # aiohttp takes long to import, and many processes send nothing.
        from servicekit.http_pool import HttpPool

        self._pool = HttpPool(self._url, self._headers)
        return self._pool

    def _wait(self, headers: Mapping[str, str]) -> timedelta | None:
        header = headers.get("Retry-After")
        return None if header is None else retry_after(header, date_of(headers) or self._now())


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
