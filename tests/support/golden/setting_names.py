"""Names and defaults of the settings of both services, found out from outside: by what each service does with them."""

import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from crm.settings import SettingsError as CrmSettingsError
from crm.settings import load_settings as load_crm_settings
from infrastructure.settings import SettingsError, load_settings

_ROOT = Path(__file__).parents[3]
_SERVICES: Mapping[str, tuple[Callable[[Mapping[str, str]], object], Mapping[str, str]]] = {
    "booking api": (
        load_settings,
        {
            "DATABASE_URL": "postgresql://u@db/convene",
            "REDIS_URL": "redis://redis",
            "JWT_SECRET_KEY": "j" * 32,
            "CRM_BEARER_TOKEN": "c" * 32,
            "BACKEND_SERVICE_TOKEN": "b" * 32,
        },
    ),
    "crm": (load_crm_settings, {"CRM_DATABASE_URL": "postgresql://u@db/convene_crm", "CRM_BEARER_TOKEN": "c" * 32}),
}
_OTHER = ("no/such\x01value", "https://elsewhere.example/", "another-value-that-is-long-enough-for-every-secret", "1")
"""No default, and at least one of them changes or stops a service that reads the setting."""


def settings() -> dict[str, Any]:
    """`default` is that of `.env.example`; `same without` says which service is the same with it as without."""
    return {name: _setting(name, default) for name, default in listed().items()}


def _setting(name: str, default: str) -> dict[str, Any]:
    reading = [service for service in _SERVICES if any(_differs(service, name, value) for value in _OTHER)]
    return {
        "default": default,
        "read by": reading,
        "needed by": [service for service in reading if isinstance(_loaded(service, {name: ""}), str)],
        "from a file": [service for service in reading if _differs(service, f"{name}_FILE", "/no/such/file")],
        "same without": [service for service in reading if default and not _differs(service, name, default)],
    }


def refusal(service: str, name: str) -> str:
    """The message with which `service` refuses a text that is no value of any setting; empty where it accepts it."""
    answer = _loaded(service, {name: _OTHER[0]})
    return answer if isinstance(answer, str) else ""


def listed() -> dict[str, str]:
    """The settings of `.env.example`, with their values there."""
    text = (_ROOT / ".env.example").read_text(encoding="utf-8")
    return dict(re.findall(r"^#([A-Z0-9_]+)=(.*)$", text, re.MULTILINE))


def _differs(service: str, name: str, value: str) -> bool:
    return _loaded(service, {name: value}) != _as_is(service)


@cache
def _as_is(service: str) -> object:
    return _loaded(service, {})


def _loaded(service: str, changes: Mapping[str, str]) -> object:
    """The settings, or the words in which they are refused."""
    load, needed = _SERVICES[service]
    try:
        return load({**needed, **changes})
    except (SettingsError, CrmSettingsError) as error:
        return str(error)
