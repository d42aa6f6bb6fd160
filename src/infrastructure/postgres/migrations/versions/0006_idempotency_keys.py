"""Answers kept by the client's idempotency key."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

UP = """
CREATE TABLE idempotency_keys (
    owner text NOT NULL,
    key text NOT NULL,
    request bytea NOT NULL,
    runner uuid NOT NULL,
    leased_until timestamptz NOT NULL,
    committed boolean NOT NULL DEFAULT false,
    made jsonb,
    status integer,
    headers jsonb,
    body bytea,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_idempotency_keys PRIMARY KEY (owner, key),
    CONSTRAINT ck_idempotency_keys_answer CHECK (num_nulls(status, headers, body) IN (0, 3))
);
CREATE INDEX ix_idempotency_keys_created_at ON idempotency_keys (created_at)
"""


def upgrade() -> None:
    for statement in UP.split(";\n"):
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TABLE idempotency_keys")
