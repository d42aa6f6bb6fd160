"""The words of a text search: PostgreSQL's full-text search without extensions, by the function `search_vector`."""

from domain.errors import Invalid

SEARCH_WORDS = """
    SELECT word, quote_literal(word) || CASE WHEN length(word) > 1 THEN ':*' ELSE '' END AS query
    FROM unnest(tsvector_to_array(search_vector($1))) AS word
"""
"""Each word of the text, and a `tsquery` for it: it is the beginning of a word, a single character equals one."""


def no_search_word() -> Invalid:
    return Invalid({"q": "Must contain a letter or a digit"})
