"""Injection by type: the annotation of a parameter decides what handlers, guards, hooks and providers receive.

Everything is resolved when the application is built. A bound handler is a function without the injected parameters,
which fills them in: Litestar's own dependencies would take a task for each of them and request.
"""

import dataclasses
import functools
import inspect
from collections.abc import Awaitable, Callable, Container, Iterable, Mapping
from copy import copy
from typing import Annotated, Any, NamedTuple, TypeAlias, TypeVar, get_args, get_type_hints

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.di import Dependency
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
    parameters are injected when a handler is bound, or have the values in `declared`. `scheme` is the security scheme
    in the description of the API."""

    function: Callable[..., Awaitable[None]]
    scheme: str
    raises: Errors
    declared: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    values: Mapping[str, Any] = dataclasses.field(default_factory=dict, compare=False)

    async def __call__(self, connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler) -> None:
        await self.function(connection, **self.declared, **self.values)


def guard(scheme: str, *raises: type[DomainError]) -> Callable[[Callable[..., Awaitable[None]]], Guard]:
    return functools.partial(Guard, scheme=scheme, raises=raises)


class _OfRequest(NamedTuple):
    function: Callable[..., Any]
    is_async: bool


class Providers:
    """What can be injected, by type: values to all, values of the request to handlers only."""

    def __init__(self) -> None:
        self._sources: dict[Any, str] = {}
        self._values: dict[Any, Any] = {}
        self._of_request: dict[Any, _OfRequest] = {}

    def add_fields(self, parts: Iterable[Any]) -> None:
        """Provides each field of these dataclass instances under its declared type. Raises `ProvidedTwice`."""
        for part in parts:
            declared = get_type_hints(type(part))
            for field in dataclasses.fields(part):
                source = f"{type(part).__name__}.{field.name}"
                self.add_value(declared[field.name], getattr(part, field.name), source)

    def add_value(self, kind: Any, value: Any, source: str) -> None:
        """Provides one value to every request. `source` names it in errors. Raises `ProvidedTwice`."""
        self._add(kind, source)
        self._values[kind] = value

    def add_of_request(self, kind: Any, function: Callable[..., Any]) -> None:
        """Provides what this function returns for the request, its only parameter that is not injected. A function that
        is not async must not block. Raises `NotProvided`, `ProvidedTwice`."""
        self._add(kind, _name(function))
        self._of_request[kind] = _OfRequest(self.call(function), inspect.iscoroutinefunction(function))

    def bind(self, handlers: Iterable[Handler]) -> list[Handler]:
        """Copies of these handlers whose functions receive the injected parameters, and of their guards as well. Raises
        `NotProvided`."""
        return [self._bound(handler) for handler in handlers]

    def call(self, function: Callable[..., T]) -> Callable[..., T]:
        """The function with its injected parameters filled. Raises `NotProvided`."""
        return functools.partial(function, **self._values_for(function))

    def _bound(self, handler: Handler) -> Handler:
        bound = copy(handler)
        bound.guards = [self._bound_guard(each) for each in handler.guards or ()]
        function: Any = handler.fn
        needed = injected(function)
        if needed:
            of_request = {name: self._of_request[kind] for name, kind in needed.items() if kind in self._of_request}
            bound(_injecting(function, self._values_for(function, other_than=of_request), of_request))
        return bound

    def _bound_guard(self, unbound: Any) -> Any:
        if not isinstance(unbound, Guard):
            return unbound
        return dataclasses.replace(unbound, values=self._values_for(unbound.function))

    def _values_for(self, function: Callable[..., Any], other_than: Container[str] = ()) -> Mapping[str, Any]:
        needed = {name: kind for name, kind in injected(function).items() if name not in other_than}
        for parameter, kind in needed.items():
            if kind not in self._values:
                raise NotProvided(_name(function), parameter, kind)
        return {parameter: self._values[kind] for parameter, kind in needed.items()}

    def _add(self, kind: Any, source: str) -> None:
        if kind in self._sources:
            raise ProvidedTwice(kind, self._sources[kind], source)
        self._sources[kind] = source


_INJECTED = "__injected__"


def injected(function: Callable[..., Any]) -> Mapping[str, Any]:
    """The types of the parameters that are annotated with `Inject`, by the parameters' names; of a bound handler those
    that it had."""
    bound: Mapping[str, Any] | None = getattr(function, _INJECTED, None)
    if bound is not None:
        return bound
    return {
        name: get_args(annotation)[0]
        for name, annotation in get_type_hints(function, include_extras=True).items()
        if any(isinstance(each, Dependency) for each in getattr(annotation, "__metadata__", ()))
    }


def _injecting(
    function: Callable[..., Awaitable[Any]], values: Mapping[str, Any], of_request: Mapping[str, _OfRequest]
) -> Callable[..., Awaitable[Any]]:
    """The function without its injected parameters, which are filled at each call. If one of them is of the request,
    the request becomes a parameter."""
    signature = inspect.signature(function)
    asks_for_request = "request" in signature.parameters

    async def call(**given: Any) -> Any:
        return await function(**given, **values)

    async def call_with_request(request: Request[Any, Any, Any], **given: Any) -> Any:
        for name, provide in of_request.items():
            found = provide.function(request)
            given[name] = await found if provide.is_async else found
        if asks_for_request:
            given["request"] = request
        return await function(**given, **values)

    filled = functools.wraps(function)(call_with_request if of_request else call)
    needed = injected(function)
    parameters = [each for name, each in signature.parameters.items() if name not in needed]
    hints = get_type_hints(function, include_extras=True)
    if of_request and not asks_for_request:
        parameters.insert(0, inspect.Parameter("request", inspect.Parameter.POSITIONAL_OR_KEYWORD))
        hints["request"] = Request[Any, Any, Any]
    filled.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    filled.__annotations__ = {name: hint for name, hint in hints.items() if name not in needed}
    setattr(filled, _INJECTED, needed)
    return filled


def _name(kind: Any) -> str:
    return f"{kind.__module__}.{kind.__qualname__}" if hasattr(kind, "__qualname__") else str(kind)
