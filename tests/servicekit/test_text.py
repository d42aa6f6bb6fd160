import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servicekit.text import MOST_MARKS, clean, clean_line, has_visible, isolated, problem

READABLE = [
    "Yoga",
    "Привет",
    "瑜伽",
    "葛\U000e0100城市",  # a person's name with its own form of a character
    "👩\u200d🚀",
    "🏳\ufe0f\u200d🌈 Pride",
    "❤\ufe0f\u200d🔥",
    "👨🏽\u200d🦰",
    "1\ufe0f\u20e3",
    "\u260e\ufe0e",
    "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",  # the flag of England
    "می\u200cخواهم",
    "السلام عليكم \u200fWorld",
    "שלום\u200f!",
    "שָׁלוֹם",
    "יְרוּשָׁלִַ\u034fם",
    "C++\u200e في",
    "क\u094d\u200dष",
    "ක\u0dca\u200dෂ",
    "നൻ\u200d",
    "ᠨᠠᠶ\u180eᠠ",
    "Ｚｏë",
    "Zoe\u0308",
    "a\u00a0b\u3000c",
    "\u0600123",  # a visible sign, of the category of format characters
    "\U0001fae8",  # an emoji that the Unicode of Python 3.11 does not know
]

UNREADABLE = [
    *(f"a{chr(code)}b" for code in (0x202A, 0x202B, 0x202C, 0x202D, 0x202E, 0x2066, 0x2067, 0x2068, 0x2069)),
    *(f"a{chr(code)}b" for code in (0x200B, 0x2060, 0x2061, 0x2064, 0xFEFF, 0x00AD, 0x034F, 0x061C, 0x180E)),
    *(f"a{chr(code)}b" for code in (0x115F, 0x1160, 0x3164, 0xFFA0, 0x17B4, 0x2065, 0xFFF9, 0xFFFB, 0xE0001, 0xE0061)),
    *(f"a{chr(code)}b" for code in (0xE000, 0xF8FF, 0xF0000, 0x10FFFF, 0xFFFF, 0xFDD0, 0x1FFFE, 0xD800, 0xDFFF)),
    "\u200b\u200b\u200b",
    "\u200d",
    "\u200e \u200f",
    "a \u200f b",
    "a\u200d\u200d\u200d\u200db",
    "a\ufe0f",
    "❤\ufe0f\ufe0f",
    "\U0001f3f4\U000e0067\U000e0062",  # a flag without its end
    "\u0301",
    "\u0301a",
    "a" + "\u0301" * (MOST_MARKS + 1),
]


@pytest.mark.parametrize("text", READABLE)
def test_text_in_every_script_and_emoji_are_unchanged(text: str) -> None:
    assert problem(text) is None
    assert clean(text) == text
    assert has_visible(text)


@pytest.mark.parametrize("text", UNREADABLE, ids=ascii)
def test_invisible_characters_are_rejected_or_removed(text: str) -> None:
    assert problem(text) is not None
    assert problem(text, lines=True) is not None
    assert problem(clean(text)) is None


@pytest.mark.parametrize(
    "text", ["", " ", "\u3000", "\u200b\u200b\u200b", "\u2800", "\u3164", "\u200e", "\u0301", "\ufe0f"]
)
def test_text_without_visible_characters_is_not_visible(text: str) -> None:
    assert not has_visible(text)


def test_only_visible_signs_and_joiners_of_format_characters_are_allowed() -> None:
    formats = [code for code in range(0x110000) if unicodedata.category(chr(code)) == "Cf"]
    allowed = {code for code in formats if not problem(f"a{chr(code)}b")}
    signs = {*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD, *range(0x13430, 0x13440)}
    assert allowed - signs == {0x200C, 0x200D, 0x200E, 0x200F}


def test_every_visible_character_is_allowed() -> None:
    everything = [chr(code) for code in range(0x20, 0x110000)]
    shown = [char for char in everything if unicodedata.category(char)[0] in "LNPS"]
    assert problem("".join(char for char in shown if char not in "\u115f\u1160\u3164\uffa0")) is None
    hidden = [char for char in everything if unicodedata.category(char) in {"Cc", "Cs", "Co", "Zl", "Zp"}]
    assert clean("".join(hidden)).isspace()


any_text = st.text(
    st.characters()
    | st.sampled_from(
        "a \u05d0\u0301\u200b\u200c\u200d\u200e\u202e\ufe0f\U0001f3f4\U000e0067\U000e007f\u180e\u1820\u034f\u05b8"
    ),
    max_size=50,
)


@given(any_text)
def test_cleaned_text_is_accepted_and_accepted_text_is_clean(text: str) -> None:
    cleaned = clean(text)
    assert problem(cleaned) is None
    assert clean(cleaned) == cleaned
    if problem(text) is None:
        assert cleaned == text
    if problem(text, lines=True) is None:
        assert clean(text, lines=True) == text


@given(any_text, st.integers(1, 20))
def test_cleaned_line_is_one_line_within_its_length(text: str, at_most: int) -> None:
    line = clean_line(text, at_most=at_most)
    assert len(line) <= at_most
    assert len(line.splitlines()) <= 1
    line.encode()


@given(st.text(st.characters(max_codepoint=0x590)))
def test_text_without_right_to_left_letters_is_not_isolated(text: str) -> None:
    assert isolated(text) == text


@pytest.mark.parametrize("text", ["שלום", "a العربية", "١٢٣"])
def test_right_to_left_text_is_isolated(text: str) -> None:
    assert isolated(text) == f"\u2068{text}\u2069"
