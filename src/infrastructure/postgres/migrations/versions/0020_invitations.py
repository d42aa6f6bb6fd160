"""Seats that facilitators take for people by hand, held until the people answer."""

from alembic import op

from servicekit.migrations import online

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    online.run("""
        CREATE TABLE IF NOT EXISTS invitations (
            id uuid NOT NULL DEFAULT uuidv7(),
            event_id bigint NOT NULL,
            name text NOT NULL,
            email text NOT NULL,
            invited_by bigint NOT NULL,
            status text NOT NULL DEFAULT 'pending',
            created_at timestamptz NOT NULL,
            expires_at timestamptz NOT NULL,
            answered_at timestamptz,
            booking_id bigint,
            CONSTRAINT pk_invitations PRIMARY KEY (id),
            CONSTRAINT ck_invitations_status
                CHECK (status IN ('pending', 'confirmed', 'declined', 'expired', 'withdrawn')),
            CONSTRAINT ck_invitations_answered_at CHECK ((status = 'pending') = (answered_at IS NULL)),
            CONSTRAINT ck_invitations_booking_id CHECK ((status = 'confirmed') = (booking_id IS NOT NULL))
        )
    """)
    # One by one: each locks another table, which has readers and writers.
    for name, columns in {
        "fk_invitations_event_id_events": "(event_id) REFERENCES events (id)",
        "fk_invitations_invited_by_users": "(invited_by) REFERENCES users (id)",
        "fk_invitations_booking_id_bookings": "(booking_id) REFERENCES bookings (id)",
    }.items():
        online.add_constraint("invitations", name, f"FOREIGN KEY {columns}")
    online.create_index(
        "uq_invitations_one_pending", "invitations (event_id, email) WHERE status = 'pending'", unique=True
    )
    online.create_index("ix_invitations_event_id", "invitations (event_id, id)")
    online.create_index("ix_invitations_pending", "invitations (expires_at) WHERE status = 'pending'")
    online.create_index("ix_invitations_answered", "invitations (answered_at) WHERE status <> 'pending'")


def downgrade() -> None:
    op.execute("DROP TABLE invitations")
