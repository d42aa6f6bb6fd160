"""`.env.example` lists every setting of both services with its default, and nothing else."""

import itertools
import re
from pathlib import Path

from crm.settings import load_settings as load_crm_settings
from infrastructure.settings import Settings, load_settings

ROOT = Path(__file__).parents[2]
NEEDED = {
    "DATABASE_URL": "postgresql://u@db/convene",
    "REDIS_URL": "redis://redis",
    "JWT_SECRET_KEY": "j" * 32,
    "CRM_BEARER_TOKEN": "c" * 32,
    "BACKEND_SERVICE_TOKEN": "b" * 32,
    "CRM_DATABASE_URL": "postgresql://u@db/convene_crm",
}


def listed() -> dict[str, str]:
    lines = (ROOT / ".env.example").read_text().splitlines()
    return dict(re.findall(r"^#([A-Z0-9_]+)=(.*)$", "\n".join(lines), re.MULTILINE))


def crm_names() -> set[str]:
    """The variables that the CRM reads; its settings group some of them, so field names are not enough."""
    return set(re.findall(r"\bread(?:\.\w+\(|, )[\"']([A-Z0-9_]+)[\"']", (ROOT / "crm" / "settings.py").read_text()))


def test_example_lists_exactly_the_settings_of_both_services() -> None:
    assert set(listed()) == {name.upper() for name in Settings.__struct_fields__} | crm_names()
    assert crm_names() > {"CRM_DATABASE_URL", "CRM_BEARER_TOKEN"}


def test_listed_values_are_the_defaults() -> None:
    given = {name: value for name, value in listed().items() if value}
    assert load_settings(NEEDED | given) == load_settings(NEEDED)
    assert load_crm_settings(NEEDED | given | {"CONVENE_DATA": "var"}) == load_crm_settings(NEEDED)


def test_every_setting_has_an_explanation() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    for before, line in itertools.pairwise(lines):
        if re.match(r"#[A-Z0-9_]+=", line):
            assert before.startswith("# "), line
