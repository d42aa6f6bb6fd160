import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Invalid
from domain.text import line, optional_line, text_with_lines


@given(st.text(max_size=30))
def test_line_is_trimmed_and_within_its_limits_or_rejected(text: str) -> None:
    try:
        kept = line("name", text, at_most=20)
    except Invalid as refused:
        assert refused.details.keys() == {"name"}
    else:
        assert kept == text.strip()
        assert 1 <= len(kept) <= 20
        assert len(kept.splitlines()) == 1
        assert not {unicodedata.category(char) for char in kept} & {"Cc", "Cs", "Zl", "Zp"}
        kept.encode()


@pytest.mark.parametrize("char", ["\0", "\n", "\r", "\t", "\x0b", "\x1b", "\x7f", "\x85", "\u2028", "\u2029", "\ud800"])
def test_line_rejects_characters_that_break_mail_headers(char: str) -> None:
    with pytest.raises(Invalid):
        line("title", f"a{char}b", at_most=20)


@pytest.mark.parametrize("text", ["Yoga", "Йога", "瑜伽", "Yoga 🧘", "a\u00a0b", "x" * 20])
def test_text_in_every_script_is_accepted(text: str) -> None:
    assert line("title", text, at_most=20) == text_with_lines("notes", text, at_most=20) == text


@pytest.mark.parametrize("text", ["", "  ", "\u2800", "\u2800 \u2800", "\u3000\u2800"], ids=ascii)
def test_line_without_visible_characters_is_empty(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        line("title", text, at_most=20)
    assert refused.value.details == {"title": "Must not be empty"}
    assert optional_line("category", text, at_most=20) is None


def test_prose_accepts_line_breaks_and_tabs_but_no_other_control_characters() -> None:
    assert text_with_lines("notes", " One\r\n\tTwo\n", at_most=20) == " One\r\n\tTwo\n"
    for char in ("\0", "\x07", "\x1b", "\x7f", "\ud800"):
        with pytest.raises(Invalid):
            text_with_lines("notes", f"a{char}b", at_most=20)


def test_limits_count_characters() -> None:
    assert text_with_lines("notes", "", at_most=3) == ""
    assert text_with_lines("notes", "🧘🧘🧘", at_most=3) == "🧘🧘🧘"
    with pytest.raises(Invalid):
        text_with_lines("notes", "🧘🧘🧘🧘", at_most=3)
    with pytest.raises(Invalid):
        line("name", "   ", at_most=3)
    assert line("location", "   ", at_most=3, at_least=0) == ""
