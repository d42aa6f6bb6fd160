"""Retired words do not return: docs/glossary.md has the standard terms."""

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

WORDS = re.compile(
    r"(?<![\w-])(?:ow(?:e|ed|es)|nudged?|doorbell|errands?|courier|accompanied|told|whoever|somebody|nobody|anybody"
    r"|for good)(?![\w-])",
    re.IGNORECASE,
)
NAMES = re.compile(
    r"^_*(?:OWED|[A-Za-z]*Courier|[A-Za-z]*Errands?|[A-Za-z]*Purchase|[A-Za-z]*Coachings|Doorbell|[A-Za-z]*Together"
    r"|keep_foreign|way_in|makes_and_lets_in|owe_\w+|nudge|purchase)$"
)
ALLOWED = 10
"""Uses in all: words of the published contracts, and stored or published names that cannot change."""


def texts() -> Iterator[tuple[str, str]]:
    for pattern in ("src/**/*", "crm/**/*", "docs/**/*.md", "*.md"):
        for path in sorted(ROOT.glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            written = path.suffix in {".py", ".md", ".html", ".txt", ".css", ".js"} and "/versions/" not in name
            if written and name not in {"CHANGELOG.md", "docs/third-party-licences.md"}:
                yield name, path.read_text(encoding="utf-8")


def uses(text: str) -> list[str]:
    return [f"{number}: {line.strip()}" for number, line in enumerate(text.splitlines(), 1) if WORDS.search(line)]


def names(source: str) -> set[str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.string for token in tokens if token.type == tokenize.NAME and NAMES.match(token.string)}


def test_documentation_and_code_use_standard_terms() -> None:
    found = [f"{name}:{use}" for name, text in texts() for use in uses(text)]
    assert len(found) <= ALLOWED, "\n".join(found)


def test_no_identifier_has_a_retired_name() -> None:
    found = {name: hits for name, text in texts() if name.endswith(".py") and (hits := names(text))}
    assert not found


@pytest.mark.parametrize("text", ["what is owed", "Nobody waits", "it is told", "closed for good"])
def test_retired_word_is_found(text: str) -> None:
    assert uses(text)
    assert names("class HttpCourier: ...") == {"HttpCourier"}
