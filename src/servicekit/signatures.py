"""Standard Webhooks signatures (https://www.standardwebhooks.com, symmetric scheme `v1`) by the published package."""

import base64
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from standardwebhooks import Webhook

PREFIX = "whsec_"
ADVICE = "give the base64 of a random key, with or without whsec_ before it; `openssl rand -base64 32` makes one"
TOLERANCE_SECONDS = 300
"""As in the package."""

_ID, _TIMESTAMP, _SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
_V1 = re.compile(r"v1,[A-Za-z0-9+/]{43}=")


class InvalidSignature(Exception):
    """The headers do not sign the body. The message is for the sender."""


def key_of(secret: str) -> bytes:
    """The key in a secret: base64, with or without the prefix `whsec_`. Raises ValueError for another text.

    The package also accepts other texts, and then signs with a key that libraries of other languages do not derive.
    """
    key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    if not key:
        raise ValueError("no key")
    return key


class Signer:
    """Signs with every key, so that receivers may verify with the old or the new one during a rotation."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._webhooks = [Webhook(key) for key in keys]

    def headers(self, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
        """`timestamp`: Unix seconds of this attempt. Empty without keys."""
        if not self._webhooks:
            return {}
        moment, text = datetime.fromtimestamp(timestamp, UTC), body.decode()
        signatures = " ".join(webhook.sign(message_id, moment, text) for webhook in self._webhooks)
        return {_ID: message_id, _TIMESTAMP: str(timestamp), _SIGNATURE: signatures}


def verify(headers: Mapping[str, str], body: bytes, keys: Sequence[bytes], now: datetime) -> None:
    """Raises `InvalidSignature` unless one of `keys` signed `body` less than five minutes before or after `now`."""
    message_id, timestamp = headers.get(_ID, ""), headers.get(_TIMESTAMP, "")
    if not message_id or not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        raise InvalidSignature(f"The {_ID}, {_TIMESTAMP} and {_SIGNATURE} headers are needed")
    if abs(now.timestamp() - int(timestamp)) > TOLERANCE_SECONDS:
        raise InvalidSignature(f"The {_TIMESTAMP} is more than five minutes off")
    given = [each for each in headers.get(_SIGNATURE, "").split() if _V1.fullmatch(each)]
    try:
        text = body.decode()
    except UnicodeError:
        raise InvalidSignature("The body is not UTF-8") from None
    moment = datetime.fromtimestamp(int(timestamp), UTC)
    # Not by the package's own `verify`, which compares the timestamp with the machine's clock.
    signed = [Webhook(key).sign(message_id, moment, text) for key in keys]
    if not any(hmac.compare_digest(ours, theirs) for ours in signed for theirs in given):
        raise InvalidSignature(f"The {_SIGNATURE} does not match")
