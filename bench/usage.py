"""What processes take of the machine, from /proc: seconds of CPU and resident memory."""

import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int, *, ended_children: bool = False) -> float:
    """User and system time of all threads. A process that has ended counts as 0."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return cpu_seconds_of(Path(f"/proc/{pid}/stat").read_text(), ended_children=ended_children)
    return 0


def cpu_seconds_of(stat: str, *, ended_children: bool = False) -> float:
    """The same, of the text of /proc/<pid>/stat."""
    fields = stat.rpartition(")")[2].split()
    return sum(map(int, fields[11 : 15 if ended_children else 13])) / _TICKS


def server_cpu_seconds(postmaster: int) -> float:
    """All processes of a PostgreSQL server; the postmaster counts those that have ended."""
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    return cpu_seconds(postmaster, ended_children=True) + sum(cpu_seconds(int(pid)) for pid in children)


def resident_megabytes(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


class Usage(msgspec.Struct, frozen=True):
    """Seconds of CPU so far of each kind of process."""

    seconds: Mapping[str, float]

    def since(self, earlier: "Usage") -> "Usage":
        return Usage({kind: seconds - earlier.seconds.get(kind, 0) for kind, seconds in self.seconds.items()})

    def shared_by(self, number: float) -> "Usage":
        return Usage({kind: seconds / number for kind, seconds in self.seconds.items()})

    @property
    def total(self) -> float:
        return sum(self.seconds.values())

    def milliseconds(self) -> str:
        return ", ".join(f"{kind} {1000 * seconds:.1f}" for kind, seconds in self.seconds.items())


def usage(processes: Mapping[str, Iterable[int]], postmaster: int) -> Usage:
    """Of the pids of each kind, and of PostgreSQL."""
    taken = {kind: sum(map(cpu_seconds, pids)) for kind, pids in processes.items()}
    return Usage(taken | {"PostgreSQL": server_cpu_seconds(postmaster)})
