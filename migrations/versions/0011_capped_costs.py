"""A rollout says up to how much of each request's cost is summed beside the whole: by its rules on cost_per_correct.

The release before goes on writing rollouts without it: in them nothing is summed so.

Revision ID: 0011
Revises: 0010
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("rollouts", sa.Column("cost_caps", sa.Text(), server_default=sa.text("''"), nullable=False))


def downgrade() -> None:
    op.drop_column("rollouts", "cost_caps")
