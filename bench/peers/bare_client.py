"""The rate of aiohttp alone.

`python -m bench.peers.bare_client <url> <posts> <at once>` posts what stdin gives, so many at a time over kept
connections, and prints how many a second there were.
"""

import asyncio
import sys
import time

import aiohttp
import uvloop


async def post(url: str, number: int, at_once: int, body: bytes) -> float:
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=at_once), headers={"Content-Type": "application/json"}
    ) as client:
        left = iter(range(number))

        async def send() -> None:
            async with client.post(url, data=body) as response:
                await response.read()
                response.raise_for_status()

        async def work() -> None:
            for _ in left:
                await send()

        await asyncio.gather(*(send() for _ in range(at_once)))
        began = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(at_once)))
        return number / (time.perf_counter() - began)


if __name__ == "__main__":
    address, posts, together = sys.argv[1:]
    print(uvloop.run(post(address, int(posts), int(together), sys.stdin.buffer.read())))
