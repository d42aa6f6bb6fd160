"""Indexes by which lists of appointments, busy times of coaches and calendar feeds read what they show, not the history
before it."""

from alembic import op

from servicekit.migrations import online

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None

_ACTIVE = "status = 'active' AND hidden_at IS NULL"
_LIVE = "WHERE status <> 'cancelled'"

INDEXES = {
    "ix_coaching_bookings_client_status": "coaching_bookings (client_id, status, starts_at, id)",
    "ix_coaching_bookings_coach_status": "coaching_bookings (coach_id, status, starts_at, id)",
    "ix_coaching_bookings_client_end": f"coaching_bookings (client_id, ends_at) {_LIVE}",
    "ix_coaching_bookings_coach_end": f"coaching_bookings (coach_id, ends_at) {_LIVE}",
    "ix_events_facilitator_end": f"events (facilitator_id, ends_at) WHERE {_ACTIVE}",
    "ix_events_facilitator_long": f"""events (facilitator_id, ends_at)
        WHERE {_ACTIVE} AND ends_at - starts_at > interval '24 hours'""",
}


def upgrade() -> None:
    for name, what in INDEXES.items():
        online.create_index(name, what)


def downgrade() -> None:
    op.execute(f"DROP INDEX {', '.join(INDEXES)}")
