"""Every route that writes has a limit, or there is a reason for none."""

from collections import Counter
from collections.abc import Iterable, Iterator

from litestar import Litestar, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from application.write_limits import Write
from interfaces.http.authentication import USER_TOKEN
from interfaces.http.openapi.operations import operations
from interfaces.http.write_limits import LIMITED, NOT_LIMITED
from tests.support.description_checks import app, document

EXEMPT = [operation for names in NOT_LIMITED.values() for operation in names]


def writing(application: Litestar) -> Iterator[HTTPRouteHandler]:
    """Those outside of the description included."""
    for route in application.routes:
        if isinstance(route, HTTPRoute):
            yield from (each for each in route.route_handlers if each.http_methods - {"GET", "HEAD", "OPTIONS"})


def undeclared(handlers: Iterable[HTTPRouteHandler]) -> set[str]:
    return {str(handler.operation_id) for handler in handlers} - {*LIMITED, *EXEMPT}


def test_every_writing_route_is_declared_once() -> None:
    assert undeclared(writing(app())) == set()
    assert {*LIMITED, *EXEMPT} == {str(handler.operation_id) for handler in writing(app())}
    assert [name for name, times in Counter([*LIMITED, *EXEMPT]).items() if times > 1] == []
    assert set(LIMITED.values()) == set(Write)


def test_new_route_without_a_limit_is_found() -> None:
    @post("/pigeons", operation_id="sendPigeon", sync_to_thread=False)
    def send() -> None: ...

    @get("/pigeons", operation_id="listPigeons", sync_to_thread=False)
    def list_() -> None: ...

    assert undeclared(writing(Litestar([send, list_]))) == {"sendPigeon"}


def test_limited_routes_have_an_account() -> None:
    """The limits count by account."""
    for operation in operations(app()):
        if operation.id in LIMITED:
            schemes = {guard.scheme for guard in operation.guards}
            assert schemes == {USER_TOKEN}, operation.id


def test_limited_routes_describe_the_refusal() -> None:
    for operation in operations(app()):
        if operation.id in LIMITED:
            refused = document()["paths"][operation.path][operation.method]["responses"]["429"]
            assert "Retry-After" in refused["headers"], operation.id
