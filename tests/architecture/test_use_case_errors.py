"""Use cases declare their errors themselves, so that the description of the API needs no entry for a new one."""

import ast
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from litestar import Litestar, get
from litestar.handlers import BaseRouteHandler

from interfaces.http import openapi
from interfaces.http.authentication import Connection, public
from interfaces.http.injection import Inject, Providers
from interfaces.http.openapi.errors import errors_of
from interfaces.http.openapi.operations import operations

WITH_TOKENS_OF_THEIR_OWN = {"Refresh"}


@dataclass(frozen=True, slots=True)
class CountSeats:
    """Counts seats."""


CountSeats.__module__ = "application.events.queries"


@dataclass
class UseCases:
    count_seats: CountSeats


@get("/seats", operation_id="countSeats", opt=public)
async def count(count_seats: Inject[CountSeats]) -> int:
    return id(count_seats)


def test_use_case_without_declared_errors_is_named() -> None:
    providers = Providers()
    providers.add_fields([UseCases(CountSeats())])
    [operation] = operations(Litestar(providers.bind([count])))
    with pytest.raises(LookupError, match="CountSeats does not declare its errors"):
        errors_of(operation)


def test_guard_without_declared_errors_is_rejected() -> None:
    async def anyone(_connection: Connection, _handler: BaseRouteHandler) -> None: ...

    @get("/seats", operation_id="countSeats", guards=[anyone])
    async def guarded() -> None: ...

    [operation] = operations(Litestar([guarded]))
    with pytest.raises(LookupError, match="countSeats has a guard without"):
        errors_of(operation)


def test_description_names_no_use_case() -> None:
    assert {name for name in imported_use_cases() if name not in WITH_TOKENS_OF_THEIR_OWN} == set()


def imported_use_cases() -> Iterator[str]:
    """Classes of `application` that are neither errors nor ports."""
    for path in Path(openapi.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("application."):
                module = importlib.import_module(node.module or "")
                yield from (each.name for each in node.names if hasattr(getattr(module, each.name), "raises"))
