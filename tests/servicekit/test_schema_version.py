"""Which schemas a version can use, and what it says of the others."""

from pathlib import Path

import pytest

from servicekit.schema_version import SchemaFit, SchemaVersion

FITS = {
    (None, None): (False, "this database has no tables yet: run `convene migrate`"),
    ("0019", None): (False, "the schema is 0019, this version needs 0021: run `convene migrate`"),
    ("0021", None): (True, None),
    ("0021", "0021"): (True, None),
    ("0023", None): (True, "newer than 0021 of this version, which can still use it"),
    ("0023", "0021"): (True, "newer than 0021 of this version, which can still use it"),
    ("0023", "0022"): (False, "versions before 0022 cannot use, and this one has 0021: install the newer version"),
}


@pytest.mark.parametrize(("schema", "expected"), FITS.items(), ids=map(str, FITS))
def test_fit(schema: tuple[str | None, str | None], expected: tuple[bool, str | None]) -> None:
    found, oldest_code = schema
    usable, sentence = expected
    fit = SchemaFit(found, "0021", oldest_code)
    assert fit.usable is usable
    assert fit.sentence == sentence or (sentence and sentence in str(fit.sentence))


def test_needed_revision_is_the_newest_file(tmp_path: Path) -> None:
    for name in ("0009_x.py", "0010_y.py", "0011_z.txt", "__init__.py"):
        (tmp_path / name).touch()
    assert SchemaVersion(tmp_path, "schema_version").needed == "0010"
