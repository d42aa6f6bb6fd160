"""The faults of a soak. Each begins and ends within a minute, and the system is supervised meanwhile."""

import asyncio
import os
import random
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable

from redis.asyncio import Redis

from bench.soak.system import Disk, System
from tests.support import shifted_clock

Fault = Callable[[System, random.Random], Awaitable[None]]
STOPPED_SECONDS = 15
"""Longer than a lease."""
BLOCKED_SECONDS = 25
FULL_SECONDS = 10
CLOCK_SHIFT = 7200


def available(disk: Disk | None) -> dict[str, Fault]:
    """The faults that this machine allows, by name."""
    faults: dict[str, Fault] = {
        "an API is killed": _kill("api"),
        "a worker is killed": _kill("worker"),
        "the CRM is killed": _kill("crm"),
        "an API stands still": _stand_still("api"),
        "a worker stands still": _stand_still("worker"),
        "the CRM stands still": _stand_still("crm"),
        "the logs are not read": _logs_not_read,
        "PostgreSQL restarts": _restart_postgres,
        "PostgreSQL is killed": _kill_postgres,
        "Redis is emptied": _empty_redis,
        "Redis is killed": _kill_redis,
    }
    if disk:
        faults["the database's disk is full"] = _fill(disk)
    if sys.platform == "linux" and shutil.which("cc"):
        faults["a worker's clock is 2 h ahead"] = _clock("worker", CLOCK_SHIFT)
        faults["an API's clock is 2 h ahead"] = _clock("api", CLOCK_SHIFT)
        faults["a worker's clock is 2 h behind"] = _clock("worker", -CLOCK_SHIFT)
    return faults


def _kill(prefix: str) -> Fault:
    async def fault(system: System, chance: random.Random) -> None:
        chance.choice(system.named(prefix)).send(signal.SIGKILL)

    return fault


def _stand_still(prefix: str) -> Fault:
    async def fault(system: System, chance: random.Random) -> None:
        service = chance.choice(system.named(prefix))
        service.send(signal.SIGSTOP)
        try:
            await asyncio.sleep(STOPPED_SECONDS)
        finally:
            service.send(signal.SIGCONT)

    return fault


def _clock(prefix: str, seconds: int) -> Fault:
    """The process ends and starts again with the other clock, and after a while with the right one."""

    async def fault(system: System, chance: random.Random) -> None:
        service = chance.choice(system.named(prefix))
        right = service.environ
        service.environ = right | {"LD_PRELOAD": str(shifted_clock.shim()), "CLOCK_SHIFT": str(seconds)}
        service.send(signal.SIGTERM)
        try:
            await asyncio.sleep(40)
        finally:
            service.environ = right
            service.send(signal.SIGTERM)

    return fault


def _fill(disk: Disk) -> Fault:
    async def fault(_system: System, _chance: random.Random) -> None:
        disk.fill()
        try:
            await asyncio.sleep(FULL_SECONDS)
        finally:
            disk.clear()

    return fault


async def _logs_not_read(system: System, _chance: random.Random) -> None:
    for service in system.services:
        service.reading.clear()
    try:
        await asyncio.sleep(BLOCKED_SECONDS)
    finally:
        for service in system.services:
            service.reading.set()


async def _restart_postgres(system: System, _chance: random.Random) -> None:
    system.postgres.stop()
    await asyncio.sleep(3)
    system.postgres.start()


async def _kill_postgres(system: System, _chance: random.Random) -> None:
    assert system.postgres.pid
    # The postmaster; its children end with it. `System.maintain` starts it again.
    os.kill(system.postgres.pid, signal.SIGKILL)


async def _empty_redis(system: System, _chance: random.Random) -> None:
    redis = Redis.from_url(system.redis.url)
    await redis.flushall()
    await redis.aclose()


async def _kill_redis(system: System, _chance: random.Random) -> None:
    assert system.redis.pid
    os.kill(system.redis.pid, signal.SIGKILL)
