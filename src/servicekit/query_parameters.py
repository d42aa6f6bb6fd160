"""Query parameters that an operation does not know. A filter that is silently ignored answers with everything."""

from collections.abc import Collection, Iterable
from difflib import get_close_matches

LONGEST_NAME = 50


def unknown_parameters(given: Iterable[str], known: Collection[str]) -> dict[str, str]:
    """The first of `given` that is not `known`, with a sentence that names the nearest known one, or all of them."""
    for name in given:
        if name not in known:
            return {name[:LONGEST_NAME]: f"Is not a parameter of this list: {_advice(name, known)}"}
    return {}


def _advice(name: str, known: Collection[str]) -> str:
    nearest = get_close_matches(name[:LONGEST_NAME].lower(), known, n=1)
    if nearest:
        return f"did you mean {nearest[0]}?"
    return f"known are {', '.join(known)}" if known else "it takes none"
