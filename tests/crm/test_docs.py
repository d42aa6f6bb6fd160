"""The CRM's description over HTTP, and what a browser is shown."""

import re
from collections.abc import AsyncIterator

import httpx
import pytest

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture
async def visitor(crm: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    """Without a token, and without a comparison of each answer with the description."""
    async with httpx.AsyncClient(base_url=crm.base_url) as client:
        yield client


async def test_page_loads_only_assets_of_the_service(visitor: httpx.AsyncClient) -> None:
    page = await visitor.get("/docs")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "<title>Convene CRM</title>" in page.text
    assert "script-src 'self'" in page.headers["content-security-policy"]
    loaded = re.findall(r'(?:src|href)="(/docs/[^"]+)"', page.text)
    assert len(loaded) == 6
    for address in loaded:
        answer = await visitor.get(address)
        assert (answer.status_code, bool(answer.content)) == (200, True)
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert (await visitor.get("/docs/assets/page.html")).status_code == 404


@pytest.mark.parametrize(("path", "status"), [("/", 200), ("/nothing", 404), ("/notifications", 401)])
async def test_browser_gets_pages_and_programs_get_json(visitor: httpx.AsyncClient, path: str, status: int) -> None:
    shown = await visitor.get(path, headers=BROWSER)
    assert (shown.status_code, shown.headers["content-type"]) == (status, "text/html; charset=utf-8")
    assert 'href="/docs"' in shown.text
    assert shown.headers["x-frame-options"] == "DENY"
    asked = await visitor.get(path)
    assert (asked.status_code, asked.headers["content-type"]) == (status, "application/json")
    assert "default-src 'none'" in asked.headers["content-security-policy"]
