"""The routes of the booking API, registered once in a process: Litestar takes 0.17 s of CPU for the 250 handlers of
each application, and tests make hundreds.

All applications have the same routes, and differ in what is injected into them. Here it is looked up when it is needed,
in the application that answers the request. An application whose parts a test has replaced is made as in the product.
"""

import functools
import inspect
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextvars import ContextVar
from copy import copy
from types import FunctionType
from typing import Any, TypeVar, cast

from litestar import Litestar
from litestar.types import ASGIApp, Receive, Scope, Send

from interfaces.http import app as http
from interfaces.http.injection import Providers, injected

T = TypeVar("T")

_values: ContextVar[Mapping[Any, Any]] = ContextVar("_values")
"""What the application that answers this request provides, by type."""


class _LateValues(Mapping[str, Any]):
    """Values of the present application by the names of parameters."""

    def __init__(self, kinds: Mapping[str, Any]) -> None:
        self._kinds = kinds

    def __getitem__(self, name: str) -> Any:
        return _values.get()[self._kinds[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._kinds)

    def __len__(self) -> int:
        return len(self._kinds)


class _LateProviders(Providers):
    """Provides what the present application has; every check is that of the product."""

    def add_value(self, kind: Any, value: Any, source: str) -> None:
        self._add(kind, source)
        self._values[kind] = value

    def call(self, function: Callable[..., T]) -> Callable[..., T]:
        values = self._values_for(function)

        async def late(*arguments: Any, **named: Any) -> Any:
            return await awaitable(*arguments, **values, **named)

        def late_at_once(*arguments: Any, **named: Any) -> T:
            return function(*arguments, **values, **named)

        awaitable: Any = function
        found: Any = late if inspect.iscoroutinefunction(function) else late_at_once
        return cast("Callable[..., T]", found)

    def bind(self, handlers: Iterable[Any]) -> list[Any]:
        return [] if _prototype() else super().bind(handlers)

    def _values_for(self, function: Callable[..., Any], other_than: Container[str] = ()) -> Mapping[str, Any]:
        found = super()._values_for(function, other_than)  # raises `NotProvided`
        return _LateValues({name: kind for name, kind in injected(function).items() if name in found})


_prototypes: list[Litestar] = []


def _prototype() -> Litestar | None:
    return _prototypes[0] if _prototypes else None


def _litestar(**options: Any) -> Litestar:
    """An application with the routes of the first one."""
    if not _prototypes:
        _prototypes.append(Litestar(**options))
    app = copy(_prototypes[0])
    app._lifespan_managers = list(options["lifespan"])
    app.event_emitter, app.state, app.stores = copy(app.event_emitter), copy(app.state), copy(app.stores)
    app.cors_config = options["cors_config"]
    app.asgi_router = copy(app.asgi_router)
    app.asgi_router.app = app
    app.asgi_handler = app._create_asgi_handler()
    return app


def _answering_with(values: Mapping[Any, Any], app: ASGIApp) -> ASGIApp:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        _values.set(values)
        await app(scope, receive, send)

    return answer


def share() -> None:
    """From now on applications share their routes."""
    create: Any = http.create_litestar
    known = dict(vars(http))
    routes = list(http.ROUTES)

    @functools.wraps(create)
    def create_litestar(parts: Any, *arguments: Any, **named: Any) -> Litestar:
        replaced = any(vars(http)[name] is not value for name, value in known.items() if name != "create_litestar")
        if replaced or routes != http.ROUTES or not parts.settings.web_enabled:
            made_as_ever: Litestar = create(parts, *arguments, **named)
            return made_as_ever
        made: list[_LateProviders] = []

        def providers() -> _LateProviders:
            made.append(_LateProviders())
            return made[-1]

        names = known | {"Providers": providers, "Litestar": _litestar}
        names["_providers"] = FunctionType(http._providers.__code__, names)
        late = FunctionType(create.__code__, names, argdefs=create.__defaults__)
        app: Litestar = late(parts, *arguments, **named)
        app.asgi_handler = _answering_with(made[0]._values, app.asgi_handler)
        return app

    http.create_litestar = create_litestar
