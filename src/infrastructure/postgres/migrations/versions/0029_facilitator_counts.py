"""Counts of a facilitator's events, bookings and revenue in rows, so that the dashboard does not count at each look.

Triggers write each change as a row of its own, so that no transaction waits for the counts of another one; a worker
adds them up. Triggers, because the version before writes as well. Facilitators from before are counted by the worker:
docs/decisions/0016.
"""

from alembic import op

from servicekit.migrations import online

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

_COUNTS = """
    sessions bigint NOT NULL DEFAULT 0,
    active_sessions bigint NOT NULL DEFAULT 0,
    sessions_ahead bigint NOT NULL DEFAULT 0,
    bookings bigint NOT NULL DEFAULT 0,
    payments bigint NOT NULL DEFAULT 0,
    revenue numeric(24, 4) NOT NULL DEFAULT 0
"""

TABLES = {
    "facilitator_counts": f"""
        facilitator_id bigint NOT NULL,
        month date NOT NULL,
        currency text NOT NULL,
        {_COUNTS},
        CONSTRAINT pk_facilitator_counts PRIMARY KEY (facilitator_id, month, currency)""",
    "facilitator_count_changes": f"""
        facilitator_id bigint NOT NULL,
        id bigint GENERATED ALWAYS AS IDENTITY,
        month date NOT NULL,
        currency text NOT NULL DEFAULT '',
        {_COUNTS},
        CONSTRAINT pk_facilitator_count_changes PRIMARY KEY (facilitator_id, id)""",
    "counted_facilitators": """
        facilitator_id bigint NOT NULL,
        counted_at timestamptz NOT NULL,
        CONSTRAINT pk_counted_facilitators PRIMARY KEY (facilitator_id)""",
}

FUNCTIONS = {
    "month_of(timestamptz)": """
        RETURNS date LANGUAGE sql IMMUTABLE AS $$ SELECT date_trunc('month', $1 AT TIME ZONE 'UTC')::date $$""",
    # One row for all bookings of a batch.
    "count_new_bookings()": """
        RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO facilitator_count_changes (facilitator_id, month, bookings)
            SELECT coalesce(b.facilitator_id, (SELECT e.facilitator_id FROM events e WHERE e.id = b.event_id)),
                   month_of(b.created_at), count(*)
            FROM added b WHERE b.status <> 'cancelled' GROUP BY 1, 2;
            RETURN NULL;
        END $$""",
    "count_changed_booking()": """
        RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF OLD.status <> 'cancelled' THEN
                INSERT INTO facilitator_count_changes (facilitator_id, month, bookings)
                SELECT facilitator_id, month_of(OLD.created_at), -1 FROM events WHERE id = OLD.event_id;
            END IF;
            IF TG_OP = 'UPDATE' AND NEW.status <> 'cancelled' THEN
                INSERT INTO facilitator_count_changes (facilitator_id, month, bookings)
                SELECT facilitator_id, month_of(NEW.created_at), 1 FROM events WHERE id = NEW.event_id;
            END IF;
            RETURN NULL;
        END $$""",
    "count_event()": """
        RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP <> 'INSERT' AND OLD.hidden_at IS NULL THEN
                INSERT INTO facilitator_count_changes
                    (facilitator_id, month, sessions, active_sessions, sessions_ahead)
                VALUES (OLD.facilitator_id, month_of(OLD.starts_at), -1, -(OLD.status = 'active')::int,
                        -(OLD.status = 'active' AND OLD.completed_at IS NULL)::int);
            END IF;
            IF TG_OP <> 'DELETE' AND NEW.hidden_at IS NULL THEN
                INSERT INTO facilitator_count_changes
                    (facilitator_id, month, sessions, active_sessions, sessions_ahead)
                VALUES (NEW.facilitator_id, month_of(NEW.starts_at), 1, (NEW.status = 'active')::int,
                        (NEW.status = 'active' AND NEW.completed_at IS NULL)::int);
            END IF;
            RETURN NULL;
        END $$""",
    "count_payment()": """
        RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP <> 'INSERT' AND OLD.status IN ('completed', 'refunded') THEN
                INSERT INTO facilitator_count_changes (facilitator_id, month, currency, payments, revenue)
                SELECT e.facilitator_id, month_of(OLD.created_at), OLD.currency, -1,
                       OLD.refunded + OLD.charged_back - OLD.amount
                FROM bookings b JOIN events e ON e.id = b.event_id WHERE b.id = OLD.booking_id;
            END IF;
            IF TG_OP <> 'DELETE' AND NEW.status IN ('completed', 'refunded') THEN
                INSERT INTO facilitator_count_changes (facilitator_id, month, currency, payments, revenue)
                SELECT e.facilitator_id, month_of(NEW.created_at), NEW.currency, 1,
                       NEW.amount - NEW.refunded - NEW.charged_back
                FROM bookings b JOIN events e ON e.id = b.event_id WHERE b.id = NEW.booking_id;
            END IF;
            RETURN NULL;
        END $$""",
}

