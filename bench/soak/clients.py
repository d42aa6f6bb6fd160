"""The clients of a soak, a separate process: `python -m bench.soak.clients` reads a `Plan` as JSON from stdin and
writes a line of JSON for each visit to stdout.

A visit is a booking of one user for one event. Some are paid at the sandbox's page, some are cancelled afterwards. Each
request is repeated with its idempotency key until it has an answer other than 409 (the key is in use), 429 or 503. It
pauses for twice as long each time, up to `LONGEST_PAUSE`, and at least for the seconds of `Retry-After`.
"""

import asyncio
import random
import sys
import time

import msgspec

from tests.support.callers import Address, Answer, Caller, request

ANSWER_SECONDS = 15
LONGEST_PAUSE = 8
AT_ONCE = 2_000
"""Visits under way; beyond it a visit is left out."""


class Plan(msgspec.Struct, frozen=True):
    """`visits`: index into `tokens`, id of an event, and the next step after the booking: none, `pay` or `cancel`. A
    request is given up after `patience` seconds."""

    addresses: list[Address]
    tokens: list[str]
    visits: list[tuple[int, int, str]]
    rate: float
    patience: float


class Visit(msgspec.Struct):
    """`status` and `code` of the last answer to the booking, `booking` its id. `then`: the status of the next step.
    `seconds` from the first request to the last answer; `began` in seconds after the start. `error`: an answer that
    the client did not understand."""

    number: int
    began: float
    status: int = 0
    code: str = ""
    booking: int | None = None
    then: int | None = None
    tries: int = 0
    seconds: float = 0
    error: str = ""


class Gone(Exception):
    """No answer within the patience."""


class Clients:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._idle: list[list[Caller]] = [[] for _ in plan.addresses]
        self._started = time.monotonic()
        self._under_way = set[asyncio.Task[None]]()

    async def run(self) -> None:
        for number in range(len(self._plan.visits)):
            await asyncio.sleep(max(0, self._started + number / self._plan.rate - time.monotonic()))
            if len(self._under_way) >= AT_ONCE:
                continue
            task = asyncio.create_task(self._visit(number))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
        while self._under_way:
            await asyncio.wait(self._under_way)

    async def _visit(self, number: int) -> None:
        member, event, follows = self._plan.visits[number]
        token = self._plan.tokens[member]
        visit = Visit(number, time.monotonic() - self._started)
        began = time.monotonic()
        try:
            booked = await self._answer(
                visit, request("POST", "/bookings", token=token, body={"event_id": event}, key=f"soak-{number}")
            )
            visit.status = booked.status
            if booked.status == 201:
                visit.booking = booked.json["booking"]["id"]
                visit.then = await self._follow(visit, booked, follows, token)
            else:
                visit.code = str(booked.json.get("code", ""))
        except Gone:
            pass
        except Exception as error:
            visit.error = repr(error)
        visit.seconds = time.monotonic() - began
        sys.stdout.buffer.write(msgspec.json.encode(visit) + b"\n")

    async def _follow(self, visit: Visit, booked: Answer, follows: str, token: str) -> int | None:
        if follows == "pay":
            # The seat is reserved without a link while the gateway is unavailable.
            link = request("POST", f"/bookings/{visit.booking}/pay", token=token)
            address = booked.json["payment_url"] or (await self._answer(visit, link)).json["payment_url"]
            path = "/sandbox" + address.partition("/sandbox")[2]
            return (await self._answer(visit, request("POST", f"{path}/paid"))).status
        if follows == "cancel":
            cancelled = request("POST", f"/bookings/{visit.booking}/cancel", token=token, key=f"soak-c-{visit.number}")
            return (await self._answer(visit, cancelled)).status
        return None

    async def _answer(self, visit: Visit, content: bytes) -> Answer:
        until = time.monotonic() + self._plan.patience
        pause = 0.1
        while time.monotonic() < until:
            visit.tries += 1
            which = (visit.number + visit.tries) % len(self._plan.addresses)
            answer = await self._try(which, content)
            if answer and answer.status not in {429, 503} and not _in_progress(answer):
                return answer
            asked = answer.header("Retry-After") if answer else None
            await asyncio.sleep(max(pause, float(asked or 0)) * random.uniform(1, 1.5))
            pause = min(2 * pause, LONGEST_PAUSE)
        raise Gone

    async def _try(self, which: int, content: bytes) -> Answer | None:
        idle, caller = self._idle[which], None
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                caller = idle.pop() if idle else await Caller.connect(self._plan.addresses[which])
                answer = await caller(content)
        except (OSError, TimeoutError):
            if caller:
                caller.close()
            return None
        if answer.header("Connection") == "close":
            caller.close()
        else:
            idle.append(caller)
        return answer


def _in_progress(answer: Answer) -> bool:
    return answer.status == 409 and answer.json.get("code") == "idempotency_key_in_use"


if __name__ == "__main__":
    asyncio.run(Clients(msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)).run())
