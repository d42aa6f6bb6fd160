"""Facilitators' events, webhooks with their deliveries, and who processed or deleted a notification"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE notifications
            ADD COLUMN event_id bigint,
            ADD COLUMN processed_at timestamptz,
            ADD COLUMN processed_by text,
            ADD COLUMN deleted_at timestamptz,
            ADD COLUMN deleted_by text
        """
    )
    op.execute(
        """
        UPDATE notifications SET event_id = (body #>> '{event,id}')::bigint
        WHERE jsonb_typeof(body #> '{event,id}') = 'number' AND body #>> '{event,id}' ~ '^[1-9][0-9]{0,17}$'
        """
    )
    op.execute("CREATE INDEX ix_notifications_event_id ON notifications (event_id, booking_id, id)")
    op.execute("CREATE INDEX ix_notifications_shown ON notifications (id) WHERE deleted_at IS NULL")
    op.execute(
        """
        CREATE TABLE facilitator_events (
            id bigint CONSTRAINT facilitator_events_pkey PRIMARY KEY,
            facilitator_id bigint NOT NULL,
            title text,
            starts_at timestamptz,
            bookings_count bigint,
            max_participants bigint,
            is_active boolean NOT NULL,
            version bigint NOT NULL,
            told_at timestamptz NOT NULL DEFAULT now()
        )
        """
    )
    op.execute("CREATE INDEX ix_facilitator_events_facilitator_id ON facilitator_events (facilitator_id, id)")
    # What arrived before this table existed. The pattern keeps every number within a bigint.
    op.execute(
        """
        INSERT INTO facilitator_events
            (id, facilitator_id, title, starts_at, bookings_count, max_participants, is_active, version)
        SELECT DISTINCT ON (n.event_id)
            n.event_id, n.facilitator_id, n.event_title, n.event_date, t.taken, t.places,
            n.action IS DISTINCT FROM 'event_cancelled' AND coalesce(n.body #>> '{event,is_active}', 'true') <> 'false',
            coalesce(t.version, 0)
        FROM notifications n, LATERAL (
            SELECT
                substring(n.body #>> '{event,current_participants}' FROM '^[0-9]{1,18}$')::bigint AS taken,
                substring(n.body #>> '{event,max_participants}' FROM '^[0-9]{1,18}$')::bigint AS places,
                substring(n.body #>> '{event,version}' FROM '^[0-9]{1,18}$')::bigint AS version
        ) t
        WHERE n.event_id IS NOT NULL AND n.facilitator_id IS NOT NULL
        ORDER BY n.event_id, coalesce(t.version, 0) DESC, n.id DESC
        """
    )
    # `json`, not `jsonb`: it is handed on as it was received. The check refuses what jsonb could not compare.
    op.execute(
        """
        CREATE TABLE crm_bookings (
            id uuid DEFAULT uuidv7() CONSTRAINT crm_bookings_pkey PRIMARY KEY,
            message_id text CONSTRAINT uq_crm_bookings_message_id UNIQUE,
            body json NOT NULL,
            booking_id bigint NOT NULL,
            user_id bigint,
            user_name text,
            user_email text,
            event_id bigint,
            facilitator_id bigint,
            payment_status text,
            received_at timestamptz NOT NULL DEFAULT now(),
            CONSTRAINT ck_crm_bookings_body CHECK (body::jsonb IS NOT NULL)
        )
        """
    )
    op.execute("CREATE INDEX ix_crm_bookings_booking_id ON crm_bookings (booking_id)")
    op.execute(
        """
        CREATE TABLE crm_booking_deliveries (
            id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT crm_booking_deliveries_pkey PRIMARY KEY,
            crm_booking_id uuid NOT NULL
                CONSTRAINT fk_crm_booking_deliveries_crm_booking_id REFERENCES crm_bookings ON DELETE CASCADE,
            destination text NOT NULL,
            body json NOT NULL,
            received_at timestamptz NOT NULL DEFAULT now(),
            status text NOT NULL DEFAULT 'pending',
            response text,
            sent_at timestamptz,
            attempts integer NOT NULL DEFAULT 0,
            next_attempt_at timestamptz DEFAULT now(),
            lease uuid,
            CONSTRAINT uq_crm_booking_deliveries_destination UNIQUE (crm_booking_id, destination),
            CONSTRAINT ck_crm_booking_deliveries_destination CHECK (destination IN ('forward', 'payment')),
            CONSTRAINT ck_crm_booking_deliveries_status CHECK (status IN ('pending', 'sent', 'failed')),
            CONSTRAINT ck_crm_booking_deliveries_pending CHECK ((status = 'pending') = (next_attempt_at IS NOT NULL)),
            CONSTRAINT ck_crm_booking_deliveries_lease CHECK (lease IS NULL OR status = 'pending'),
            CONSTRAINT ck_crm_booking_deliveries_sent CHECK ((status = 'sent') = (sent_at IS NOT NULL))
        )
        """
    )
    op.execute(
        "CREATE INDEX ix_crm_booking_deliveries_due ON crm_booking_deliveries (destination, next_attempt_at) "
        "WHERE status = 'pending'"
    )


def downgrade() -> None:
    op.execute("DROP TABLE crm_booking_deliveries")
    op.execute("DROP TABLE crm_bookings")
    op.execute("DROP TABLE facilitator_events")
    op.execute("DROP INDEX ix_notifications_event_id, ix_notifications_shown")
    op.execute(
        "ALTER TABLE notifications DROP COLUMN event_id, DROP COLUMN processed_at, DROP COLUMN processed_by, "
        "DROP COLUMN deleted_at, DROP COLUMN deleted_by"
    )
