"""Which web pages may read the API's answers."""

from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from infrastructure.settings import Settings
from interfaces.http.app import create_app
from tests.support.http import serving

PAGE = "https://app.example.com"
SENT = {"authorization", "content-type", "idempotency-key"}
OTHERS = [
    "https://appXexample.com",
    "https://app.example.com.evil.example",
    "https://evil.example",
    "http://app.example.com",
    "https://app.example.com:8443",
    "null",
    "",
]


@pytest.fixture
async def site(make_settings: Callable[..., Settings]) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(make_settings(cors_allowed_origins=PAGE))
    async with serving(app) as address, httpx.AsyncClient(base_url=address) as client:
        yield client


async def preflight(site: httpx.AsyncClient, origin: str) -> httpx.Response:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": ", ".join(sorted(SENT))}
    return await site.options("/bookings", headers={"Origin": origin} | asked)


async def test_listed_origin_is_allowed(site: httpx.AsyncClient) -> None:
    for path in ("/events", "/profile", "/nowhere"):
        answer = await site.get(path, headers={"Origin": PAGE})
        assert answer.headers["access-control-allow-origin"] == PAGE
        assert "Idempotency-Replayed" in answer.headers["access-control-expose-headers"]
    answer = await preflight(site, PAGE)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert set(answer.headers["access-control-allow-headers"].lower().split(", ")) >= SENT


async def test_other_origins_are_not_allowed(site: httpx.AsyncClient) -> None:
    """The first differs from the listed one where a dot would match anything (CVE-2026-25478)."""
    for origin in OTHERS:
        answer = await site.get("/events", headers={"Origin": origin})
        assert answer.status_code == 200
        assert "access-control-allow-origin" not in answer.headers, origin
        assert "access-control-allow-origin" not in (await preflight(site, origin)).headers, origin


async def test_credentials_are_not_allowed(site: httpx.AsyncClient) -> None:
    assert "access-control-allow-credentials" not in (await site.get("/events", headers={"Origin": PAGE})).headers
