"""Passkeys in memory: an authenticator whose answers a test can read, and what verifies them."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from itertools import count
from typing import Any

from application.accounts.ports.second_factors import Passkey, PasskeyResponse
from domain.second_factors import PasskeyNotValid

ORIGIN = "https://booking.example"
RP_ID = "booking.example"


class MemoryAuthenticator:
    """Holds one passkey. It signs with a key that it shares with the verifier. `counts`: whether answers are
    numbered."""

    _numbers = count(1)

    def __init__(self, origin: str = ORIGIN, *, counts: bool = True) -> None:
        self.origin = origin
        self.credential_id = f"credential {next(self._numbers)}".encode()
        self.key = secrets.token_bytes(32)
        self.sign_count = 0
        self.counts = counts

    def create(self, options: Mapping[str, Any]) -> dict[str, Any]:
        return self._answer("create", options["challenge"], options["rp"]["id"], key=self.key.hex())

    def get(self, options: Mapping[str, Any]) -> dict[str, Any]:
        return self._answer("get", options["challenge"], options["rpId"])

    def _answer(self, kind: str, challenge: str, rp_id: str, **more: str) -> dict[str, Any]:
        self.sign_count += self.counts
        signed = f"{kind} {challenge} {self.origin} {rp_id} {self.sign_count}"
        return {
            "id": base64.urlsafe_b64encode(self.credential_id).rstrip(b"=").decode(),
            "signed": signed,
            "signature": hmac.digest(self.key, signed.encode(), hashlib.sha256).hex(),
            **more,
        }


class MemoryPasskeys:
    rp_id = RP_ID

    def challenge(self, response: PasskeyResponse) -> str:
        return self._signed(response)[1]

    def credential_id(self, response: PasskeyResponse) -> bytes:
        given = response.get("id")
        if not isinstance(given, str):
            raise PasskeyNotValid
        return base64.urlsafe_b64decode(given + "=" * (-len(given) % 4))

    def verify_new(self, response: PasskeyResponse, challenge: str) -> Passkey:
        key = bytes.fromhex(response.get("key", ""))
        sign_count = self._verify("create", response, challenge, key)
        return Passkey(self.credential_id(response), key, sign_count)

    def verify(self, response: PasskeyResponse, challenge: str, passkey: Passkey) -> int:
        sign_count = self._verify("get", response, challenge, passkey.public_key)
        if (sign_count or passkey.sign_count) and sign_count <= passkey.sign_count:
            raise PasskeyNotValid
        return sign_count

    def _verify(self, kind: str, response: PasskeyResponse, challenge: str, key: bytes) -> int:
        *said, sign_count = self._signed(response)
        signature = hmac.digest(key, response["signed"].encode(), hashlib.sha256).hex()
        if said != [kind, challenge, ORIGIN, RP_ID] or signature != response["signature"]:
            raise PasskeyNotValid
        return int(sign_count)

    def _signed(self, response: PasskeyResponse) -> list[str]:
        signed = response.get("signed")
        if not isinstance(signed, str) or signed.count(" ") != 4:
            raise PasskeyNotValid
        return signed.split(" ")
