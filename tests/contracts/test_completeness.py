"""Every endpoint of the documents is served, and a module answers for walking it."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from crm.app import create_app as create_crm
from interfaces.http.app import ROUTES
from tests.contracts.documents import LAST_TEST, PARTS, Part, walks
from tests.crm.parts import settings_for

_PARAMETER = re.compile(r"<\w+>|\{[^}]+\}")


def normal(endpoint: str) -> str:
    """Parameters have other names in the code, and a path is served with and without its trailing slash."""
    return _PARAMETER.sub("<>", endpoint).rstrip("/")


def methods_of(route: Any) -> set[str]:
    """A WebSocket has none."""
    return getattr(route, "http_methods", set())


@pytest.fixture(scope="module")
def served() -> dict[str, set[str]]:
    crm = create_crm(settings_for("postgresql://nobody@localhost/none")).routes
    routes = {
        "booking": [(method, path) for route in ROUTES for method in methods_of(route) for path in route.paths],
        "crm": [(method, route.path) for route in crm for method in getattr(route, "methods", ())],
    }
    return {service: {normal(f"{method} {path}") for method, path in routes[service]} for service in routes}


@pytest.mark.parametrize("part", PARTS, ids=lambda part: f"{part.document}-{part.service}-{part.endpoints[0]}")
def test_every_documented_endpoint_is_served(part: Part, served: dict[str, set[str]]) -> None:
    missing = [endpoint for endpoint in part.endpoints if normal(endpoint) not in served[part.service]]
    # A part without a walk is one that is not built yet: as soon as it is there, it needs one.
    assert missing == ([] if part.walk else list(part.endpoints))


@pytest.mark.parametrize("path", sorted(walks()), ids=lambda path: path.stem)
def test_every_module_of_a_contract_ends_with_the_coverage_test(path: Path) -> None:
    assert path.exists(), "documents.py names a walk that nobody has written"
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    names = [node.name for node in ast.parse(path.read_text()).body if isinstance(node, functions)]
    tests = [name for name in names if name.startswith("test_")]
    assert tests[-1] == LAST_TEST, "it ends with that test: `assert not unwalked(__name__)`"
