"""Bodies of mails: the content-transfer-encoding of a text or a file, 7 bit for every server.

The results have the bytes that `EmailMessage.set_content` writes in Python 3.11, in a tenth of its time.
"""

import base64
import re
from functools import lru_cache

_LINE = 78
_BASE64_LINE = _LINE // 4 * 4
_SNIFFED = 10
"""Lines that decide between quoted-printable and base64."""
_KEPT = bytes({*range(ord(" "), ord("~") + 1), ord("\t")})
_TO_QUOTE = re.compile(r"[^\t -~]+")
_LONGEST_OF_TEMPLATE = 400
"""Octets. Longer lines have a text of a user."""
_QUOTED = {chr(octet): f"={octet:02X}" for octet in range(256)}


def encoded_text(text: str) -> tuple[str, str]:
    """The encoding and the encoded text, with CRLF line ends also at its end."""
    lines = text.encode().splitlines()
    if text.isascii() and max(map(len, lines), default=0) <= _LINE:
        return "7bit", _joined(lines).decode()
    written = _quoted_printable(lines[:_SNIFFED])
    # Counted as the standard library does: base64 as one line.
    if sum(map(len, written)) + len(written) > (len(_joined(lines[:_SNIFFED])) + 2) // 3 * 4 + 1:
        return "base64", encoded_file(_joined(lines))
    written += _quoted_printable(lines[_SNIFFED:])
    return "quoted-printable", "\r\n".join(written) + "\r\n"


def encoded_file(octets: bytes) -> str:
    """The octets in base64, in lines."""
    written = base64.b64encode(octets).decode()
    return "".join(f"{written[start : start + _BASE64_LINE]}\r\n" for start in range(0, len(written), _BASE64_LINE))


def _joined(lines: list[bytes]) -> bytes:
    return b"\r\n".join(lines) + b"\r\n"


def _quoted_printable(lines: list[bytes]) -> list[str]:
    """The lines in quoted-printable (RFC 2045, 6.7), of at most 78 characters each."""
    written: list[str] = []
    for line in lines:
        written += _of_template(line) if len(line) <= _LONGEST_OF_TEMPLATE else _quoted_line(line)
    return written


def _quoted_line(octets: bytes) -> list[str]:
    line = octets.decode("latin-1").replace("=", "=3D")
    if octets.translate(None, _KEPT):
        line = _TO_QUOTE.sub(_quoted, line)
    if len(line) <= _LINE and line[-1:] not in {" ", "\t"}:
        return [line]
    written: list[str] = []
    _break(line, written)
    return written


_of_template = lru_cache(maxsize=1024)(_quoted_line)
"""Most lines of the HTML are the same in every mail."""


def _break(line: str, written: list[str]) -> None:
    """Appends a line in pieces. No escape is broken, and no space is the last character of a line."""
    start, last = 0, len(line) - 1 - _LINE
    while start <= last:
        stop = start + _LINE - 1
        if line[stop - 2] == "=":
            stop -= 2
        elif line[stop - 1] == "=":
            stop -= 1
        written.append(f"{line[start:stop]}=")
        start = stop
    if line[-1] not in " \t":
        written.append(line[start:])
        return
    room, rest, space = start - last, line[start:-1], line[-1]
    if room >= 3:
        written.append(rest + _QUOTED[space])
    elif room == 2:
        written.extend((f"{rest}{space}=", ""))
    else:
        written.extend((f"{rest}=", _QUOTED[space]))


def _quoted(found: re.Match[str]) -> str:
    return "".join(_QUOTED[char] for char in found[0])
