"""Whether an event's facilitator is active, in the event's own row: a booking that waits for the row sees it."""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE events ADD facilitator_active boolean NOT NULL DEFAULT true")
    op.execute("""
        UPDATE events SET facilitator_active = false FROM users
        WHERE users.id = events.facilitator_id AND NOT users.is_active
    """)


def downgrade() -> None:
    op.execute("ALTER TABLE events DROP facilitator_active")
