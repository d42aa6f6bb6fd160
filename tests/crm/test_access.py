"""Who may call, and what every answer carries."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from tests.crm.parts import TOKEN, a_message, running_crm, settings_for


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", b"Bearer \xff\xfe"],
)
@pytest.mark.parametrize(("method", "path"), [("POST", "/notify"), ("GET", "/notifications")])
async def test_missing_or_invalid_token_returns_401(
    refusing_crm: httpx.AsyncClient, method: str, path: str, authorization: str | bytes | None
) -> None:
    headers = {b"Authorization": authorization} if authorization is not None else {}
    async with httpx.AsyncClient(base_url=refusing_crm.base_url, headers=headers) as stranger:  # type: ignore[arg-type]
        answer = await stranger.request(method, path, json=a_message())
    assert answer.status_code == 401
    error = answer.json()
    assert (error["error"], error["message"]) == ("Unauthorized", "Invalid or missing token")
    assert error["code"] == "invalid_token"
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_token_is_checked_before_the_body_is_read(refusing_crm: httpx.AsyncClient) -> None:
    answer = await refusing_crm.post("/notify", content=b"{" * 70000, headers={"Authorization": "Bearer wrong"})
    assert answer.status_code == 401


@pytest.mark.parametrize("path", ["/", "/notifications", "/nowhere"])
async def test_every_answer_has_security_headers_and_a_request_id(refusing_crm: httpx.AsyncClient, path: str) -> None:
    answer = await refusing_crm.get(path)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["x-request-id"]


async def test_valid_request_id_is_kept_and_invalid_one_replaced(crm: httpx.AsyncClient) -> None:
    sane = await crm.get("/nowhere", headers={"X-Request-ID": "trace-1"})
    assert sane.headers["x-request-id"] == "trace-1"
    assert sane.json()["request_id"] == "trace-1"
    odd = await crm.get("/nowhere", headers={"X-Request-ID": "a b\tc" * 50})
    assert " " not in odd.headers["x-request-id"]
    assert odd.json()["request_id"] == odd.headers["x-request-id"]


OLD, NEW = b"the secret of last year", "whsec_" + base64.b64encode(b"the secret of this year").decode()


@pytest.fixture(scope="module")
async def signed_crm(_served_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    data = str(tmp_path_factory.mktemp("crm"))
    settings = settings_for(
        _served_dsn, CONVENE_DATA=data, CRM_SIGNING_SECRETS=f"{NEW}, {base64.b64encode(OLD).decode()}"
    )
    async with running_crm(settings) as client:
        yield client


def _signed(body: bytes, secret: bytes, moment: float | None = None) -> dict[str, str]:
    timestamp = str(int(moment or time.time()))
    digest = hmac.new(secret, f"msg_1.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return {
        "Content-Type": "application/json",
        "webhook-id": "msg_1",
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{base64.b64encode(b'x' * 32).decode()} v1,{base64.b64encode(digest).decode()}",
    }


BODY = json.dumps(a_message()).encode()


@pytest.mark.parametrize("secret", [OLD, b"the secret of this year"])
async def test_signature_by_any_of_the_secrets_is_accepted(signed_crm: httpx.AsyncClient, secret: bytes) -> None:
    assert (await signed_crm.post("/notify", content=BODY, headers=_signed(BODY, secret))).status_code == 200


@pytest.mark.parametrize(
    "headers",  # made when the test runs: a signature ages
    [
        pytest.param(lambda: {"Content-Type": "application/json"}, id="none"),
        pytest.param(lambda: _signed(BODY, b"another secret"), id="wrong secret"),
        pytest.param(lambda: _signed(BODY + b" ", OLD), id="another body"),
        pytest.param(lambda: _signed(BODY, OLD, time.time() - 400), id="too old"),
        pytest.param(lambda: _signed(BODY, OLD, time.time() + 400), id="too new"),
        pytest.param(lambda: {**_signed(BODY, OLD), "webhook-id": "msg_2"}, id="another id"),
        pytest.param(lambda: {**_signed(BODY, OLD), "webhook-timestamp": "now"}, id="no number"),
        pytest.param(lambda: {**_signed(BODY, OLD), "webhook-signature": "v1,###"}, id="not base64"),
    ],
)
async def test_invalid_signature_is_rejected(
    signed_crm: httpx.AsyncClient, headers: Callable[[], dict[str, str]]
) -> None:
    answer = await signed_crm.post("/notify", content=BODY, headers=headers())
    assert answer.status_code == 401
    assert answer.json()["code"] == "invalid_signature"


async def test_without_secrets_the_signature_headers_are_ignored(crm: httpx.AsyncClient) -> None:
    assert (await crm.post("/notify", content=BODY, headers=_signed(BODY, b"any"))).status_code == 200
