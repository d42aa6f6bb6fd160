"""The CRM's description is complete and sound, and a client gets it from the service and from the command line.

That it is true is held by every test of the CRM: `running_crm` compares each answer with it.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from litestar.routes import HTTPRoute
from openapi_spec_validator import OpenAPIV31SpecValidator

from crm.api.openapi import examples
from crm.api.operations import OPERATIONS, TAGS
from crm.app import create_app
from tests.crm.description_checks import as_described, document, misfits, operations
from tests.crm.examples import record
from tests.crm.parts import TOKEN, MailServer, a_message, running_crm, settings_for
from tests.support.process_harness import LONG_RUN

ITSELF = "GET /docs/openapi.json"
EACH = pytest.mark.parametrize("name", sorted(operations()))
PAGES = {"GET /docs", "GET /docs/assets/{name}"}
PROBES = {"GET /health", "GET /health/live", "GET /health/ready", "GET /metrics"}
UNREACHABLE = "postgresql://convene@127.0.0.1:1/crm"


def test_description_is_valid_openapi_3_1() -> None:
    """A usual run leaves it to Spectral (tests/clients/test_linters.py): this validator takes 2 s."""
    assert document()["openapi"].startswith("3.1.")
    if LONG_RUN:
        OpenAPIV31SpecValidator(document()).validate()


def test_description_has_exactly_the_served_routes() -> None:
    app = create_app(settings_for(UNREACHABLE))
    routes = [route for route in app.routes if isinstance(route, HTTPRoute)]
    served = {f"{method} {route.path_format or '/'}" for route in routes for method in route.methods}
    assert {name for name in served if not name.startswith("OPTIONS ")} == {*operations(), ITSELF, *PAGES, *PROBES}


def test_operations_examples_and_tags_match() -> None:
    names = [operation["operationId"] for operation in operations().values()]
    assert sorted(names) == sorted(OPERATIONS) == sorted(examples())
    used = {tag for operation in operations().values() for tag in operation["tags"]}
    assert used == set(TAGS) == {tag["name"] for tag in document()["tags"]}


def test_codes_and_constants_are_described_for_generators() -> None:
    """Every code of an error is in one enumeration; what is always true is a constant, no enumeration of booleans."""
    schemas = document()["components"]["schemas"]
    assert schemas["Error"]["properties"]["code"] == {"$ref": "#/components/schemas/ErrorCode"}
    codes = {"missing_fields", "invalid_token", "malformed_body", "not_found", "too_many_connections"}
    assert codes <= set(schemas["ErrorCode"]["enum"])
    fields = [field for schema in schemas.values() for field in schema.get("properties", {}).values()]
    assert {type(value) for field in fields for value in field.get("enum", ())} <= {str, int}
    assert schemas["TestMailSent"]["properties"]["email_sent"] == {"type": "boolean", "const": True}


def test_schema_title_equals_its_key() -> None:
    """Generators call their classes after titles."""
    schemas = document()["components"]["schemas"]
    assert {key: schema["title"] for key, schema in schemas.items()} == {key: key for key in schemas}


@EACH
def test_operation_states_its_purpose_and_authorisation(name: str) -> None:
    operation = operations()[name]
    assert operation["summary"]
    assert operation["description"]
    assert all(parameter["description"] for parameter in operation["parameters"])
    expected: dict[str, tuple[list[dict[str, list[str]]], list[str]]] = {
        "GET /": ([], []),
        "POST /webhook": ([{"webhookToken": []}], ["403"]),
    }
    token, refused = expected.get(name, ([{"crmToken": []}], ["401"]))
    assert operation["security"] == token
    assert [status for status in ("401", "403") if _shown(operation, status, "invalid_token")] == refused


@EACH
def test_every_example_matches_its_schema(name: str) -> None:
    operation = operations()[name]
    for status, response in operation["responses"].items():
        content = response["content"]["application/json"]
        assert content["examples"], f"{status} has no example: run `python -m tests.crm.examples`"
        for example in content["examples"].values():
            assert not misfits(content["schema"], example["value"]), status
    if "requestBody" in operation:
        content = operation["requestBody"]["content"]["application/json"]
        assert not misfits(content["schema"], content["example"])
    for parameter in operation["parameters"]:
        if "example" in parameter:
            assert not misfits(parameter["schema"], parameter["example"])
        assert parameter["in"] != "path" or "example" in parameter


def _shown(operation: dict[str, Any], status: str, code: str) -> Any:
    responses = operation["responses"]
    content = responses[status]["content"]["application/json"] if status in responses else {"examples": {}}
    return content["examples"].get(code, {}).get("value")


async def test_examples_are_the_answers_of_the_service(own_dsn: str, mail_server: MailServer, tmp_path: Path) -> None:
    assert await record(own_dsn, mail_server, tmp_path) == examples(), "run `python -m tests.crm.examples`"


@pytest.mark.parametrize(
    ("schema", "change"),
    [
        ("Notification", {"user": ...}),
        ("Notification", {"event": ...}),
        ("Webhook", {"user": ...}),
        ("Webhook", {"event": ...}),
        ("Webhook", {"booking_id": "15"}),
        ("Webhook", {"facilitator_id": ...}),
    ],
)
async def test_rejected_body_does_not_match_its_schema(
    refusing_crm: httpx.AsyncClient, schema: str, change: dict[str, Any]
) -> None:
    name, path = {"Notification": ("notify", "/notify"), "Webhook": ("receiveWebhook", "/webhook")}[schema]
    body = {field: value for field, value in (examples()[name]["body"] | change).items() if value is not ...}
    assert (await refusing_crm.post(path, json=body)).status_code == 400
    assert misfits({"$ref": f"#/components/schemas/{schema}"}, body)


def _of(refused: httpx.Response) -> Any:
    return refused.json() | {"request_id": ...}


@pytest.mark.parametrize(
    ("name", "request_", "status", "code"),
    [
        ("POST /notify", {"headers": {"Authorization": "Bearer wrong"}}, 401, "invalid_token"),
        ("POST /notify", {"content": b"{"}, 400, "malformed_body"),
        ("POST /notify", {"json": a_message(booking_id=...)}, 400, "missing_fields"),
        ("POST /notify", {"json": a_message(booking_id="12")}, 400, "validation_error"),
        ("POST /notify", {"content": b" " * 70_000}, 413, "body_too_large"),
        ("POST /notify", {"content": b"{}", "headers": {"Content-Type": "text/plain"}}, 415, "unsupported_media_type"),
        ("GET /notifications", {"params": {"limit": "0"}}, 400, "validation_error"),
        ("DELETE /notifications/clear", {"params": {"include": "all"}}, 400, "validation_error"),
        ("DELETE /notifications/{notification_id}", {}, 404, "not_found"),
        ("POST /notifications/{notification_id}/process", {}, 404, "not_found"),
        ("GET /api/facilitator/events/{facilitator_id}", {"params": {"limit": "0"}}, 400, "validation_error"),
        ("POST /test-email", {"json": {"to_email": "nobody"}}, 400, "validation_error"),
        ("POST /webhook", {"headers": {"Authorization": "Bearer wrong"}}, 403, "invalid_token"),
        ("POST /webhook", {"content": b"{"}, 400, "malformed_body"),
    ],
)
async def test_error_is_as_documented(
    refusing_crm: httpx.AsyncClient, name: str, request_: dict[str, Any], status: int, code: str
) -> None:
    method, path = name.split(" ")
    headers = {"Content-Type": "application/json"} | request_.get("headers", {})
    path = path.format(notification_id=404, facilitator_id="404")
    answer = await refusing_crm.request(method, path, **(request_ | {"headers": headers}))
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert _of(answer) == _shown(operations()[name], str(status), code) | {"request_id": ...}


DATABASE_UNAVAILABLE = [name for name, each in operations().items() if _shown(each, "503", "database_unavailable")]


async def test_database_unavailable_is_documented_where_it_occurs(tmp_path: Path) -> None:
    async with running_crm(settings_for(UNREACHABLE, CONVENE_DATA=str(tmp_path))) as client:
        unavailable = []
        for name, operation in operations().items():
            method, path = name.split(" ")
            body = examples()[operation["operationId"]].get("body")
            answer = await client.request(
                method, path.format(notification_id=1, facilitator_id=1, webhook_id=UUID(int=1)), json=body
            )
            if answer.status_code == 503 and answer.json()["code"] == "database_unavailable":
                unavailable.append(name)
                assert answer.headers["retry-after"] == "5"
                assert _of(answer) == _shown(operation, "503", "database_unavailable") | {"request_id": ...}
    assert unavailable == DATABASE_UNAVAILABLE


async def test_undescribed_answer_is_detected() -> None:
    request = httpx.Request("GET", "http://crm/notifications/")
    carried = {"X-Request-ID": "1"}
    for status, body in ((418, {}), (200, [{"id": 1}]), (400, {"code": "not_found"})):
        with pytest.raises(AssertionError):
            await as_described(httpx.Response(status, json=body, headers=carried, request=request))
    await as_described(httpx.Response(200, json=[], headers=carried, request=request))


# Where it is to be had


async def test_description_is_public(refusing_crm: httpx.AsyncClient) -> None:
    async with httpx.AsyncClient(base_url=refusing_crm.base_url) as stranger:
        answer = await stranger.get("/docs/openapi.json")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == document()
    assert TOKEN not in answer.text


def _written(*arguments: str, directory: Path) -> tuple[int, str, str]:
    """What `python -m crm openapi` does without any setting."""
    command = [sys.executable, "-m", "crm", "openapi", *arguments]
    done = subprocess.run(command, cwd=directory, env={}, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_command_prints_the_description_without_settings_or_database(tmp_path: Path) -> None:
    code, out, err = _written(directory=tmp_path)
    assert (code, err) == (0, "")
    assert json.loads(out) == document()
    assert list(tmp_path.iterdir()) == []


def test_command_writes_a_file(tmp_path: Path) -> None:
    code, out, err = _written("--output", "crm.json", directory=tmp_path)
    assert (code, out, err) == (0, "", "")
    assert json.loads((tmp_path / "crm.json").read_text(encoding="utf-8")) == document()


def test_unwritable_file_is_one_line(tmp_path: Path) -> None:
    code, out, err = _written("--output", "nowhere/crm.json", directory=tmp_path)
    assert (code, out) == (1, "")
    assert err.startswith("crm: cannot write nowhere/crm.json: No such file or directory")
    assert err.count("\n") == 1
