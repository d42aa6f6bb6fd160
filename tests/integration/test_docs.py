"""The description of the API over HTTP: what it shows is what the API does, and nothing of it comes from elsewhere."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from tests.support.command import bare_environ, convene_here
from tests.support.description_checks import Described, as_described, document, endpoints, find, operations, the
from tests.support.examples import FILE, record
from tests.support.load import many_users
from tests.support.people import PASSWORD, Person
from tests.support.recorder import as_text


class Links(HTMLParser):
    """What a page loads, and the scripts and styles inside it."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.inline: list[str] = []
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag
        if tag in {"script", "link", "img", "iframe"}:
            self.loaded += [value or "" for name, value in attrs if name in {"src", "href"}]

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside in {"script", "style"} and data.strip():
            self.inline.append(data)


@pytest.fixture(scope="module")
async def page(shared_api: httpx.AsyncClient) -> httpx.Response:
    return await shared_api.get("/docs")


@pytest.fixture(scope="module")
def links(page: httpx.Response) -> Links:
    found = Links()
    found.feed(page.text)
    return found


# Takes 5 s: two applications answer every operation of the API.
async def test_examples_are_the_answers_of_the_api(database_url: str, redis_url: str, tmp_path: Path) -> None:
    recorded = await record(database_url, redis_url, tmp_path)
    assert FILE.read_text(encoding="utf-8") == as_text(recorded), "run `python -m tests.support.examples`"


async def test_page_loads_only_assets_of_this_api(shared_api: httpx.AsyncClient, links: Links) -> None:
    assert len(links.loaded) >= 4
    for address in links.loaded:
        assert address.startswith("/docs/assets/")
        answer = await shared_api.get(address)
        assert answer.status_code == 200
        assert answer.content
    assert links.inline == []


async def test_style_sheet_loads_nothing(shared_api: httpx.AsyncClient) -> None:
    css = (await shared_api.get("/docs/assets/swagger-ui.css")).text
    assert "@import" not in css
    addresses = re.findall(r"url\(\s*[\"']?([^)\"']{5})", css)
    assert set(addresses) <= {"data:"}


async def test_start_script_names_no_other_server(shared_api: httpx.AsyncClient) -> None:
    script = (await shared_api.get("/docs/assets/start.js")).text
    assert "//" not in script
    assert 'url: "/docs/openapi.json"' in script
    assert "validatorUrl: null" in script
    assert "persistAuthorization: true" in script


async def test_page_supports_dark_mode(shared_api: httpx.AsyncClient) -> None:
    css = (await shared_api.get("/docs/assets/docs.css")).text
    assert "@media (prefers-color-scheme: dark)" in css


