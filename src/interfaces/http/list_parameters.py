"""Lists reject unknown query parameters. The known ones are the parameters in the handler's signature."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from litestar import Request
from litestar.handlers import HTTPRouteHandler
from litestar.params import QueryParameter

from domain.errors import Invalid
from servicekit.query_parameters import unknown_parameters

_VERBS = ("list", "filter")
"""Prefixes of the operation ids of JSON lists. Operations with a cursor are lists as well. Calendar feeds, live
updates, HTML pages and the callbacks of Google and of payment gateways are not: other programs add parameters there."""


def refuse_unknown_parameters(request: Request[Any, Any, Any]) -> None:
    """Raises `Invalid` naming the parameter and the most similar known one. HEAD is handled as GET."""
    if not request.scope["query_string"]:
        return
    handler: Any = request.route_handler
    if is_list(handler):
        wrong = unknown_parameters(request.query_params, known_parameters(handler))
        if wrong:
            raise Invalid(wrong)


def is_list(handler: HTTPRouteHandler) -> bool:
    operation = handler.operation_id
    if "GET" not in handler.http_methods or not isinstance(operation, str):
        return False
    return operation.startswith(_VERBS) or "cursor" in known_parameters(handler)


@cache
def known_parameters(handler: HTTPRouteHandler) -> Mapping[str, None]:
    """The names in the query, in the order of the signature."""
    fields = handler.parsed_fn_signature.parameters.items()
    return {
        field.kwarg_definition.name or name: None
        for name, field in fields
        if isinstance(field.kwarg_definition, QueryParameter)
    }