# An UPDATE that names none of the columns, such as that of a booking's seat, does not start a trigger. All are AFTER
# triggers: they change no lock that a statement takes.
TRIGGERS = {
    ("bookings", "count_new_bookings"): """AFTER INSERT ON bookings
        REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION count_new_bookings()""",
    ("bookings", "count_changed_booking"): """AFTER UPDATE OF status, event_id ON bookings FOR EACH ROW
        WHEN ((OLD.status = 'cancelled') <> (NEW.status = 'cancelled') OR OLD.event_id <> NEW.event_id)
        EXECUTE FUNCTION count_changed_booking()""",
    ("bookings", "count_deleted_booking"): """AFTER DELETE ON bookings FOR EACH ROW
        EXECUTE FUNCTION count_changed_booking()""",
    ("events", "count_event"): """AFTER INSERT OR DELETE ON events FOR EACH ROW EXECUTE FUNCTION count_event()""",
    ("events", "count_changed_event"): """
        AFTER UPDATE OF facilitator_id, starts_at, status, hidden_at, completed_at ON events FOR EACH ROW
        WHEN ((OLD.facilitator_id, OLD.starts_at, OLD.status, OLD.hidden_at, OLD.completed_at)
              IS DISTINCT FROM (NEW.facilitator_id, NEW.starts_at, NEW.status, NEW.hidden_at, NEW.completed_at))
        EXECUTE FUNCTION count_event()""",
    ("payments", "count_new_payment"): """AFTER INSERT ON payments FOR EACH ROW
        WHEN (NEW.booking_id IS NOT NULL AND NEW.status IN ('completed', 'refunded'))
        EXECUTE FUNCTION count_payment()""",
    ("payments", "count_changed_payment"): """
        AFTER UPDATE OF status, amount, currency, refunded, charged_back ON payments FOR EACH ROW
        WHEN (OLD.booking_id IS NOT NULL
              AND (OLD.status, OLD.amount, OLD.currency, OLD.refunded, OLD.charged_back)
                  IS DISTINCT FROM (NEW.status, NEW.amount, NEW.currency, NEW.refunded, NEW.charged_back))
        EXECUTE FUNCTION count_payment()""",
    ("payments", "count_deleted_payment"): """AFTER DELETE ON payments FOR EACH ROW
        WHEN (OLD.booking_id IS NOT NULL) EXECUTE FUNCTION count_payment()""",
}


def upgrade() -> None:
    for table, columns in TABLES.items():
        online.run(f"CREATE TABLE IF NOT EXISTS {table} ({columns})")
    for function, definition in FUNCTIONS.items():
        online.run(f"CREATE OR REPLACE FUNCTION {function} {definition}")
    for (_, trigger), definition in TRIGGERS.items():
        online.run(f"CREATE OR REPLACE TRIGGER {trigger} {definition}")


def downgrade() -> None:
    for table, trigger in TRIGGERS:
        op.execute(f"DROP TRIGGER {trigger} ON {table}")
    op.execute(f"DROP TABLE {', '.join(TABLES)}")
    op.execute(f"DROP FUNCTION {', '.join(FUNCTIONS)}")
