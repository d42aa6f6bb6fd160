"""The outbox message of each reminder, to show when it could not be delivered."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE reminders ADD message_id uuid")
    op.execute("""
        UPDATE reminders SET message_id = m.id, status = 'queued', reason = NULL, settled_at = NULL
        FROM outbox m
        WHERE (reminders.status = 'queued' OR reminders.reason = 'undeliverable')
          AND m.fact = 'booking_reminder' AND m.lane = 'reminder:' || reminders.id
          AND NOT EXISTS (
              SELECT FROM outbox later WHERE later.fact = m.fact AND later.lane = m.lane AND later.seq > m.seq)
    """)


def downgrade() -> None:
    op.execute("ALTER TABLE reminders DROP message_id")
