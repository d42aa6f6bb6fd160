"""`python -m crm`: one clear line for what is wrong, a clean end, and the same service with several processes."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import httpx
import pytest

from infrastructure.embedded import EmbeddedPostgres
from tests.crm.parts import TOKEN, MailServer, a_message, until
from tests.support import fork_server
from tests.support.servers import free_port

UNREACHABLE = "postgresql://convene@127.0.0.1:1/crm"


async def _start(*arguments: str, environ: dict[str, str], pass_fds: tuple[int, ...] = ()) -> Process:
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    program = (sys.executable, "-m", "crm", *arguments)
    return await asyncio.create_subprocess_exec(
        *program, env=inherited | environ, stdout=PIPE, stderr=PIPE, pass_fds=pass_fds
    )


def _environ(dsn: str, tmp_path: Path, **more: str) -> dict[str, str]:
    return {"CRM_DATABASE_URL": dsn, "CRM_BEARER_TOKEN": TOKEN, "CONVENE_DATA": str(tmp_path), **more}


async def _complaint(*arguments: str, environ: dict[str, str]) -> tuple[int | None, str]:
    process = await _start(*arguments, environ=environ)
    out, err = await process.communicate()
    assert out == b""
    return process.returncode, err.decode()


@pytest.mark.parametrize("command", ["serve", "migrate"])
@pytest.mark.parametrize(("database", "name"), [("", "CRM_BEARER_TOKEN"), (UNREACHABLE, "CRM_DATABASE_URL")])
async def test_error_is_one_line(command: str, database: str, name: str) -> None:
    environ = {"CRM_DATABASE_URL": database, "CRM_BEARER_TOKEN": TOKEN} if database else {}
    code, complaint = await _complaint(command, environ=environ)
    assert code == (1 if database else 2)
    assert len(complaint.splitlines()) == 1
    assert name in complaint


async def test_database_without_schema_is_one_line_until_it_is_migrated(
    postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    await asyncio.to_thread(postgres.execute, "CREATE DATABASE crm_bare OWNER convene")
    environ = _environ(postgres.dsn("crm_bare"), tmp_path)
    code, complaint = await _complaint("serve", environ=environ)
    assert code == 1
    assert complaint.count("\n") == 1
    assert "python -m crm migrate" in complaint
    rivals = [await _start("migrate", environ=environ) for _ in range(2)]
    assert [await rival.wait() for rival in rivals] == [0, 0]


async def test_used_port_is_one_line(dsn: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, complaint = await _complaint("serve", "--port", port, environ=_environ(dsn, tmp_path))
    assert code == 1
    assert len(complaint.splitlines()) == 1
    assert port in complaint


async def _answering(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/")).is_success
    except httpx.TransportError:
        return False


def _client(port: int) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=20)


# Takes 5 s: with two workers each process is an interpreter that imports everything.
@pytest.mark.parametrize("workers", ["1", "2"])
# Takes 5 s for two processes: they are new interpreters.
async def test_sigterm_finishes_the_request_in_flight(
    dsn: str, tmp_path: Path, mail_server: MailServer, workers: str
) -> None:
    mail_server.delay = 0.7
    port = free_port()
    environ = _environ(dsn, tmp_path, SMTP_URL=mail_server.url)
    # Of several processes those that serve are new interpreters, so let the first be one, too.
    with fork_server.new_interpreters() if workers == "2" else contextlib.nullcontext():
        process = await _start("serve", "--port", str(port), "--workers", workers, environ=environ)
    async with _client(port) as client:
        await until(lambda: _answering(client))
        request = asyncio.create_task(client.post("/notify", json=a_message()))
        await until(lambda: mail_server.offered)
        process.send_signal(signal.SIGTERM)
        answer = await request
    assert answer.json()["email_sent"] is True
    _, log = await process.communicate()
    assert process.returncode == 0
    assert all(line.startswith(b"{") for line in log.splitlines())
    assert TOKEN.encode() not in log
    assert b"ada@example.com" not in log


async def test_inherited_socket_is_served(dsn: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.fileno()
        process = await _start("serve", "--fd", str(number), environ=_environ(dsn, tmp_path), pass_fds=(number,))
        async with _client(listener.getsockname()[1]) as client:
            assert (await client.get("/")).json()["status"] == "healthy"
        process.send_signal(signal.SIGINT)
        await process.communicate()
    assert process.returncode == 0
