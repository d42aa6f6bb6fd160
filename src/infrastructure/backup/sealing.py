"""Encryption of the secrets of a backup with a passphrase: scrypt and AES-256-GCM.

A sealed text is a mark with the version, a salt, a nonce and the ciphertext with its tag. The manifest is authenticated
with it, and thereby the checksums of all files.
"""

import hashlib
import os
from collections.abc import Mapping

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from infrastructure.backup.errors import BackupError

SHORTEST_PASSPHRASE = 12
_MARK = b"convene-secrets-1\n"
_SALT_BYTES, _NONCE_BYTES = 16, 12
_COST, _BLOCK, _PARALLEL = 2**15, 8, 3
"""32 MiB and a quarter of a second for each guess (OWASP, Password Storage Cheat Sheet)."""


def seal(secrets: Mapping[str, str], passphrase: str, manifest: bytes) -> bytes:
    """Raises `BackupError` for a short passphrase."""
    if len(passphrase) < SHORTEST_PASSPHRASE:
        raise BackupError(f"the passphrase is too short: give at least {SHORTEST_PASSPHRASE} characters")
    salt, nonce = os.urandom(_SALT_BYTES), os.urandom(_NONCE_BYTES)
    text = msgspec.json.encode(dict(secrets))
    return _MARK + salt + nonce + _cipher(passphrase, salt).encrypt(nonce, text, _bound(manifest))


def open_sealed(sealed: bytes, passphrase: str, manifest: bytes) -> dict[str, str]:
    """Raises `BackupError` if the passphrase is wrong, or if the secrets or the manifest were changed."""
    salt_at = len(_MARK)
    nonce_at, text_at = salt_at + _SALT_BYTES, salt_at + _SALT_BYTES + _NONCE_BYTES
    salt, nonce = sealed[salt_at:nonce_at], sealed[nonce_at:text_at]
    if not sealed.startswith(_MARK):
        raise BackupError("the secrets of the backup were changed: choose another backup")
    try:
        text = _cipher(passphrase, salt).decrypt(nonce, sealed[text_at:], _bound(manifest))
    except (InvalidTag, ValueError):
        raise BackupError("the passphrase is wrong, or manifest or secrets of the backup were changed") from None
    return msgspec.json.decode(text, type=dict[str, str])


def _cipher(passphrase: str, salt: bytes) -> AESGCM:
    key = Scrypt(salt=salt, length=32, n=_COST, r=_BLOCK, p=_PARALLEL).derive(passphrase.encode())
    return AESGCM(key)


def _bound(manifest: bytes) -> bytes:
    return _MARK + hashlib.sha256(manifest).digest()
