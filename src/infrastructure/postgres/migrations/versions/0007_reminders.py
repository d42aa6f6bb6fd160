"""Reminders, one row for each booking and offset.

Existing bookings of future events get reminders for a day and an hour before; ended events are completed without
messages.
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

UP = """
CREATE TABLE reminders (
    id uuid NOT NULL DEFAULT uuidv7() CONSTRAINT pk_reminders PRIMARY KEY,
    booking_id bigint CONSTRAINT fk_reminders_booking_id_bookings REFERENCES bookings,
    coaching_booking_id uuid CONSTRAINT fk_reminders_coaching_booking_id_coaching_bookings REFERENCES coaching_bookings,
    user_id bigint NOT NULL CONSTRAINT fk_reminders_user_id_users REFERENCES users,
    "before" interval NOT NULL,
    starts_at timestamptz NOT NULL,
    due_at timestamptz NOT NULL,
    status text NOT NULL DEFAULT 'planned' CONSTRAINT ck_reminders_status
        CHECK (status IN ('planned', 'queued', 'sent', 'skipped')),
    reason text CONSTRAINT ck_reminders_reason CHECK ((status = 'skipped') = (reason IS NOT NULL)),
    settled_at timestamptz,
    CONSTRAINT ck_reminders_of_one_booking CHECK (num_nonnulls(booking_id, coaching_booking_id) = 1),
    CONSTRAINT uq_reminders_once UNIQUE NULLS NOT DISTINCT
        (booking_id, coaching_booking_id, user_id, "before", starts_at)
);
CREATE INDEX ix_reminders_due ON reminders (due_at) WHERE status = 'planned';
CREATE INDEX ix_reminders_coaching_booking_id ON reminders (coaching_booking_id) WHERE coaching_booking_id IS NOT NULL;
ALTER TABLE events ADD completed_at timestamptz;
UPDATE bookings SET status = 'completed' FROM events e
    WHERE e.id = bookings.event_id AND e.ends_at <= now() AND bookings.status = 'confirmed' AND hold_until IS NULL;
UPDATE events SET completed_at = now() WHERE ends_at <= now() AND NOT EXISTS (
    SELECT FROM bookings b WHERE b.event_id = events.id AND b.status = 'confirmed');
CREATE INDEX ix_events_to_complete ON events (ends_at) WHERE completed_at IS NULL;
INSERT INTO reminders (booking_id, coaching_booking_id, user_id, "before", starts_at, due_at)
SELECT a.booking_id, a.coaching_booking_id, a.user_id, o, a.starts_at, a.starts_at - o
FROM (
    SELECT b.id AS booking_id, NULL::uuid AS coaching_booking_id, b.user_id, e.starts_at
    FROM events e JOIN bookings b ON b.event_id = e.id
    WHERE e.starts_at > now() AND b.status = 'confirmed'
    UNION ALL
    SELECT NULL, c.id, p.user_id, c.starts_at
    FROM coaching_bookings c, unnest(ARRAY[c.client_id, c.coach_id]) AS p(user_id)
    WHERE c.starts_at > now() AND c.status IN ('pending', 'confirmed')
) a, unnest(ARRAY[interval '24 hours', interval '1 hour']) AS o
WHERE a.starts_at - o > now()
"""


def upgrade() -> None:
    for statement in UP.split(";\n"):
        op.execute(statement)


def downgrade() -> None:
    op.execute("ALTER TABLE events DROP completed_at")
    op.execute("DROP TABLE reminders")
