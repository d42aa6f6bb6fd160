"""Standard Webhooks signatures (https://www.standardwebhooks.com, symmetric scheme `v1`) by the published package."""

import base64
import re
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from standardwebhooks import Webhook, WebhookVerificationError

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


def verify(headers: Mapping[str, str], body: bytes, keys: Sequence[bytes]) -> None:
    """Raises `InvalidSignature` unless one of `keys` signed `body` less than five minutes ago."""
    message_id, timestamp = headers.get(_ID, ""), headers.get(_TIMESTAMP, "")
    if not message_id or not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        raise InvalidSignature(f"The {_ID}, {_TIMESTAMP} and {_SIGNATURE} headers are needed")
    if abs(time.time() - int(timestamp)) > TOLERANCE_SECONDS:
        raise InvalidSignature(f"The {_TIMESTAMP} is more than five minutes off")
    # The package stops at the first entry of another form.
    signatures = " ".join(each for each in headers.get(_SIGNATURE, "").split() if _V1.fullmatch(each))
    given = {_ID: message_id, _TIMESTAMP: timestamp, _SIGNATURE: signatures}
    if not any(_verifies(Webhook(key), body, given) for key in keys):
        raise InvalidSignature(f"The {_SIGNATURE} does not match")


def _verifies(webhook: Webhook, body: bytes, headers: dict[str, str]) -> bool:
    try:
        webhook.verify(body, headers, json_parse=False)
    except (WebhookVerificationError, UnicodeError):
        return False
    return True
