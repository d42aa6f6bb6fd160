"""The services with a task that ends, once there is a file `end` in `CONVENE_DATA`.

`python -m tests.support.ending_task crm serve …`, otherwise with the arguments of `convene`. Only tests can start it.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import NoReturn

from infrastructure.redis.wake_ups import RedisWakeUps
from servicekit.lease_queue import QueueConsumer

FAULT = "a fault of the test"


async def _fail(*_: object) -> NoReturn:
    while not Path(os.environ["CONVENE_DATA"], "end").exists():  # noqa: ASYNC110, ASYNC240 (the test makes it)
        await asyncio.sleep(0.05)
    raise RuntimeError(FAULT)


if __name__ == "__main__":
    QueueConsumer._poll = _fail  # type: ignore[assignment, method-assign]
    RedisWakeUps._send_when_requested = _fail  # type: ignore[assignment, method-assign]
    if sys.argv[1] == "crm":
        from crm.__main__ import main as crm

        sys.exit(crm(sys.argv[2:]))
    from interfaces.cli import main

    main()
