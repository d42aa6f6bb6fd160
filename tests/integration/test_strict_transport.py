"""Strict-Transport-Security, where the public address of the API is https."""

from typing import Any

import httpx
import pytest

from infrastructure import container
from infrastructure.settings import load_settings
from interfaces.cli.openapi import DRAWING
from interfaces.http.app import assemble


@pytest.mark.parametrize(
    ("public_url", "header"), [("https://api.example.com", "max-age=31536000"), ("http://127.0.0.1:5000", None)]
)
async def test_every_answer_has_the_header_if_the_api_is_served_by_https(public_url: str, header: str | None) -> None:
    parts = container.build(load_settings({**DRAWING, "PUBLIC_URL": public_url}))
    app: Any = assemble(parts)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=public_url) as client:
        for path, accept in (("/", "application/json"), ("/", "text/html"), ("/no-such-path", "text/html")):
            answer = await client.get(path, headers={"Accept": accept})
            assert answer.headers.get("strict-transport-security") == header
    await parts.close()
