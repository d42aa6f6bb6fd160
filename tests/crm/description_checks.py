"""Compares answers of the CRM with its description: an undescribed answer is an error in one of them."""

import json
import re
from functools import cache
from typing import Any

import httpx
from jsonschema import Draft202012Validator, FormatChecker

from crm.api import openapi
from crm.app import create_app
from crm.commands import DRAWING
from crm.settings import load_settings

FORMATS = FormatChecker(["date-time", "uuid"])


@cache
def document() -> dict[str, Any]:
    """As a client reads it."""
    made: dict[str, Any] = json.loads(json.dumps(openapi.document(create_app(load_settings(DRAWING)))))
    return made


def operations() -> dict[str, dict[str, Any]]:
    """By method and path, `GET /notifications`."""
    paths = document()["paths"].items()
    return {f"{method.upper()} {path}": each for path, methods in paths for method, each in methods.items()}


def misfits(schema: dict[str, Any], value: Any) -> list[str]:
    """Where a value breaks a schema of the document."""
    return [f"{error.json_path}: {error.message}" for error in _validator(json.dumps(schema)).iter_errors(value)]


async def as_described(response: httpx.Response) -> None:
    """A hook of httpx clients: fails when an answer, or a body that was taken, is not as the document says."""
    name = _operation(response.request.method, response.request.url.path)
    if name is None:
        return
    await response.aread()
    wrong = _misfits(operations()[name], response)
    assert not wrong, f"{name}: {response.status_code} {response.text}\n" + "\n".join(wrong)


def _misfits(operation: dict[str, Any], response: httpx.Response) -> list[str]:
    described = operation["responses"].get(str(response.status_code))
    if described is None:
        return ["This status is not documented"]
    content, body = described["content"]["application/json"], response.json()
    wrong = misfits(content["schema"], body)
    if "X-Request-ID" not in response.headers:
        wrong.append("Without X-Request-ID")
    if response.status_code >= 400:
        return wrong if body.get("code") in content["examples"] else [*wrong, "This code is not documented"]
    if "requestBody" in operation:
        taken = operation["requestBody"]["content"]["application/json"]["schema"]
        wrong += misfits(taken, json.loads(response.request.content))
    return wrong


@cache
def _validator(schema: str) -> Draft202012Validator:
    whole = {**json.loads(schema), "components": document()["components"]}
    return Draft202012Validator(whole, format_checker=FORMATS)


def _operation(method: str, path: str) -> str | None:
    """None for what the document does not speak of. `/notifications/clear` goes before `/notifications/{…}`."""
    for name in sorted(operations(), key=lambda name: name.count("{")):
        described_method, _, described_path = name.partition(" ")
        pattern = re.sub(r"{\w+}", "[^/]+", described_path)
        if method == described_method and re.fullmatch(pattern, path.rstrip("/") or "/"):
            return name
    return None
