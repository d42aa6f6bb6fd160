"""Templates of the HTML pages. Their package is imported for the first page: most processes send none."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Template


@cache
def template(name: str, *, trimmed: bool = False) -> "Template":
    """`trimmed`: without the blanks around blocks."""
    from jinja2 import Environment, FileSystemLoader

    loader = FileSystemLoader(Path(__file__).parent)
    return Environment(loader=loader, autoescape=True, trim_blocks=trimmed, lstrip_blocks=trimmed).get_template(name)
