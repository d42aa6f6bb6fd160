"""The `convene` command: what a person can cause ends as one line on stderr and a status that is not zero."""

import http.client
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from infrastructure.embedded.errors import Unusable
from interfaces.cli import COMMANDS
from interfaces.cli.database_watch import report_until_usable
from servicekit.migrations import MigrationBlocked
from servicekit.schema_version import SchemaFit, SchemaVersion
from tests.support.command import CONVENE, bare_environ, convene, convene_here
from tests.support.servers import free_port, running_postgres, temporary_directory
from tests.support.waiting import eventually

COMPLETE = {
    "DATABASE_URL": "postgresql://convene@127.0.0.1:1/convene",
    "REDIS_URL": "redis://127.0.0.1:1",
    "JWT_SECRET_KEY": "j" * 32,
    "CRM_BEARER_TOKEN": "c" * 32,
    "BACKEND_SERVICE_TOKEN": "b" * 32,
}


def refusal(done: subprocess.CompletedProcess[str], status: int) -> str:
    """The one line of a command that refused."""
    assert done.returncode == status, done
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("convene: ")
    return lines[0]


def refused_up(**settings: str) -> subprocess.CompletedProcess[str]:
    """`convene up` where the embedded servers could start, with settings that stop it."""
    with temporary_directory() as directory:
        return convene("up", "--api-port", "0", "--crm-port", "0", cwd=directory, environ=bare_environ(**settings))


@pytest.mark.parametrize("arguments", [("nonsense",), ("up", "--no-such"), ("api", "--port", "many"), ("crm", "extra")])
def test_invalid_call_is_one_line_with_status_2(arguments: tuple[str, ...], tmp_path: Path) -> None:
    assert "--help" in refusal(convene(*arguments, cwd=tmp_path), 2)


@pytest.mark.parametrize("command", ["api", "worker", "migrate", "seed"])
def test_missing_setting_is_named(command: str, tmp_path: Path) -> None:
    assert "DATABASE_URL is not set" in refusal(convene(command, cwd=tmp_path), 2)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_help_text(name: str) -> None:
    done = convene(name, "--help")
    assert done.returncode == 0
    assert f"convene {name}" in done.stdout


def test_env_file_is_read_and_environment_takes_precedence(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "".join(f"{name}={value}\n" for name, value in COMPLETE.items()) + "LOG_LEVEL=loud\n"
    )
    assert "LOG_LEVEL is 'loud'" in refusal(convene("api", cwd=tmp_path), 2)
    said = refusal(convene("api", cwd=tmp_path, environ=bare_environ(LOG_LEVEL="info", DEFAULT_CURRENCY="rupee")), 2)
    assert "DEFAULT_CURRENCY" in said


@pytest.mark.parametrize("command", ["api", "crm"])
def test_used_port_is_reported(command: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = convene(command, "--port", port, cwd=tmp_path, environ=bare_environ(**COMPLETE))
    assert f"port {port} of 127.0.0.1 is taken" in refusal(done, 1)


def test_used_port_is_reported_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = convene("up", "--api-port", port, "--crm-port", "0", "--data", "var", cwd=tmp_path)
    assert f"port {port} of 127.0.0.1 is taken: stop what uses it, or choose another --api-port" in refusal(done, 1)
    assert not (tmp_path / "var" / "postgres").exists()


def test_descriptor_that_is_not_a_listening_socket_is_rejected(tmp_path: Path) -> None:
    assert "--fd 77 is no listening socket" in refusal(
        convene("api", "--fd", "77", cwd=tmp_path, environ=bare_environ(**COMPLETE)), 1
    )


@pytest.mark.parametrize(("command", "advice"), [("migrate", "correct DATABASE_URL"), ("seed", "`convene doctor`")])
def test_unavailable_database_is_reported(command: str, advice: str, tmp_path: Path) -> None:
    environ = bare_environ(**COMPLETE, CONVENE_EMBEDDED="1")
    assert advice in refusal(convene(command, cwd=tmp_path, environ=environ), 1)


def test_unusable_data_path_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for data in ("file", "file/below"):
        done = convene("up", "--data", data, "--api-port", "0", "--crm-port", "0", cwd=tmp_path)
        assert "choose another --data" in refusal(done, 1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JWT_EXPIRES_HOURS", "soon"),
        ("SMTP_URL", "smtp://mail?encrypt=1"),
        ("CRM_NOTIFICATIONS_SHAPE", "tree"),
        ("FORWARD_FLASK_URL", "nowhere"),
    ],
)
def test_up_names_invalid_setting_before_any_server_starts(name: str, value: str) -> None:
    given = {name: value, "FORWARD_FLASK_TOKEN": "f" * 40}
    with temporary_directory() as directory:
        done = convene("up", "--api-port", "0", "--crm-port", "0", cwd=directory, environ=bare_environ(**given))
        assert not (directory / "var" / "postgres").exists()
    assert name in refusal(done, 2)
    assert done.stdout == ""


def test_up_rejects_an_unavailable_external_server() -> None:
    said = refusal(refused_up(DATABASE_URL=f"postgresql://convene@127.0.0.1:{free_port()}/convene"), 1)
    assert "PostgreSQL at 127.0.0.1 cannot be reached" in said
    assert "correct DATABASE_URL" in said
    assert "correct REDIS_URL" in refusal(refused_up(REDIS_URL=f"redis://127.0.0.1:{free_port()}/0"), 1)


