"""A bare WebSocket server: messages to `/publish/<room>` are sent to all clients of `/<room>`.

`python -m bench.bare_sockets <fd>`.
"""

import asyncio
import socket
import sys
from collections import defaultdict

from websockets.asyncio.server import ServerConnection, broadcast, serve

_rooms: defaultdict[str, set[ServerConnection]] = defaultdict(set)


async def _serve(connection: ServerConnection) -> None:
    path = connection.request.path if connection.request else ""
    kind, _, room = path.strip("/").rpartition("/")
    if kind == "publish":
        async for said in connection:
            broadcast(_rooms[room], said)
        return
    _rooms[room].add(connection)
    await connection.wait_closed()
    _rooms[room].discard(connection)


async def _main(fd: int) -> None:
    async with serve(_serve, sock=socket.socket(fileno=fd), compression=None) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1])))
