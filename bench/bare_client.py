"""What the HTTP client can do alone, a process of its own: `python -m bench.bare_client <url> <posts> <at once>` posts
what stdin gives, so many at a time, and prints how many a second there were."""

import asyncio
import sys
import time

import httpx


async def post(url: str, number: int, at_once: int, body: bytes) -> float:
    async with httpx.AsyncClient(headers={"Content-Type": "application/json"}, trust_env=False) as client:
        left = iter(range(number))

        async def work() -> None:
            for _ in left:
                async with client.stream("POST", url, content=body) as response:
                    await response.aread()
                    response.raise_for_status()

        await client.post(url, content=body)
        began = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(at_once)))
        return number / (time.perf_counter() - began)


if __name__ == "__main__":
    address, posts, together = sys.argv[1:]
    print(asyncio.run(post(address, int(posts), int(together), sys.stdin.buffer.read())))
