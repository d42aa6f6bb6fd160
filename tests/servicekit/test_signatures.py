"""Standard Webhooks signatures, against the published package and by the words of its specification."""

import base64
import hmac
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from servicekit.clock import machine_time
from servicekit.signatures import InvalidSignature, Signer, key_of, verify

OLD, NEW, BODY = b"o" * 32, b"n" * 24, '{"name": "Łukasz"}'.encode()
IDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1)


def signed(*keys: bytes, seconds_ago: int = 0) -> dict[str, str]:
    return Signer(keys).headers("msg_1", int(time.time()) - seconds_ago, BODY)


@given(st.text().map(str.encode), IDS, st.lists(st.binary(min_size=1), min_size=1, max_size=3))
def test_signature_is_the_specified_hmac_with_each_key(body: bytes, message_id: str, keys: list[bytes]) -> None:
    moment = int(time.time())
    headers = Signer(keys).headers(message_id, moment, body)
    content = f"{message_id}.{moment}.".encode() + body
    expected = [base64.b64encode(hmac.digest(key, content, "sha256")).decode() for key in keys]
    assert headers == {
        "webhook-id": message_id,
        "webhook-timestamp": str(moment),
        "webhook-signature": " ".join(f"v1,{each}" for each in expected),
    }
    for key in keys:
        verify(headers, body, [b"another", key], machine_time())
        Webhook(f"whsec_{base64.b64encode(key).decode()}").verify(body, headers, json_parse=False)


def test_without_keys_requests_are_not_signed() -> None:
    assert Signer([]).headers("msg_1", 1, BODY) == {}


@pytest.mark.parametrize(("held", "accepted"), [([NEW], True), ([OLD], True), ([b"x", OLD], True), ([b"x"], False)])
def test_either_key_verifies_during_a_rotation(held: list[bytes], accepted: bool) -> None:
    headers = signed(NEW, OLD)
    if accepted:
        verify(headers, BODY, held, machine_time())
        return
    with pytest.raises(InvalidSignature, match="does not match"):
        verify(headers, BODY, held, machine_time())


ODD = ["v2,aGVsbG8=", "v1", "v1,", "v1,%%%", "v1,a,b", "garbage", "v1,ünïcode", "v1a,x"]


@pytest.mark.parametrize("odd", ODD)
def test_malformed_entry_is_ignored_beside_a_valid_signature(odd: str) -> None:
    headers = signed(NEW)
    verify(
        {**headers, "webhook-signature": f"{odd}  {headers['webhook-signature']} {odd}"}, BODY, [NEW], machine_time()
    )
    with pytest.raises(InvalidSignature, match="does not match"):
        verify({**headers, "webhook-signature": odd}, BODY, [NEW], machine_time())


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=60), st.binary(max_size=20))
def test_other_headers_and_body_are_rejected(message_id: str, timestamp: str, signature: str, body: bytes) -> None:
    for moment in (timestamp, str(int(time.time()))):
        headers = {"webhook-id": message_id, "webhook-timestamp": moment, "webhook-signature": signature}
        with pytest.raises(InvalidSignature):
            verify(headers, body, [NEW], machine_time())


@pytest.mark.parametrize("timestamp", ["", "now", "-1", "1.5", "1e9", "nan", "²", "1" * 400])
def test_timestamp_must_consist_of_digits(timestamp: str) -> None:
    with pytest.raises(InvalidSignature, match="headers are needed"):
        verify({**signed(NEW), "webhook-timestamp": timestamp}, BODY, [NEW], machine_time())


@pytest.mark.parametrize(("seconds_ago", "accepted"), [(240, True), (-240, True), (360, False), (-360, False)])
def test_signature_is_valid_for_five_minutes(seconds_ago: int, accepted: bool) -> None:
    headers = signed(NEW, seconds_ago=seconds_ago)
    if accepted:
        verify(headers, BODY, [NEW], machine_time())
        return
    with pytest.raises(InvalidSignature, match="five minutes off"):
        verify(headers, BODY, [NEW], machine_time())


def test_signature_is_valid_by_the_given_time() -> None:
    now = datetime(2031, 3, 5, 12, tzinfo=UTC)
    headers = Signer([NEW]).headers("msg_1", int(now.timestamp()), BODY)
    verify(headers, BODY, [NEW], now)
    with pytest.raises(InvalidSignature, match="five minutes off"):
        verify(headers, BODY, [NEW], machine_time())


@pytest.mark.parametrize("secret", ["", "whsec_", "no base64 at all", "whsec_abc", "a" * 33])
def test_secret_that_is_not_base64_is_rejected(secret: str) -> None:
    with pytest.raises(ValueError):
        key_of(secret)


def test_secret_is_base64_with_or_without_its_prefix() -> None:
    encoded = base64.b64encode(OLD).decode()
    assert key_of(encoded) == key_of(f"whsec_{encoded}") == OLD
