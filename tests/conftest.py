"""What all tests share. Those of rules import neither servers nor frameworks, which would take longer than they do."""

import gc
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from servicekit.time_zones import use_newest_time_zones
from tests.support import hypothesis_profiles  # noqa: F401 (registers and loads them)

if TYPE_CHECKING:
    import httpx

IN_MEMORY = [Path(__file__).parent / name for name in ("domain", "application", "mails")]
"""Directories of tests that start nothing: they have no fixtures of servers."""

# What is imported and collected stays.
gc.disable()

# Expected local times are those of the services, which read the newest database.
use_newest_time_zones()


def pytest_collection_finish() -> None:
    """The garbage collector need not look at what was imported again for each application."""
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Other modules find the fixtures of servers when they are imported."""
    if isinstance(collector, pytest.Module) and collector.path.parent not in IN_MEMORY:
        collector.config.pluginmanager.import_plugin("tests.support.fixtures")


def a_client(address: str) -> "httpx.AsyncClient":
    """Every answer that a test gets through it has to be as the API's description says. It has 60 s: on a busy machine
    fifty requests at once take more than the 5 s of httpx."""
    import httpx

    from tests.support.description_checks import as_described

    return httpx.AsyncClient(base_url=address, event_hooks={"response": [as_described]}, timeout=60)
