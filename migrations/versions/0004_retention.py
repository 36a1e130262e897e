"""What is kept: the floor below which nothing is counted any more, and how much was refused.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "retention",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("floor", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_retention_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_retention")),
    )
    op.create_table(
        "refusals",
        sa.Column("rollout", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("fate", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("rollout", "fate", name=op.f("pk_refusals")),
    )
    # Before year one: nothing is below it.
    op.execute("INSERT INTO retention (id, floor) VALUES (1, -62135596800000000)")


def downgrade() -> None:
    op.drop_table("refusals")
    op.drop_table("retention")
