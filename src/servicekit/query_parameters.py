"""Unknown query parameters. If a misspelt filter were ignored, the response would contain all items."""

from collections.abc import Collection, Iterable
from difflib import get_close_matches

LONGEST_NAME = 50


def unknown_parameters(given: Iterable[str], known: Collection[str]) -> dict[str, str]:
    """The first of `given` that is not `known`, with a message that names the most similar known one, or all of
    them."""
    for name in given:
        if name not in known:
            return {name[:LONGEST_NAME]: f"Is not a parameter of this list: {_advice(name, known)}"}
    return {}


def _advice(name: str, known: Collection[str]) -> str:
    nearest = get_close_matches(name[:LONGEST_NAME].lower(), known, n=1)
    if nearest:
        return f"did you mean {nearest[0]}?"
    return f"known are {', '.join(known)}" if known else "it takes none"
