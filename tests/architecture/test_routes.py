"""Every route says who may call it and what it is called; every refusal has a code of its own and a status; the arrows
between the packages hold."""

import importlib
import pkgutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

import application
import domain
import infrastructure
import interfaces
from domain.api_keys import Scope
from domain.errors import DomainError
from infrastructure import container
from infrastructure.retries import TransactionConflict
from infrastructure.settings import Settings
from interfaces.http.app import create_litestar
from interfaces.http.authentication import ISSUES_TOKENS, VIEWED_BY_KEY, AccountGuard, Viewer
from interfaces.http.errors import STATUS
from interfaces.http.injection import injected
from tests.support.settings import settings_for

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return settings_for("postgresql://nobody@/nothing", "redis://127.0.0.1:1", tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def app(settings: Settings) -> Litestar:
    return create_litestar(container.build(settings))


def handlers(app: Litestar) -> Iterator[tuple[str, HTTPRouteHandler]]:
    """Ours: not the framework's own for OPTIONS and the API's description."""
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for handler in route.route_handlers:
                if handler.resolve_include_in_schema():
                    yield route.path, handler


def test_routes_were_found(app: Litestar) -> None:
    found = {(path, method) for path, handler in handlers(app) for method in handler.http_methods}
    assert {("/bookings", "POST"), ("/events/{event_id:str}", "DELETE"), ("/", "GET")} <= found


def test_pages_do_not_exist_without_web_enabled(tmp_path: Path) -> None:
    settings = settings_for("postgresql://nobody@/nothing", "redis://127.0.0.1:1", tmp_path, web_enabled="false")
    without = {route.path for route in create_litestar(container.build(settings)).routes}
    assert not {path for path in without if path.startswith(("/book/", "/assets")) or path == "/book"}
    assert "/verify-email/{token:str}" in without, "links in mails work without the pages"


def test_every_route_has_a_unique_operation_id(app: Litestar) -> None:
    ids = Counter(
        handler.operation_id
        for _, handler in {id(handler): (path, handler) for path, handler in handlers(app)}.values()
    )
    assert all(isinstance(name, str) and name for name in ids)
    assert [name for name, times in ids.items() if times > 1] == []


def test_every_route_states_its_authorisation(app: Litestar) -> None:
    for path, handler in handlers(app):
        public = handler.opt.get("public") is True
        guarded = bool(handler.resolve_guards())
        assert public != guarded, f"{handler.http_methods} {path}: give it guards=[...], or opt=public, and not both"


def test_every_route_declares_which_api_keys_may_call_it(app: Litestar) -> None:
    """By `with_scope` or `without_keys` of its guard, or `public_with` where it shows more to some accounts."""
    for path, handler in handlers(app):
        shown = f"{handler.http_methods} {path}"
        for guard in handler.resolve_guards():
            assert not isinstance(guard, AccountGuard) or guard.is_declared, shown
        assert (Viewer in injected(handler.fn).values()) == (VIEWED_BY_KEY in handler.opt), shown


def test_no_api_key_makes_another_credential(app: Litestar) -> None:
    """Routes whose answer contains tokens; those that end sessions or change the password have no such mark."""
    operations = {handler.operation_id: handler for _, handler in handlers(app)}
    for operation_id, handler in operations.items():
        for guard in handler.resolve_guards():
            if handler.opt.get(ISSUES_TOKENS) and isinstance(guard, AccountGuard):
                assert guard.scopes == (), operation_id
    for security in ("createApiKey", "listApiKeys", "revokeApiKey", "changePassword", "logOut", "resendVerification"):
        (guard,) = operations[security].resolve_guards()
        assert isinstance(guard, AccountGuard)
        assert guard.scopes == (), security


def test_scope_of_a_route_reads_or_writes_as_its_method_does(app: Litestar) -> None:
    for path, handler in handlers(app):
        verb = "read" if "GET" in handler.http_methods else "write"
        for guard in handler.resolve_guards():
            if isinstance(guard, AccountGuard):
                assert all(scope.endswith(f":{verb}") for scope in guard.scopes), path


def test_every_scope_is_needed_by_a_route(app: Litestar) -> None:
    guards = [guard for _, handler in handlers(app) for guard in handler.resolve_guards()]
    assert {scope for guard in guards if isinstance(guard, AccountGuard) for scope in guard.scopes} == set(Scope)


def test_every_route_is_in_the_api_description(app: Litestar) -> None:
    documented = {
        operation.operation_id
        for path in (app.openapi_schema.paths or {}).values()
        for operation in (path.get, path.post, path.put, path.patch, path.delete)
        if operation
    }
    assert documented == {handler.operation_id for _, handler in handlers(app)}


# Refusals


def families_and_errors() -> Iterator[type[DomainError]]:
    for package in (domain, application, infrastructure, interfaces):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if ".migrations." not in module.name and not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    waiting = DomainError.__subclasses__()
    while waiting:
        error = waiting.pop()
        waiting += error.__subclasses__()
        yield error


def test_every_error_has_its_own_code_and_message() -> None:
    # A conflict is repeated, and answered as its family if that does not help.
    errors = set(families_and_errors()) - {TransactionConflict}
    assert len(errors) > 20
    codes = Counter(error.code for error in errors if "code" in vars(error))
    assert [code for code, times in codes.items() if times > 1] == []
    for error in errors:
        assert "code" in vars(error), f"{error.__name__} has no code of its own"
        assert error.code.isidentifier()
        assert error.code == error.code.lower()
        assert error.message[0].isupper()
        assert not error.message.endswith(".")


def test_every_error_family_has_a_status() -> None:
    for error in families_and_errors():
        families = [family for family in error.__mro__ if family in STATUS]
        assert families, f"{error.__name__} belongs to no family"
        assert 400 <= STATUS[families[0]] < 600


# Arrows


def test_import_contracts_hold() -> None:
    command = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert "Contracts: " in done.stdout
    assert " 0 broken" in done.stdout
