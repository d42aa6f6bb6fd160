"""the domain of calendar UIDs, independent of PUBLIC_URL; when an event was changed.

A new deployment gets a name of its own. One that has sent entries already keeps the host that they were sent with: a
worker writes it when it starts first. Until then the table is empty, and the host of PUBLIC_URL is used as before.
"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE calendar_identity (
            only_row boolean NOT NULL DEFAULT true,
            uid_domain text NOT NULL,
            CONSTRAINT pk_calendar_identity PRIMARY KEY (only_row),
            CONSTRAINT ck_calendar_identity_only_row CHECK (only_row)
        )
    """)
    op.execute("""
        INSERT INTO calendar_identity (uid_domain)
        SELECT gen_random_uuid()::text
        WHERE NOT EXISTS (SELECT FROM events) AND NOT EXISTS (SELECT FROM coaching_bookings)
    """)
    op.execute("ALTER TABLE events ADD updated_at timestamptz")


def downgrade() -> None:
    op.execute("DROP TABLE calendar_identity")
    op.execute("ALTER TABLE events DROP updated_at")
