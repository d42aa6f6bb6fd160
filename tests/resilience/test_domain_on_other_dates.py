"""The domain's tests on other dates: at the end of a year always, in LONG_RUN on more dates."""

import os
from pathlib import Path

import pytest

from tests.support.shifted_clock import DATES, in_process, run_tests

ALWAYS = ("a minute before a year",)
PLUGIN = ("-p", "tests.support.shifted_clock.in_process", "--noconftest")
WITHOUT_CLOCK = "tests/domain/test_availability_zones.py"
"""Slots around changes of zones between fixed dates: these take the longest of the domain's tests."""

PROBE = """
import time
from datetime import UTC, date, datetime
import datetime as whole

def test_the_clock_is_shifted():
    now = datetime.now(UTC)
    assert f"{now:%Y-%m-%dT%H:%M}" == "2028-02-29T12:00"
    assert type(now) is type(datetime(2028, 2, 29)) is type(datetime.fromisoformat("2028-02-29"))
    assert isinstance(now, datetime) and isinstance(now, date) and isinstance(now.date(), date)
    assert abs(time.time() - now.timestamp()) < 5 and abs(time.time_ns() / 1e9 - now.timestamp()) < 5
    assert whole.datetime.now().year == whole.datetime.utcnow().year == whole.date.today().year == 2028
"""


@pytest.mark.parametrize("name", DATES if os.environ.get("LONG_RUN") else ALWAYS)
def test_domain_tests_pass_on_other_dates(name: str) -> None:
    options = (f"--ignore={WITHOUT_CLOCK}", "--hypothesis-profile=few")
    run_tests([*PLUGIN, "tests/domain", *options], in_process(DATES[name]))


def test_shifted_clock_applies_to_python_code(tmp_path: Path) -> None:
    probe = tmp_path / "test_probe.py"
    probe.write_text(PROBE)
    run_tests([*PLUGIN, str(probe)], in_process(DATES["a leap day"]))
    with pytest.raises(AssertionError, match="test_the_clock_is_shifted"):
        run_tests(["--noconftest", str(probe)], in_process(DATES["a leap day"]))
