"""The newer time zone database is read, in every process and at every start."""

import signal
import sys
import sysconfig
import zoneinfo
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import tzdata  # type: ignore[import-untyped]

import crm.__main__
import crm.app
import crm.settings
from crm.commands import DRAWING
from domain.availability import EVERY_DAY, Availability, zone_of
from domain.errors import Invalid
from domain.time import Interval
from infrastructure.container import build_deliveries
from infrastructure.settings import Settings
from interfaces import cli
from interfaces.cli import checks
from interfaces.http import app as api
from servicekit import time_zones
from servicekit.time_zones import PACKAGE, TimeZoneDatabase, system_database, use_newest_time_zones
from tests.support.settings import settings_for

NEWER, OLDER = "2099a", "1999z"


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """The tests change what zoneinfo reads in this process."""
    before = zoneinfo.TZPATH
    yield
    zoneinfo.reset_tzpath(to=before)
    zoneinfo.ZoneInfo.clear_cache()


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A system database in which every zone of interest is UTC."""
    monkeypatch.delenv("PYTHONTZPATH", raising=False)
    packaged = Path(str(tzdata.__file__)).parent / "zoneinfo"
    for name in ("UTC", "America/Vancouver"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((packaged / "UTC").read_bytes())
    monkeypatch.setattr(sysconfig, "get_config_var", lambda _name: str(tmp_path))
    zoneinfo.reset_tzpath(to=[str(tmp_path)])
    zoneinfo.ZoneInfo.clear_cache()
    return tmp_path


def offset(name: str) -> timedelta | None:
    return datetime(2026, 12, 7, 12, tzinfo=zoneinfo.ZoneInfo(name)).utcoffset()


def test_older_system_database_is_ignored(system: Path) -> None:
    (system / "tzdata.zi").write_text(f"# version {OLDER}\n# This zic input file is in the public domain.\n")
    assert offset("America/Vancouver") == timedelta(0)
    assert use_newest_time_zones() == TimeZoneDatabase(tzdata.IANA_VERSION, PACKAGE)
    assert offset("America/Vancouver") == timedelta(hours=-7)
    assert str(time_zones.unused_system_database()) == f"{OLDER} ({system})"


def test_newer_system_database_is_used(system: Path) -> None:
    (system / "tzdata.zi").write_text(f"# version {NEWER}\n")
    assert use_newest_time_zones() == TimeZoneDatabase(NEWER, str(system))
    assert offset("America/Vancouver") == timedelta(0)
    assert time_zones.unused_system_database() is None


@pytest.mark.parametrize(("file", "text"), [("+VERSION", NEWER), ("tzdata.zi", f"# version {NEWER}-dirty\n")])
def test_other_version_files_are_read(system: Path, file: str, text: str) -> None:
    (system / file).write_text(text)
    assert use_newest_time_zones().version == NEWER


@pytest.mark.parametrize("text", ["", "# no version here", "\x80\xff"])
def test_system_database_of_unknown_version_is_ignored(system: Path, text: str) -> None:
    (system / "tzdata.zi").write_text(text)
    assert use_newest_time_zones().source == PACKAGE
    assert str(time_zones.unused_system_database()) == f"of unknown version ({system})"


def test_machine_without_a_database_uses_the_package(system: Path) -> None:
    (system / "UTC").unlink()
    assert use_newest_time_zones().source == PACKAGE
    assert time_zones.unused_system_database() is None


def test_path_set_by_the_operator_is_used(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (system / "tzdata.zi").write_text(f"# version {OLDER}\n")
    monkeypatch.setenv("PYTHONTZPATH", str(system))
    assert use_newest_time_zones() == TimeZoneDatabase(OLDER, str(system))
    assert offset("America/Vancouver") == timedelta(0)


def test_doctor_names_the_database_in_use_and_an_older_one(system: Path, tmp_path: Path) -> None:
    settings = settings_for("postgresql://localhost/none", "redis://localhost", tmp_path)
    for version, text in (
        (OLDER, f"{tzdata.IANA_VERSION} (package tzdata); not used, because not newer: {OLDER} ({system})"),
        (NEWER, f"{NEWER} ({system})"),
    ):
        zoneinfo.reset_tzpath(to=[str(system)])
        (system / "tzdata.zi").write_text(f"# version {version}\n")
        assert list(checks.time_zones(settings)) == [checks.Finding(checks.Level.OK, text)]


def test_first_directory_with_zones_is_used(tmp_path: Path) -> None:
    for name, version in (("first", OLDER), ("second", NEWER)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "UTC").touch()
        (tmp_path / name / "+VERSION").write_text(version)
    directories = [str(tmp_path / name) for name in ("none", "first", "second")]
    assert system_database(directories) == TimeZoneDatabase(OLDER, directories[1])


# Rules that changed after 2025b: UTC-7, UTC-5 and UTC are kept through the winter.
NINE_O_CLOCK = {
    "America/Vancouver": "2026-12-07T16:00Z",
    "America/Winnipeg": "2026-12-07T14:00Z",
    "Africa/Casablanca": "2026-12-07T09:00Z",
}


@pytest.mark.parametrize("zone", NINE_O_CLOCK)
def test_slot_at_nine_uses_the_newest_zone_rules(zone: str) -> None:
    use_newest_time_zones()
    day = datetime(2026, 12, 7, tzinfo=UTC)
    slots = Availability(timezone=zone, weekly=EVERY_DAY).slots(
        Interval(day, day + timedelta(days=1)), timedelta(hours=1), [], datetime(2026, 1, 1, tzinfo=UTC)
    )
    local = zoneinfo.ZoneInfo(zone)
    first = next(slot for slot in slots if slot.starts_at.astimezone(local).date() == date(2026, 12, 7))
    assert f"{first.starts_at:%Y-%m-%dT%H:%MZ}" == NINE_O_CLOCK[zone]


NO_ZONES = (
    *("", "America", "Europe/", "/", ".", "Europe//Berlin", "../UTC", "/UTC", "Europe/../UTC", "Europe.Berlin"),
    *("__init__.py", "zone.tab", "tzdata.zi", "a\0b", "\ud800", "x" * 9000, "Europe/Berlin ", "ÄÖ/ÜÜ"),
)


@pytest.mark.parametrize("name", NO_ZONES)
def test_unknown_zone_is_also_rejected_by_the_package(name: str) -> None:
    zoneinfo.reset_tzpath(to=())
    with pytest.raises(Invalid):
        zone_of(name)


def start_api(settings: Settings) -> None:
    api.create_app(settings)


def start_worker(settings: Settings) -> None:
    build_deliveries(settings)


def start_crm(settings: Settings) -> None:
    crm.app.create_app(crm.settings.load_settings(DRAWING))


def start_crm_command(settings: Settings) -> None:
    crm.__main__.main(["openapi", "--output", str(settings.convene_data / "openapi.json")])


def start_command(settings: Settings) -> None:
    with pytest.raises(SystemExit):
        cli.main()


@pytest.mark.parametrize("start", [start_api, start_worker, start_crm, start_crm_command, start_command])
def test_every_process_type_reads_the_newest_database(
    start: Callable[[Settings], None], system: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["convene"])
    monkeypatch.setattr(signal, "signal", lambda _number, _handler: None)
    monkeypatch.chdir(system)
    (system / "tzdata.zi").write_text(f"# version {OLDER}\n")
    start(settings_for("postgresql://localhost/none", "redis://localhost", system))
    assert offset("America/Vancouver") == timedelta(hours=-7)
