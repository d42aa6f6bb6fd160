"""Requests that schemathesis generates from an API description, sent in this process without sockets, and its checks of
the answers."""

import contextlib
from collections.abc import Mapping
from typing import Any

import httpx
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support.process_harness import LONG_RUN

Request = schemathesis.Case[Any]

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
EXAMPLES = {GenerationMode.POSITIVE: 80 if LONG_RUN else 6, GenerationMode.NEGATIVE: 40 if LONG_RUN else 2}
"""Requests for an operation that are valid by the description, and that are not."""


class Generator:
    """Of requests to the operations of an API description."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._schema = schemathesis.openapi.from_dict(document)

    def requests_of(self, operation_id: str) -> list[Request]:
        """The same in every usual run."""
        return [
            *self._drawn(operation_id, GenerationMode.POSITIVE),
            *self._drawn(operation_id, GenerationMode.NEGATIVE),
        ]

    def _drawn(self, operation_id: str, mode: GenerationMode) -> list[Request]:
        cases: list[Request] = []

        @settings(
            max_examples=EXAMPLES[mode],
            derandomize=not LONG_RUN,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
            deadline=None,
        )
        @given(case=self._schema.find_operation_by_id(operation_id).as_strategy(generation_mode=mode))
        def collect(case: Request) -> None:
            cases.append(case)

        # Every request is valid where an operation has neither parameters nor a body.
        with contextlib.suppress(Unsatisfiable):
            collect()
        return cases


def with_existing(case: Request, parameters: Mapping[str, str]) -> Request:
    """Names things that exist, in the path and in the body."""
    case.path_parameters = case.path_parameters | {
        name: value for name, value in parameters.items() if name in case.path_parameters
    }
    if isinstance(case.body, dict):
        case.body = case.body | {
            name: int(value) if isinstance(case.body[name], int) else value
            for name, value in parameters.items()
            if name in case.body
        }
    return case


async def send(case: Request, api: httpx.AsyncClient, credential: str | None) -> httpx.Response:
    case.headers.pop("Authorization", None)
    sent = requests.Request(**case.as_transport_kwargs(base_url=str(api.base_url))).prepare()
    assert sent.method is not None
    assert sent.url is not None
    assert sent.body is None or isinstance(sent.body, str | bytes)
    headers = [(name.encode(), _bytes(value)) for name, value in sent.headers.items()]
    if credential is not None:
        headers.append((b"Authorization", credential.encode()))
    return await api.request(sent.method, sent.url, headers=headers, content=sent.body)


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("latin-1")


def failures(case: Request, answer: httpx.Response) -> list[str]:
    """What of an answer is an internal error, or not as the description says. Of other bodies than text only the length
    is shown."""
    try:
        case.validate_response(answer, checks=CHECKS)
    except FailureGroup as group:
        is_text = answer.headers.get("content-type", "").startswith(("application/json", "text/"))
        shown = answer.text[:300] if is_text else f"{len(answer.content)} bytes"
        return [f"{answer.status_code} {each.title}: {each.message} ({shown})" for each in group.exceptions]
    return []
