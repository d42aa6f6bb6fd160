"""Seats that facilitators take for people by hand, held until the people answer."""

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE invitations (
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
            CONSTRAINT fk_invitations_event_id_events FOREIGN KEY (event_id) REFERENCES events (id),
            CONSTRAINT fk_invitations_invited_by_users FOREIGN KEY (invited_by) REFERENCES users (id),
            CONSTRAINT fk_invitations_booking_id_bookings FOREIGN KEY (booking_id) REFERENCES bookings (id),
            CONSTRAINT ck_invitations_status
                CHECK (status IN ('pending', 'confirmed', 'declined', 'expired', 'withdrawn')),
            CONSTRAINT ck_invitations_answered_at CHECK ((status = 'pending') = (answered_at IS NULL)),
            CONSTRAINT ck_invitations_booking_id CHECK ((status = 'confirmed') = (booking_id IS NOT NULL))
        )
    """)
    op.execute("""
        CREATE UNIQUE INDEX uq_invitations_one_pending ON invitations (event_id, email) WHERE status = 'pending'
    """)
    op.execute("CREATE INDEX ix_invitations_event_id ON invitations (event_id, id)")
    op.execute("CREATE INDEX ix_invitations_pending ON invitations (expires_at) WHERE status = 'pending'")
    op.execute("CREATE INDEX ix_invitations_answered ON invitations (answered_at) WHERE status <> 'pending'")


def downgrade() -> None:
    op.execute("DROP TABLE invitations")
