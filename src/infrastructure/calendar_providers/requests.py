"""Requests to calendar APIs, and the classification of their error responses."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TypeVar

import msgspec
import structlog

from domain.calendars import CalendarNotUnderstood, CalendarRefused, CalendarUnavailable, Provider, TokenRejected
from domain.errors import DomainError
from infrastructure.auth.oauth import (
    Answer,
    AnswerTooLong,
    NotTheProtocol,
    ProviderConnection,
    ProviderUnavailable,
    decoded,
)
from servicekit.http_sender import date_of, retry_after
from servicekit.links import is_web_address

_log = structlog.get_logger()

T = TypeVar("T")

MOST_OF_AN_ANSWER = 1024 * 1024
"""Bytes. The longest requested page, with 500 entries, has a third of that."""
CALL_SECONDS = 6

# Google also answers 403 when a rate limit or quota is exceeded (Calendar API, "Handle API errors").
_ASKED_TOO_OFTEN = frozenset({"rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded", "dailyLimitExceeded"})
_PASSING = frozenset({408, 409, 412, 423, 425, 429})


def is_one_word(text: str, *, at_most: int = 2_048) -> bool:
    """Whether the text is visible ASCII without spaces, as tokens, ids and addresses are. No other value is put into a
    header, a table or a mail."""
    return 0 < len(text) <= at_most and text.isascii() and text.isprintable() and " " not in text


def join_url(link: str | None) -> str | None:
    """The link of an online meeting if it is a valid address, else None."""
    is_one = link is not None and link.startswith("https://") and is_one_word(link) and is_web_address(link)
    return link if is_one else None


class _Reason(msgspec.Struct, frozen=True):
    reason: str = ""


class _Error(msgspec.Struct, frozen=True):
    code: int | str = ""
    errors: list[_Reason] = []


class _ErrorBody(msgspec.Struct, frozen=True):
    """In Google's errors `code` is the status, and `errors` has the reasons; in Microsoft's `code` is the reason."""

    error: _Error = _Error()


class CalendarApi:
    """`close` ends its connections."""

    def __init__(self, provider: Provider, base: str, *, seconds: float = CALL_SECONDS) -> None:
        self._provider = provider
        self.base = base
        self.connection = ProviderConnection(seconds=seconds, most=MOST_OF_AN_ANSWER)

    async def ask(
        self, method: str, url: str, token: str, *, json: object | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Returns the response with any status. `url` is a path of the API, or an absolute address there."""
        address = url if url.startswith(f"{self.base}/") else f"{self.base}{url}"
        try:
            return await self.connection.ask(
                method, address, json=json, headers={"Authorization": f"Bearer {token}", **(headers or {})}
            )
        except AnswerTooLong as error:
            raise self._not_understood(str(error)) from None
        except ProviderUnavailable as error:
            _log.warning("calendar.away", provider=self._provider, error=str(error))
            raise CalendarUnavailable(f"{self._provider.label} cannot be reached just now") from None

    def read(self, answer: Answer, kind: type[T]) -> T:
        """The body of a successful response. Raises the errors of `CalendarService` for every other one."""
        if not 200 <= answer.status < 300:
            raise self.refusal(answer)
        try:
            return decoded(answer.body, kind, self._provider)
        except NotTheProtocol as error:
            raise self._not_understood(str(error)) from None

    def refusal(self, answer: Answer) -> DomainError:
        """The error of a response. It contains only the provider's code, because messages may contain private data."""
        said_why = reasons(answer)
        said = f"{self._provider.label} answered {answer.status} {' '.join(said_why)[:100]}".rstrip()
        _log.warning("calendar.refused", provider=self._provider, status=answer.status, reasons=said_why[:3])
        if answer.status == 401:
            return TokenRejected(f"{self._provider.label} does not accept this access token")
        too_often = answer.status == 403 and not _ASKED_TOO_OFTEN.isdisjoint(said_why)
        if too_often or answer.status in _PASSING or answer.status >= 500:
            wait = retry_after(answer.headers.get("Retry-After"), date_of(answer.headers))
            return CalendarUnavailable(said, retry_after=int(wait.total_seconds()) if wait else 5)
        if answer.status < 400:
            return self._not_understood(said)
        return CalendarRefused(said)

    @asynccontextmanager
    async def within(self, seconds: float) -> AsyncIterator[None]:
        """Bounds the total time of all requests of one call."""
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            raise CalendarUnavailable(f"{self._provider.label} did not answer within {seconds:g} s") from None

    def _not_understood(self, why: str) -> CalendarNotUnderstood:
        _log.warning("calendar.not_understood", provider=self._provider, error=why)
        return CalendarNotUnderstood(f"{self._provider.label} answered something that cannot be understood")


def reasons(answer: Answer) -> list[str]:
    """The codes in an error response."""
    try:
        error = msgspec.json.decode(answer.body, type=_ErrorBody).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
    found = [each.reason for each in error.errors] + ([error.code] if isinstance(error.code, str) else [])
    return [reason for reason in found if reason.isascii() and reason.isidentifier()]
