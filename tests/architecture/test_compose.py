"""Docker Compose takes docker-compose.yml; it and the Dockerfile use only commands, options and settings that exist."""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from infrastructure.settings import Settings
from interfaces.cli import COMMANDS, convene
from tests.architecture.test_settings_listed import crm_names
from tests.support.tools import fetched

ROOT = Path(__file__).parents[2]
SECRETS = (
    "POSTGRES_PASSWORD",
    "API_DATABASE_PASSWORD",
    "CRM_DATABASE_PASSWORD",
    "JWT_SECRET_KEY",
    "CRM_BEARER_TOKEN",
    "BACKEND_SERVICE_TOKEN",
)


class UniqueKeyLoader(yaml.SafeLoader):
    """Refuses a key that is given twice, as Docker Compose does; PyYAML takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if key.value != "<<"]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"given twice: {sorted(twice)}", node.start_mark)
        return super().construct_mapping(node, deep)


COMPOSE: dict[str, Any] = yaml.load((ROOT / "docker-compose.yml").read_text(), UniqueKeyLoader)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "convene"}
OF_OTHERS = {
    *("POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_INITDB_ARGS"),
    *("API_DATABASE_PASSWORD", "CRM_DATABASE_PASSWORD"),
}
"""Names that the image postgres and docker/create-databases.sh read."""
SETTINGS = {name.upper() for name in Settings.__struct_fields__} | crm_names()


def command_lines() -> list[list[str]]:
    dockerfile = (ROOT / "Dockerfile").read_text()
    lines = [json.loads(line) for line in re.findall(r"^CMD (\[.*\])$", dockerfile, re.MULTILINE)]
    for service in OURS.values():
        lines += [service["command"], service.get("healthcheck", {}).get("test", ["CMD"])[1:]]
    return [line for line in lines if line and line[0] == "convene"]


def check_command(line: list[str]) -> None:
    """Fails unless `line` is a command of `convene` with options that it has."""
    name, *arguments = line[1:]
    assert name in COMMANDS
    command = convene.get_command(click.Context(convene), name)
    assert command is not None
    with click.Context(command) as context:
        command.parse_args(context, list(arguments))


def parsed_by_compose(text: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """The result of `docker compose config`: of the program that script/tools fetched, else of the installed Docker."""
    parser = fetched("docker-compose")
    program = [str(parser)] if parser.exists() else ["docker", "compose"]
    (directory / "docker-compose.yml").write_text(text)
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory), **dict.fromkeys(SECRETS, "secret")}
    return subprocess.run(
        [*program, "--project-directory", str(ROOT), "-f", str(directory / "docker-compose.yml"), "config"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_docker_compose_accepts_the_file_and_rejects_a_duplicate_key(tmp_path: Path) -> None:
    has_parser = (platform.system(), platform.machine()) == ("Linux", "x86_64") or shutil.which("docker")
    text = (ROOT / "docker-compose.yml").read_text()
    repeated = text.replace("    LOG_LEVEL:", "    LOG_LEVEL: info\n    LOG_LEVEL:", 1)
    assert repeated != text
    with pytest.raises(yaml.constructor.ConstructorError, match="LOG_LEVEL"):
        yaml.load(repeated, UniqueKeyLoader)
    if has_parser:  # elsewhere only the loader above reads it
        taken = parsed_by_compose(text, tmp_path)
        assert (taken.returncode, taken.stderr) == (0, "")
        assert yaml.safe_load(taken.stdout)["services"].keys() == SERVICES.keys()
        assert parsed_by_compose(repeated, tmp_path).returncode != 0


def test_images_are_pinned_to_a_version() -> None:
    images = [service["image"] for name, service in SERVICES.items() if name not in OURS]
    images += re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert all(re.search(r":v?\d+\.\d+", image) for image in images), images


# Takes 7 s: a new interpreter imports everything.
def test_services_start_with_only_the_packages_of_the_image() -> None:
    required = set(re.findall(r"^([a-z0-9.-]+)==", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
    assert not required & {"faker", "polyfactory", "hatchling", "editables", "pytest"}
    others = sorted(
        module
        for module, names in packages_distributions().items()
        if not {re.sub(r"[-_.]+", "-", name).lower() for name in names} & (required | {"convene"})
    )
    done = subprocess.run(
        [sys.executable, "-c", _START_WITHOUT, json.dumps(others)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


_START_WITHOUT = """
import json, sys
from importlib.machinery import PathFinder

absent = frozenset(json.loads(sys.argv[1]))

class InstalledInTheImage(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in absent else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = InstalledInTheImage
import crm.app, interfaces.http.app, interfaces.workers.main
from interfaces.cli import convene
convene(["openapi", "--output", "/dev/null"], standalone_mode=False)
"""


def test_compose_file_has_the_expected_services() -> None:
    assert set(SERVICES) == {"archive", "postgres", "redis", "mail", "migrate", "api", "worker", "crm"}
    assert set(OURS) == {"migrate", "api", "worker", "crm"}


@pytest.mark.parametrize("line", command_lines(), ids=" ".join)
def test_every_command_and_option_exists(line: list[str]) -> None:
    check_command(line)


def test_every_environment_name_is_a_setting() -> None:
    for service in OURS.values():
        assert set(service["environment"]) <= SETTINGS
    others = {name for key, service in SERVICES.items() if key not in OURS for name in service.get("environment", {})}
    assert others <= OF_OTHERS
    asked = re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text())
    assert set(asked) <= SETTINGS | OF_OTHERS
    set_in_image = re.findall(r"(\w+)=", re.findall(r"^ENV (.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)[0])
    assert set(set_in_image) <= SETTINGS | {"PATH", "PYTHONUNBUFFERED"}


def test_every_setting_of_a_service_can_be_set() -> None:
    given = set(OURS["migrate"]["environment"])
    assert SETTINGS - given == {"CONVENE_DATA", "CONVENE_EMBEDDED"}
    assert given - set(OURS["api"]["environment"]) == {"CRM_DATABASE_URL"}
    assert given - set(OURS["worker"]["environment"]) == {"CRM_DATABASE_URL"}
    assert given - set(OURS["crm"]["environment"]) == {"DATABASE_URL"}


def test_secrets_are_required_and_have_no_default() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    for name in SECRETS:
        uses = re.findall(r"\$\{" + name + r"([^}]*)\}", text)
        assert uses
        assert all(use.startswith(":?") for use in uses)


def test_services_start_after_the_migration() -> None:
    for name in ("api", "worker", "crm"):
        assert OURS[name]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    assert OURS["migrate"]["depends_on"]["postgres"]["condition"] == "service_healthy"


def test_every_long_running_service_has_a_health_check_and_the_image_a_user() -> None:
    assert all("healthcheck" in service for name, service in SERVICES.items() if name not in {"archive", "migrate"})
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert re.search(r"^USER 10001$", dockerfile, re.MULTILINE)
    assert "--require-hashes -r requirements.txt" in dockerfile
