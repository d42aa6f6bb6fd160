"""docker-compose.yml and the Dockerfile use only commands, options and settings that exist."""

import json
import re
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from infrastructure.settings import Settings
from interfaces.cli import COMMANDS, convene
from tests.architecture.test_settings_listed import crm_names

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "convene"}
OF_OTHERS = {"POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD", "POSTGRES_INITDB_ARGS"}
"""Names the image postgres reads."""
SETTINGS = {name.upper() for name in Settings.__struct_fields__} | crm_names()


def command_lines() -> list[list[str]]:
    dockerfile = (ROOT / "Dockerfile").read_text()
    lines = [json.loads(line) for line in re.findall(r"^CMD (\[.*\])$", dockerfile, re.MULTILINE)]
    for service in OURS.values():
        lines += [service["command"], service.get("healthcheck", {}).get("test", ["CMD"])[1:]]
    return [line for line in lines if line and line[0] == "convene"]


def test_the_services_of_the_design_are_there() -> None:
    assert set(SERVICES) == {"postgres", "redis", "mail", "migrate", "api", "worker", "crm"}
    assert set(OURS) == {"migrate", "api", "worker", "crm"}


@pytest.mark.parametrize("line", command_lines(), ids=" ".join)
def test_every_command_and_option_exists(line: list[str]) -> None:
    name, *arguments = line[1:]
    assert name in COMMANDS
    command = convene.get_command(click.Context(convene), name)
    assert command is not None
    with click.Context(command) as context:
        command.parse_args(context, list(arguments))


def test_every_environment_name_is_a_setting() -> None:
    for service in OURS.values():
        assert set(service["environment"]) <= SETTINGS
    others = {name for key, service in SERVICES.items() if key not in OURS for name in service.get("environment", {})}
    assert others <= OF_OTHERS
    asked = re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text())
    assert set(asked) <= SETTINGS | OF_OTHERS
    set_in_image = re.findall(r"(\w+)=", re.findall(r"^ENV (.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)[0])
    assert set(set_in_image) <= SETTINGS | {"PATH", "PYTHONUNBUFFERED"}


def test_every_setting_of_a_service_can_be_given() -> None:
    given = set(OURS["api"]["environment"])
    assert SETTINGS - given == {"CONVENE_DATA", "CONVENE_EMBEDDED"}


def test_secrets_are_asked_for_and_have_no_default() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    for name in ("POSTGRES_PASSWORD", "JWT_SECRET_KEY", "CRM_BEARER_TOKEN", "BACKEND_SERVICE_TOKEN"):
        uses = re.findall(r"\$\{" + name + r"([^}]*)\}", text)
        assert uses
        assert all(use.startswith(":?") for use in uses)


def test_nothing_serves_before_the_schema_is_there() -> None:
    for name in ("api", "worker", "crm"):
        assert OURS[name]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    assert OURS["migrate"]["depends_on"]["postgres"]["condition"] == "service_healthy"


def test_every_lasting_service_has_a_health_check_and_the_image_a_user() -> None:
    assert all("healthcheck" in service for name, service in SERVICES.items() if name != "migrate")
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert re.search(r"^USER convene$", dockerfile, re.MULTILINE)
    assert "--require-hashes -r requirements.txt" in dockerfile
