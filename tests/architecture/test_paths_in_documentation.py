"""Every path that the documentation names exists: in links, and in backticks where it looks like a file."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    *(
        ROOT / name
        for name in ("ARCHITECTURE.md", "CONTRIBUTING.md", "README.md", "bench/README.md", "tests/README.md")
    ),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "ops").rglob("*.md")),
]
ROOTS = (".", "src", "src/application", "src/infrastructure", "src/interfaces", "src/interfaces/http")
"""A page may leave these out before a path."""

LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
CODE_BLOCK = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
PATH = re.compile(r"\.?[\w-]+(?:[./-][\w-]+)*/?")
SUFFIXES = {"py", "md", "json", "html", "txt", "toml", "yml", "yaml", "sql"}
TOP = {"src", "crm", "tests", "bench", "docs", "script", "docker", "ops"}

GENERATED = {".venv", "var", ".env"}
"""Made by commands or by users, and not part of the repository."""


def links(page: Path) -> Iterator[tuple[str, list[Path]]]:
    for target in LINK.findall(CODE_BLOCK.sub("", page.read_text(encoding="utf-8"))):
        path = target.partition("#")[0]
        if path and not re.match(r"[a-z]+:", path):
            yield target, [page.parent / path]


def names(page: Path) -> Iterator[tuple[str, list[Path]]]:
    """What stands in backticks and looks like a file or a directory of the repository."""
    for code in CODE.findall(CODE_BLOCK.sub("", page.read_text(encoding="utf-8"))):
        if looks_like_path(code) and code.partition("/")[0] not in GENERATED:
            yield code, [page.parent / code, *(ROOT / root / code for root in ROOTS)]


def looks_like_path(code: str) -> bool:
    if not PATH.fullmatch(code):
        return False
    first, slash, _ = code.partition("/")
    return code.endswith("/") or (bool(slash) and first in TOP) or code.rpartition(".")[2] in SUFFIXES


@cache
def file_names() -> frozenset[str]:
    """Of all files of the sources: a page may name a file alone where its directory is named beside it."""
    return frozenset(path.name for top in TOP for path in (ROOT / top).rglob("*") if path.is_file())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_on_a_page_exist(page: Path) -> None:
    missing = {
        name
        for name, candidates in (*links(page), *names(page))
        if not any(path.exists() for path in candidates) and not ("/" not in name and name in file_names())
    }
    assert not missing, f"{page.name} names what does not exist: {', '.join(sorted(missing))}"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("src/domain/money.py", True),
        ("tests/resilience/", True),
        ("seats.py", True),
        ("postgres/payments/", True),
        (".env.example", False),
        ("docs/settings.md", True),
        ("application/json", False),
        ("/payment/stripe/webhook", False),
        ("POST /bookings", False),
        ("convene up", False),
        ("app.example.com", False),
        ("Idempotency-Key", False),
    ],
)
def test_text_is_recognised_as_a_path(code: str, expected: bool) -> None:
    assert looks_like_path(code) is expected
