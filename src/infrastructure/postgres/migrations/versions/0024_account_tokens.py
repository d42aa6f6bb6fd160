"""Tokens in the links of mails about accounts."""

from alembic import op

from servicekit.migrations import online

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    online.run("""
        CREATE TABLE IF NOT EXISTS account_tokens (
            fingerprint bytea NOT NULL,
            kind text NOT NULL,
            user_id bigint NOT NULL,
            email text NOT NULL,
            created_at timestamptz NOT NULL,
            expires_at timestamptz NOT NULL,
            used_at timestamptz,
            CONSTRAINT pk_account_tokens PRIMARY KEY (fingerprint)
        )
    """)
    online.add_constraint(
        "account_tokens", "fk_account_tokens_user_id_users", "FOREIGN KEY (user_id) REFERENCES users (id)"
    )
    online.create_index("ix_account_tokens_user_id", "account_tokens (user_id)")
    online.create_index("ix_account_tokens_expires_at", "account_tokens (expires_at)")


def downgrade() -> None:
    op.execute("DROP TABLE account_tokens")
