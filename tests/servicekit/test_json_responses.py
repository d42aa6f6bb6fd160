"""Responses are those of the framework, made with fewer steps."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from litestar import Litestar, Response, get
from litestar.datastructures import Cookie
from litestar.testing import TestClient
from msgspec import Struct

from servicekit.json_responses import JsonResponse


class Item(Struct):
    id: int
    at: datetime
    price: Decimal
    uuid: UUID
    name: str | None = None


ITEM = Item(7, datetime(2031, 3, 5, 12, tzinfo=UTC), Decimal("12.50"), UUID(int=5), "Zoë")
OPTIONS: list[dict[str, Any]] = [
    {"content": ITEM},
    {"content": [ITEM, ITEM], "status_code": 202},
    {"content": {"a": None}, "headers": {"Link": '</x>; rel="next"', "X-Other": "1"}},
    {"content": None},
    {"content": None, "status_code": 204},
    {"content": "text"},
    {"content": b"bytes", "media_type": "application/octet-stream"},
    {"content": ITEM, "media_type": "application/json"},
    {"content": ITEM, "cookies": [Cookie("a", "b")]},
    {"content": ITEM, "headers": {"content-type": "application/problem+json"}},
]


@pytest.mark.parametrize("options", OPTIONS, ids=[str(sorted(each)) + str(index) for index, each in enumerate(OPTIONS)])
def test_response_is_that_of_the_framework(options: dict[str, Any]) -> None:
    @get("/")
    async def answer() -> Response[Any]:
        return JsonResponse(**options)

    @get("/framework")
    async def answer_of_framework() -> Response[Any]:
        return Response(**options)

    with TestClient(Litestar([answer, answer_of_framework], openapi_config=None)) as client:
        ours, theirs = client.get("/"), client.get("/framework")
    assert (ours.status_code, ours.content) == (theirs.status_code, theirs.content)
    assert ours.headers.multi_items() == theirs.headers.multi_items()


def test_content_of_a_handler_is_that_of_the_framework() -> None:
    @get("/", status_code=203)
    async def item() -> Item:
        return ITEM

    answers = []
    for response_class in (JsonResponse, Response):
        with TestClient(Litestar([item], openapi_config=None, response_class=response_class)) as client:
            answers.append(client.get("/"))
    assert answers[0].status_code == 203
    assert answers[0].content == answers[1].content
    assert answers[0].headers.multi_items() == answers[1].headers.multi_items()


def test_content_of_a_handler_takes_none_of_the_steps_of_the_framework(monkeypatch: pytest.MonkeyPatch) -> None:
    @get("/")
    async def item() -> Item:
        return ITEM

    monkeypatch.delattr(Response, "render")
    with TestClient(Litestar([item], openapi_config=None, response_class=JsonResponse)) as client:
        assert client.get("/").json()["id"] == ITEM.id
