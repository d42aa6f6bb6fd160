async def test_smoke(people, api, database):
    f = await people.facilitator()
    u = await people.user()
    e = await f.creates_event(max_participants=1)
    print(e)
    b = await u.books(e["id"])
    print(b)
    v = await people.user()
    r = await v.post("/bookings", json={"event_id": e["id"]})
    print(r.status_code, r.text, r.headers)
    r = await u.post("/bookings", json={"event_id": e["id"]})
    print(r.status_code, r.text)
    print((await u.get("/bookings")).text)
    print((await u.get(f"/bookings/{b['id']}")).text)
    r = await f.put(f"/events/{e['id']}", json={"location": "Studio Z"})
    print(r.text)
    print((await u.post(f"/bookings/{b['id']}/cancel")).text)
    print((await u.post(f"/bookings/{b['id']}/cancel")).text)
    await v.books(e["id"])
    print((await f.get(f"/facilitator/events/{e['id']}/bookings")).text)
    print((await f.post(f"/facilitator/events/{e['id']}/cancel")).text)
    print((await f.get(f"/facilitator/events")).text)
    print((await f.delete(f"/events/{e['id']}")).text)
    print(
        (await api.get("/events?type=YOGA&limit=2")).text,
        (await api.get("/nope")).text,
        (await api.put("/events")).text,
        (await api.head("/")).headers,
    )
    for r in await database.fetch("select destination,lane,fact,snapshot from outbox order by seq"):
        print(dict(r))
    print((await api.get("/health")).text)
    for body in [
        b"{",
        b"[" * 1000,
        b'{"email": "\xff"}',
        b'{"email":"a\\u0000"}',
        b'{"event_id": 9223372036854775808}',
        b"{}",
        b"x" * 70000,
    ]:
        r = await api.post("/auth/login", content=body, headers={"content-type": "application/json"})
        print(r.status_code, r.text)
    print((await api.post("/auth/login", content=b"{}")).text)
    r = await u.post("/auth/logout")
    print(r.text)
    print((await u.get("/profile")).text)
