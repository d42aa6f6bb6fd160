"""What the gateway servers have in common: records in minor units, webhooks to send, faults on demand."""

import asyncio
import itertools
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import urlsplit

from tests.support.receivers import Receiver, Request, answer

Kind = Literal["500", "429", "409", "hang", "drip", "reset", "garbage", "lost answer"]
Entity = dict[str, Any]
W = TypeVar("W")
"""A webhook: each gateway signs in its own way."""


@dataclass
class Trouble:
    """`lost answer` does what is asked and hangs up; the others do nothing. `drip` never ends to answer."""

    kind: Kind
    call: re.Pattern[str]
    times: int


@dataclass
class FakeGateway(ABC, Generic[W]):
    """`webhooks` holds the webhooks to send; none is sent automatically. `slow_refunds` are accepted and settled
    later."""

    receiver: Receiver
    refunds: dict[str, Entity] = field(default_factory=dict)
    webhooks: list[W] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    slow_refunds: bool = False

    def __post_init__(self) -> None:
        self._numbers = itertools.count(1)

    @abstractmethod
    def answers(self, request: Request) -> bytes:
        """What it does where there is no trouble."""

    @abstractmethod
    def refuses(self, status: int) -> bytes:
        """Its way to say that something went wrong."""

    def trouble(self, kind: Kind, call: str = ".*", *, times: int = 10**9) -> None:
        """For calls like `POST /v1/refunds` that match the whole of `call`."""
        self.troubles.append(Trouble(kind, re.compile(call), times))

    def reset(self) -> None:
        """Forgets all that happened. The numbers of its ids go on."""
        records = [each for each in vars(self).values() if isinstance(each, dict | list)]
        for each in [*records, self.receiver.requests]:
            each.clear()
        self.slow_refunds = False

    def mend(self) -> None:
        self.troubles.clear()

    def asked(self, call: str) -> list[Request]:
        """The calls like `POST /v1/refunds`, without their query."""
        return [each for each in self.receiver.requests if _call(each) == call]

    async def behave(self, request: Request, writer: asyncio.StreamWriter) -> bytes | None:
        trouble = next((each for each in self.troubles if each.times and each.call.fullmatch(_call(request))), None)
        if trouble is not None:
            trouble.times -= 1
            match trouble.kind:
                case "500" | "429" | "409" as status:
                    return self.refuses(int(status))
                case "garbage":
                    return answer(200, b"<html>a proxy's page</html>")
                case "hang":
                    await asyncio.Event().wait()
                case "drip":
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
                    while True:
                        writer.write(b" ")
                        await writer.drain()
                        await asyncio.sleep(0.05)
                case "reset":
                    return None
                case "lost answer":
                    self.answers(request)
                    return None
        return self.answers(request)

    def _given_back(self) -> int:
        return sum(each["amount"] for each in self.refunds.values() if each["status"] != "failed")

    def _id(self, prefix: str) -> str:
        return f"{prefix}_{next(self._numbers):014d}"


def _call(request: Request) -> str:
    return f"{request.method} {urlsplit(request.path).path}"
