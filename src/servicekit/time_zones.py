"""The time zone database that `zoneinfo` reads: the system's or the package `tzdata`, the newer of the two.

`zoneinfo` prefers the system's files to the package, however old they are. An old file shows the wrong local time for
every zone whose rules have changed since.
"""

import os
import re
import sysconfig
import zoneinfo
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import tzdata  # type: ignore[import-untyped]

PACKAGE = "package tzdata"
_VERSION = re.compile(r"(?:#\s*version\s+)?(\d{4}[a-z]+)", re.ASCII)
# Linux distributions install the first, macOS and FreeBSD the second.
_VERSION_FILES = ("tzdata.zi", "+VERSION")


@dataclass(frozen=True, slots=True)
class TimeZoneDatabase:
    """`version` in IANA's form, such as 2026f, or None if the files do not contain it. `source` is a directory or the
    package."""

    version: str | None
    source: str

    def __str__(self) -> str:
        return f"{self.version or 'of unknown version'} ({self.source})"


def system_database(directories: Iterable[str]) -> TimeZoneDatabase | None:
    """The database in the first of these directories that contains one, which is the order of `zoneinfo`."""
    for directory in map(Path, directories):
        if (directory / "UTC").is_file():
            return TimeZoneDatabase(_version(directory), str(directory))
    return None


def use_newest_time_zones() -> TimeZoneDatabase:
    """Makes `zoneinfo` of this process read the newer database and returns it.

    PYTHONTZPATH, also from a `.env` file, takes precedence. A system database of unknown version is not used, because
    the package's version is known and pinned.
    """
    package = TimeZoneDatabase(tzdata.IANA_VERSION, PACKAGE)
    if "PYTHONTZPATH" in os.environ:
        _read_from(None)
        return system_database(zoneinfo.TZPATH) or package
    system = system_database(_system_path())
    if system is not None and system.version is not None and system.version > tzdata.IANA_VERSION:
        return system
    _read_from(())
    return package


def unused_system_database() -> TimeZoneDatabase | None:
    """The system's database, if `use_newest_time_zones` has chosen another one."""
    system = system_database(_system_path())
    return None if system is None or use_newest_time_zones() == system else system


def _read_from(directories: tuple[str, ...] | None) -> None:
    """Selects the directories. None: those of PYTHONTZPATH. Empty: the package."""
    before = zoneinfo.TZPATH
    zoneinfo.reset_tzpath(to=directories)
    if before != zoneinfo.TZPATH:
        zoneinfo.ZoneInfo.clear_cache()


def _system_path() -> list[str]:
    path: str = sysconfig.get_config_var("TZPATH") or ""
    return [directory for directory in path.split(os.pathsep) if os.path.isabs(directory)]  # noqa: PTH117


def _version(directory: Path) -> str | None:
    for name in _VERSION_FILES:
        try:
            with (directory / name).open(encoding="ascii", errors="replace") as file:
                found = _VERSION.match(file.read(64))
        except OSError:
            continue
        if found:
            return found[1]
    return None
