"""Pairs have grades between 0 and 1: several runs of one prompt are one pair, graded by the mean.

Columns of their own, so that the release before goes on writing what it knows.

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

GRADES = ("baseline_u", "candidate_u")


def upgrade() -> None:
    for name in GRADES:
        op.add_column("pairs", sa.Column(name, sa.BigInteger(), nullable=True))


def downgrade() -> None:
    for name in GRADES:
        op.drop_column("pairs", name)
