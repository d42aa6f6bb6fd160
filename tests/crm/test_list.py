from pathlib import Path

import httpx

from tests.crm.parts import a_message, running_crm, settings_for


async def _store(client: httpx.AsyncClient, count: int) -> None:
    for number in range(1, count + 1):
        body = a_message(booking_id=number, facilitator=...)
        assert (await client.post("/notify", json=body, headers={"Idempotency-Key": f"m-{number}"})).is_success


async def test_pages_of_the_list_are_linked_newest_first(crm: httpx.AsyncClient) -> None:
    await _store(crm, 5)
    seen, address = [], "/notifications?limit=2"
    while address:
        answer = await crm.get(address)
        assert isinstance(answer.json(), list)
        seen += [item["booking_id"] for item in answer.json()]
        address = answer.links["next"]["url"] if "next" in answer.links else ""
    assert seen == [5, 4, 3, 2, 1]


async def test_envelope_contains_its_next_page(dsn: str, tmp_path: Path) -> None:
    settings = settings_for(dsn, CONVENE_DATA=str(tmp_path), CRM_NOTIFICATIONS_SHAPE="envelope")
    async with running_crm(settings) as client:
        assert (await client.get("/notifications")).json() == {"notifications": [], "next_cursor": None}
        await _store(client, 3)
        first = (await client.get("/notifications?limit=2")).json()
        assert [item["booking_id"] for item in first["notifications"]] == [3, 2]
        rest = (await client.get("/notifications", params={"cursor": first["next_cursor"]})).json()
        assert [item["booking_id"] for item in rest["notifications"]] == [1]
        assert rest["next_cursor"] is None
        assert {"id", "booking_id", "status", "sent_at", "response"} <= rest["notifications"][0].keys()


async def test_list_is_filtered_by_message_and_by_booking(crm: httpx.AsyncClient) -> None:
    await _store(crm, 3)
    [item] = (await crm.get("/notifications", params={"message_id": "m-2"})).json()
    assert (item["booking_id"], item["message_id"], item["action"]) == (2, "m-2", "booking_created")
    assert [i["message_id"] for i in (await crm.get("/notifications?booking_id=3")).json()] == ["m-3"]
    assert (await crm.get("/notifications?booking_id=3&message_id=m-2")).json() == []


async def test_health_check_reports_a_healthy_service(crm: httpx.AsyncClient) -> None:
    answer = await crm.get("/")
    assert answer.status_code == 200
    health = answer.json()
    assert (health["message"], health["status"]) == ("CRM Service is running!", "healthy")
    assert health["timestamp"].endswith("Z")
