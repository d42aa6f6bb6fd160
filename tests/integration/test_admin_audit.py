"""The audit log over HTTP and by `convene audit`: statements, streams and commands need their servers."""

import csv
import io
import json
from collections.abc import Sequence

import asyncpg
import httpx
import pytest

from application.audit.reading import ReadAuditLog
from tests.support.people import People, Person


@pytest.fixture
async def root(shared_people: People, emptied_database: asyncpg.Connection) -> Person:
    """An admin."""
    person = await shared_people.user("Katherine Johnson")
    await emptied_database.execute("UPDATE users SET role = 'admin' WHERE id = $1", person.id)
    return person


async def fill(database: asyncpg.Connection, number: int = 3, **values: str) -> None:
    about = {"actor_kind": "account", "action": "login.succeeded", "object_kind": "account", "object_id": "1"} | values
    names = ", ".join(about)
    places = ", ".join(f"${place}" for place in range(1, len(about) + 1))
    for _ in range(number):
        await database.execute(f"INSERT INTO audit_log ({names}) VALUES ({places})", *about.values())


def actions(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [entry["action"] for entry in answer.json()["entries"]]


def rows(text: str) -> Sequence[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


async def test_only_admins_have_access(shared_api: httpx.AsyncClient, shared_people: People) -> None:
    assert (await shared_api.get("/admin/audit")).status_code == 401
    for person in (await shared_people.user(), await shared_people.facilitator()):
        for query in ({}, {"format": "csv"}):
            answer = await person.get("/admin/audit", params=query)
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_list_is_filtered_and_has_pages(root: Person, emptied_database: asyncpg.Connection) -> None:
    await fill(emptied_database, actor_id="7")
    await fill(emptied_database, action="login.failed", actor_kind="anonymous")
    both = {"actor_kind": "account", "actor_id": "7"}
    assert actions(await root.get("/admin/audit", params=both)) == ["login.succeeded"] * 3
    assert actions(await root.get("/admin/audit", params={"action": "login.failed"})) == ["login.failed"] * 3
    about = {"object_kind": "account", "object_id": "1", "since": "2026-01-01", "limit": "4"}
    page = await root.get("/admin/audit", params=about)
    assert actions(page) == [*["login.failed"] * 3, "login.succeeded"]
    rest = await root.get(page.links["next"]["url"])
    assert (actions(rest), rest.json()["next_cursor"]) == (["login.succeeded"] * 2, None)
    assert actions(await root.get("/admin/audit", params={**both, "until": "2026-01-01T00:00:00Z"})) == []


async def test_reading_is_recorded_with_the_admin_and_the_filter(root: Person) -> None:
    await root.get("/admin/audit", params={"action": "login.failed"})
    await root.get("/admin/audit", params={"format": "csv", "object_kind": "event"})
    entries = (await root.get("/admin/audit", params={"object_kind": "audit_log"})).json()["entries"]
    assert [(each["action"], each["actor_kind"], each["actor_id"], each["after"]) for each in entries] == [
        ("audit.exported", "admin", str(root.id), {"object_kind": "event"}),
        ("audit.read", "admin", str(root.id), {"action": "login.failed"}),
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("actor_kind", "pigeon"),
        ("actor_id", "7"),
        ("actor_id", "ada@example.com"),
        ("action", "lost"),
        ("object_kind", "pigeon"),
        ("object_id", "7"),
        ("since", "yesterday"),
        ("until", "2100-01-01"),
        ("format", "xml"),
        ("limit", "0"),
        ("cursor", "first"),
        ("actor", "7"),
    ],
)
async def test_invalid_filter_is_rejected_with_its_name(root: Person, name: str, value: str) -> None:
    for others in ({}, {"format": "csv"}):
        answer = await root.get("/admin/audit", params={**others, name: value})
        assert (answer.status_code, list(answer.json()["details"])) == (400, [name])


@pytest.mark.parametrize("accept", [None, "text/csv", "text/csv;q=1, application/json;q=0.5"])
async def test_export_as_csv_has_all_entries(
    root: Person, emptied_database: asyncpg.Connection, accept: str | None
) -> None:
    await emptied_database.execute(
        """INSERT INTO audit_log (actor_kind, action, object_kind, object_id, before, request_id)
           SELECT 'account', 'event.changed', 'event', n, '{"price": "30, 40"}', '-request-' || n
           FROM generate_series(1, 1200) n"""
    )
    headers, query = ({}, {"format": "csv"}) if accept is None else ({"Accept": accept}, {})
    answer = await root.api.get("/admin/audit", headers=root.headers | headers, params=query)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="audit.csv"'
    assert answer.headers["cache-control"] == "no-store"
    assert "link" not in answer.headers
    changed = [row for row in rows(answer.text) if row["action"] == "event.changed"]
    assert [row["object_id"] for row in changed] == [str(number) for number in range(1200, 0, -1)]
    assert json.loads(changed[0]["before"]) == {"price": "30, 40"}
    assert changed[0]["request_id"] == "'-request-1200", "spreadsheets do not evaluate it"


@pytest.mark.parametrize("accept", ["application/json", "*/*", "application/json, text/csv;q=0.9", "text/html"])
async def test_other_accepted_types_are_answered_with_json(root: Person, accept: str) -> None:
    answer = await root.api.get("/admin/audit", headers={**root.headers, "Accept": accept})
    assert answer.headers["content-type"] == "application/json"


async def test_export_is_bounded_and_links_the_next_one(
    root: Person, emptied_database: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ReadAuditLog.export.__kwdefaults__ or {}, "most", 4)
    await fill(emptied_database, 6, actor_id="7")
    first = await root.get("/admin/audit", params={"format": "csv", "action": "login.succeeded"})
    rest = await root.get(first.links["next"]["url"])
    assert [len(rows(answer.text)) for answer in (first, rest)] == [4, 2]
    assert "next" not in rest.links


async def test_head_of_an_export_has_no_body(root: Person) -> None:
    answer = await root.api.request("HEAD", "/admin/audit", params={"format": "csv"}, headers=root.headers)
    assert (answer.status_code, answer.content) == (200, b"")
