"""A rollout says which part of its answers is graded, in millionths.

The release before goes on writing rollouts without it: all of them are, as it counts.

Revision ID: 0009
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op

from controller.store.downgrades import refuse_while

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("rollouts", sa.Column("sampled_u", sa.BigInteger(), server_default="1000000", nullable=False))


def downgrade() -> None:
    refuse_while("sampled_u < 1000000", "would count every escalated answer, where now it counts those of its sample")
    op.drop_column("rollouts", "sampled_u")
