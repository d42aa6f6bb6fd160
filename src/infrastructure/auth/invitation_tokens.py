"""The secret in the link of an invitation: its id, and a MAC of the id under a key of this deployment."""

import base64
import binascii
import hashlib
import hmac
from uuid import UUID

from domain.invitations import InvitationId, InvitationNotFound

_ID_BYTES, _MAC_BYTES = 16, 26
"""Bytes of id and MAC: together a multiple of 3, so that base64 has no padding."""


class MacInvitationTokens:
    """No stored data allows deriving a link: the database has only the id, and mails are composed at send time. Another
    key invalidates all links that were sent."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def token(self, invitation_id: InvitationId) -> str:
        return base64.urlsafe_b64encode(invitation_id.bytes + self._mac(invitation_id.bytes)).decode()

    def read(self, token: str) -> InvitationId:
        try:
            content = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
        except (binascii.Error, UnicodeEncodeError):
            raise InvitationNotFound from None
        id_bytes, mac = content[:_ID_BYTES], content[_ID_BYTES:]
        if len(id_bytes) != _ID_BYTES or not hmac.compare_digest(mac, self._mac(id_bytes)):
            raise InvitationNotFound
        return InvitationId(UUID(bytes=id_bytes))

    def _mac(self, id_bytes: bytes) -> bytes:
        return hmac.digest(self._key, id_bytes, hashlib.sha256)[:_MAC_BYTES]
