"""openapi-typescript makes types of the description, and with them and openapi-fetch a program books and pays."""

import asyncio
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.clients.conftest import HERE, Run
from tests.support.description_checks import operations

COMPILER = (
    *("--strict", "--noEmit", "--skipLibCheck"),
    *("--target", "es2022", "--module", "nodenext", "--allowImportingTsExtensions"),
)
"""As a new project has it. Declarations of libraries are skipped; what is generated is no such declaration."""


@pytest.fixture(scope="module")
def generated(run: Run, workplace: Path) -> subprocess.CompletedProcess[str]:
    """The generator's run: the types are in `api.ts`."""
    (workplace / "package.json").write_text('{"type": "module"}')
    shutil.copy(HERE / "typescript_walk.ts", workplace / "walk.ts")
    return run("node_modules/.bin/openapi-typescript", "openapi.json", "--output", "api.ts")


def test_every_operation_has_types_and_generator_does_not_warn(
    generated: subprocess.CompletedProcess[str], workplace: Path
) -> None:
    """Two lines are printed, the version and the file; each operation is there by its id."""
    printed = (generated.stdout + generated.stderr).split("\n")
    assert generated.returncode == 0
    assert [line.split()[0] for line in printed if line.strip()] == ["✨", "🚀"], printed
    types = (workplace / "api.ts").read_text(encoding="utf-8")
    assert [each for each in operations() if f"\n    {each.operation['operationId']}: {{" not in types] == []


# Takes 5 s: the compiler of TypeScript.
def test_client_is_strictly_typed(generated: subprocess.CompletedProcess[str], run: Run) -> None:
    """The types, and the program that uses them, have no finding of `tsc --strict`."""
    checked = run("node_modules/.bin/tsc", *COMPILER, "walk.ts")
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


async def test_client_registers_books_pays_and_cancels(
    generated: subprocess.CompletedProcess[str], run: Run, address: str
) -> None:
    """Against a running API: an event of a new facilitator is listed, booked, paid at the sandbox and given up."""
    walked = await asyncio.to_thread(run, "node", "walk.ts", address)
    assert (walked.returncode, walked.stderr) == (0, ""), walked.stderr
    assert walked.stdout == "refused with booking_already_cancelled\n"
