"""API keys of accounts."""

from alembic import op

from servicekit.migrations import online

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    online.run("""
        CREATE TABLE IF NOT EXISTS api_keys (
            id uuid NOT NULL DEFAULT uuidv7(),
            user_id bigint NOT NULL,
            name text NOT NULL,
            scopes text[] NOT NULL,
            prefix text NOT NULL,
            fingerprint bytea NOT NULL,
            created_at timestamptz NOT NULL,
            expires_at timestamptz,
            last_used_at timestamptz,
            revoked_at timestamptz,
            revoke_reason text,
            CONSTRAINT pk_api_keys PRIMARY KEY (id),
            CONSTRAINT uq_api_keys_fingerprint UNIQUE (fingerprint)
        )
    """)
    online.add_constraint("api_keys", "fk_api_keys_user_id_users", "FOREIGN KEY (user_id) REFERENCES users (id)")
    online.create_index("ix_api_keys_user_id", "api_keys (user_id, id)")
    online.create_index("ix_api_keys_ended", "api_keys (least(revoked_at, expires_at))")


def downgrade() -> None:
    op.execute("DROP TABLE api_keys")
