"""openapi-python-client makes a complete, typed client of the description, and that client books and pays."""

import asyncio
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.clients.conftest import HERE, ROOT, Run
from tests.support.description_checks import operations


@pytest.fixture(scope="module")
def generated(run: Run, workplace: Path) -> subprocess.CompletedProcess[str]:
    """The generator's run: the package is `client/convene_client`."""
    shutil.copy(HERE / "python_walk.py", workplace / "walk.py")
    return run("openapi-python-client", "generate", "--path", "openapi.json", "--output-path", "client")


# Takes 4 s: the generator writes 300 modules.
def test_client_has_every_operation_and_generator_does_not_warn(
    generated: subprocess.CompletedProcess[str], workplace: Path
) -> None:
    """A module for each operation, in the package of its group, and not a word besides "Generating"."""
    assert (generated.returncode, generated.stdout.strip(), generated.stderr) == (0, "Generating client", "")
    made = {
        f"{module.parent.name}/{module.stem}"
        for module in (workplace / "client" / "convene_client" / "api").glob("*/*.py")
        if module.stem != "__init__"
    }
    expected = {
        f"{_snake(described.operation['tags'][0])}/{_snake(described.operation['operationId'])}"
        for described in operations()
    }
    assert made == expected


# Takes 4 s after a run of mypy over the project, else 10 s: 300 modules.
def test_client_is_strictly_typed(generated: subprocess.CompletedProcess[str], run: Run) -> None:
    """The whole client, and the program that uses it, have no finding of `mypy --strict`."""
    # What mypy knows of the standard library and of httpx from its look at the project is of use here as well.
    options = ("--strict", "--python-version", "3.11", "--cache-dir", str(ROOT / ".mypy_cache"))
    checked = run("mypy", *options, "walk.py", "client/convene_client", MYPYPATH="client")
    assert (checked.returncode, checked.stderr) == (0, ""), checked.stdout


async def test_client_registers_books_pays_and_cancels(
    generated: subprocess.CompletedProcess[str], run: Run, address: str
) -> None:
    """Against a running API: an event of a new facilitator is listed, booked, paid at the sandbox and given up."""
    walked = await asyncio.to_thread(run, "python", "walk.py", address, PYTHONPATH="client")
    assert (walked.returncode, walked.stderr) == (0, ""), walked.stderr
    assert walked.stdout == "refused with booking_already_cancelled\n"


def _snake(name: str) -> str:
    """As the generator names modules: `logIn` is `log_in`, `Calendar feed` is `calendar_feed`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])| ", "_", name).lower()
