"""Indexes by which a page of events, bookings or reviews is read in its order, and the facilitator of a booking.

Bookings from before have no facilitator until a worker fills it in (`bookings/backfill.py`); until then lists of a
facilitator look for them among all that have none.
"""

from alembic import op

from servicekit.migrations import online

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

_AHEAD = "WHERE status = 'active' AND hidden_at IS NULL AND completed_at IS NULL"
_CANCELLED = "WHERE status = 'cancelled' AND hidden_at IS NULL"

INDEXES = {
    "ix_events_ahead": f"events (starts_at, id) {_AHEAD}",
    "ix_events_ahead_type": f"events (lower(event_type), starts_at, id) {_AHEAD}",
    "ix_events_ahead_category": f"events (lower(category), starts_at, id) {_AHEAD}",
    "ix_events_ahead_facilitator": f"events (facilitator_id, starts_at, id) {_AHEAD}",
    "ix_events_cancelled": f"events (starts_at, id) {_CANCELLED}",
    "ix_events_cancelled_type": f"events (lower(event_type), starts_at, id) {_CANCELLED}",
    "ix_events_cancelled_category": f"events (lower(category), starts_at, id) {_CANCELLED}",
    "ix_events_of_facilitator": "events (facilitator_id, starts_at, id) WHERE hidden_at IS NULL",
    "ix_bookings_facilitator_id": "bookings (facilitator_id, id)",
    "ix_bookings_without_facilitator": "bookings (id) WHERE facilitator_id IS NULL",
    "ix_reviews_event_id": "reviews (event_id, id)",
}


def upgrade() -> None:
    online.run("ALTER TABLE bookings ADD COLUMN IF NOT EXISTS facilitator_id bigint")
    for name, what in INDEXES.items():
        online.create_index(name, what)


def downgrade() -> None:
    op.execute(f"DROP INDEX {', '.join(INDEXES)}")
    op.execute("ALTER TABLE bookings DROP facilitator_id")
