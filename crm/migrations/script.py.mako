"""${message}"""

from alembic import op

from servicekit.migrations import online

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade() -> None:
    online.run("""
    """)


def downgrade() -> None:
    op.execute("""
    """)
