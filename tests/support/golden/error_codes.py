"""The stable `code` of every error, its family and status, and the fields of an error in each format."""

import importlib
import pkgutil
from typing import Any

import application
import domain
import infrastructure
import interfaces
from domain.errors import DomainError
from interfaces.http.error_formats import ERROR_FORMATS
from interfaces.http.errors import FRAMEWORK, STATUS, ErrorResponse, body_of
from tests.support.description_checks import document
from tests.support.golden.http_api import crm as crm_api
from tests.support.golden.json_types import types_of


def booking_api() -> dict[str, Any]:
    return {
        "domain errors": _domain_errors(),
        "framework": {str(status): code for status, (code, _) in FRAMEWORK.items()},
        "formats": _formats(),
        "documented": sorted(document()["components"]["schemas"]["ErrorCode"]["enum"]),
    }


def crm() -> dict[str, Any]:
    """The codes of each status, over all operations."""
    found: dict[str, set[str]] = {}
    for methods in crm_api()["paths"].values():
        for operation in methods.values():
            for status, response in operation["responses"].items():
                found.setdefault(status, set()).update(response.get("codes", ()))
    return {
        "codes": {status: sorted(codes) for status, codes in sorted(found.items()) if codes},
        "documented": sorted(crm_api()["schemas"]["ErrorCode"]["enum"]),
    }


def _domain_errors() -> dict[str, Any]:
    found = {}
    for error in _subclasses():
        family: Any = next(each for each in error.__mro__ if each.__base__ is DomainError)
        status = next(STATUS[each] for each in error.__mro__ if each in STATUS)
        found[error.code] = {"family": family.code, "status": status}
    return {code: found[code] for code in sorted(found)}


def _subclasses() -> list[type[DomainError]]:
    for package in (domain, application, infrastructure, interfaces):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if ".migrations." not in module.name and not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    found, waiting = [], DomainError.__subclasses__()
    while waiting:
        error = waiting.pop()
        waiting += error.__subclasses__()
        if not error.__module__.startswith("tests."):
            found.append(error)
    return found


def _formats() -> list[dict[str, Any]]:
    """Which paths answer errors in which fields; what they say apart from `code` and `details` is prose."""
    responses = {
        "with details": ErrorResponse(400, "validation_error", "Validation error", {"field": "reason"}),
        "refused": ErrorResponse(404, "not_found", "Resource not found"),
        "failed": ErrorResponse(500, "internal_error", "Internal server error"),
    }
    paths: dict[str, list[str]] = {}
    formats: dict[str, dict[str, Any]] = {}
    for path in sorted({*document()["paths"], "/nothing-is-here"}):
        shape = ERROR_FORMATS.of(path)
        fields = {name: types_of(body_of(refusal, shape, "id")) for name, refusal in responses.items()}
        paths.setdefault(repr(fields), []).append(path)
        formats[repr(fields)] = fields
    return [{"fields": fields, "paths": paths[key]} for key, fields in formats.items()]
