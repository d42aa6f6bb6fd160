"""Whether an event's facilitator is active, in the event's own row: a booking that waits for the row sees it.

Rows from before say that the facilitator is active until a worker corrects them (`events/backfill.py`). A booking also
reads the account.
"""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE events ADD facilitator_active boolean NOT NULL DEFAULT true")


def downgrade() -> None:
    op.execute("ALTER TABLE events DROP facilitator_active")
