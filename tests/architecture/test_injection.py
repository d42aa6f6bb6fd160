"""Handlers receive use cases by type. An application whose types do not match is not built."""

from dataclasses import dataclass, replace
from pathlib import Path as Sources
from typing import Any, Protocol

import pytest
from litestar import Litestar, Request, Response, WebSocket, get, websocket
from litestar.testing import TestClient

import interfaces
from infrastructure.container import build
from infrastructure.settings import load_settings
from interfaces.cli.openapi import DRAWING
from interfaces.http import app as http
from interfaces.http.authentication import Connection
from interfaces.http.injection import Inject, InjectionError, NotProvided, ProvidedTwice, Providers, guard, injected


class Greeting(Protocol):
    def text(self) -> str: ...


class English:
    def text(self) -> str:
        return "Good morning"


@dataclass
class Parts:
    greeting: Greeting


@dataclass
class OtherParts:
    welcome: Greeting


@dataclass(frozen=True)
class Path:
    text: str


def path(request: Request) -> Path:  # type: ignore[type-arg]
    return Path(request.url.path)


@get("/any-name")
async def under_any_name(some_name: Inject[Greeting], here: Inject[Path]) -> str:
    return f"{some_name.text()} at {here.text}"


@get("/twin")
async def under_that_name_another(here: Inject[Greeting]) -> str:
    return here.text()


def test_injection_depends_on_types_not_on_parameter_names() -> None:
    providers = Providers()
    providers.add_fields([Parts(English())])
    providers.add_of_request(Path, path)
    with TestClient(Litestar(providers.bind([under_any_name, under_that_name_another]))) as client:
        assert client.get("/any-name").text == "Good morning at /any-name"
        assert client.get("/twin").text == "Good morning"
    assert under_any_name.dependencies is None  # another application may bind the same handler to other providers


def test_missing_provider_error_names_handler_and_type() -> None:
    providers = Providers()
    providers.add_of_request(Path, path)
    with pytest.raises(NotProvided) as refused:
        providers.bind([under_any_name])
    message = str(refused.value)
    assert f"{__name__}.under_any_name" in message
    assert f"{__name__}.Greeting" in message
    assert "some_name" in message


def test_two_providers_of_one_type_are_rejected() -> None:
    providers = Providers()
    with pytest.raises(ProvidedTwice) as refused:
        providers.add_fields([Parts(English()), OtherParts(English())])
    message = str(refused.value)
    assert f"{__name__}.Greeting" in message
    assert "Parts.greeting" in message
    assert "OtherParts.welcome" in message


@get("/greeting")
async def greet(greeting: Inject[Greeting]) -> str:
    return greeting.text()


@guard("userToken")
async def greets(connection: Connection, greeting: Inject[Greeting]) -> None:
    connection.scope["user"] = greeting.text()


@get("/guarded", guards=[greets])
async def guarded(request: Request[Any, Any, Any]) -> str:
    return str(request.user)


@websocket("/socket")
async def socket_greets(socket: WebSocket[Any, Any, Any], greeting: Inject[Greeting]) -> None:
    await socket.accept()
    await socket.send_text(greeting.text())
    await socket.close()


def greeted_path(request: Request[Any, Any, Any], greeting: Inject[Greeting]) -> Path:
    return Path(f"{request.url.path}: {greeting.text()}")


@get("/provider")
async def of_request(here: Inject[Path]) -> str:
    return here.text


def greeting_of_error(_request: Request[Any, Any, Any], _error: Exception, greeting: Inject[Greeting]) -> Response[str]:
    return Response(greeting.text())


def test_guards_sockets_providers_and_hooks_are_injected_by_type() -> None:
    providers = Providers()
    providers.add_fields([Parts(English())])
    providers.add_of_request(Path, greeted_path)
    handlers = providers.bind([guarded, of_request]) + providers.bind([socket_greets])
    app = Litestar(handlers, exception_handlers={404: providers.call(greeting_of_error)})
    with TestClient(app) as client:
        assert client.get("/guarded").text == "Good morning"
        assert client.get("/provider").text == "/provider: Good morning"
        assert client.get("/nowhere").text == "Good morning"
        with client.websocket_connect("/socket") as socket:
            assert socket.receive_text() == "Good morning"
    assert handlers[0].guards == [greets]  # the description finds the errors of a guard by the guard


@pytest.mark.parametrize("handler", [greet, guarded, socket_greets], ids=["handler", "guard", "socket"])
def test_application_does_not_start_without_a_use_case(monkeypatch: pytest.MonkeyPatch, handler: Any) -> None:
    parts = build(load_settings(DRAWING))
    monkeypatch.setattr(http, "ROUTES", [*http.ROUTES, handler])
    with pytest.raises(NotProvided, match=r"greet\w* requires .*Greeting"):
        http.create_litestar(parts)


@pytest.mark.parametrize("name", ["handle", "viewer", "_before_handler"])
def test_application_does_not_start_without_a_dependency_of_a_hook(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    parts = build(load_settings(DRAWING))
    replacement = {"handle": greeting_of_error, "viewer": greeted_path, "_before_handler": greeted_path}[name]
    monkeypatch.setattr(http, name, replacement)
    with pytest.raises(NotProvided, match=r"greet\w* requires .*Greeting"):
        http.create_litestar(parts)


def test_request_providers_are_for_handlers_only() -> None:
    providers = Providers()
    providers.add_of_request(Path, path)

    @guard("userToken")
    async def located(_connection: Connection, _here: Inject[Path]) -> None: ...

    @get("/located", guards=[located])
    async def locate() -> None: ...

    with pytest.raises(NotProvided, match="located requires"):
        providers.bind([locate])


def test_application_state_is_not_read() -> None:
    """Its entries are found by name, when a request needs them."""
    sources = {path: path.read_text(encoding="utf-8") for path in Sources(interfaces.__path__[0]).rglob("*.py")}
    assert [path for path, text in sources.items() if "app.state" in text or "state=State" in text] == []


def test_application_does_not_start_with_two_providers_of_one_type() -> None:
    parts = build(load_settings(DRAWING))
    with pytest.raises(InjectionError, match="has two providers"):
        http.create_litestar(replace(parts, feeds=parts.calendars))  # type: ignore[arg-type]


def test_every_use_case_parameter_is_injected() -> None:
    """A parameter of the application's type without `Inject` would become a query parameter."""
    for handler in http.ROUTES:
        forgotten = {
            name
            for name, kind in handler.fn.__annotations__.items()
            if isinstance(kind, type) and kind.__module__.startswith("application.") and name != "return"
        }
        assert not forgotten - set(injected(handler.fn)), handler.fn
