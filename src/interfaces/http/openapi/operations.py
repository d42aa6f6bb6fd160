"""The operations of an application, and what their handlers declare."""

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.params import HeaderParameter, PathParameter, QueryParameter
from litestar.routes import HTTPRoute

from application.accounts.sessions import Actor
from application.ports import Clock
from domain.errors import NotFound
from interfaces.http.authentication import CREATES, ISSUES_TOKENS
from interfaces.http.injection import Guard, injected
from interfaces.http.parameters import Converter, converter_in

_FLAVOUR = re.compile(r"Of[A-Z](?:Or[A-Z])*$")
_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])")
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""The order of the methods of a path; the framework stores them in a set."""


@dataclass(frozen=True)
class Operation:
    """`path` is as OpenAPI writes it, `/events/{event_id}`; `method` in lower case."""

    path: str
    method: str
    handler: HTTPRouteHandler

    @property
    def id(self) -> str:
        return str(self.handler.operation_id)

    @property
    def has_body(self) -> bool:
        """Whether the request may have a body."""
        return self.method in {"post", "put", "patch"}

    @property
    def accepts_idempotency_key(self) -> bool:
        """Whether an `Idempotency-Key` may be given."""
        return self.method == "post"

    @property
    def answers_once(self) -> bool:
        """Whether a repeated request with the same key is carried out only once."""
        return self.accepts_idempotency_key and (not self.issues_tokens or bool(self.handler.opt.get(CREATES)))

    @property
    def issues_tokens(self) -> bool:
        """Whether its answer is stored nowhere."""
        return bool(self.handler.opt.get(ISSUES_TOKENS))

    @cached_property
    def parameters(self) -> Mapping[str, tuple[Converter | None, Any]]:
        """The converter and the default of each parameter of the request, by its name there."""
        return {
            field.kwarg_definition.name or name: (converter_in(field.metadata), field.default)
            for name, field in self.handler.parsed_fn_signature.parameters.items()
            if isinstance(field.kwarg_definition, HeaderParameter | PathParameter | QueryParameter)
        }

    @property
    def errors_of_path(self) -> list[type[NotFound]]:
        """What the ids of the path raise that name nothing. Raises `LookupError` for one without such an error."""
        found = []
        for name in re.findall(r"{(\w+)}", self.path):
            converter, _ = self.parameters[name]
            if converter is None or converter.raises is None:
                raise LookupError(f"{self.id}: the type of {name} does not say what it raises")
            found.append(converter.raises)
        return found

    @cached_property
    def guards(self) -> list[Guard]:
        """Raises `LookupError` for one that is not a `Guard`."""
        guards: list[Any] = self.handler.resolve_guards()
        undeclared = [each for each in guards if not isinstance(each, Guard)]
        if undeclared:
            raise LookupError(f"{self.id} has a guard without security scheme and errors: {undeclared}")
        return guards

    @cached_property
    def calls(self) -> list[type]:
        """The injected types of the handler: use cases, queries, the clock."""
        return [
            kind
            for kind in injected(self.handler.fn).values()
            if isinstance(kind, type) and kind.__module__.startswith("application.")
        ]

    @property
    def use_cases(self) -> list[type]:
        return [kind for kind in self.calls if "ports" not in kind.__module__.split(".") and kind is not Actor]

    @property
    def needs_database(self) -> bool:
        return bool(self.guards) or any(kind is not Clock for kind in self.calls)

    @property
    def summary(self) -> str:
        """The operation id in words: "Cancel booking" for `cancelBookingOfA`."""
        words = _WORDS.sub(" ", _FLAVOUR.sub("", self.id))
        return words.capitalize().replace("google", "Google")

    @property
    def description(self) -> str | None:
        """The handler's docstring, else that of the use case it calls."""
        for described in (self.handler.fn, *self.use_cases):
            text = getattr(described, "__doc__", None)
            if text:
                return inspect.cleandoc(text)
        return None


def operations(app: Litestar) -> Iterator[Operation]:
    """The operations of the API, without those of the framework and without the pages of this package."""
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            in_order = sorted(route.route_handler_map.items(), key=lambda kept: _METHODS.index(kept[0]))
            for method, (handler, _) in in_order:
                if handler.resolve_include_in_schema() and method != "OPTIONS":
                    yield Operation(route.path_format or "/", method.lower(), handler)
