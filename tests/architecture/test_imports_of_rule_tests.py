"""Tests of rules start nothing and run in seconds: they import no server, framework or client."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SLOW = {
    "advanced_alchemy",
    "aiohttp",
    "argon2",
    "arq",
    "asyncpg",
    "cryptography",
    "httpx",
    "icalendar",
    "jinja2",
    "jwt",
    "litestar",
    "opentelemetry",
    "redis",
    "sqlalchemy",
    "stripe",
    "structlog",
    "uvicorn",
}
IMPORT = """
import importlib, json, pathlib, sys
for path in map(pathlib.Path, sys.argv[1:]):
    importlib.import_module(".".join(path.with_suffix("").parts))
print(json.dumps(sorted(sys.modules)))
"""


def imported_by(*modules: Path) -> set[str]:
    paths = [str(each.relative_to(ROOT)) for each in modules]
    command = [sys.executable, "-c", IMPORT, *paths]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in json.loads(done.stdout)} & SLOW


def test_tests_of_rules_import_no_server_and_no_framework() -> None:
    modules = [path for name in ("domain", "application") for path in (ROOT / "tests" / name).glob("*.py")]
    assert len(modules) > 40
    assert imported_by(ROOT / "tests/conftest.py", *modules) == set()
    assert {"litestar", "sqlalchemy", "asyncpg"} <= imported_by(ROOT / "tests/support/fixtures.py")
