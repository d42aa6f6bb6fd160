"""Mails to addresses that are not verified: how many each had, and messages that are held."""

from alembic import op

from servicekit.migrations import online

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

_STATUSES = "'pending', 'delivered', 'dead', 'discarded'"


def upgrade() -> None:
    online.run("ALTER TABLE users ADD COLUMN IF NOT EXISTS mail_limited boolean NOT NULL DEFAULT false")
    online.run("ALTER TABLE outbox ADD COLUMN IF NOT EXISTS held_for text")
    online.add_constraint("outbox", "ck_outbox_status", f"CHECK (status IN ({_STATUSES}, 'held'))")
    online.add_constraint("outbox", "ck_outbox_held_for", "CHECK (status <> 'held' OR held_for IS NOT NULL)")
    online.run("""
        CREATE TABLE IF NOT EXISTS unverified_mails (
            address bytea NOT NULL,
            message_ids uuid[] NOT NULL,
            counted_at timestamptz[] NOT NULL,
            last_at timestamptz NOT NULL,
            CONSTRAINT pk_unverified_mails PRIMARY KEY (address)
        )
    """)
    online.create_index("ix_unverified_mails_last_at", "unverified_mails (last_at)")
    online.create_index("ix_outbox_held", "outbox (held_for, seq) WHERE status = 'held'")
    online.create_index("ix_outbox_held_settled", "outbox (settled_at) WHERE status = 'held'")


def downgrade() -> None:
    op.execute("DROP TABLE unverified_mails")
    op.execute("DROP INDEX ix_outbox_held_settled, ix_outbox_held")
    op.execute("UPDATE outbox SET status = 'discarded' WHERE status = 'held'")
    op.execute("ALTER TABLE outbox DROP held_for")
    op.execute(
        "ALTER TABLE outbox DROP CONSTRAINT ck_outbox_status, "
        f"ADD CONSTRAINT ck_outbox_status CHECK (status IN ({_STATUSES}))"
    )
    op.execute("ALTER TABLE users DROP mail_limited")
