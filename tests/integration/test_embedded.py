"""The embedded servers: real, private, restartable, and stopped when their parent process ends."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest
from redis import Redis

from infrastructure.embedded import EmbeddedError, EmbeddedPostgres, EmbeddedRedis, placement
from infrastructure.embedded.data_directory import owned, publish, running_environ
from infrastructure.embedded.processes import unprivileged_account
from infrastructure.embedded.secrets import kept_secrets
from tests.support.servers import running_postgres, running_redis, temporary_directory
from tests.support.waiting import alive, eventually


def test_postgres_18_runs_with_its_own_role_and_databases() -> None:
    with running_postgres("first", "second") as server:
        assert server.execute("SELECT count(*) FROM pg_roles WHERE rolname = 'convene' AND NOT rolsuper") == "1"
        assert server.execute("SHOW server_version_num") >= "180000"
        assert server.execute("SHOW server_encoding", "second") == "UTF8"
        assert server.execute("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'first'") == "convene"

        async def own_table() -> str:
            connection = await asyncpg.connect(server.dsn("second"))
            await connection.execute("CREATE TABLE t (id uuid DEFAULT uuidv7())")
            name: str = await connection.fetchval("SELECT current_user")
            await connection.close()
            return name

        assert asyncio.run(own_table()) == "convene"


def test_sockets_are_private_and_no_port_is_open() -> None:
    with running_postgres() as server:
        assert server.execute("SHOW listen_addresses") == ""
        assert stat.S_IMODE(server.run.stat().st_mode) == 0o700
        assert server.execute("SHOW unix_socket_permissions") == "0700"


def test_data_survives_a_stop_and_a_kill() -> None:
    with running_postgres() as server:
        server.execute("CREATE TABLE kept (x int); INSERT INTO kept VALUES (1);", "convene")
        server.stop()
        server.start()
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        assert eventually(lambda: server.poll() is not None)
        server.start()
        assert server.execute("SELECT x FROM kept", "convene") == "1"


def test_durability_is_on_by_default() -> None:
    with temporary_directory() as directory:
        server = EmbeddedPostgres(directory, directory)
        try:
            server.start()
            assert server.execute("SHOW fsync") == "on"
            assert server.execute("SHOW synchronous_commit") == "on"
        finally:
            server.stop()


def test_lock_file_with_the_pid_of_another_process_does_not_prevent_the_start() -> None:
    with running_postgres() as server:
        lock = server.data / "postgres" / "postmaster.pid"
        lines = lock.read_text().splitlines()
        server.stop()
        account = unprivileged_account()
        # PostgreSQL takes a process of another user for no server at all, so the stranger has to be of the same.
        stranger = subprocess.Popen(["sleep", "60"], user=account.uid if account else None, cwd="/")
        try:
            lock.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
            server.start()
            assert server.execute("SELECT 1") == "1"
            assert stranger.poll() is None
        finally:
            stranger.kill()
            stranger.wait()


PARENT = """
import sys, time
from pathlib import Path
from infrastructure.embedded import EmbeddedPostgres, EmbeddedRedis
directory = Path(sys.argv[1])
servers = [EmbeddedPostgres(directory, directory, durable=False), EmbeddedRedis(directory)]
for server in servers:
    server.start()
