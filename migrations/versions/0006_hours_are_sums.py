"""Hours are sums of minutes: kept beside them they were written with every batch, and read by nobody.

Revision ID: 0006
Revises: 0005
"""

import json
from collections import Counter

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

KEY = ("rollout", "minute", "version", "arm", "intent", "endpoint", "cohort")


def upgrade() -> None:
    op.drop_table("hours")


def downgrade() -> None:
    op.create_table(
        "hours",
        sa.Column("rollout", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("minute", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("arm", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("intent", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("endpoint", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("cohort", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("stats", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint(*KEY, name=op.f("pk_hours")),
        sqlite_with_rowid=False,
    )
    fill()


def fill() -> None:
    """Sum the minutes, one rollout after the other."""
    bind = op.get_bind()
    minutes, hours = (
        sa.table(name, *map(sa.column, (*KEY, "seq", "stats"))) for name in ("minutes", "hours")
    )
    for rollout in bind.scalars(sa.select(minutes.c.rollout).distinct()).all():
        sums: dict[tuple[object, ...], Counter[str]] = {}
        seqs: dict[tuple[object, ...], int] = {}
        for row in bind.execute(sa.select(minutes).where(minutes.c.rollout == rollout)):
            key = (row.rollout, row.minute - row.minute % 60, *row[2:7])
            sums.setdefault(key, Counter()).update(json.loads(row.stats))
            seqs[key] = max(row.seq, seqs.get(key, 0))
        rows = [
            dict(zip(hours.c.keys(), (*key, seqs[key], stats_of(sums[key])), strict=True))
            for key in sums
        ]
        bind.execute(hours.insert(), rows)


def stats_of(counts: Counter[str]) -> str:
    return json.dumps({name: n for name, n in counts.items() if n}, separators=(",", ":"))
