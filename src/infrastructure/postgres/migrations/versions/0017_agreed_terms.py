"""What was agreed when booking: price, currency and refund policy; who cancelled, who asked for a refund.

Bookings from before have no terms of their own. Their price is that of their payment (free of charge without one), and
their refund policy that of the event, which is stored with them before the event gets another.
"""

from alembic import op

from servicekit.migrations import online

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    online.run("ALTER TABLE events ADD COLUMN IF NOT EXISTS schedule_revision integer NOT NULL DEFAULT 0")
    online.run("""
        ALTER TABLE bookings
            ADD COLUMN IF NOT EXISTS price numeric(16, 4),
            ADD COLUMN IF NOT EXISTS currency text,
            ADD COLUMN IF NOT EXISTS refund_policy jsonb,
            ADD COLUMN IF NOT EXISTS schedule_revision integer NOT NULL DEFAULT 0,
            ADD COLUMN IF NOT EXISTS cancelled_by bigint
    """)
    online.add_constraint(
        "bookings", "fk_bookings_cancelled_by_users", "FOREIGN KEY (cancelled_by) REFERENCES users (id)"
    )
    online.add_constraint(
        "bookings",
        "ck_bookings_cancel_reason",
        "CHECK (cancel_reason IN ('by_person', 'by_organiser', 'event_cancelled', 'payment_expired'))",
    )
    online.add_constraint(
        "coaching_bookings",
        "ck_coaching_bookings_cancel_reason",
        "CHECK (cancel_reason IN ('by_person', 'by_coach', 'by_organiser', 'payment_expired'))",
    )
    online.run("ALTER TABLE refunds ADD COLUMN IF NOT EXISTS requested_by bigint")
    online.add_constraint(
        "refunds", "fk_refunds_requested_by_users", "FOREIGN KEY (requested_by) REFERENCES users (id)"
    )


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