print(*[server.pid for server in servers], flush=True)
time.sleep(600)
"""


def test_kill_9_of_the_parent_leaves_no_server_and_the_next_start_is_clean() -> None:
    with temporary_directory() as directory:
        parent = subprocess.Popen([sys.executable, "-c", PARENT, str(directory)], stdout=subprocess.PIPE, text=True)
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        assert all(alive(pid) for pid in pids)
        parent.kill()
        parent.wait()
        parent.stdout.close()
        assert eventually(lambda: not any(alive(pid) for pid in pids))
        servers = EmbeddedPostgres(directory, directory, durable=False), EmbeddedRedis(directory)
        try:
            for server in servers:
                server.start()
            assert servers[0].execute("SELECT 1") == "1"
        finally:
            for server in servers:
                server.stop()


def test_server_that_cannot_start_reports_why_in_one_line() -> None:
    with running_postgres() as server:
        server.stop()
        (server.data / "postgres" / "postgresql.conf").write_text("no_such_setting = 1\n")
        with pytest.raises(EmbeddedError, match=r"PostgreSQL did not start: .+") as refusal:
            server.start()
        assert "\n" not in str(refusal.value)


def test_redis_listens_on_a_private_socket_and_writes_nothing() -> None:
    with running_redis() as server, Redis.from_url(server.url) as client:
        assert client.config_get("port") == {"port": "0"}
        assert client.config_get("save") == {"save": ""}
        assert client.config_get("appendonly") == {"appendonly": "no"}
        assert stat.S_IMODE(server.socket.stat().st_mode) == 0o700


def test_redis_restarts_after_kill_9() -> None:
    with running_redis() as server:
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        assert eventually(lambda: server.poll() is not None)
        server.start()
        with Redis.from_url(server.url) as client:
            assert client.ping() is True


def test_servers_never_run_as_root() -> None:
    with running_postgres() as postgres, running_redis() as redis:
        for server in (postgres, redis):
            assert Path(f"/proc/{server.pid}").stat().st_uid != 0


@pytest.mark.parametrize("name", ["x" * 120, "with space", "with,comma", "ünicode"])
def test_sockets_use_a_short_path_if_the_data_path_is_unsuitable(name: str) -> None:
    with temporary_directory() as directory:
        data = directory / name
        data.mkdir()
        run = placement.socket_directory(data, unprivileged_account())
        try:
            assert len(str(run)) < 80
            assert run.parent != data
            assert stat.S_IMODE(run.stat().st_mode) == 0o700
        finally:
            run.rmdir()


def test_inaccessible_parent_directory_keeps_its_mode_and_the_cluster_is_linked() -> None:
    """Root's clone in a `mktemp -d`: `nobody` cannot enter it. An ordinary user's cluster simply stays."""
    with temporary_directory() as directory:
        closed = directory / "closed"
        closed.mkdir(mode=0o700)
        data = closed / "var"
        data.mkdir()
        account = unprivileged_account()
        run = placement.socket_directory(data, account)
        server = EmbeddedPostgres(data, run, durable=False)
        try:
            server.start()
            assert server.execute("SELECT 1") == "1"
            assert stat.S_IMODE(closed.stat().st_mode) == 0o700
            assert (data / "postgres").is_symlink() == (account is not None)
            assert (data / "postgres" / "PG_VERSION").read_text() == "18\n"
            server.stop()
            server.start()
        finally:
            server.stop()
            if account:
                subprocess.run(["rm", "-rf", (data / "postgres").resolve().parent, run], check=True)


def test_two_systems_on_one_data_directory_are_rejected(tmp_path: Path) -> None:
    data = tmp_path / "var"
    with owned(data), pytest.raises(EmbeddedError, match=f"already runs in .*process {os.getpid()}"), owned(data):
        pass
    with owned(data):
        pass


def test_other_commands_find_a_running_system_only(tmp_path: Path) -> None:
    published = {"DATABASE_URL": "postgresql://convene@/convene?host=/x", "ODD": 'it\'s a \\ "quote" $HOME'}
    with owned(tmp_path) as data:
        publish(data, published)
        assert stat.S_IMODE((data / "run.env").stat().st_mode) == 0o600
        assert running_environ(data) == published
        left = (data / "run.env").read_text()
    assert not (tmp_path / "run.env").exists()
    (tmp_path / "run.env").write_text(left)
    assert running_environ(tmp_path) == {}


def test_secrets_are_created_once_and_private(tmp_path: Path) -> None:
    first = kept_secrets(tmp_path)
    assert all(len(value) >= 32 for value in first.values())
    assert kept_secrets(tmp_path) == first
    assert stat.S_IMODE((tmp_path / "secrets.env").stat().st_mode) == 0o600
