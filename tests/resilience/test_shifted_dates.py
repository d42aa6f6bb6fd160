"""Servers and processes on other dates. All of it takes hours of tests' time, so it is for LONG_RUN."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.process_harness import LONG_RUN
from tests.support.shifted_clock import DATES, ROOT, everywhere, run_tests

PROBE = """
import asyncio, asyncpg, redis, time
from tests.support.command import bare_environ
from tests.support.servers import running_postgres, running_redis
import subprocess, sys

async def of_postgres(dsn):
    connection = await asyncpg.connect(dsn)
    print("postgres", (await connection.fetchval("SELECT clock_timestamp()")).timestamp())
    await connection.execute("SET statement_timeout = '200ms'")
    started = time.monotonic()
    try:
        await connection.execute("SELECT pg_sleep(20)")
    except asyncpg.QueryCanceledError:
        print("timeout", time.monotonic() - started)
    await connection.close()

with running_postgres("t") as server:
    asyncio.run(of_postgres(server.dsn("t")))
with running_redis() as server:
    seconds, _ = redis.Redis.from_url(server.url).time()
    print("redis", seconds)
print("python", time.time())
child = [sys.executable, "-c", "import time; print('child', time.time())"]
print(subprocess.run(child, env=bare_environ(), capture_output=True, text=True, check=True).stdout)
"""

CONTRACTS = ("the end of a short February", "a minute before a year")

if LONG_RUN:

    @pytest.mark.timeout(300)
    def test_shifted_clock_applies_to_postgres_redis_and_clean_environments() -> None:
        moment = DATES["a leap day"]
        done = subprocess.run(
            [sys.executable, "-c", PROBE], cwd=ROOT, env=everywhere(moment), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        clocks = {name: float(value) for name, value in (line.split() for line in done.stdout.splitlines() if line)}
        assert clocks.keys() == {"postgres", "timeout", "redis", "python", "child"}
        assert clocks.pop("timeout") < 10, "a statement_timeout of 0.2 s"
        there = datetime.fromisoformat(moment)
        for name, seconds in clocks.items():
            assert timedelta(0) <= datetime.fromtimestamp(seconds, UTC) - there < timedelta(minutes=5), name

    @pytest.mark.timeout(1200)
    @pytest.mark.parametrize("name", DATES)
    def test_demo_passes_on_other_dates(name: str) -> None:
        run_tests(["tests/payments/test_demo.py"], everywhere(DATES[name]))

    @pytest.mark.timeout(7200)
    @pytest.mark.parametrize("name", CONTRACTS)
    def test_contract_tests_pass_on_other_dates(name: str) -> None:
        run_tests(["tests/contracts", f"-n{os.cpu_count()}"], everywhere(DATES[name]), minutes=110)
