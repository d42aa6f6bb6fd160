"""Parameters have the type that their handler works with, and one place says how a text becomes it."""

from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar import Litestar, Response, get
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.testing import TestClient

from domain.errors import Invalid, NotFound
from interfaces.http.errors import error_response
from interfaces.http.openapi.operations import operations
from interfaces.http.openapi.parameters import described
from interfaces.http.parameters import (
    Converter,
    Cursor,
    EventIdInPath,
    PageSize,
    as_text,
    positive,
    with_converters,
)
from tests.support.description_checks import app

STAY_TEXTS = {"cursor", "redirect_uri", "type", "state", "code", "error"}
"""A cursor is opaque, as is what Google sends; a redirect address counts character by character; `type` is a type or
the name of a category."""


def parameters() -> Iterator[tuple[str, Converter]]:
    for operation in operations(app()):
        for name, (converter, _) in operation.parameters.items():
            assert converter is not None, f"{operation.id}: {name}"
            yield name, converter


PARAMETERS = {f"{name}: {converter.description}": (name, converter) for name, converter in parameters()}
TYPED = {label: each for label, each in PARAMETERS.items() if each[1].convert is not as_text}


def test_only_listed_parameters_stay_text() -> None:
    assert {name for name, converter in PARAMETERS.values() if converter.convert is as_text} == STAY_TEXTS


@pytest.mark.parametrize(("name", "converter"), TYPED.values(), ids=TYPED)
@given(st.text(max_size=40) | st.text("0123456789+-_.:TZ \u0660", max_size=25))
def test_any_text_is_converted_or_rejected_with_the_parameter_name(name: str, converter: Converter, text: str) -> None:
    try:
        converter.convert(name, text)
    except Invalid as error:
        assert set(error.details) == {name}
    except NotFound as error:
        assert type(error) is converter.raises


@get("/events/{event_id:str}")
async def typed(
    event_id: FromPath[EventIdInPath],
    first_seen: Annotated[int | None, QueryParameter(name="first-seen"), Converter("", {}, positive)] = None,
    limit: FromQuery[PageSize] = 50,
    cursor: FromQuery[Cursor] = None,
) -> list[Any]:
    return [event_id, first_seen, limit, cursor]


@get("/events")
async def plain(q: FromQuery[str] = "") -> str:
    return q


def handle(_request: Any, error: Exception) -> Response[Any]:
    refused = error_response(error)
    return Response(refused.details, status_code=refused.status)


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient[Litestar]]:
    app = Litestar([*map(with_converters, (typed, plain))], exception_handlers={Exception: handle})
    with TestClient(app) as made:
        yield made


def test_handlers_receive_values_and_defaults(client: TestClient[Litestar]) -> None:
    assert client.get("/events/7").json() == [7, None, 50, None]
    assert client.get("/events/7?first-seen=3&limit=501&cursor=3").json() == [7, 3, 500, "3"]
    assert with_converters(plain) is plain


def test_errors_name_the_parameter_as_it_was_sent(client: TestClient[Litestar]) -> None:
    answer = client.get("/events/7?first-seen=0&limit=many")
    assert (answer.status_code, answer.json()) == (400, {"first-seen": "Must be a positive whole number"})
    assert client.get("/events/seven?limit=many").status_code == 404


def test_description_requires_a_converter_for_every_parameter() -> None:
    @get("/reports/{number:str}")
    async def show_report(number: FromPath[str], limit: FromQuery[int] = 1) -> None: ...

    [operation] = operations(Litestar([show_report]))
    with pytest.raises(LookupError, match="limit has no Converter"):
        described(operation, {"name": "limit"}, None)
    with pytest.raises(LookupError, match="number does not say what it raises"):
        _ = operation.errors_of_path
