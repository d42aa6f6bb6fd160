"""Encryption of secrets at rest with AES-256-GCM, bound to the place where they are stored.

An encrypted secret is a version byte, the id of its key, a nonce of 96 random bits and the ciphertext with its tag.
Version, key id and place are authenticated: decryption fails if the secret was moved to another row or changed, or if
its key is unknown. Random nonces are safe for 2^32 secrets of one key (NIST SP 800-38D, 8.3).
"""

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_VERSION = b"\x01"
_ID_BYTES, _NONCE_BYTES = 8, 12
_HEAD_BYTES = len(_VERSION) + _ID_BYTES
_KEY_BYTES = 32


class SealBroken(Exception):
    """Decryption failed: the key is unknown, the secret belongs to another place, or it was changed."""


class SecretBox:
    """Encrypts with the first of `keys` and decrypts with all of them. A key is a text of any length; its strength is
    its entropy. The package `cryptography`, 10 MB of a process, is imported for the first secret."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = keys

    @cached_property
    def _ciphers(self) -> Mapping[bytes, "AESGCM"]:
        """By the id of the key. The first one encrypts."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return {key_id: AESGCM(key) for key_id, key in map(_derive, self._keys)}

    @property
    def _sealing(self) -> bytes | None:
        return next(iter(self._ciphers), None)

    def seal(self, secret: bytes, place: str) -> bytes:
        if self._sealing is None:
            raise SealBroken("there is no key: set TOKEN_ENCRYPTION_KEYS")
        head, nonce = _VERSION + self._sealing, os.urandom(_NONCE_BYTES)
        return head + nonce + self._ciphers[self._sealing].encrypt(nonce, secret, head + place.encode())

    def open(self, sealed: bytes, place: str) -> bytes:
        """Raises `SealBroken`."""
        from cryptography.exceptions import InvalidTag

        head, rest = sealed[:_HEAD_BYTES], sealed[_HEAD_BYTES:]
        cipher = self._ciphers.get(head[len(_VERSION) :])
        if cipher is None or not head.startswith(_VERSION):
            raise SealBroken("it is sealed by a key that is not among TOKEN_ENCRYPTION_KEYS")
        try:
            return cipher.decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], head + place.encode())
        except (InvalidTag, ValueError):
            raise SealBroken("it was sealed for another place, or has been changed") from None

    def is_current(self, sealed: bytes) -> bool:
        """Whether it was encrypted with the present key."""
        return self._sealing is not None and sealed.startswith(_VERSION + self._sealing)


def _derive(key: str) -> tuple[bytes, bytes]:
    """The id of the key, which does not reveal it, and the key of the cipher."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    made = HKDF(SHA256(), length=_ID_BYTES + _KEY_BYTES, salt=None, info=b"convene secret box").derive(key.encode())
    return made[:_ID_BYTES], made[_ID_BYTES:]
