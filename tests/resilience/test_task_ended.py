"""A process in which a task ended says so, is not alive, and ends with a status, so that its supervisor restarts it."""

import asyncio
import json
import re
from pathlib import Path

import asyncpg

from infrastructure.embedded import EmbeddedPostgres
from servicekit.process import TASK_ENDED
from tests.support.callers import Address, Caller, request
from tests.support.databases import a_database
from tests.support.ending_task import FAULT
from tests.support.load import many_users, some_events
from tests.support.messages import until
from tests.support.processes import ended_elsewhere, running_apis, running_crm_process, running_workers, server_environ
from tests.support.servers import free_port

MODULE = "tests.support.ending_task"
METRICS_TOKEN = "a-token-for-the-metrics-of-the-tests"


async def test_process_ends_with_a_status_after_a_task(
    postgres: EmbeddedPostgres, database_url: str, redis_url: str, database: asyncpg.Connection, tmp_path: Path
) -> None:
    crm_dsn = await a_database(postgres, template="template1")
    (host,) = await many_users(database, 1, role="facilitator")
    (event,) = await some_events(database, host.id, 1, capacity=10, price=0)
    environ = server_environ(
        database_url,
        redis_url,
        tmp_path,
        crm_database_url=crm_dsn,
        crm_service_url="http://127.0.0.1:9",
        drain_seconds="3",
        worker_probe_port=str(port := free_port()),
        metrics_token=METRICS_TOKEN,
    )
    (crm_logs := tmp_path / "crm").mkdir()
    async with ended_elsewhere() as running:
        crm = running.enter_context(running_crm_process(environ, crm_logs, (MODULE, "crm", "serve", "--fd")))
        (worker,) = running.enter_context(running_workers(1, environ, tmp_path, (MODULE, "worker")))
        (api,) = running.enter_context(running_apis(1, environ, tmp_path, (MODULE, "api", "--fd")))
        await crm.ready("/health/live")
        await until(lambda: _is_alive(port))
        assert await _scraped(("127.0.0.1", port)) >= {
            "convene_database_wait_seconds_count",
            "convene_log_lines_dropped_total",
        }
        assert "convene_crm_deliveries_pending" in await _scraped(crm.address)
        caller = await Caller.connect(api.address)
        assert (await caller((await many_users(database, 1))[0].booking_request(event))).status == 201
        alive = await caller(request("GET", "/health/live"))
        assert (alive.status, alive.json) == (200, {"status": "alive"})

        (tmp_path / "end").touch()
        await until(lambda: _is_dead(api.address))
        for process in (worker, api.process, crm.process):
            assert await asyncio.to_thread(process.wait, 30) == TASK_ENDED
    ends = [
        [json.loads(line) for line in log.read_text().splitlines() if '"task.ended"' in line]
        for log in (tmp_path / f"{MODULE}-worker-0.log", api.log, crm.log)
    ]
    named = [{line["task"] for line in lines} for lines in ends]
    assert "deliver crm" in named[0]
    assert named[1] == {"wake-ups"}
    assert "deliver Email" in named[2]
    assert all(line["how"] == "failed" and FAULT in line["exception"] for lines in ends for line in lines)


async def _is_alive(port: int) -> bool:
    try:
        caller = await Caller.connect(("127.0.0.1", port))
    except OSError:
        return False
    return (await caller(request("GET", "/health/live"))).status == 200


async def _scraped(address: Address) -> set[str]:
    """The names in the metrics of a process."""
    caller = await Caller.connect(address)
    answer = await caller(request("GET", "/metrics", token=METRICS_TOKEN))
    caller.close()
    assert answer.status == 200
    return set(re.findall(r"convene_\w+", answer.body.decode()))


async def _is_dead(address: Address) -> bool:
    caller = await Caller.connect(address)
    answer = await caller(request("GET", "/health/live"))
    caller.close()
    return (answer.status, answer.json) == (503, {"status": "dead", "ended_tasks": ["wake-ups"]})
