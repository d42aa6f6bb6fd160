"""HTTP sender: posts bodies to one server, bounded in time and size, without redirects and proxies."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx

from crm.delivery.failures import Deferred, DestinationUnavailable, Refused
from crm.webhook_store import WebhookDelivery

EXCHANGE_SECONDS = 15.0
MOST_OF_AN_ANSWER = 20_000
"""Bytes that are read of an answer; what is beyond is not waited for."""
SHOWN_OF_AN_ANSWER = 500
LONGEST_RETRY_AFTER = timedelta(hours=24)
RETRIED_CLIENT_ERRORS = frozenset({408, 425, 429})


class HttpSender:
    """Posts each delivery with its crm_booking id as Idempotency-Key. `seconds` bounds a whole exchange.

    A permanent client error is Refused. Without a complete response in time the destination is unavailable.
    """

    def __init__(self, kind: str, url: str, token: str, *, seconds: float = EXCHANGE_SECONDS) -> None:
        self.kind = kind
        self._url = url
        self._seconds = seconds
        self._client = httpx.AsyncClient(
            headers={
                "Authorization": f"Bearer {token}",
                "Content-Type": "application/json",
                "Accept": "application/json",
                # A small compressed answer may unfold to gigabytes.
                "Accept-Encoding": "identity",
                "User-Agent": "Convene-CRM",
            },
            timeout=seconds,
            follow_redirects=False,
            # Neither a proxy nor a .netrc of the machine may change where the token goes.
            trust_env=False,
            verify=httpx.create_ssl_context(),
            # uvicorn closes idle connections after 5 s: one that is younger is never closed under a request.
            limits=httpx.Limits(keepalive_expiry=3),
        )

    async def deliver(self, claim: WebhookDelivery) -> str:
        try:
            async with asyncio.timeout(self._seconds):
                return await self._exchange(claim)
        except TimeoutError:
            raise DestinationUnavailable(f"no complete answer within {self._seconds:g} s") from None
        except httpx.HTTPError as error:
            raise DestinationUnavailable(f"{type(error).__name__}: {error}") from error

    async def close(self) -> None:
        await self._client.aclose()

    async def _exchange(self, delivery: WebhookDelivery) -> str:
        headers = {"Idempotency-Key": str(delivery.crm_booking_id)}
        async with self._client.stream("POST", self._url, content=delivery.body.encode(), headers=headers) as response:
            answer = await _beginning(response)
        said = f"{response.status_code} {response.reason_phrase}: {answer}".rstrip(": ")
        if response.is_success:
            return f"{self.kind} taken: {said}"
        if response.is_client_error and response.status_code not in RETRIED_CLIENT_ERRORS:
            raise Refused(said)
        raise Deferred(said, retry_after(response.headers.get("retry-after", ""), datetime.now(UTC)))


def retry_after(header: str, now: datetime) -> timedelta:
    """How long the destination asks to be left alone: seconds or an HTTP date (RFC 9110, 10.2.3), at most 24 h.
    Zero for what is missing, past or neither."""
    text = header.strip()
    if text.isascii() and text.isdecimal():
        # More digits than these are past the cap; Python refuses to read thousands of them.
        wait = timedelta(seconds=int(text[:9])) if len(text) <= 9 else LONGEST_RETRY_AFTER
    else:
        try:
            moment = parsedate_to_datetime(text)
        except ValueError:
            return timedelta()
        wait = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now
    return max(timedelta(), min(wait, LONGEST_RETRY_AFTER))


async def _beginning(response: httpx.Response) -> str:
    read = b""
    async for chunk in response.aiter_raw():
        read += chunk
        if len(read) >= MOST_OF_AN_ANSWER:
            break
    text = read[:MOST_OF_AN_ANSWER].decode(errors="replace")
    return " ".join(text.split())[:SHOWN_OF_AN_ANSWER]
