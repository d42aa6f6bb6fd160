"""Where the buyer goes after the checkout of a payment, if the request named an address."""

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE payments ADD return_url text")


def downgrade() -> None:
    op.execute("ALTER TABLE payments DROP return_url")
