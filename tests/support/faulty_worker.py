"""A worker with one thing changed: `python -m tests.support.faulty_worker '{"at_once": 64}'`. Only tests can start it.

`at_once`, `lease` and `seconds` (of an exchange with the CRM) make it greedier, or quicker to watch. `dies` is SIGKILL
between the CRM's answer and the mark in the outbox, `dies_after` that after a step of an erasure: `cancelled` (the
first booking), `calendars`, `files` or `erased`; it then looks for erasures all the time. For negative controls:
`unordered` removes the ordering guard, `no_polling` never polls the outbox without a wake-up, `gives_up` treats every
failure as permanent, and `dies_after` `erased before files` is the step out of its order.
"""

import json
import math
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any, NoReturn

from application.erasure.steps import CarryOutErasures
from application.outbox.ports import Sender
from domain.accounts import UserId
from domain.outbox import Destination, Failed, Message, Outcome
from infrastructure import container
from infrastructure.delivery.crm import CrmSender
from infrastructure.postgres.outbox import claims
from infrastructure.settings import Settings, load_settings
from interfaces.workers import main as worker
from interfaces.workers.delivery import Deliveries
from interfaces.workers.main import periodic_tasks
from interfaces.workers.periodic_tasks import PeriodicTask

_ORDERING_KEY_GUARD = """
      AND seq = (
          SELECT min(seq) FROM outbox AS lane
          WHERE lane.status = 'pending' AND lane.destination = message.destination AND lane.lane = message.lane)"""


def faulty_worker(**changes: Any) -> tuple[str, ...]:
    """The module and its argument, as `running_workers` takes them."""
    return ("tests.support.faulty_worker", json.dumps(changes))


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("SIGKILL is not survived")


@dataclass(frozen=True, slots=True)
class _Crashing:
    sender: Sender

    async def deliver(self, message: Message) -> Outcome:
        await self.sender.deliver(message)
        _die()


@dataclass(frozen=True, slots=True)
class _GivesUp:
    sender: Sender

    async def deliver(self, message: Message) -> Outcome:
        outcome = await self.sender.deliver(message)
        return replace(outcome, permanent=True) if isinstance(outcome, Failed) else outcome


class _With:
    """A port with other methods."""

    def __init__(self, port: object, **methods: Callable[..., Awaitable[Any]]) -> None:
        self._port = port
        self.__dict__ |= methods

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)


def _last(call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """The call is the last one of the process."""

    async def last(*given: Any, **more: Any) -> NoReturn:
        await call(*given, **more)
        _die()

    return last


def _dying(usual: CarryOutErasures, step: str) -> CarryOutErasures:
    store, mails = usual.store, usual.mails

    async def erase_before_files(user_id: UserId) -> None:
        await store.erase(user_id, await store.find_identifiers(user_id))

    parts: dict[str, dict[str, Any]] = {
        "cancelled": {"cancel_booking": _last(usual.cancel_booking)},
        "calendars": {"remove_calendars": _last(usual.remove_calendars)},
        "files": {"mails": _With(mails, delete_about=_last(mails.delete_about))},
        "erased": {"store": _With(store, erase=_last(store.erase))},
        "erased before files": {"store": _With(store, find_identifiers=_last(erase_before_files))},
    }
    return replace(usual, **parts[step])


def _build(settings: Settings, changes: Mapping[str, Any]) -> container.DeliveryParts:
    parts = container.build_deliveries(settings)
    usual = parts.deliver_due
    senders = dict(usual.senders)
    if "seconds" in changes:
        token, secrets = settings.crm_bearer_token, settings.delivery_signing_secrets
        senders[Destination.CRM] = CrmSender(
            settings.crm_service_url, token, signing_secrets=secrets, seconds=changes["seconds"]
        )
    if changes.get("dies"):
        senders[Destination.CRM] = _Crashing(senders[Destination.CRM])
    if changes.get("gives_up"):
        senders[Destination.CRM] = _GivesUp(senders[Destination.CRM])
    if "dies_after" in changes:
        parts = replace(parts, carry_out_erasures=_dying(parts.carry_out_erasures, changes["dies_after"]))
    return replace(
        parts,
        deliver_due=replace(
            usual,
            senders=senders,
            at_once=changes.get("at_once", usual.at_once),
            lease=timedelta(seconds=changes.get("lease", usual.lease.total_seconds())),
        ),
    )


def _remove_ordering_key_guard() -> None:
    without_guard = claims._CLAIM.replace(_ORDERING_KEY_GUARD, "")
    assert without_guard != claims._CLAIM, "the claim has another shape now: take its guard out here as well"
    claims._CLAIM = without_guard


def _impatient(parts: container.DeliveryParts) -> list[PeriodicTask]:
    return [
        replace(task, every=0.1, rest=0) if task.work is parts.carry_out_erasures else task
        for task in periodic_tasks(parts)
    ]


if __name__ == "__main__":
    wanted = json.loads(sys.argv[1])
    if wanted.get("unordered"):
        _remove_ordering_key_guard()
    if "dies_after" in wanted:
        worker.periodic_tasks = _impatient
    if wanted.get("no_polling"):
        worker.Deliveries = partial(Deliveries, poll_every=math.inf)  # type: ignore[assignment, attr-defined]
    worker.run(load_settings(os.environ), lambda settings: _build(settings, wanted))
