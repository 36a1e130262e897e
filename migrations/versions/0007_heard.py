"""What an episode keeps of its last request is the end of that one's five minutes, and is called so.

An older row has the request's own moment: its unit is a new one up to five minutes sooner.

Revision ID: 0007
Revises: 0006
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Both databases know the same words, and PostgreSQL renames the column of every partition.
    op.execute("ALTER TABLE episodes RENAME COLUMN last TO heard")


def downgrade() -> None:
    op.execute("ALTER TABLE episodes RENAME COLUMN heard TO last")
