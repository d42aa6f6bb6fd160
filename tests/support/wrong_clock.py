"""The services on a machine whose clock is wrong: `python -m tests.support.wrong_clock '{"ahead": 7200}' worker`.

`ahead`: seconds, applied at the start or, with `jumps`, at SIGUSR1. `look_every` as in `servicekit.clock.Pace`. A
worker looks for expired holds twice a second. After them the arguments of `convene`, or `crm` and
its arguments. Only tests can start it. Monotonic clocks, and so timers, are right.
"""

import json
import signal
import sys
import time
from dataclasses import replace
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

MODULE = "tests.support.wrong_clock"
OURS = ("application", "arq", "crm", "domain", "infrastructure", "interfaces", "jwt", "servicekit", "standardwebhooks")

_ahead = 0.0
_time, _time_ns = time.time, time.time_ns


def wrong_clock(*arguments: str, **wrong: Any) -> tuple[str, ...]:
    """The module and its arguments, as `running_workers` and the like take them."""
    return (MODULE, json.dumps(wrong), *arguments)


def _shifted_time() -> float:
    return _time() + _ahead


def _shifted_time_ns() -> int:
    return _time_ns() + int(_ahead * 10**9)


class _Instances(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, datetime)


class ShiftedDatetime(datetime, metaclass=_Instances):
    """Its instances are ordinary ones, which struct definitions accept."""

    def __new__(cls, *args: Any, **options: Any) -> Any:
        return datetime(*args, **options)  # noqa: DTZ001 (as the caller says)

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Any:
        return datetime.now(tz) + timedelta(seconds=_ahead)


for _name in ("fromtimestamp", "fromisoformat", "strptime", "combine"):
    setattr(ShiftedDatetime, _name, staticmethod(getattr(datetime, _name)))


def _shift(seconds: float) -> None:
    """Replaces what reads the clock in the modules of the services, and of the libraries that compare times."""
    global _ahead  # noqa: PLW0603
    _ahead = seconds
    time.time, time.time_ns = _shifted_time, _shifted_time_ns
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] not in OURS:
            continue
        if getattr(module, "time", None) is _time:
            module.time = _shifted_time  # type: ignore[attr-defined]
        if getattr(module, "datetime", None) is datetime and _calls_now(module):
            module.datetime = ShiftedDatetime  # type: ignore[attr-defined]


def _calls_now(module: Any) -> bool:
    return "datetime.now(" in Path(module.__file__).read_text(encoding="utf-8")


def _main(wrong: dict[str, Any]) -> None:
    from interfaces.workers import main as worker
    from servicekit import clock

    pace = clock.Pace(look_every=wrong.get("look_every", clock.Pace().look_every))
    clock.DatabaseClock.__init__.__kwdefaults__["pace"] = pace  # type: ignore[index]
    usual = worker.periodic_tasks
    worker.periodic_tasks = lambda parts: [replace(task, every=0.5) for task in usual(parts)]
    if wrong.get("jumps"):
        signal.signal(signal.SIGUSR1, lambda *_: _shift(wrong["ahead"]))
    else:
        _shift(wrong["ahead"])


if __name__ == "__main__":
    import crm.__main__
    import interfaces.cli.server
    import interfaces.http.app
    import interfaces.workers.main

    _main(json.loads(sys.argv[1]))
    if sys.argv[2] == "crm":
        sys.exit(crm.__main__.main(sys.argv[3:]))
    del sys.argv[1]
    interfaces.cli.main()
