"""Notifications, and the facilitators named in messages"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE facilitators (
            id bigint CONSTRAINT facilitators_pkey PRIMARY KEY,
            name text,
            email text NOT NULL,
            told_at timestamptz NOT NULL
        )
        """
    )
    # A lease is a pending row whose next attempt was moved past the time the claimant needs.
    op.execute(
        """
        CREATE TABLE notifications (
            id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT notifications_pkey PRIMARY KEY,
            message_id text CONSTRAINT uq_notifications_message_id UNIQUE,
            mail_id uuid NOT NULL DEFAULT uuidv7(),
            body jsonb NOT NULL,
            action text,
            booking_id bigint,
            user_name text,
            user_email text,
            event_title text,
            event_date timestamptz,
            facilitator_id bigint,
            received_at timestamptz NOT NULL DEFAULT now(),
            processed boolean NOT NULL DEFAULT false,
            recipient_name text,
            recipient_email text,
            status text NOT NULL,
            response text,
            sent_at timestamptz,
            attempts integer NOT NULL DEFAULT 0,
            next_attempt_at timestamptz,
            lease uuid,
            CONSTRAINT ck_notifications_status CHECK (status IN ('pending', 'sent', 'failed', 'skipped')),
            CONSTRAINT ck_notifications_pending CHECK ((status = 'pending') = (next_attempt_at IS NOT NULL)),
            CONSTRAINT ck_notifications_lease CHECK (lease IS NULL OR status = 'pending'),
            CONSTRAINT ck_notifications_sent CHECK ((status = 'sent') = (sent_at IS NOT NULL))
        )
        """
    )
    op.execute("CREATE INDEX ix_notifications_due ON notifications (next_attempt_at) WHERE status = 'pending'")
    op.execute("CREATE INDEX ix_notifications_booking_id ON notifications (booking_id, id)")


def downgrade() -> None:
    op.execute("DROP TABLE notifications")
    op.execute("DROP TABLE facilitators")
