"""Generated secrets for settings that are not given, stored in `<data>/secrets.env`."""

import base64
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path

from dotenv import dotenv_values

from infrastructure.embedded.errors import EmbeddedError


def _signing_secret() -> str:
    """A secret in the form of Standard Webhooks: `whsec_` and 24 to 64 random bytes in base64."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


_MAKERS: Mapping[str, Callable[[], str]] = {
    "JWT_SECRET_KEY": lambda: secrets.token_hex(32),
    "CRM_BEARER_TOKEN": lambda: secrets.token_hex(32),
    "BACKEND_SERVICE_TOKEN": lambda: secrets.token_hex(32),
    "TOKEN_ENCRYPTION_KEYS": lambda: secrets.token_hex(32),
    "METRICS_TOKEN": lambda: secrets.token_hex(32),
    "DELIVERY_SIGNING_SECRETS": _signing_secret,
}


def kept_secrets(data: Path) -> dict[str, str]:
    """The secrets of this data directory. Missing ones are generated and stored, readable by the owner only."""
    path = data / "secrets.env"
    try:
        known = {name: value for name, value in dotenv_values(path).items() if value}
        missing = [name for name in _MAKERS if name not in known]
        if missing:
            known |= {name: _MAKERS[name]() for name in missing}
            write_private(path, known)
        path.chmod(0o600)
    except OSError as error:
        raise EmbeddedError(f"{path} cannot be used ({error.strerror}): check who owns it") from None
    return known


def write_private(path: Path, values: Mapping[str, str]) -> None:
    """Writes `NAME='value'` lines atomically, with mode 0600."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        for name, value in values.items():
            escaped = value.replace("\\", "\\\\").replace("'", "\\'")
            file.write(f"{name}='{escaped}'\n")
    fresh.replace(path)
