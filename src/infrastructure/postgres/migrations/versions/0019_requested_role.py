"""The role that an account waits for an operator to approve."""

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        ALTER TABLE users
            ADD requested_role text CONSTRAINT ck_users_requested_role CHECK (requested_role = 'facilitator')
    """)


def downgrade() -> None:
    op.execute("ALTER TABLE users DROP requested_role")
