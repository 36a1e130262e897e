"""A rollout says which part of its units people grade beside a judge, and what they say is kept by answer.

The release before goes on writing rollouts without it: in them nobody grades beside the judge.

Revision ID: 0010
Revises: 0009
"""

import sqlalchemy as sa
from alembic import op

from controller.store.downgrades import refuse_while

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("rollouts", sa.Column("people_u", sa.BigInteger(), server_default="0", nullable=False))
    op.create_table(
        "by_people",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("rollout", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("arm", sa.Text(), nullable=False),
        sa.Column("intent", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("episode", sa.BigInteger(), nullable=False),
        sa.Column("attempt_n", sa.Integer(), nullable=False),
        sa.Column("attempt_u", sa.BigInteger(), nullable=False),
        sa.Column("served_n", sa.Integer(), nullable=False),
        sa.Column("served_u", sa.BigInteger(), nullable=False),
        sa.Column("escalated", sa.Boolean(), nullable=False),
        sa.Column("failed", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_by_people")),
    )
    op.create_index("ix_by_people_unit", "by_people", ["rollout", "unit"])
    op.create_index("ix_by_people_episode", "by_people", ["episode"])


def downgrade() -> None:
    refuse_while("people_u > 0", "would lose what people graded, which its rollups hold")
    op.drop_table("by_people")
    op.drop_column("rollouts", "people_u")