@pytest.mark.parametrize(("path", "status"), [("/", 200), ("/nothing", 404), ("/profile", 401), ("/%00", 404)])
async def test_browser_gets_pages_and_programs_get_json(shared_api: httpx.AsyncClient, path: str, status: int) -> None:
    async with httpx.AsyncClient(base_url=shared_api.base_url) as browser:  # pages are not in the description
        shown = await browser.get(path, headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert (shown.status_code, shown.headers["content-type"]) == (status, "text/html; charset=utf-8")
    assert shown.headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")
    assert shown.headers["x-frame-options"] == "DENY"
    links = Links()
    links.feed(shown.text)
    assert links.loaded == []
    for address in re.findall(r'href="([^"]+)"', shown.text):
        assert (await shared_api.get(address)).status_code == 200
    asked = await shared_api.get(path, headers={"Accept": "*/*"})
    assert (asked.status_code, asked.headers["content-type"]) == (status, "application/json")


def test_content_security_policy_allows_no_external_sources(page: httpx.Response) -> None:
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    allowed = {source for sources in policy.values() for source in sources.split()}
    assert allowed == {"'self'", "'none'", "data:"}


@pytest.mark.parametrize("path", ["/docs/assets/nothing.js", "/docs/assets/page.html", "/docs/nothing"])
async def test_missing_page_is_a_404_with_the_usual_shape(shared_api: httpx.AsyncClient, path: str) -> None:
    answer = await shared_api.get(path)
    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"


async def test_document_lists_this_server_first(shared_api: httpx.AsyncClient) -> None:
    answer = await shared_api.get("/docs/openapi.json")
    assert answer.headers["content-type"].startswith("application/json")
    served = answer.json()
    assert served.pop("servers") == [{"url": "/"}, {"url": "http://127.0.0.1:5000"}]
    expected = json.loads(json.dumps(document()))
    del expected["servers"]
    assert served == expected


def test_command_writes_the_document_for_the_public_url(tmp_path: Path) -> None:
    file = tmp_path / "openapi.json"
    environ = bare_environ(PUBLIC_URL="https://booking.example.com")
    done = convene_here("openapi", "--output", str(file), cwd=tmp_path, environ=environ)
    assert done.returncode == 0, done.stderr
    assert f"{len(operations())} operations" in done.stdout
    written = json.loads(file.read_text(encoding="utf-8"))
    assert written["servers"] == [{"url": "https://booking.example.com"}]
    assert set(written["paths"]) == set(document()["paths"])


def test_unwritable_file_is_one_line(tmp_path: Path) -> None:
    done = convene_here(
        "openapi", "--output", str(tmp_path / "no" / "openapi.json"), cwd=tmp_path, environ=bare_environ()
    )
    assert done.returncode == 1
    assert done.stderr.startswith("convene: ")
    assert len(done.stderr.splitlines()) == 1


# Real failures


BAD: list[tuple[dict[str, Any], int]] = [
    ({"content": b"\xff", "headers": {"Content-Type": "application/json"}}, 400),
    ({"content": b"{}", "headers": {"Content-Type": "text/plain"}}, 415),
    ({"content": b" " * 70_000, "headers": {"Content-Type": "application/json"}}, 413),
]


@pytest.fixture
def described(request: pytest.FixtureRequest) -> Described:
    return the(request.param)


@pytest.mark.parametrize("described", endpoints(), indirect=True)
async def test_real_failures_are_documented(
    shared_api: httpx.AsyncClient, shared_database: asyncpg.Connection, ada: Person, described: Described
) -> None:
    path = re.sub(r"{\w+}", "999999", described.path)
    # New ones for each operation: one logs them out.
    [user], [facilitator] = (
        await many_users(shared_database, 1),
        await many_users(shared_database, 1, role="facilitator"),
    )
    # The live feed refuses this id; without it its answer would have no end.
    asked: list[dict[str, Any]] = [
        {},
        {"headers": user.headers},
        {"headers": facilitator.headers | {"Last-Event-ID": "none"}},
    ]
    # Forms with a file are read from logged-in users only.
    known = user.headers if described.takes_files else {}
    seen = [await shared_api.request(described.method, path, **options) for options in asked]
    if described.method in {"POST", "PUT", "PATCH"}:
        body = {"title": 1, "email": ada.email, "password": PASSWORD, "name": "", "event_id": 999999, "rating": 1}
        seen += [await shared_api.request(described.method, path, **options, json=body) for options in asked]
        for options, status in BAD:
            seen.append(
                await shared_api.request(described.method, path, **options | {"headers": known | options["headers"]})
            )
            assert seen[-1].status_code == (415 if described.takes_files else status)
    seen.append(await shared_api.request(described.method, f"{path}?limit=%ff", headers=known))
    assert seen[-1].status_code == 400
    for answer in seen:
        await as_described(answer)


async def test_undocumented_answer_is_detected() -> None:
    request = httpx.Request("GET", "http://api/events/7/")
    assert find("HEAD", "/events/7/") is find("GET", "/events/7")
    for status, body in ((418, {}), (404, {"error": "Gone", "code": "gone", "request_id": "1"}), (200, {"id": "7"})):
        with pytest.raises(AssertionError):
            await as_described(httpx.Response(status, json=body, request=request))
