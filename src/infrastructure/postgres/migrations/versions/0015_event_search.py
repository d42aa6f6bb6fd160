"""Indexes for the text search of events

`search_vector` is the one definition of what a word is, for what is searched and for what is searched for. Punctuation
separates words, by code point and not by the database's locale. Chinese and Japanese characters are a word each, since
these scripts put no spaces between words. Words are compared in lower case, as the database's locale has it.

All migrations of an upgrade are one transaction, in which PostgreSQL does not build an index CONCURRENTLY. At 200,000
events of 300 characters each the first index takes some ten seconds, in which events are not changed and seats not
booked. Where that is too long, create the function and both indexes with CONCURRENTLY before the upgrade: what is there
already is left as it is.
"""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~\t\n\r\xa0¡«·»¿–—‘’‚“”„•…‹›⁄。、！？（），：；「」『』【】・〜|"
UNSPACED = "([\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff])"


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def upgrade() -> None:
    connection = op.get_bind()
    connection.exec_driver_sql(f"""
        CREATE OR REPLACE FUNCTION search_vector(words text) RETURNS tsvector
        LANGUAGE sql IMMUTABLE PARALLEL SAFE
        RETURN to_tsvector('pg_catalog.simple', regexp_replace(
            translate(lower(words), {quoted(PUNCTUATION)}, {quoted(" " * len(PUNCTUATION))}),
            {quoted(UNSPACED)}, ' \\1 ', 'g'))
    """)
    op.execute("""
        CREATE INDEX IF NOT EXISTS ix_events_search ON events
        USING gin (search_vector(title || ' ' || description || ' ' || coalesce(category, '')))
    """)
    op.execute("""
        CREATE INDEX IF NOT EXISTS ix_users_search ON users USING gin (search_vector(name)) WHERE role <> 'user'
    """)


def downgrade() -> None:
    op.execute("DROP INDEX ix_users_search, ix_events_search")
    op.execute("DROP FUNCTION search_vector(text)")
