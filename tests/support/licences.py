"""The table of third-party licences, made from the metadata of the installed packages.

python -m tests.support.licences docs/third-party-licences.md
"""

import re
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).parents[2]
REQUIREMENTS = {"requirements.txt": "API, worker and CRM", "requirements-embedded.txt": "`convene up` and demo"}
_CLASSIFIER = "License :: OSI Approved :: "


def required(file: str) -> dict[str, str]:
    """Package name → pinned version of a requirements file."""
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", (ROOT / file).read_text(), re.MULTILINE))


def table() -> str:
    """The page in Markdown. Packages for other platforms or Pythons than this one are listed without a licence."""
    lines = [
        "# Third-party licences",
        "",
        "Made by `script/licences` from the packages' own metadata. Convene itself is under the MIT licence.",
        "",
        "| package | version | licence | needed for |",
        "| --- | --- | --- | --- |",
    ]
    return "\n".join([*lines, *_rows()]) + "\n"


def _rows() -> Iterator[str]:
    needed_for: dict[str, tuple[str, str]] = {}
    for file, purpose in REQUIREMENTS.items():
        for name, version in required(file).items():
            needed_for.setdefault(name, (version, purpose))
    for name in sorted(needed_for):
        version, purpose = needed_for[name]
        yield f"| {name} | {version} | {_licence(name)} | {purpose} |"


def _licence(name: str) -> str:
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return "not installed on this platform"
    return (_expression(found) or "see its files").replace("|", "/")


def _expression(found: Distribution) -> str | None:
    metadata = found.metadata
    classifiers = [
        each.removeprefix(_CLASSIFIER) for each in metadata.get_all("Classifier", []) if each.startswith(_CLASSIFIER)
    ]
    declared = next(filter(None, [*metadata.get_all("License-Expression", []), *metadata.get_all("License", [])]), "")
    # Some packages put the whole text of their licence into the field.
    return declared if 0 < len(declared) <= 60 and "\n" not in declared else ", ".join(classifiers) or None


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(table())
