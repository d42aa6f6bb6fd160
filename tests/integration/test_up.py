"""`convene up`: ready in one command, one system a directory, no process left behind."""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import urllib.request
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from interfaces.cli.up import introduction
from tests.support import fork_server
from tests.support.command import CONVENE, bare_environ, convene, processes_of, running_up
from tests.support.servers import free_port, running_postgres, running_redis, temporary_directory
from tests.support.waiting import eventually

REDIS = "(redis|valkey)-server"
"""Whichever the machine has."""


def get(url: str) -> tuple[int, dict[str, object]]:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.status, json.load(answer)


def answers(url: str) -> bool:
    with suppress(OSError):
        return get(url)[0] == 200
    return False


# Takes 20 s: three pauses before restarts, and six interpreters that import everything.
@pytest.mark.timeout(300)
def test_up_is_ready_restarts_its_children_and_stops_cleanly() -> None:
    with temporary_directory() as directory:
        data = directory / "var"
        with running_up(data, "--api-workers", "2") as up:
            api, crm = up.address("API"), up.address("CRM")
            assert get(f"{api}/health")[0] == 200
            assert get(f"{crm}/")[1]["status"] == "healthy"
            assert any(line.startswith("sample") for line in up.lines)
            assert f"{api}/docs" in up.lines[-1]
            assert "sample login facilitator@example.com with password password123" in up.lines[-1]
            assert f"`{CONVENE} demo`" in up.lines[-1]
            assert stat.S_IMODE((data / "run.env").stat().st_mode) == 0o600

            here = bare_environ(CONVENE_DATA=str(data))
            assert convene("doctor", environ=here).returncode == 0
            second = convene("up", "--api-port", "0", "--crm-port", "0", environ=here)
            assert second.returncode == 1
            assert f"a system already runs in {data} (process {up.process.pid})" in second.stderr

            for name in ("interfaces.cli api", "interfaces.cli worker", "crm serve", REDIS, "bin/postgres"):
                pid = next(int(line.split()[0]) for line in processes_of(data) if re.search(name, line))
                os.kill(pid, signal.SIGKILL)
                up.line(*(f"{part} runs again" for part in ("api-1", "api-2", "worker-1", "crm", "redis", "postgres")))
                assert get(f"{api}/")[0] == 200
            assert eventually(lambda: convene("doctor", environ=here).returncode == 0)

            assert up.stop() == 0
            assert processes_of(data) == []
            assert not (data / "run.env").exists()

        # Once in this suite with interpreters that have imported nothing: `convene up` and all that it starts.
        with fork_server.new_interpreters(), running_up(data) as up:
            assert not any(line.startswith("sample") for line in up.lines)
            assert up.stop() == 0


# Takes 4 s: two starts of everything.
def test_kill_9_of_up_leaves_nothing_and_the_next_start_is_clean() -> None:
    with temporary_directory() as directory:
        data = directory / "var"
        with running_up(data) as up:
            up.process.kill()
            up.process.wait()
            assert eventually(lambda: processes_of(data) == [])
        assert convene("doctor", environ=bare_environ(CONVENE_DATA=str(data))).returncode == 1
        with running_up(data) as up:
            assert up.stop() == 0


def test_given_servers_and_secrets_are_used_and_nothing_is_embedded(tmp_path: Path) -> None:
    with running_postgres() as postgres, running_redis() as redis:
        given = {"DATABASE_URL": postgres.dsn("convene"), "REDIS_URL": redis.url, "CRM_BEARER_TOKEN": "t" * 40}
        with running_up(tmp_path / "var", **given) as up:
            assert "sample login" not in up.lines[-1]
            run_env = (up.data / "run.env").read_text()
            assert f"CRM_BEARER_TOKEN='{'t' * 40}'" in run_env
            assert "convene_crm?" in run_env
            assert not (up.data / "postgres").exists()
            assert not any(re.search(rf"{REDIS}|bin/postgres", line) for line in processes_of(up.data))
            # Its accounts have published passwords.
            assert postgres.execute("SELECT count(*) FROM users", "convene") == "0"
            assert up.stop() == 0


# Takes 4 s: a start of everything, and `convene doctor`.
def test_services_run_separately_as_started_by_compose(tmp_path: Path) -> None:
    with running_postgres() as postgres, running_redis() as redis:
        api, crm = free_port(), free_port()
        environ = bare_environ(
            DATABASE_URL=postgres.dsn("convene"),
            CRM_DATABASE_URL=postgres.dsn("convene_crm"),
            REDIS_URL=redis.url,
            JWT_SECRET_KEY="j" * 32,
            CRM_BEARER_TOKEN="c" * 32,
            BACKEND_SERVICE_TOKEN="b" * 32,
            CRM_SERVICE_URL=f"http://127.0.0.1:{crm}",
            CONVENE_DATA=str(tmp_path / "data"),
        )
        assert convene("migrate", cwd=tmp_path, environ=environ).returncode == 0
        commands = [
            ["api", "--port", str(api), "--workers", "2"],
            ["crm", "--port", str(crm)],
            ["worker"],
        ]
        with ExitStack() as running:
            services = [
                running.enter_context(
                    subprocess.Popen([CONVENE, *command], cwd=tmp_path, env=environ, stderr=subprocess.DEVNULL)
                )
                for command in commands
            ]
            for service in services:
                running.callback(service.kill)
            assert eventually(lambda: answers(f"http://127.0.0.1:{api}/health"))
            assert eventually(lambda: answers(f"http://127.0.0.1:{crm}/"))
            assert convene("doctor", cwd=tmp_path, environ=environ).returncode == 0
            for service in services:
                service.terminate()
            assert [service.wait(60) for service in services] == [0, 0, 0]
        assert processes_of(tmp_path / "data") == []


@pytest.mark.parametrize("name", ["JWT_SECRET_KEY", "CRM_BEARER_TOKEN", "BACKEND_SERVICE_TOKEN"])
def test_external_database_rejects_example_secrets(name: str, tmp_path: Path) -> None:
    with running_postgres() as postgres:
        environ = bare_environ(DATABASE_URL=postgres.dsn("convene"), **{name: "super-crm-token"})
        done = convene("up", "--api-port", "0", "--crm-port", "0", cwd=tmp_path, environ=environ)
        assert done.returncode == 2
        assert done.stderr.startswith(f"convene: {name} is an example")


@pytest.mark.parametrize(("directory", "begins"), [("var", "`"), ("my data", "`CONVENE_DATA='{data}' ")])
def test_suggested_command_finds_the_running_system(
    directory: str, begins: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = tmp_path / directory
    with socket.create_server(("127.0.0.1", 0)) as api:
        steps = introduction(data, {"CONVENE_EMBEDDED": "1"}, {}, api)
    assert f"; {begins.format(data=data)}{CONVENE} demo`" in steps
    assert "sample login" not in steps
