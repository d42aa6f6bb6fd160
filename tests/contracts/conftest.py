import pytest

from tests.crm.fixtures import *  # noqa: F403
from tests.support import endpoint_coverage


@pytest.fixture(scope="module", autouse=True)
def walk() -> None:
    """A module walks its part of a document as a whole: `--dist=loadfile` keeps its tests together and in order."""
    endpoint_coverage.begin()
