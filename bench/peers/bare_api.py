"""A bare Litestar application: "hello", and a booking by the product's statement for whose token is valid.

No layer of the product is in between: no idempotency, login or account check, log line or wake-up of a worker.
`python -m bench.peers.bare_api <fd>`; the settings are those of an API process.
"""

import base64
import logging
import os
import socket
import sys
from datetime import UTC, datetime
from typing import Any

import asyncpg
import jwt
import uvicorn
import uvloop
from litestar import Litestar, Request, get, post
from litestar.exceptions import NotAuthorizedException

from infrastructure.auth.jwt import ACCESS, ISSUER
from infrastructure.postgres.bookings.seats import RESERVE
from infrastructure.postgres.engine import SERVER_SETTINGS
from servicekit.database import Timeouts
from tests.support.settings import JWT_SECRET_KEY

_POOL_SIZE = 4
_KEY = jwt.PyJWK({"kty": "oct", "k": base64.urlsafe_b64encode(JWT_SECRET_KEY.encode()).decode(), "alg": "HS256"})


@get("/hello", sync_to_thread=False)
def hello() -> dict[str, str]:
    return {"message": "hello"}


@get("/health", sync_to_thread=False)
def health() -> dict[str, str]:
    return {"status": "ok"}


@post("/bookings")
async def book(request: Request[Any, Any, Any]) -> dict[str, Any]:
    try:
        claims = jwt.decode(
            request.headers["authorization"].removeprefix("Bearer "),
            _KEY,
            algorithms=["HS256"],
            audience=f"{ISSUER}-{ACCESS}",
            issuer=ISSUER,
        )
    except (jwt.InvalidTokenError, KeyError) as error:
        raise NotAuthorizedException from error
    event = (await request.json())["event_id"]
    pool: asyncpg.Pool = request.app.state.pool
    async with pool.acquire() as connection:
        row = await connection.fetchrow(
            RESERVE, event, int(claims["sub"]), None, datetime.now(UTC), "bench", "bench", None, None
        )
    return dict(row) if row else {}


async def _serve(fd: int) -> None:
    session = {name: str(value) for name, value in (Timeouts().session_settings | SERVER_SETTINGS).items()}
    pool = await asyncpg.create_pool(
        os.environ["DATABASE_URL"], min_size=_POOL_SIZE, max_size=_POOL_SIZE, server_settings=session
    )
    app = Litestar([hello, health, book], openapi_config=None)
    app.state.pool = pool
    logging.disable(logging.INFO)
    # uvicorn takes the descriptor of its option `fd` for a Unix socket; answers over TCP would be delayed by 40 ms.
    listener = socket.socket(fileno=fd)
    config = uvicorn.Config(app, access_log=False, loop="uvloop", http="httptools")
    await uvicorn.Server(config).serve(sockets=[listener])


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
