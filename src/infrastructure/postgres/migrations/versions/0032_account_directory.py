"""Indexes of the list of accounts: its search, and the filters whose values are rare."""

from alembic import op

from servicekit.migrations import online

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None


def upgrade() -> None:
    online.create_index("ix_users_directory", "users USING gin (search_vector(name || ' ' || email))")
    online.create_index("ix_users_role", "users (role, id) WHERE role <> 'user'")
    online.create_index("ix_users_inactive", "users (id) WHERE NOT is_active")
    online.create_index("ix_users_unverified", "users (id) WHERE NOT is_verified")
    online.create_index("ix_users_requested", "users (id) WHERE requested_role IS NOT NULL")


def downgrade() -> None:
    op.execute(
        "DROP INDEX ix_users_directory, ix_users_role, ix_users_inactive, ix_users_unverified, ix_users_requested"
    )
