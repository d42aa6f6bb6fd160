"""Addresses of this service that gateways redirect buyers to.

An address names the payment and is signed, so that it cannot be guessed; it contains nothing about the buyer. It
depends only on the payment, because Stripe rejects a known idempotency key with other parameters.
"""

import base64
import binascii
import hashlib
import hmac
from uuid import UUID

from domain.checkout_return import Outcome
from domain.payments import PaymentId, PaymentNotFound

_ID_BYTES, _SIGNATURE_BYTES = 16, 16


class SignedReturnAddresses:
    def __init__(self, public_url: str, key: bytes) -> None:
        self._public_url = public_url
        self._key = key

    def of(self, payment_id: PaymentId, outcome: Outcome) -> str:
        token = base64.urlsafe_b64encode(payment_id.bytes + self._sign(payment_id.bytes)).decode().rstrip("=")
        # The outcome is a part of the path, because Razorpay adds query parameters.
        return f"{self._public_url}/payment/return/{token}/{outcome}"

    def payment_of(self, token: str) -> PaymentId:
        try:
            content = base64.b64decode(f"{token}=".encode("ascii"), altchars=b"-_", validate=True)
        except (UnicodeEncodeError, binascii.Error):
            raise PaymentNotFound from None
        payment_id, signature = content[:_ID_BYTES], content[_ID_BYTES:]
        if len(payment_id) != _ID_BYTES or not hmac.compare_digest(self._sign(payment_id), signature):
            raise PaymentNotFound
        return PaymentId(UUID(bytes=payment_id))

    def _sign(self, payment_id: bytes) -> bytes:
        return hmac.digest(self._key, payment_id, hashlib.sha256)[:_SIGNATURE_BYTES]
