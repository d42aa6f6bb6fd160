"""HTTP sender of messages: JSON bodies, classification of responses."""

from collections.abc import Callable, Sequence
from datetime import datetime
from urllib.parse import urlsplit

import msgspec

from domain.outbox import Delivered, Failed, Message, Outcome
from infrastructure.observability.tracing import traceparent
from servicekit.clock import machine_time
from servicekit.http_sender import HttpSender, NoAnswer
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


def endpoint(url: str, path: str) -> str:
    """`url` if it has a path, otherwise `url` with `path`."""
    parts = urlsplit(url)
    return url if parts.path.strip("/") else parts._replace(path=path).geturl()
