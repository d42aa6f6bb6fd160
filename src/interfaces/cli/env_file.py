"""Names in `.env` that are not settings but resemble one."""

import difflib
from collections.abc import Iterable, Iterator
from pathlib import Path

from dotenv import dotenv_values

from infrastructure.settings import SECRETS, Settings

CRM_NAMES = frozenset(
    {
        "BOOKING_API_URL",
        "CRM_DATABASE_DIRECT_URL",
        "CRM_DATABASE_POOL_SIZE",
        "CRM_DATABASE_URL",
        "CRM_NOTIFICATIONS_SHAPE",
        "CRM_RETENTION_DAYS",
        "CRM_SIGNING_SECRETS",
        "CRM_WEBHOOK_SECRET",
        "FORWARD_FLASK_TOKEN",
        "FORWARD_FLASK_URL",
    }
)
"""The settings that only the CRM reads. A test compares all names with `.env.example`."""

CRM_SECRETS = frozenset(
    {
        "CRM_DATABASE_DIRECT_URL",
        "CRM_DATABASE_URL",
        "CRM_SIGNING_SECRETS",
        "CRM_WEBHOOK_SECRET",
        "FORWARD_FLASK_TOKEN",
    }
)
_OTHER_NAMES = frozenset(
    {
        "API_DATABASE_PASSWORD",
        "BACKUP_PASSPHRASE",
        "BACKUP_PASSPHRASE_FILE",
        "CONVENE_PASSWORD",
        "CRM_DATABASE_PASSWORD",
        "DATABASE_PASSWORD",
        "PROMETHEUS_MULTIPROC_DIR",
    }
)
"""Variables that are not settings of a service: those of `docker-compose.yml`, of a command and of a library."""

_SIMILAR = 0.8
"""Minimum of difflib's ratio: one letter missing, added or wrong in a short name, or two letters exchanged."""


def setting_names() -> frozenset[str]:
    """Every setting of the booking API, the worker and the CRM."""
    return frozenset(name.upper() for name in Settings.__struct_fields__) | CRM_NAMES


def misspelt_names(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Pairs of an unknown name and the setting that it resembles most. Names that resemble none are omitted, because
    other programs may share the file."""
    settings = setting_names()
    known = settings | {f"{name}_FILE" for name in SECRETS | CRM_SECRETS} | _OTHER_NAMES
    for name in names:
        if name in known:
            continue
        # The ending is not compared, because it makes different names similar.
        stem, ending = (name[:-5], "_FILE") if name.upper().endswith("_FILE") else (name, "")
        if near := difflib.get_close_matches(stem.upper(), sorted(settings), n=1, cutoff=_SIMILAR):
            yield name, near[0] + ending


def misspelt_lines(path: Path) -> list[str]:
    """One line for each misspelt name in the file; a file that does not exist has none."""
    if not path.is_file():
        return []
    return [
        f"{path} sets {name}, which is no setting and has no effect: did you mean {near}?"
        for name, near in misspelt_names(dotenv_values(path))
    ]
