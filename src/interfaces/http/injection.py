"""Injection by type: the annotation of a parameter decides what handlers, guards, hooks and providers receive.

Everything is resolved when the application is built. Litestar resolves dependencies by parameter name, so each handler
receives its own mapping of names to providers; a request costs no look-up by type.
"""

import dataclasses
import functools
import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from copy import copy
from typing import Annotated, Any, TypeAlias, TypeVar, get_args, get_type_hints

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.di import Dependency, Provide
from litestar.handlers import BaseRouteHandler
from litestar.params import SkipValidationMarker

from domain.errors import DomainError, Errors

T = TypeVar("T")
Handler = TypeVar("Handler", bound=BaseRouteHandler)

Inject: TypeAlias = Annotated[T, Dependency(), SkipValidationMarker()]
"""A use case, a port or a value of the request, found by its type. Requests do not validate it again: the composition
root built it, and a port is a `Protocol`, which cannot be checked at run time."""


class InjectionError(TypeError):
    """The application cannot be built because of an error in the program."""


class NotProvided(InjectionError):
    """A function has a parameter of a type without a provider."""

    def __init__(self, function: str, parameter: str, kind: Any) -> None:
        super().__init__(f"{function} requires {_name(kind)} as {parameter!r}, but the container does not provide it")


class ProvidedTwice(InjectionError):
    """Two providers have the same type, so that the type does not decide between them."""

    def __init__(self, kind: Any, first: str, second: str) -> None:
        super().__init__(f"{_name(kind)} has two providers, {first} and {second}: give each a type of its own")


@dataclasses.dataclass(frozen=True)
class Guard:
    """A guard of routes: an async function of the connection that raises unless the route may be called. Its other
    parameters are injected when a handler is bound. `scheme` is the security scheme in the description of the API."""

    function: Callable[..., Awaitable[None]]
    scheme: str
    raises: Errors
    values: Mapping[str, Any] = dataclasses.field(default_factory=dict, compare=False)

    async def __call__(self, connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler) -> None:
        await self.function(connection, **self.values)


def guard(scheme: str, *raises: type[DomainError]) -> Callable[[Callable[..., Awaitable[None]]], Guard]:
    return functools.partial(Guard, scheme=scheme, raises=raises)


class Providers:
    """What can be injected, by type: values to all, values of the request to handlers only."""

    def __init__(self) -> None:
        self._by_type: dict[Any, tuple[str, Provide]] = {}
        self._values: dict[Any, Any] = {}

    def add_fields(self, parts: Iterable[Any]) -> None:
        """Provides each field of these dataclass instances under its declared type. Raises `ProvidedTwice`."""
        for part in parts:
            declared = get_type_hints(type(part))
            for field in dataclasses.fields(part):
                source = f"{type(part).__name__}.{field.name}"
                self.add_value(declared[field.name], getattr(part, field.name), source)

    def add_value(self, kind: Any, value: Any, source: str) -> None:
        """Provides one value to every request. `source` names it in errors. Raises `ProvidedTwice`."""
        self._add(kind, source, Provide(_constant(value), sync_to_thread=False))
        self._values[kind] = value

    def add_of_request(self, kind: Any, function: Callable[..., Any]) -> None:
        """Provides what this function returns for the request, its only parameter that is not injected. A function that
        is not async must not block. Raises `NotProvided`, `ProvidedTwice`."""
        is_async = inspect.iscoroutinefunction(function)
        provide = _of_request(self.call(function))
        self._add(kind, _name(function), Provide(provide, sync_to_thread=None if is_async else False))

    def bind(self, handlers: Iterable[Handler]) -> list[Handler]:
        """Copies of these handlers with a provider for each injected parameter, of their guards as well. Raises
        `NotProvided`."""
        return [self._bound(handler) for handler in handlers]

    def call(self, function: Callable[..., T]) -> Callable[..., T]:
        """The function with its injected parameters filled. Raises `NotProvided`."""
        return functools.partial(function, **self._values_for(function))

    def _bound(self, handler: Handler) -> Handler:
        bound = copy(handler)
        bound.dependencies = {**(handler.dependencies or {}), **self._for(handler)}
        bound.guards = [self._bound_guard(each) for each in handler.guards or ()]
        return bound

    def _bound_guard(self, unbound: Any) -> Any:
        if not isinstance(unbound, Guard):
            return unbound
        return dataclasses.replace(unbound, values=self._values_for(unbound.function))

    def _values_for(self, function: Callable[..., Any]) -> dict[str, Any]:
        needed = injected(function)
        for parameter, kind in needed.items():
            if kind not in self._values:
                raise NotProvided(_name(function), parameter, kind)
        return {parameter: self._values[kind] for parameter, kind in needed.items()}

    def _for(self, handler: BaseRouteHandler) -> Mapping[str, Provide]:
        found = {}
        for parameter, kind in injected(handler.fn).items():
            if kind not in self._by_type:
                raise NotProvided(_name(handler.fn), parameter, kind)
            _, found[parameter] = self._by_type[kind]
        return found

    def _add(self, kind: Any, source: str, provider: Provide) -> None:
        if kind in self._by_type:
            raise ProvidedTwice(kind, self._by_type[kind][0], source)
        self._by_type[kind] = (source, provider)


def injected(function: Callable[..., Any]) -> dict[str, Any]:
    """The types of the parameters that are annotated with `Inject`, by the parameters' names."""
    return {
        name: get_args(annotation)[0]
        for name, annotation in get_type_hints(function, include_extras=True).items()
        if any(isinstance(each, Dependency) for each in getattr(annotation, "__metadata__", ()))
    }


def _constant(value: T) -> Callable[[], T]:
    def provide() -> Any:
        return value

    return provide


def _of_request(function: Callable[[Request[Any, Any, Any]], Any]) -> Callable[[Request[Any, Any, Any]], Any]:
    """The function with its injected parameters filled and hidden, because Litestar would resolve them by name."""

    async def provide_async(request: Request[Any, Any, Any]) -> Any:
        return await function(request)

    def provide(request: Request[Any, Any, Any]) -> Any:
        return function(request)

    return provide_async if inspect.iscoroutinefunction(function) else provide


def _name(kind: Any) -> str:
    return f"{kind.__module__}.{kind.__qualname__}" if hasattr(kind, "__qualname__") else str(kind)
