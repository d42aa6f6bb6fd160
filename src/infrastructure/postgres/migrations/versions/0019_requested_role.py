"""The role that an account waits for an operator to approve."""

from alembic import op

from servicekit.migrations import online

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    online.run("ALTER TABLE users ADD COLUMN IF NOT EXISTS requested_role text")
    online.add_constraint("users", "ck_users_requested_role", "CHECK (requested_role = 'facilitator')")


def downgrade() -> None:
    op.execute("ALTER TABLE users DROP requested_role")
