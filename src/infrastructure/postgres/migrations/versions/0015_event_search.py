"""Indexes for the text search of events

`search_vector` is the one definition of what a word is, for what is searched and for what is searched for. Punctuation
separates words, by code point and not by the database's locale. Chinese and Japanese characters are a word each, since
these scripts put no spaces between words. Words are compared in lower case, as the database's locale has it.
"""

from alembic import op

from servicekit.migrations import online

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~\t\n\r\xa0¡«·»¿–—‘’‚“”„•…‹›⁄。、！？（），：；「」『』【】・〜|"
UNSPACED = "([\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff])"


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def upgrade() -> None:
    online.run(f"""
        CREATE OR REPLACE FUNCTION search_vector(words text) RETURNS tsvector
        LANGUAGE sql IMMUTABLE PARALLEL SAFE
        RETURN to_tsvector('pg_catalog.simple', regexp_replace(
            translate(lower(words), {quoted(PUNCTUATION)}, {quoted(" " * len(PUNCTUATION))}),
            {quoted(UNSPACED)}, ' \\1 ', 'g'))
    """)
    online.create_index(
        "ix_events_search",
        "events USING gin (search_vector(title || ' ' || description || ' ' || coalesce(category, '')))",
    )
    online.create_index("ix_users_search", "users USING gin (search_vector(name)) WHERE role <> 'user'")


def downgrade() -> None:
    op.execute("DROP INDEX ix_users_search, ix_events_search")
    op.execute("DROP FUNCTION search_vector(text)")
