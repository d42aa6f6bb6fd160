"""Standard Webhooks signatures (https://www.standardwebhooks.com, symmetric scheme `v1`)."""

import base64
import hmac
from collections.abc import Sequence

from servicekit.signing_secrets import key_of


class Signer:
    """Signs with every secret, so that receivers may verify with the old or the new one during a rotation.

    Raises ValueError for a secret that is not the base64 of a key, with or without `whsec_` before it.
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        self._keys = [key_of(secret) for secret in secrets]

    def headers(self, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
        """`timestamp`: Unix seconds of this attempt. Empty without secrets."""
        if not self._keys:
            return {}
        content = f"{message_id}.{timestamp}.".encode() + body
        signatures = (base64.b64encode(hmac.digest(key, content, "sha256")).decode() for key in self._keys)
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
        }
