"""The machine's clock decides nothing: it is read in `servicekit/clock.py`, and elsewhere only for the named uses."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ALLOWED = {
    "src/servicekit/clock.py": "the adapter",
    "src/servicekit/logging.py": "the timestamp of a log line",
    "src/infrastructure/observability/tracing.py": "the end of a span",
    "src/interfaces/cli/demo.py": "times that the demo shows, and the date of its event",
}
METHODS = {
    "datetime": {"now", "utcnow", "today"},
    "date": {"today"},
    "time": {"time", "time_ns", "gmtime", "localtime", "ctime", "asctime"},
    "utils": {"formatdate", "localtime", "make_msgid"},
}
"""What reads the clock, by the last name before it: `datetime.now`, `dt.datetime.now`, `email.utils.formatdate`."""


def uses(source: str) -> Iterator[str]:
    """What reads the machine's clock, called or passed on. `datetime.now(tz)` included: a zone changes no instant."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(value=ast.Name(id=owner) | ast.Attribute(attr=owner), attr=name) if name in METHODS.get(
                owner, ()
            ):
                yield f"{node.lineno}: {owner}.{name}"
            case ast.ImportFrom(module=("time" | "email.utils") as module, names=imported):
                for each in imported:
                    if each.name in METHODS[module.rpartition(".")[2]]:
                        yield f"{node.lineno}: from {module} import {each.name}"


def modules() -> Iterator[Path]:
    for directory in ("src", "crm"):
        yield from sorted((ROOT / directory).rglob("*.py"))


def test_only_the_named_modules_read_the_clock_of_the_machine() -> None:
    found = {path.relative_to(ROOT).as_posix(): list(uses(path.read_text(encoding="utf-8"))) for path in modules()}
    reading = {name: lines for name, lines in found.items() if lines}
    assert {name: lines for name, lines in reading.items() if name not in ALLOWED} == {}
    assert set(reading) == set(ALLOWED)


@pytest.mark.parametrize(
    "source",
    [
        "from datetime import datetime\ndatetime.now(UTC)",
        "import datetime\ndatetime.datetime.now()",
        "import datetime as dt\ndt.datetime.utcnow()",
        "field(default_factory=datetime.now)",
        "date.today()",
        "import time\ntime.time()",
        "now = time.time_ns",
        "from time import time",
        "from email.utils import formatdate as date_of",
        "email.utils.make_msgid()",
    ],
)
def test_use_of_the_clock_is_found(source: str) -> None:
    assert list(uses(source))


@pytest.mark.parametrize(
    "source",
    ["clock.now()", "time.monotonic()", "from time import monotonic", "datetime.fromtimestamp(1, UTC)", "self.time()"],
)
def test_other_calls_are_not_uses_of_the_clock(source: str) -> None:
    assert not list(uses(source))


@pytest.mark.parametrize("path", ["src/infrastructure/auth/jwt.py", "src/infrastructure/auth/google_oidc.py"])
def test_tokens_are_not_compared_with_the_clock_of_the_machine_by_their_library(path: str) -> None:
    decodes = [
        node
        for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "jwt.decode"
    ]
    assert decodes
    assert all("**UNCHECKED" in ast.unparse(each) for each in decodes)
