"""The files of ops/ name only metrics, commands, settings and pages that exist, and their tools accept them."""

import configparser
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import kubernetes_validate
import pytest
import yaml

from interfaces.cli import convene
from tests.architecture.test_compose import SETTINGS, UniqueKeyLoader, check_command
from tests.support.tools import fetched

ROOT = Path(__file__).parents[2]
OPS = ROOT / "ops"
PROMETHEUS = OPS / "prometheus"
RULES: list[dict[str, Any]] = yaml.load((PROMETHEUS / "alerts.yml").read_text(), UniqueKeyLoader)["groups"][0]["rules"]
ALERTS = [rule["alert"] for rule in RULES]
PANELS = [panel for panel in json.loads((OPS / "grafana" / "convene.json").read_text())["panels"] if "targets" in panel]
UNITS = sorted((OPS / "systemd").glob("*.service"))
MANIFESTS = sorted((OPS / "kubernetes").glob("*.yaml"))
IN_DATA = re.compile(r"convene_[a-z_]+")
OLDEST_KUBERNETES = "1.31"


def metric_names() -> set[str]:
    """As in docs/metrics.md, which a test compares with the code; with the samples of the histograms."""
    rows = re.findall(r"^\| `(convene_\w+)` \| (\w+) \|", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE)
    samples = {f"{name}{end}" for name, kind in rows if kind == "histogram" for end in ("_bucket", "_sum", "_count")}
    return {name for name, kind in rows if kind != "histogram"} | samples


def metric_of(sample: str) -> str:
    return re.sub(r"_(bucket|sum|count)$", "", sample)


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("promtool", path=f"{fetched('promtool').parent}:/usr/bin:/usr/local/bin")
    if program is None:
        pytest.fail("no promtool: install it, on Debian and Ubuntu with: apt install prometheus", pytrace=False)
    return subprocess.run(
        [program, *arguments], cwd=PROMETHEUS, capture_output=True, text=True, timeout=170, check=False
    )


def test_promtool_accepts_the_rules_and_their_tests_pass() -> None:
    checked = promtool("check", "rules", "alerts.yml")
    assert checked.returncode == 0, checked.stderr
    assert f"{len(ALERTS)} rules found" in checked.stdout
    tested = promtool("test", "rules", "alerts_test.yml")
    assert tested.returncode == 0, tested.stdout + tested.stderr
    configured = promtool("check", "config", "--syntax-only", "prometheus.yml")
    assert configured.returncode == 0, configured.stderr


def test_promtool_finds_an_error(tmp_path: Path) -> None:
    wrong = tmp_path / "alerts.yml"
    wrong.write_text((PROMETHEUS / "alerts.yml").read_text().replace("max(convene_holds_overdue)", "max(convene_holds"))
    assert promtool("check", "rules", str(wrong)).returncode != 0


