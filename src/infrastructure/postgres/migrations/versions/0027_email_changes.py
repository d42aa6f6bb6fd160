"""Addresses that a token can give back to the account that had them."""

from alembic import op

from servicekit.migrations import online

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    online.create_index("ix_account_tokens_reserved", "account_tokens (email) WHERE kind = 'undo_email_change'")


def downgrade() -> None:
    op.execute("DROP INDEX ix_account_tokens_reserved")
