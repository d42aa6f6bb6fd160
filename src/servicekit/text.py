"""Validation of the characters in entered text, and cleaning of received text.

Rejected, by Unicode category and list:

- control characters (Cc), in one line also line separators (Zl, Zp); text of several lines has line breaks and tabs,
- surrogates (Cs), noncharacters and private use (Co), which have no common display,
- invisible characters: format characters (Cf) and the property Default_Ignorable_Code_Point, among them zero width
  spaces, the soft hyphen, U+FEFF, bidirectional embeddings, overrides and isolates, and the Hangul fillers,
- a combining mark (M) at the start, and more than 30 of them in a row (UAX #15, Stream-Safe Text Format).

Allowed invisible characters, because words and emoji need them: ZWNJ, ZWJ, LRM and RLM beside a visible character; one
variation selector after a visible character other than a Latin letter; tag characters in the flag of a region; the
Mongolian vowel separator between Mongolian letters; U+034F after a Hebrew point. Signs such as U+0600 that are format
characters by category are visible. Unassigned code points are allowed: a newer Unicode may have a letter or an emoji
there.

Standard library only: the domain imports this module.
"""

import re
import unicodedata

MOST_MARKS = 30
"""Combining marks in a row."""

_FIRST_STRONG_ISOLATE, _POP_ISOLATE = "\u2068", "\u2069"

_JOINERS = "\u200c-\u200f"
_SELECTORS = "\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef"
# Default_Ignorable_Code_Point of Unicode 15.1, and of Cf the interlinear annotations; without the two above.
_HIDDEN = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e00ff\U000e01f0-\U000e0fff"
)
_UNSOUND = (
    "\ud800-\udfff\ufdd0-\ufdef\ue000-\uf8ff\U000f0000-\U0010ffff"
    + "".join(f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, 0xF0000, 0x10000))  # noncharacters
)
# Spaces (Zs), and the Braille pattern without dots.
_BLANK = " \u00a0\u1680\u2000-\u200a\u202f\u205f\u3000\u2800"
_CONTROLS = "\u0000-\u001f\u007f-\u009f\u2028\u2029"
_UNSEEN = _CONTROLS + _BLANK + _JOINERS + _HIDDEN + _UNSOUND

_FLAG = "\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{1,6}\U000e007f"
_VOWEL_SEPARATOR = "(?<=[\u1820-\u18aa])\u180e(?=[\u1820-\u18aa])"
_POINTED = "(?<=[\u0591-\u05c7])\u034f"
_MISPLACED_JOINER = f"(?<![^{_UNSEEN}])[{_JOINERS}](?![^{_UNSEEN}{_SELECTORS}])"
_MISPLACED_SELECTOR = f"(?<![^{_UNSEEN}{_SELECTORS}A-Za-z])[{_SELECTORS}]"

_ALLOWED = re.compile(f"{_FLAG}|{_VOWEL_SEPARATOR}|{_POINTED}")
_REFUSED = re.compile(f"[{_HIDDEN}{_UNSOUND}]|{_MISPLACED_JOINER}|{_MISPLACED_SELECTOR}")
_KEPT_OR_REFUSED = re.compile(f"(?P<kept>{_ALLOWED.pattern})|{_REFUSED.pattern}")
_CONTROL_IN_LINE = re.compile(f"[{_CONTROLS}]")
_CONTROL_IN_LINES = re.compile("[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]")
_VISIBLE = re.compile(f"[^{_UNSEEN}{_SELECTORS}]")
_INVISIBLE = re.compile(f"[{_JOINERS}{_SELECTORS}{_HIDDEN}{_UNSOUND}]")
# Every run of marks matches, because no mark is a letter or digit. Most texts have none and are not checked by
# character.
_MANY_SIGNS = re.compile(rf"[^\w\s]{{{MOST_MARKS + 1}}}")


