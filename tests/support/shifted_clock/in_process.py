"""A plugin of pytest's: modules that are imported after it see a clock shifted by CLOCK_SHIFT seconds.

Instances are ordinary `datetime` objects; only the class that modules import differs. Struct and table definitions do
not know that class, so this is for tests that import the standard library and the domain alone (`--noconftest`).
"""

import datetime as standard
import os
import time
from datetime import date, datetime, timedelta, tzinfo
from typing import Any

from tests.support import hypothesis_profiles  # noqa: F401 (before the clock is shifted)

SHIFT = int(os.environ["CLOCK_SHIFT"])


class _Instances(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, cls.__bases__[0])

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, cls.__bases__[0])


class ShiftedDatetime(datetime, metaclass=_Instances):
    def __new__(cls, *args: Any, **options: Any) -> Any:
        return datetime(*args, **options)  # noqa: DTZ001 (as the caller says)

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Any:
        return datetime.now(tz) + timedelta(seconds=SHIFT) if tz is None else _now().astimezone(tz)

    @classmethod
    def utcnow(cls) -> Any:
        return _now().replace(tzinfo=None)

    @classmethod
    def today(cls) -> Any:
        return cls.now()


class ShiftedDate(date, metaclass=_Instances):
    def __new__(cls, *args: Any, **options: Any) -> Any:
        return date(*args, **options)

    @classmethod
    def today(cls) -> Any:
        return ShiftedDatetime.now().date()


def _now() -> datetime:
    return datetime.now(standard.UTC) + timedelta(seconds=SHIFT)


def _delegate(shifted: Any, real: Any, *names: str) -> None:
    """Other ways to make an instance make an ordinary one."""
    for name in names:
        setattr(shifted, name, staticmethod(getattr(real, name)))


_delegate(ShiftedDatetime, datetime, "fromtimestamp", "utcfromtimestamp", "fromisoformat", "strptime", "combine")
_delegate(ShiftedDatetime, datetime, "fromordinal", "fromisocalendar")
_delegate(ShiftedDate, date, "fromtimestamp", "fromisoformat", "fromordinal", "fromisocalendar")
_time, _time_ns = time.time, time.time_ns


def pytest_configure() -> None:
    standard.datetime, standard.date = ShiftedDatetime, ShiftedDate  # type: ignore[misc]
    time.time = lambda: _time() + SHIFT
    time.time_ns = lambda: _time_ns() + SHIFT * 10**9
