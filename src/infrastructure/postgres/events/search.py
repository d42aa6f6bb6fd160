"""Text search of events with PostgreSQL's full-text search and two indexes, without extensions.

Every search word must be the beginning of a word in the title, the description, the category or the facilitator's name.
A single character must equal a word.
"""

from dataclasses import dataclass

from infrastructure.postgres.engine import Database
from infrastructure.postgres.search_words import SEARCH_WORDS, no_search_word

_WORDS = f"""
    SELECT query, ARRAY(
        SELECT u.id FROM users u WHERE u.role <> 'user' AND search_vector(u.name) @@ query::tsquery
    ) AS facilitators
    FROM ({SEARCH_WORDS}) AS words
"""  # noqa: S608 (a constant)
_TEXT = "search_vector(e.title || ' ' || e.description || ' ' || coalesce(e.category, ''))"


@dataclass(frozen=True, slots=True)
class Search:
    """A condition on `events e`, and its values."""

    condition: str = "true"
    values: tuple[object, ...] = ()


async def search_for(database: Database, text: str | None, *, first: int) -> Search:
    """The condition for `text`, with parameters from number `first` on. Raises `Invalid` for text without a word."""
    if text is None:
        return Search()
    async with database.connection() as connection:
        words = await connection.fetch(_WORDS, text)
    if not words:
        raise no_search_word()
    # The facilitator first, because the condition on words requires reading the row's text.
    conditions = [
        f"(e.facilitator_id = ANY(${number}::bigint[]) OR {_TEXT} @@ ${number + 1}::text::tsquery)"
        for number in range(first, first + 2 * len(words), 2)
    ]
    return Search(" AND ".join(conditions), tuple(value for word in words for value in (word[1], word[0])))
