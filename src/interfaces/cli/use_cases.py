"""Use cases for commands, as the operator."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from application.audit.ports import ORIGIN, by_operator
from infrastructure.settings import load_settings
from interfaces.cli.environment import command_environ

if TYPE_CHECKING:
    from infrastructure.container import Container

Answer = TypeVar("Answer")


def as_operator(work: "Callable[[Container], Awaitable[Answer]]") -> Answer:
    """Builds the container by the settings of the command, and closes it after the work."""
    settings = load_settings(command_environ())

    from infrastructure import container

    async def run() -> Answer:
        ORIGIN.set(by_operator)
        parts = container.build(settings)
        try:
            await parts.database_clock.read()
            return await work(parts)
        finally:
            await parts.close()

    return asyncio.run(run())