def test_doctor_without_a_running_system_gives_advice(tmp_path: Path) -> None:
    done = convene("doctor", cwd=tmp_path)
    assert done.returncode == 1
    assert "DATABASE_URL is not set" in done.stdout
    assert "`convene up` starts one" in done.stdout


def test_doctor_runs_every_check(tmp_path: Path) -> None:
    done = convene("doctor", cwd=tmp_path, environ=bare_environ(**COMPLETE, CRM_SERVICE_URL="http://127.0.0.1:1"))
    assert done.returncode == 1
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [
        ["ok", "settings:"],
        *(["fail", f"{name}:"] for name in ("database", "migrations", "connections", "clock")),
        ["ok", "time-zones:"],
        *(["fail", f"{name}:"] for name in ("addresses", "deliveries", "facilitators", "counts")),
        ["fail", "audit:"],
        ["warn", "second-factors:"],
        *(["fail", f"{name}:"] for name in ("redis", "crm")),
        ["warn", "mail:"],
    ]


# Takes 3 s: four migrations.
def test_migrate_creates_missing_databases_and_can_be_repeated(tmp_path: Path) -> None:
    with running_postgres() as server:
        environ = bare_environ(
            **COMPLETE
            | {
                "DATABASE_URL": server.superuser_dsn("fresh"),
                "PATH": os.environ["PATH"],
            }
        )
        crm_dsn, file = server.superuser_dsn("fresh_crm"), tmp_path / "crm_database_url"
        file.write_text(crm_dsn)
        for crm in ({"CRM_DATABASE_URL_FILE": str(file)}, {"CRM_DATABASE_URL": crm_dsn}):
            done = convene("migrate", cwd=tmp_path, environ=environ | crm)
            assert done.returncode == 0, done.stderr
            assert "CRM database: up to date" in done.stdout
        assert int(server.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", "fresh")) > 3
        assert int(server.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", "fresh_crm")) > 1


def test_migrate_reports_in_one_line_what_it_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def upgrade(_dsn: str, *, report: Callable[[str], None]) -> None:
        report("waiting for another migration of this database, process 7")
        raise MigrationBlocked("process 7 has migrated this database for 1800 s: wait")

    async def old_schema(_version: SchemaVersion, _dsn: str) -> SchemaFit:
        return SchemaFit(found="0001", needed="0002")

    monkeypatch.setattr("infrastructure.postgres.migrations.upgrade", upgrade)
    monkeypatch.setattr(SchemaVersion, "fit_of", old_schema)
    monkeypatch.setattr("infrastructure.external_servers.ensure_database", lambda _dsn, _setting: None)
    done = convene_here("migrate", cwd=tmp_path, environ=bare_environ(**COMPLETE))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        "convene: waiting for another migration of this database, process 7",
        "convene: process 7 has migrated this database for 1800 s: wait",
    ]


def test_migrate_reports_a_missing_right_to_create_a_database(tmp_path: Path) -> None:
    with running_postgres() as server:
        done = convene(
            "migrate", cwd=tmp_path, environ=bare_environ(**COMPLETE | {"DATABASE_URL": server.dsn("absent")})
        )
        assert "the database absent of DATABASE_URL does not exist and cannot be made" in refusal(done, 1)


@pytest.mark.parametrize(
    ("words", "expected"),
    [("convene us", "plain,users"), ("convene users li", "plain,list"), ("convene outbox list --js", "plain,--json")],
)
def test_shell_completes_commands_and_options(words: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("SMTP_ULR=smtp://mail.example.com\n")
    environ = bare_environ(_CONVENE_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(len(words.split()) - 1))
    done = convene(cwd=tmp_path, environ=environ)
    assert (done.stdout.splitlines(), done.stderr) == ([expected], "")


def test_unusable_database_is_reported_once_until_it_answers() -> None:
    outcomes = iter(["away", "away", "the database x does not exist", None])
    said: list[str] = []

    def check(_seconds: float) -> None:
        if (why := next(outcomes)) is not None:
            raise Unusable(why)

    report_until_usable(check, said.append, lambda _seconds: None)
    trying = "; trying again, requests are answered with 503 until then"
    assert said == [
        f"convene: away{trying}",
        f"convene: the database x does not exist{trying}",
        "convene: PostgreSQL answers",
    ]


def test_api_without_postgresql_says_so_and_serves(tmp_path: Path) -> None:
    port = free_port()
    environ = bare_environ(**COMPLETE | {"CONVENE_DATA": str(tmp_path)})
    with subprocess.Popen(
        [CONVENE, "api", "--port", str(port)], cwd=tmp_path, env=environ, stderr=subprocess.PIPE, text=True
    ) as api:
        try:
            assert api.stderr is not None
            first = api.stderr.readline()
            assert first.startswith("convene: PostgreSQL at 127.0.0.1 cannot be reached")
            assert "correct DATABASE_URL; trying again" in first
            assert eventually(lambda: health_of(port) == 503)
        finally:
            api.terminate()
        assert api.wait(60) == 0


def health_of(port: int) -> int:
    """The status of GET /health; 0 while no server answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()
