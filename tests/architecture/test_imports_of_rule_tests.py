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
COLLECT = """
import json, sys, pytest
status = pytest.main(["--collect-only", "-q", "-n0", "-p", "no:cacheprovider", *sys.argv[1:]])
print()
print(json.dumps(sorted(sys.modules)))
sys.exit(status)
"""


def imported_by(*paths: str) -> set[str]:
    """What pytest has imported when it has collected these tests."""
    command = [sys.executable, "-c", COLLECT, *paths]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])} & SLOW


def test_tests_of_rules_import_no_server_and_no_framework() -> None:
    assert imported_by("tests/domain", "tests/application") == set()
    assert {"litestar", "sqlalchemy", "asyncpg"} <= imported_by("tests/contracts/test_b_events.py")
