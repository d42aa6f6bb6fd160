"""Verification of passkeys by py_webauthn, which is imported when the first one is needed."""

import base64
import binascii
import json
from urllib.parse import urlsplit

import structlog

from application.accounts.ports.second_factors import Passkey, PasskeyResponse
from domain.second_factors import PasskeyNotValid

_log = structlog.get_logger()


class WebAuthnPasskeys:
    """Passkeys of the service at `public_url`: its host is their domain, its scheme, host and port their origin."""

    def __init__(self, public_url: str) -> None:
        parts = urlsplit(public_url)
        self.rp_id = parts.hostname or ""
        self._origin = f"{parts.scheme}://{parts.netloc}".lower()

    def challenge(self, response: PasskeyResponse) -> str:
        try:
            claimed = json.loads(_bytes(response["response"]["clientDataJSON"]))["challenge"]
        except (KeyError, TypeError, ValueError, RecursionError):
            raise PasskeyNotValid from None
        if not isinstance(claimed, str) or not claimed.isascii():
            raise PasskeyNotValid
        return claimed

    def credential_id(self, response: PasskeyResponse) -> bytes:
        try:
            return _bytes(response["id"])
        except (KeyError, TypeError, ValueError):
            raise PasskeyNotValid from None

    def verify_new(self, response: PasskeyResponse, challenge: str) -> Passkey:
        from webauthn import verify_registration_response

        try:
            verified = verify_registration_response(
                credential=dict(response),
                expected_challenge=_bytes(challenge),
                expected_rp_id=self.rp_id,
                expected_origin=self._origin,
            )
        except Exception as error:  # parsers of CBOR, COSE and certificates raise many kinds for wrong input
            raise self._refused(error) from None
        return Passkey(verified.credential_id, verified.credential_public_key, verified.sign_count)

    def verify(self, response: PasskeyResponse, challenge: str, passkey: Passkey) -> int:
        from webauthn import verify_authentication_response

        try:
            verified = verify_authentication_response(
                credential=dict(response),
                expected_challenge=_bytes(challenge),
                expected_rp_id=self.rp_id,
                expected_origin=self._origin,
                credential_public_key=passkey.public_key,
                credential_current_sign_count=passkey.sign_count,
            )
        except Exception as error:  # as above
            raise self._refused(error) from None
        return verified.new_sign_count

    def _refused(self, error: Exception) -> PasskeyNotValid:
        _log.info("passkey.refused", error=type(error).__name__)
        return PasskeyNotValid()


def _bytes(text: str) -> bytes:
    """Of base64url without padding. Raises `ValueError`, `TypeError`."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
