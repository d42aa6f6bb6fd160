"""How many connections a server accepts in a turn of its event loop, which is long under load."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Sequence

import uvloop

from servicekit.http_limits import HttpLimits
from servicekit.http_server import ACCEPTED_IN_A_TURN, prepare

CONNECTIONS = 128


async def _turns(listeners: Sequence[socket.socket]) -> int:
    """Turns of the event loop until all connections that wait in the kernel's queue are accepted."""
    accepted = 0

    class Connection(asyncio.Protocol):
        def connection_made(self, _transport: asyncio.BaseTransport) -> None:
            nonlocal accepted
            accepted += 1

    turns = 0
    with contextlib.ExitStack() as stack:
        for _ in range(CONNECTIONS):
            stack.enter_context(socket.create_connection(listeners[0].getsockname()))
        loop = asyncio.get_running_loop()
        servers = [await loop.create_server(Connection, sock=each) for each in listeners]
        while accepted < CONNECTIONS:
            await asyncio.sleep(0)
            turns += 1
        for server in servers:
            server.close()
    return turns


def test_many_connections_are_accepted_in_a_turn_of_the_loop() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=CONNECTIONS)

    assert uvloop.run(_turns(prepare(listener, HttpLimits()))) <= 2 * CONNECTIONS / ACCEPTED_IN_A_TURN


def test_socket_that_another_process_uses_stays_non_blocking() -> None:
    """A blocking accept would stop the event loop of the other process."""
    with contextlib.ExitStack() as stack:
        used = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        used.setblocking(False)
        shared = prepare(socket.socket(fileno=os.dup(used.fileno())), HttpLimits())
        for each in shared:
            stack.enter_context(each)
        assert not any(os.get_blocking(each.fileno()) for each in [used, *shared])


def test_a_single_socket_gives_one_connection_a_turn() -> None:
    """The control: without the copies the first test fails."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=CONNECTIONS)

    assert uvloop.run(_turns([listener])) >= CONNECTIONS
