import asyncio
import httpx
from infrastructure import container
from domain.messages import Destination
from interfaces.http.app import create_app
from tests.support.http import serving
from tests.support.people import People
import asyncpg


async def run(parts):
    await parts.deliver_due(Destination.PAYMENTS, asyncio.Event(), asyncio.Event())


async def test_pay(make_settings, database):
    s = make_settings(payment_provider="sandbox")
    parts = container.build_deliveries(s)
    async with serving(create_app(s)) as address, httpx.AsyncClient(base_url=address) as api:
        people = People(api)
        f = await people.facilitator(); u = await people.user(); v = await people.user()
        e = await f.creates_event(max_participants=1, refund_policy=[{"hours_before": 24, "percent": 50}])
        r = (await u.post("/bookings", json={"event_id": e["id"]})).json(); print(r)
        path = r["payment_url"].replace(s.public_url, "")
        page = await api.get(path); print(page.status_code, page.text[-500:], page.headers)
        r2 = await api.post(path + "/declined"); print(r2.status_code, r2.headers.get("location"))
        await run(parts)
        print((await u.get(f"/bookings/{r['booking']['id']}")).json()["payment_status"])
        r2 = await api.post(path + "/paid"); print(r2.status_code, r2.text)
        await run(parts)
        print((await u.get(f"/bookings/{r['booking']['id']}")).json()["payment_status"])
        print((await u.get(f"/bookings/{r['booking']['id']}/cancellation")).json())
        print((await u.post(f"/bookings/{r['booking']['id']}/cancel")).json())
        await run(parts)
        print((await u.get(f"/bookings/{r['booking']['id']}")).json())
        # hold expiry, late payment
        r = (await v.post("/bookings", json={"event_id": e["id"]})).json()
        path = r["payment_url"].replace(s.public_url, "")
        await database.execute("update bookings set hold_until = now() - interval '1 second' where id=$1", r["booking"]["id"])
        print("expired", await parts.money.expire_holds())
        await api.post(path + "/paid")
        await run(parts)
        print((await v.get(f"/bookings/{r['booking']['id']}")).json()["payment_status"])
        for t in ("payments", "refunds", "gateway_events", "payment_differences", "sandbox_orders"):
            for row in await database.fetch(f"select * from {t}"): print(t, dict(row))
        for row in await database.fetch("select destination,fact,status,last_error, snapshot->'money' m from outbox order by seq"): print(dict(row))
    await parts.close()
