"""What was agreed when booking: price, currency and refund policy; who cancelled, who asked for a refund.

No row is rewritten: the new columns are nullable or have a constant default. The new lists of reasons are checked
against the rows, which reads the tables once.

Bookings from before have no terms of their own. Their price is that of their payment (free of charge without one), and
their refund policy that of the event, which is stored with them before the event gets another.
"""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

UP = """
ALTER TABLE events ADD schedule_revision integer NOT NULL DEFAULT 0;

ALTER TABLE bookings
    ADD price numeric(16, 4),
    ADD currency text,
    ADD refund_policy jsonb,
    ADD schedule_revision integer NOT NULL DEFAULT 0,
    ADD cancelled_by bigint CONSTRAINT fk_bookings_cancelled_by_users REFERENCES users,
    DROP CONSTRAINT ck_bookings_cancel_reason,
    ADD CONSTRAINT ck_bookings_cancel_reason
        CHECK (cancel_reason IN ('by_person', 'by_organiser', 'event_cancelled', 'payment_expired'));

ALTER TABLE coaching_bookings
    DROP CONSTRAINT ck_coaching_bookings_cancel_reason,
    ADD CONSTRAINT ck_coaching_bookings_cancel_reason
        CHECK (cancel_reason IN ('by_person', 'by_coach', 'by_organiser', 'payment_expired'));

ALTER TABLE refunds ADD requested_by bigint CONSTRAINT fk_refunds_requested_by_users REFERENCES users
"""


def upgrade() -> None:
    for statement in UP.split(";\n"):
        op.execute(statement)


def downgrade() -> None:
    op.execute("ALTER TABLE refunds DROP requested_by")
    op.execute("UPDATE coaching_bookings SET cancel_reason = 'by_coach' WHERE cancel_reason = 'by_organiser'")
    op.execute("""
        ALTER TABLE coaching_bookings DROP CONSTRAINT ck_coaching_bookings_cancel_reason,
            ADD CONSTRAINT ck_coaching_bookings_cancel_reason
                CHECK (cancel_reason IN ('by_person', 'by_coach', 'payment_expired'))
    """)
    op.execute("UPDATE bookings SET cancel_reason = 'by_person' WHERE cancel_reason = 'by_organiser'")
    op.execute("""
        ALTER TABLE bookings DROP price, DROP currency, DROP refund_policy, DROP schedule_revision, DROP cancelled_by,
            DROP CONSTRAINT ck_bookings_cancel_reason,
            ADD CONSTRAINT ck_bookings_cancel_reason
                CHECK (cancel_reason IN ('by_person', 'event_cancelled', 'payment_expired'))
    """)
    op.execute("ALTER TABLE events DROP schedule_revision")
