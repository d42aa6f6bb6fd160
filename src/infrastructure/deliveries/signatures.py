"""Standard Webhooks signatures (https://www.standardwebhooks.com, symmetric scheme `v1`)."""

import base64
import hmac
from collections.abc import Sequence

PREFIX = "whsec_"


class Signer:
    """Signs with every secret, so that a receiver may hold the old or the new one while they are rotated.

    As the standard's libraries do, a secret is the base64 of its key, with or without `whsec_` before it; one that is
    no base64 is the key itself.
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        self._keys = [_key(secret) for secret in secrets]

    def headers(self, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
        """`timestamp` is Unix seconds of this very attempt. Empty without secrets."""
        if not self._keys:
            return {}
        content = f"{message_id}.{timestamp}.".encode() + body
        signatures = (base64.b64encode(hmac.digest(key, content, "sha256")).decode() for key in self._keys)
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
        }


def _key(secret: str) -> bytes:
    text = secret.removeprefix(PREFIX)
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return text.encode()
