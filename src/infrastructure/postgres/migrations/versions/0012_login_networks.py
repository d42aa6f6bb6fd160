"""The networks from which each account has logged in, as keyed hashes."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE login_networks (
            user_id bigint NOT NULL CONSTRAINT fk_login_networks_user_id_users REFERENCES users,
            network bytea NOT NULL,
            last_login_at timestamptz NOT NULL,
            CONSTRAINT pk_login_networks PRIMARY KEY (user_id, network)
        )
    """)
    op.execute("CREATE INDEX ix_login_networks_last_login_at ON login_networks (last_login_at)")


def downgrade() -> None:
    op.execute("DROP TABLE login_networks")
