"""The table of third-party licences names every package that the services need, in the pinned version."""

import re
from pathlib import Path

from tests.support.licences import REQUIREMENTS, required

PAGE = Path(__file__).parents[2] / "docs" / "third-party-licences.md"


def test_every_required_package_is_in_the_table() -> None:
    listed = dict(re.findall(r"^\| ([A-Za-z0-9._-]+) \| ([^ |]+) \|", PAGE.read_text(), re.MULTILINE))
    pinned = {name: version for file in REQUIREMENTS for name, version in required(file).items()}
    del listed["package"], listed["---"]
    assert listed == pinned, "run script/licences"
