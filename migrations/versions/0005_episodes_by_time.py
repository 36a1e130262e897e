"""Episodes by time: keyed by their start, and found by their unit in an index.

On SQLite they were clustered by unit, so that every batch changed a page for nearly each of its requests.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

COLUMNS = "id, rollout, unit, arm, intent, version, endpoint, start, last, graded, grades_u, flags"


def upgrade() -> None:
    rekey("start", "id")
    op.create_index("ix_episodes_unit", "episodes", ["rollout", "unit", "start"])


def downgrade() -> None:
    op.drop_index("ix_episodes_unit", "episodes")
    rekey("rollout", "unit", "start", "arm", "intent", "version", sqlite_with_rowid=False)


def rekey(*key: str, **options: bool) -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint("pk_episodes", "episodes")
        op.create_primary_key("pk_episodes", "episodes", list(key))
        return
    # SQLite has no way to change a key in place.
    op.rename_table("episodes", "episodes_before")
    op.create_table(
        "episodes",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("rollout", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("arm", sa.Text(), nullable=False),
        sa.Column("intent", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.Column("graded", sa.Integer(), nullable=False),
        sa.Column("grades_u", sa.BigInteger(), nullable=False),
        sa.Column("flags", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint(*key, name=op.f("pk_episodes")),
        **options,
    )
    op.execute(
        f"INSERT INTO episodes ({COLUMNS}) SELECT {COLUMNS} FROM episodes_before ORDER BY start"  # noqa: S608 # our names
    )
    op.drop_table("episodes_before")
