"""Redocly and Spectral find nothing in the two descriptions, the API's and the CRM's."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import HERE, Run
from tests.crm.description_checks import document as crm_document

FILES = ("openapi.json", "crm.json")


@pytest.fixture(scope="module")
def described(workplace: Path) -> Path:
    """Both descriptions, and the linters' rules beside them."""
    (workplace / "crm.json").write_text(json.dumps(crm_document()), encoding="utf-8")
    for name in ("redocly.yaml", ".redocly.lint-ignore.yaml", "spectral.yaml"):
        shutil.copy(HERE / name, workplace)
    return workplace


def test_redocly_has_no_finding_of_its_recommended_rules(described: Path, run: Run) -> None:
    """Nothing but what `.redocly.lint-ignore.yaml` gives reasons for, and all of that occurs."""
    checked = run("node_modules/.bin/redocly", "lint", *FILES, "--format=json", REDOCLY_TELEMETRY="off")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    reports = _reports(checked.stdout)
    assert [problem for report in reports for problem in report["problems"]] == []
    accepted = (HERE / ".redocly.lint-ignore.yaml").read_text(encoding="utf-8").count("- '#/")
    totals = {level: sum(report["totals"][level] for report in reports) for level in ("errors", "warnings", "ignored")}
    assert totals == {"errors": 0, "warnings": 0, "ignored": accepted}


def test_spectral_has_no_finding_of_its_openapi_rules(described: Path, run: Run) -> None:
    """Down to hints, all rules of `spectral:oas`."""
    strictly = ("--ruleset=spectral.yaml", "--fail-severity=hint", "--format=json", "--quiet")
    checked = run("node_modules/.bin/spectral", "lint", *FILES, *strictly)
    assert (checked.returncode, checked.stdout.strip()) == (0, "[]"), checked.stdout + checked.stderr


def _reports(printed: str) -> list[dict[str, Any]]:
    """Redocly prints one JSON object for each file."""
    decoder, found = json.JSONDecoder(), []
    while printed := printed.strip():
        report, end = decoder.raw_decode(printed)
        found.append(report)
        printed = printed[end:]
    return found
