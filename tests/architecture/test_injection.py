"""Handlers receive use cases by type. An application whose types do not match is not built."""

from dataclasses import dataclass, replace
from typing import Protocol

import pytest
from litestar import Litestar, Request, get
from litestar.testing import TestClient

from infrastructure.container import build
from infrastructure.settings import load_settings
from interfaces.cli.openapi import DRAWING
from interfaces.http import app as http
from interfaces.http.injection import Inject, InjectionError, NotProvided, ProvidedTwice, Providers, injected


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


def test_type_decides_whatever_the_parameters_name() -> None:
    providers = Providers()
    providers.add_fields([Parts(English())])
    providers.add_of_request(Path, path)
    with TestClient(Litestar(providers.bind([under_any_name, under_that_name_another]))) as client:
        assert client.get("/any-name").text == "Good morning at /any-name"
        assert client.get("/twin").text == "Good morning"
    assert under_any_name.dependencies is None  # another application may bind the same handler to other providers


def test_type_without_provider_is_refused_with_handler_and_type() -> None:
    providers = Providers()
    providers.add_of_request(Path, path)
    with pytest.raises(NotProvided) as refused:
        providers.bind([under_any_name])
    message = str(refused.value)
    assert f"{__name__}.under_any_name" in message
    assert f"{__name__}.Greeting" in message
    assert "some_name" in message


def test_two_providers_of_one_type_are_refused() -> None:
    providers = Providers()
    with pytest.raises(ProvidedTwice) as refused:
        providers.add_fields([Parts(English()), OtherParts(English())])
    message = str(refused.value)
    assert f"{__name__}.Greeting" in message
    assert "Parts.greeting" in message
    assert "OtherParts.welcome" in message


def test_application_does_not_start_without_a_use_case(monkeypatch: pytest.MonkeyPatch) -> None:
    @get("/greeting")
    async def greet(greeting: Inject[Greeting]) -> str:
        return greeting.text()

    parts = build(load_settings(DRAWING))
    monkeypatch.setattr(http, "ROUTES", [*http.ROUTES, greet])
    with pytest.raises(InjectionError, match=r"greet requires .*Greeting"):
        http.create_litestar(parts)


def test_application_does_not_start_with_two_providers_of_a_type() -> None:
    parts = build(load_settings(DRAWING))
    with pytest.raises(InjectionError, match="has two providers"):
        http.create_litestar(replace(parts, feeds=parts.calendars))  # type: ignore[arg-type]


def test_every_use_case_that_a_handler_names_is_injected() -> None:
    """A parameter of the application's type without `Inject` would become a query parameter."""
    for handler in http.ROUTES:
        forgotten = {
            name
            for name, kind in handler.fn.__annotations__.items()
            if isinstance(kind, type) and kind.__module__.startswith("application.") and name != "return"
        }
        assert not forgotten - set(injected(handler.fn)), handler.fn
