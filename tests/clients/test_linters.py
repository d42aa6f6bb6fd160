"""Redocly and Spectral find nothing in the two descriptions, the API's and the CRM's."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import HERE, Run
from tests.crm.description_checks import document as crm_document

FILES = ("openapi.json", "crm.json")
WRONG = {
    "openapi": "3.1.0",
    "info": {"title": "Wrong", "version": "1"},
    "paths": {
        "/events/{id}": {
            "get": {
                "operationId": "readEvent",
                "parameters": [{"name": "page", "in": "quiry", "schema": {"type": "integer"}}],
                "responses": {"200": {"content": {}}},
            },
            "put": {
                "operationId": "readEvent",
                "bodi": {},
                "responses": {"200": {"$ref": "#/components/responses/No"}},
            },
        }
    },
    "components": {
        "schemas": {
            "Event": {
                "type": "object",
                "required": ["title", "title"],
                "properties": {
                    "title": {"type": "strin"},
                    "seats": {"type": "integer", "default": "many"},
                    "code": {"type": "string", "pattern": "["},
                },
            }
        }
    },
}
"""Has each kind of fault that a description could get from a change of ours."""
FAULTS = {
    ("path-params", "paths /events/{id} get"),
    ("oas3-schema", "paths /events/{id} get parameters 0 in"),
    ("oas3-schema", "paths /events/{id} get responses 200"),
    ("oas3-schema", "paths /events/{id} put"),
    ("path-params", "paths /events/{id} put"),
    ("operation-operationId-unique", "paths /events/{id} put operationId"),
    ("invalid-ref", "paths /events/{id} put responses 200 $ref"),
    ("oas3-schema", "components schemas Event required"),
    ("oas3-schema", "components schemas Event properties title type"),
    ("oas3-valid-schema-example", "components schemas Event properties seats default"),
    ("oas3-schema", "components schemas Event properties code pattern"),
}
"""The rules that find them, and where."""


@pytest.fixture(scope="module")
def described(workplace: Path) -> Path:
    """Both descriptions, and the linters' rules beside them."""
    (workplace / "crm.json").write_text(json.dumps(crm_document()), encoding="utf-8")
    (workplace / "wrong.json").write_text(json.dumps(WRONG), encoding="utf-8")
    for name in ("redocly.yaml", ".redocly.lint-ignore.yaml", "spectral.yaml"):
        shutil.copy(HERE / name, workplace)
    return workplace


# Takes 4 s: Node, and both descriptions.
def test_redocly_has_no_finding_of_its_recommended_rules(described: Path, run: Run) -> None:
    """Nothing but what `.redocly.lint-ignore.yaml` gives reasons for, and all of that occurs."""
    checked = run("node_modules/.bin/redocly", "lint", *FILES, "--format=json", REDOCLY_TELEMETRY="off")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    reports = _reports(checked.stdout)
    assert [problem for report in reports for problem in report["problems"]] == []
    accepted = (HERE / ".redocly.lint-ignore.yaml").read_text(encoding="utf-8").count("- '#/")
    totals = {level: sum(report["totals"][level] for report in reports) for level in ("errors", "warnings", "ignored")}
    assert totals == {"errors": 0, "warnings": 0, "ignored": accepted}


# Takes 10 s: it is the only one that compares the whole descriptions with the specification in a usual run.
def test_spectral_has_no_finding_but_those_of_a_wrong_description(described: Path, run: Run) -> None:
    """Down to hints, all rules of `spectral:oas`. The wrong description is the negative control."""
    strictly = ("--ruleset=spectral.yaml", "--fail-severity=hint", "--format=json", "--quiet")
    checked = run("node_modules/.bin/spectral", "lint", *FILES, "wrong.json", *strictly)
    assert (checked.returncode, checked.stderr) == (1, ""), checked.stderr
    findings = json.loads(checked.stdout)
    assert [each for each in findings if Path(each["source"]).name != "wrong.json"] == []
    errors = {(each["code"], " ".join(map(str, each["path"]))) for each in findings if each["severity"] == 0}
    assert errors == FAULTS


def _reports(printed: str) -> list[dict[str, Any]]:
    """Redocly prints one JSON object for each file."""
    decoder, found = json.JSONDecoder(), []
    while printed := printed.strip():
        report, end = decoder.raw_decode(printed)
        found.append(report)
        printed = printed[end:]
    return found
