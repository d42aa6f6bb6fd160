"""Disputes of payments: their states, what they took back, and refunds that wait for them."""

from alembic import op

from servicekit.migrations import online

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

_STATUSES = "('open', 'won', 'lost')"


def upgrade() -> None:
    online.run(
        """
        ALTER TABLE payments ADD COLUMN IF NOT EXISTS dispute text,
            ADD COLUMN IF NOT EXISTS charged_back numeric(16, 4) NOT NULL DEFAULT 0,
            ADD COLUMN IF NOT EXISTS refunds_wait boolean NOT NULL DEFAULT false
        """
    )
    online.run("ALTER TABLE refunds ADD COLUMN IF NOT EXISTS ended_by text")
    for table in ("bookings", "coaching_bookings", "sandbox_orders"):
        online.run(f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS dispute text")
    online.run(
        f"""
        CREATE TABLE IF NOT EXISTS disputes (
            gateway text NOT NULL,
            id text NOT NULL,
            payment_id uuid NOT NULL CONSTRAINT fk_disputes_payment_id_payments REFERENCES payments,
            amount numeric(16, 4) NOT NULL,
            currency text NOT NULL,
            status text NOT NULL CONSTRAINT ck_disputes_status CHECK (status IN {_STATUSES}),
            is_inquiry boolean NOT NULL,
            reason text,
            opened_at timestamptz NOT NULL,
            changed_at timestamptz NOT NULL,
            CONSTRAINT pk_disputes PRIMARY KEY (gateway, id)
        )
        """
    )
    online.create_index("ix_disputes_payment_id", "disputes (payment_id)")
    for table in ("payments", "bookings", "coaching_bookings", "sandbox_orders"):
        online.add_constraint(table, f"ck_{table}_dispute", f"CHECK (dispute IN {_STATUSES})")
    online.add_constraint("payments", "ck_payments_charged_back", "CHECK (charged_back BETWEEN 0 AND amount)")
    online.create_index(
        "ix_payments_gateway_payment_id", "payments (gateway_payment_id) WHERE gateway_payment_id IS NOT NULL"
    )
    online.create_index("ix_payments_dispute", "payments (dispute, id) WHERE dispute IS NOT NULL")


def downgrade() -> None:
    op.execute("DROP TABLE disputes")
    op.execute("DROP INDEX ix_payments_gateway_payment_id")
    op.execute("ALTER TABLE refunds DROP ended_by")
    op.execute("ALTER TABLE payments DROP dispute, DROP charged_back, DROP refunds_wait")
    for table in ("bookings", "coaching_bookings", "sandbox_orders"):
        op.execute(f"ALTER TABLE {table} DROP dispute")
