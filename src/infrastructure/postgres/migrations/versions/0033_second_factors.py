"""Second factors, recovery codes and logins that wait for a second factor."""

from alembic import op

from servicekit.migrations import online

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None


def upgrade() -> None:
    online.run("""
        CREATE TABLE IF NOT EXISTS second_factors (
            id uuid NOT NULL,
            user_id bigint NOT NULL,
            kind text NOT NULL,
            name text NOT NULL,
            secret bytea,
            last_step bigint,
            credential_id bytea,
            public_key bytea,
            sign_count bigint,
            created_at timestamptz NOT NULL,
            confirmed_at timestamptz,
            last_used_at timestamptz,
            CONSTRAINT pk_second_factors PRIMARY KEY (id)
        )
    """)
    online.run("""
        CREATE TABLE IF NOT EXISTS recovery_codes (
            user_id bigint NOT NULL,
            fingerprint bytea NOT NULL,
            created_at timestamptz NOT NULL,
            used_at timestamptz,
            CONSTRAINT pk_recovery_codes PRIMARY KEY (user_id, fingerprint)
        )
    """)
    online.run("""
        CREATE TABLE IF NOT EXISTS login_tickets (
            fingerprint bytea NOT NULL,
            user_id bigint NOT NULL,
            token_version integer NOT NULL,
            login text NOT NULL,
            attempts integer DEFAULT 0 NOT NULL,
            created_at timestamptz NOT NULL,
            expires_at timestamptz NOT NULL,
            used_at timestamptz,
            CONSTRAINT pk_login_tickets PRIMARY KEY (fingerprint)
        )
    """)
    for table in ("second_factors", "recovery_codes", "login_tickets"):
        online.add_constraint(table, f"fk_{table}_user_id_users", "FOREIGN KEY (user_id) REFERENCES users (id)")
    online.create_index("ix_second_factors_user_id", "second_factors (user_id)")
    online.create_index("uq_second_factors_credential_id", "second_factors (credential_id)", unique=True)
    online.create_index("ix_second_factors_enrolments", "second_factors (created_at) WHERE confirmed_at IS NULL")
    online.create_index("ix_login_tickets_user_id", "login_tickets (user_id)")
    online.create_index("ix_login_tickets_expires_at", "login_tickets (expires_at)")


def downgrade() -> None:
    op.execute("DROP TABLE login_tickets, recovery_codes, second_factors")
