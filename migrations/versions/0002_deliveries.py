"""A notice is owed to each of its destinations; threads in Slack.

What an earlier release owed went to the log.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("outbox", sa.Column("destination", sa.Text(), server_default="log", nullable=False))
    op.add_column("outbox", sa.Column("sending", sa.BigInteger(), nullable=True))
    op.add_column("outbox", sa.Column("reference", sa.Text(), server_default=sa.text("''"), nullable=False))
    op.drop_index("ix_outbox_owed", table_name="outbox")
    op.create_index(
        "ix_outbox_lines",
        "outbox",
        ["destination", "rollout", "position"],
        unique=False,
        sqlite_where=sa.text("delivered IS NULL"),
        postgresql_where=sa.text("delivered IS NULL"),
    )
    op.create_table(
        "threads",
        sa.Column("rollout", sa.Text(), nullable=False),
        sa.Column("destination", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("ts", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("shown", sa.BigInteger(), nullable=True),
        sa.Column("sending", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["rollout"], ["rollouts.rollout"], name=op.f("fk_threads_rollout_rollouts")
        ),
        sa.PrimaryKeyConstraint("rollout", "destination", name=op.f("pk_threads")),
    )


def downgrade() -> None:
    op.drop_table("threads")
    op.drop_index(
        "ix_outbox_lines",
        table_name="outbox",
        sqlite_where=sa.text("delivered IS NULL"),
        postgresql_where=sa.text("delivered IS NULL"),
    )
    op.create_index(
        "ix_outbox_owed",
        "outbox",
        ["rollout", "position"],
        unique=False,
        sqlite_where=sa.text("delivered IS NULL"),
        postgresql_where=sa.text("delivered IS NULL"),
    )
    for column in ("reference", "sending", "destination"):
        op.drop_column("outbox", column)
