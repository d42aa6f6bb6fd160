"""What the list of sessions shows: last use, network and program of each login."""

from alembic import op

from servicekit.migrations import online

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    online.run("""
        ALTER TABLE logins ADD COLUMN IF NOT EXISTS last_used_at timestamptz,
            ADD COLUMN IF NOT EXISTS network text,
            ADD COLUMN IF NOT EXISTS user_agent text
    """)
    online.create_index("ix_logins_in_progress", "logins (user_id, id) WHERE ended_at IS NULL")


def downgrade() -> None:
    op.execute("DROP INDEX ix_logins_in_progress")
    op.execute("ALTER TABLE logins DROP last_used_at, DROP network, DROP user_agent")