def problem(text: str, *, lines: bool = False) -> str | None:
    """The reason to reject entered text, None for valid text. `lines`: whether it may have several lines.

    Costs up to 1.5 ms for 1,000 characters: check the length first.
    """
    if (_CONTROL_IN_LINES if lines else _CONTROL_IN_LINE).search(text):
        return "Must not contain control characters" if lines else "Must be one line without control characters"
    return None if text.isascii() else _problem_beyond_ascii(text)


def _problem_beyond_ascii(text: str) -> str | None:
    if found := _REFUSED.search(_ALLOWED.sub("\U0001f3f4", text)):
        code = ord(found[0])
        is_surrogate = 0xD800 <= code <= 0xDFFF
        return "Is not valid Unicode" if is_surrogate else f"Must not contain the invisible or undefined U+{code:04X}"
    if _is_mark(text[0]):
        return "Must not begin with a combining mark"
    if _longest_run_of_marks(text) > MOST_MARKS:
        return f"Must not have more than {MOST_MARKS} combining marks in a row"
    return None


def has_visible(text: str) -> bool:
    """Whether there is a visible character: one that is neither blank, invisible nor a combining mark."""
    return any(not _is_mark(found[0]) for found in _VISIBLE.finditer(text))


def has_invisible(text: str) -> bool:
    """Whether there is an invisible character, including those that `problem` allows."""
    return _INVISIBLE.search(text) is not None


def clean(text: str, *, lines: bool = False) -> str:
    """Received text without the characters that `problem` rejects: control characters become spaces, others are
    removed."""
    return without_invisible((_CONTROL_IN_LINES if lines else _CONTROL_IN_LINE).sub(" ", text))


def without_invisible(text: str) -> str:
    """Text without the characters that `problem` rejects, except control characters, which stay."""
    if text.isascii():
        return text
    # A removal may leave a joiner without its neighbour, or a mark without its letter.
    while (shorter := _without_refused(text)) != text:
        text = shorter
    return text


def clean_line(text: str, *, at_most: int, end: str = "…") -> str:
    """Received text on one line of at most that many characters: cleaned, with single spaces, shortened with `end`."""
    # Truncated before processing; removed characters are rarely half of a text.
    line = " ".join(clean(text[: 2 * at_most + 100]).split())
    return line if len(line) <= at_most else clean(line[: at_most - len(end)]).rstrip() + end


def isolated(text: str) -> str:
    """Received text for the middle of a sentence: right-to-left characters are isolated, so that they do not reorder
    the text around them (U+2068 and U+2069, UAX #9, 2.4). Other text stays unchanged, so that English mails have the
    same bytes. An isolate ends with its line, so each line has one."""
    if text.isascii():
        return text
    return "\n".join(_isolated_line(line) for line in text.split("\n"))


def _isolated_line(line: str) -> str:
    if not any(unicodedata.bidirectional(char) in {"R", "AL", "AN"} for char in line):
        return line
    return f"{_FIRST_STRONG_ISOLATE}{line}{_POP_ISOLATE}"


def _without_refused(text: str) -> str:
    text = _KEPT_OR_REFUSED.sub(lambda found: found["kept"] or "", text)
    start = next((index for index, char in enumerate(text) if not _is_mark(char)), len(text))
    text = text[start:]
    if _longest_run_of_marks(text) > MOST_MARKS:
        run, kept = 0, []
        for char in text:
            run = run + 1 if _is_mark(char) else 0
            if run <= MOST_MARKS:
                kept.append(char)
        text = "".join(kept)
    return text


def _longest_run_of_marks(text: str) -> int:
    """The longest run of marks; 0 if no run is too long."""
    if not _MANY_SIGNS.search(text):
        return 0
    run = longest = 0
    for char in text:
        run = run + 1 if _is_mark(char) else 0
        longest = max(longest, run)
    return longest


def _is_mark(char: str) -> bool:
    return char >= "\u0300" and unicodedata.category(char)[0] == "M"