def test_every_alert_is_tested() -> None:
    tests = yaml.load((PROMETHEUS / "alerts_test.yml").read_text(), UniqueKeyLoader)["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == set(ALERTS)


@pytest.mark.parametrize("rule", RULES, ids=ALERTS)
def test_alert_has_known_metrics_a_severity_and_a_runbook(rule: dict[str, Any]) -> None:
    assert set(IN_DATA.findall(rule["expr"])) <= metric_names()
    assert rule["labels"]["severity"] in {"page", "ticket"}
    page = ROOT / rule["annotations"]["runbook"]
    assert page == OPS / "runbooks" / f"{rule['alert']}.md"
    text = page.read_text()
    assert text.startswith(f"# {rule['alert']}\n")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Check", "Act"]


def test_every_runbook_belongs_to_an_alert_and_names_known_metrics() -> None:
    pages = list((OPS / "runbooks").glob("*.md"))
    assert {page.stem for page in pages} == set(ALERTS)
    for page in pages:
        assert set(IN_DATA.findall(page.read_text())) <= metric_names() | {metric_of(name) for name in metric_names()}


def test_runbooks_name_commands_and_settings_that_exist() -> None:
    for page in (OPS / "runbooks").glob("*.md"):
        for name, rest in re.findall(r"`convene ([a-z-]+)([^`]*)`", page.read_text()):
            command = convene.get_command(click.Context(convene), name)
            assert command is not None, name
            assert not isinstance(command, click.Group) or rest.split()[0] in command.commands, rest
        assert set(re.findall(r"`([A-Z]+_[A-Z_]+)(?:=\w+)?`", page.read_text())) <= SETTINGS


def test_every_panel_shows_metrics_that_exist_and_every_metric_has_a_panel() -> None:
    shown = {name for panel in PANELS for target in panel["targets"] for name in IN_DATA.findall(target["expr"])}
    assert shown <= metric_names()
    assert {metric_of(name) for name in shown} == {metric_of(name) for name in metric_names()}
    identifiers = [panel["id"] for panel in PANELS]
    assert len(set(identifiers)) == len(identifiers)


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_unit_starts_a_command_that_exists_and_restarts_it(path: Path) -> None:
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(path)
    service = unit["Service"]
    program, *arguments = service["ExecStart"].split()
    assert program == "/opt/convene/.venv/bin/convene"
    check_command(["convene", *arguments])
    assert service["User"] == "convene"
    if service.get("Type") != "oneshot":
        assert (service["Restart"], int(service["TimeoutStopSec"]) > 10) == ("always", True)
        assert "convene-migrate.service" in unit["Unit"]["After"]


def test_units_and_manifests_set_only_settings() -> None:
    named = set(re.findall(r"^(\w+)=", (OPS / "systemd" / "convene.env").read_text(), re.MULTILINE))
    for path in UNITS:
        named |= set(re.findall(r"^Environment=(\w+)=", path.read_text(), re.MULTILINE))
    settings = next(each for each in documents() if each["kind"] == "ConfigMap")
    named |= set(settings["data"])
    named |= set(re.findall(r"--from-literal=(\w+)=", (OPS / "kubernetes" / "settings.yaml").read_text()))
    assert named <= SETTINGS | {"BACKUP_PASSPHRASE", "BACKUP_PASSPHRASE_FILE"}


def documents() -> Iterator[dict[str, Any]]:
    for path in MANIFESTS:
        if path.name != "kustomization.yaml":
            yield from yaml.load_all(path.read_text(), UniqueKeyLoader)


def workloads() -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each for each in documents() if each["kind"] == "Deployment"}


@pytest.mark.parametrize("version", [OLDEST_KUBERNETES, kubernetes_validate.latest_version()])
def test_kubernetes_accepts_the_manifests(version: str) -> None:
    for each in documents():
        named = each["metadata"] | {"name": each["metadata"].get("name", "generated")}
        kubernetes_validate.validate(each | {"metadata": named}, version, strict=True)
    wrong = workloads()["convene-api"] | {"spec": {"replica": 2}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, version, strict=True)


def test_kustomization_applies_every_manifest_but_the_migration() -> None:
    kustomization = yaml.load((OPS / "kubernetes" / "kustomization.yaml").read_text(), UniqueKeyLoader)
    assert {*kustomization["resources"], "migrate.yaml", "kustomization.yaml"} == {path.name for path in MANIFESTS}


def test_containers_start_commands_that_exist_and_are_probed() -> None:
    assert set(workloads()) == {"convene-api", "convene-worker", "convene-crm"}
    budgets = {each["metadata"]["name"]: each["spec"] for each in documents() if each["kind"] == "PodDisruptionBudget"}
    assert set(budgets) == set(workloads())
    for name, workload in workloads().items():
        spec = workload["spec"]
        (container,) = spec["template"]["spec"]["containers"]
        check_command(container["args"])
        assert container["livenessProbe"]["httpGet"]["path"] == "/health/live"
        assert ("readinessProbe" in container) == (name != "convene-worker")
        assert spec["replicas"] > budgets[name]["minAvailable"]
        assert spec["selector"] == budgets[name]["selector"]
        assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]


def test_migration_and_backup_are_jobs_of_the_same_image() -> None:
    (job,) = (each for each in documents() if each["kind"] == "Job")
    (cron_job,) = (each for each in documents() if each["kind"] == "CronJob")
    pods = [each["spec"]["template"]["spec"] for each in [job, cron_job["spec"]["jobTemplate"], *workloads().values()]]
    for pod in pods:
        check_command(pod["containers"][0]["args"])
    images = {pod["containers"][0]["image"] for pod in pods}
    version = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    assert images == {f"registry.example.com/convene:{version[1]}"}
