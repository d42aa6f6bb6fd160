"""Text search of events with PostgreSQL's full-text search and two indexes, without extensions.

Every search word must be the beginning of a word in the title, the description, the category or the facilitator's name.
A single character must equal a word.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from infrastructure.postgres.engine import Database
from infrastructure.postgres.pages import unplanned
from infrastructure.postgres.search_words import SEARCH_WORDS, no_search_word

_WORDS = f"""
    SELECT word, query, ARRAY(
        SELECT u.id FROM users u WHERE u.role <> 'user' AND search_vector(u.name) @@ query::tsquery
    ) AS facilitators
    FROM ({SEARCH_WORDS}) AS words
"""  # noqa: S608 (a constant)
_TEXT = "e.title || ' ' || e.description || ' ' || coalesce(e.category, '')"
_COMPARED = 3
"""Words that are compared as characters first, which takes a tenth of the time."""


class Parameters:
    """The values of a statement's parameters, from number `first` on."""

    def __init__(self, first: int) -> None:
        self._first = first
        self.values: list[object] = []

    def add(self, value: object, kind: str) -> str:
        self.values.append(value)
        return f"${self._first - 1 + len(self.values)}::{kind}"


@dataclass(frozen=True, slots=True)
class Word:
    """`query` is a tsquery. `facilitators` have the word in their name."""

    word: str
    query: str
    facilitators: Sequence[int]


@dataclass(frozen=True, slots=True)
class Search:
    """The words of a text. Makes conditions on `events e`."""

    words: Sequence[Word]

    def compared(self, parameters: Parameters) -> Sequence[str]:
        """Conditions all of which an event that has all words fulfils, and no other one."""
        return [*_compared(self._texts, parameters), *_names_or_texts(self._names, parameters)]

    def indexed(self, parameters: Parameters) -> tuple[str, str | None, Sequence[str]]:
        """Such an event fulfils the first condition, which the index of words serves, or the second one, which an index
        of facilitators serves; and all of the others."""
        if not self._names:
            return _has_words(self._texts, parameters), None, []
        rarest, *others = self._names
        has_words = _has_words([*self._texts, rarest], parameters)
        is_of = " AND ".join([_is_of(rarest, parameters), *_compared(self._texts, parameters)])
        return has_words, is_of, _names_or_texts(others, parameters)

    @property
    def _texts(self) -> Sequence[Word]:
        return [word for word in self.words if not word.facilitators]

    @property
    def _names(self) -> Sequence[Word]:
        return sorted((word for word in self.words if word.facilitators), key=lambda word: len(word.facilitators))


def _names_or_texts(words: Sequence[Word], parameters: Parameters) -> Sequence[str]:
    return [f"({_is_of(word, parameters)} OR {_has_words([word], parameters)})" for word in words]


def _compared(words: Sequence[Word], parameters: Parameters) -> Sequence[str]:
    """The text has the words. Not by the index."""
    # Of other words than ASCII the text search may know other lower case letters than `lower`.
    longest = sorted((word.word for word in words if word.word.isascii()), key=len, reverse=True)
    contained = [
        f"strpos(lower({_TEXT}), {unplanned(parameters.add(word, 'text'))}) > 0" for word in longest[:_COMPARED]
    ]
    return [*contained, _has_words(words, parameters, of=f"{_TEXT} || ''")] if words else []


def _has_words(words: Sequence[Word], parameters: Parameters, *, of: str = _TEXT) -> str:
    query = parameters.add(" & ".join(word.query for word in words), "text")
    return f"search_vector({of}) @@ {unplanned(query + '::tsquery')}"


def _is_of(word: Word, parameters: Parameters) -> str:
    facilitators = unplanned(parameters.add(word.facilitators, "bigint[]"))
    return f"e.facilitator_id = ANY(coalesce({facilitators}, ARRAY[]::bigint[]))"


async def search_for(database: Database, text: str) -> Search:
    """Raises `Invalid` for text without a word."""
    async with database.connection() as connection:
        words = [Word(**row) for row in await connection.fetch(_WORDS, text)]
    if not words:
        raise no_search_word()
    return Search(words)
