"""Contrast as WCAG 2.2 defines it."""

import pytest

from servicekit.colours import READABLE, colour, contrast, hexadecimal, lightened

BLACK, WHITE = (0, 0, 0), (255, 255, 255)


def test_contrast_of_known_pairs() -> None:
    assert contrast(BLACK, WHITE) == contrast(WHITE, BLACK) == 21
    assert contrast(WHITE, WHITE) == 1
    assert round(contrast(colour("#767676"), WHITE), 2) == 4.54
    assert round(contrast(colour("#777777"), WHITE), 2) == 4.48


@pytest.mark.parametrize("text", ["", "red", "#fff", "#12345g", "#1234567", "123456", "#１23456"])
def test_text_that_is_no_colour_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="#rrggbb"):
        colour(text)


def test_colour_is_written_as_it_was_read() -> None:
    assert hexadecimal(colour("#0A1bfF")) == "#0a1bff"


@pytest.mark.parametrize("text", ["#000000", "#2f6f5e", "#00008b", "#ffffff"])
def test_lightened_colour_is_readable_on_a_dark_background(text: str) -> None:
    background = colour("#1f2623")
    assert contrast(lightened(colour(text), background), background) >= READABLE
