"""The audit log and its chain of hashes. Triggers refuse changes of an entry and deletion before its retention ends."""

from alembic import op

from servicekit.migrations import online

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    online.run("CREATE SEQUENCE IF NOT EXISTS audit_log_id_seq")
    # A transaction has its number before it draws an id: so the worker can wait for all that may still commit an id
    # below those that it chains.
    online.run("""
        CREATE OR REPLACE FUNCTION next_audit_id() RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
        BEGIN
            PERFORM pg_current_xact_id();
            RETURN nextval('audit_log_id_seq');
        END $$
    """)
    online.run("""
        CREATE TABLE IF NOT EXISTS audit_log (
            id bigint NOT NULL DEFAULT next_audit_id(),
            at timestamptz NOT NULL DEFAULT clock_timestamp(),
            actor_kind text NOT NULL,
            actor_id text,
            network text,
            action text NOT NULL,
            object_kind text NOT NULL,
            object_id text,
            before jsonb,
            after jsonb,
            request_id text,
            previous_hash text,
            hash text,
            CONSTRAINT pk_audit_log PRIMARY KEY (id)
        )
    """)
    online.run("""
        CREATE TABLE IF NOT EXISTS audit_chain (
            only_row boolean NOT NULL DEFAULT true,
            head_id bigint NOT NULL DEFAULT 0,
            head_hash text NOT NULL DEFAULT '',
            anchor_id bigint NOT NULL DEFAULT 0,
            anchor_hash text NOT NULL DEFAULT '',
            CONSTRAINT pk_audit_chain PRIMARY KEY (only_row),
            CONSTRAINT ck_audit_chain_only_row CHECK (only_row)
        )
    """)
    online.run("""
        CREATE OR REPLACE FUNCTION keep_audit_log() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'DELETE' THEN
                IF EXISTS (SELECT FROM audit_chain WHERE OLD.id <= anchor_id) THEN RETURN OLD; END IF;
            ELSIF OLD.hash IS NULL AND NEW.hash IS NOT NULL AND to_jsonb(NEW) - '{hash,previous_hash}'::text[]
                = to_jsonb(OLD) - '{hash,previous_hash}'::text[] THEN RETURN NEW;
            END IF;
            RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'restrict_violation';
        END $$
    """)
    online.run("""
        CREATE OR REPLACE TRIGGER keep_audit_log BEFORE UPDATE OR DELETE ON audit_log
        FOR EACH ROW EXECUTE FUNCTION keep_audit_log()
    """)
    online.create_index("ix_audit_log_unchained", "audit_log (id) WHERE hash IS NULL")
    online.create_index("ix_audit_log_at", "audit_log (at, id)")
    online.create_index("ix_audit_log_actor", "audit_log (actor_kind, actor_id, at, id)")
    online.create_index("ix_audit_log_action", "audit_log (action, at, id)")
    online.create_index("ix_audit_log_object", "audit_log (object_kind, object_id, at, id)")


def downgrade() -> None:
    op.execute("DROP TABLE audit_log, audit_chain")
    op.execute("DROP FUNCTION next_audit_id(), keep_audit_log()")
    op.execute("DROP SEQUENCE audit_log_id_seq")
