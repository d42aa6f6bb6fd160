"""Languages of the pages."""

import re

from domain.languages import LANGUAGES


def test_languages_are_codes_and_the_first_is_that_of_the_code() -> None:
    assert LANGUAGES[0] == "en"
    assert all(re.fullmatch("[a-z]{2,3}", code) for code in LANGUAGES)
    assert len(set(LANGUAGES)) == len(LANGUAGES)
