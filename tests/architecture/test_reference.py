"""The references of settings and metrics are those that the code generates."""

import pytest

from tests.support.golden import setting_names
from tests.support.reference import ALSO_CRM, PAGES, ROOT, topics


@pytest.mark.parametrize("path", PAGES)
def test_page_is_up_to_date(path: str) -> None:
    assert (ROOT / path).read_text(encoding="utf-8") == PAGES[path](), "run `python -m tests.support.reference`"


def test_comments_name_the_settings_that_the_crm_reads_too() -> None:
    found = setting_names.settings()
    explained = {name: text for settings in topics().values() for name, text in settings.items()}
    assert explained.keys() == found.keys()
    marked = {name for name, text in explained.items() if text.endswith(ALSO_CRM)}
    assert marked == {name for name, facts in found.items() if len(facts["read by"]) == 2}


def test_every_explanation_is_a_sentence() -> None:
    for settings in topics().values():
        for name, text in settings.items():
            assert text[0].isupper(), name
            assert text.endswith((".", ")")), name
