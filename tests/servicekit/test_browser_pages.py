"""What a browser is shown instead of JSON, and that programs are not."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servicekit.browser_pages import BrowserPages, prefers_html

CHROME = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


async def asked(
    status: int, body: bytes, *, accept: str, path: str = "/", kind: bytes = b"application/json"
) -> tuple[dict[str, str], bytes]:
    """The headers and the body of an answer of `status`, through the pages."""

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        headers = [(b"content-type", kind), (b"x-request-id", b"req-12345"), (b"content-length", b"2")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body[:3], "more_body": True})
        await send({"type": "http.response.body", "body": body[3:]})

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "headers": [(b"accept", accept.encode())]}
    await BrowserPages(app, "A service", {"/docs": "Documentation"})(scope, None, send)
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    assert sent[0]["status"] == status
    return headers, b"".join(message["body"] for message in sent[1:])


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 429, 500, 503])
async def test_browser_gets_page_for_an_error(status: int) -> None:
    body = json.dumps({"error": "<script>alert(1)</script>", "code": "x", "request_id": "req-12345"}).encode()
    headers, page = await asked(status, body, accept=CHROME, path="/events/7")
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert headers["content-length"] == str(len(page))
    assert headers["x-request-id"] == "req-12345"
    assert headers["vary"] == "Accept"
    assert headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")
    assert f"<h1>{status} ".encode() in page
    assert b'href="/docs"' in page
    assert b"req-12345" in page
    assert b"<script" not in page


async def test_root_is_a_page_and_other_answers_are_unchanged() -> None:
    _, page = await asked(200, b'{"message": "Running!"}', accept=CHROME)
    assert b"<h1>A service</h1><p>Running!</p>" in page
    for body, path, kind in [(b"{}", "/events", b"application/json"), (b"data: 1", "/", b"text/event-stream")]:
        headers, sent = await asked(200, body, accept=CHROME, path=path, kind=kind)
        assert (headers["content-type"], sent) == (kind.decode(), body)


@pytest.mark.parametrize("accept", ["", "*/*", "application/json", "application/json, text/plain, */*", "text/*"])
async def test_program_gets_json(accept: str) -> None:
    for status in (200, 401, 404, 503):
        headers, body = await asked(status, b'{"error": "x"}', accept=accept)
        assert (headers["content-type"], body) == ("application/json", b'{"error": "x"}')


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (CHROME, True),
        ("text/html", True),
        ("text/html, */*", True),
        ("text/html, application/json", False),
        ("text/html;q=0.9, application/json;q=0.8", True),
        ("text/html;q=0.5, application/json", False),
        ("text/html;q=0", False),
        ("text/html;q=nonsense", False),
        ("text/html;q=nan, */*", False),
    ],
)
def test_html_is_preferred_only_where_accept_ranks_it_higher(accept: str, expected: bool) -> None:
    assert prefers_html(accept) is expected


@given(st.text())
def test_any_accept_header_is_parsed(accept: str) -> None:
    assert not prefers_html(accept) or "text/html" in accept.lower()
