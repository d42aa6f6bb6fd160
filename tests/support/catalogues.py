"""The catalogues of the pages: `python -m tests.support.catalogues` adds new texts to each, and removes old ones.

A new text has no translation yet, and a changed one is marked as fuzzy: both are to be translated by a person, which
`tests/web/test_languages.py` checks.
"""

from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po, write_po

from domain.languages import LANGUAGES
from interfaces.http.web.languages import LOCALES

_WEB = LOCALES.parent
_METHODS = [("**.py", "python"), ("templates/**.html", "jinja2.ext:babel_extract")]
_OPTIONS = {"templates/**.html": {"trim_blocks": "true", "lstrip_blocks": "true", "silent": "false"}}


_HEADER = """msgid ""
msgstr ""
"Content-Type: text/plain; charset=utf-8\\n"
"Language: {code}\\n"
"Plural-Forms: {plurals}\\n"

"""
"""Without dates and names, which version control has."""


def extracted() -> Catalog:
    """The texts of the pages in the order of their files."""
    found = Catalog(project="Convene", version="", charset="utf-8")
    for path, line, message, comments, context in extract_from_dir(_WEB, _METHODS, _OPTIONS):
        found.add(message, None, [(path, line)], auto_comments=comments, context=context)
    return found


def path_of(code: str) -> Path:
    return LOCALES / code / "LC_MESSAGES" / "messages.po"


def read(code: str) -> Catalog:
    with path_of(code).open("rb") as file:
        return read_po(file, locale=code)


def write(code: str) -> None:
    """A catalogue that does not exist begins without translations."""
    path = path_of(code)
    catalogue = read(code) if path.exists() else Catalog(locale=code, charset="utf-8")
    catalogue.update(extracted(), no_fuzzy_matching=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    header = _HEADER.format(code=code, plurals=catalogue.plural_forms)
    with path.open("wb") as file:
        file.write(header.encode())
        write_po(file, catalogue, width=120, omit_header=True, no_location=True, ignore_obsolete=True)


if __name__ == "__main__":
    for each in LANGUAGES[1:]:
        write(each)
