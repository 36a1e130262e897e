"""Rollouts, records, outbox and metrics; what is written to records, plans and anchors stays.

Revision ID: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

APPEND_ONLY = ("records", "plans", "anchors")


def by_time(column: str) -> tuple[str, ...]:
    """What PostgreSQL wants in the key of a table that is partitioned by this column."""
    return (column,) if op.get_bind().dialect.name == "postgresql" else ()


def upgrade() -> None:
    op.create_table(
        "anchors",
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("hour", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_anchors")),
        sa.UniqueConstraint("hour", name=op.f("uq_anchors_hour")),
    )
    op.create_table(
        "blocks",
        sa.Column("id", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("rollout", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("intent", sa.Text(), nullable=False),
        sa.Column("minute", sa.BigInteger(), nullable=False),
        sa.Column("value_u", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_blocks")),
    )
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
        sa.PrimaryKeyConstraint(
            "rollout", "unit", "start", "arm", "intent", "version", name=op.f("pk_episodes")
        ),
        sqlite_with_rowid=False,
        postgresql_partition_by="RANGE (start)",
    )
    op.create_table(
        "fence",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("value", sa.Integer(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_fence_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fence")),
    )
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
        sa.PrimaryKeyConstraint(
            "rollout",
            "minute",
            "version",
            "arm",
            "intent",
            "endpoint",
            "cohort",
            name=op.f("pk_hours"),
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "labels",
        sa.Column("id", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("rollout", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("intent", sa.Text(), nullable=False),
        sa.Column("arm", sa.Text(), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("grade_u", sa.BigInteger(), nullable=False),
        sa.Column("block", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_labels")),
    )
    op.create_index("ix_labels_block", "labels", ["block"], unique=False)
    op.create_index(
        "ix_labels_in_line",
        "labels",
        ["rollout", "version", "intent", "arm", "start", "id"],
        unique=False,
        sqlite_where=sa.text("block IS NULL"),
        postgresql_where=sa.text("block IS NULL"),
    )
    op.create_table(
        "minutes",
        sa.Column("rollout", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("minute", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("arm", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("intent", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("endpoint", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("cohort", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("stats", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint(
            "rollout",
            "minute",
            "version",
            "arm",
            "intent",
            "endpoint",
            "cohort",
            name=op.f("pk_minutes"),
        ),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_minutes_seq", "minutes", ["rollout", "seq"], unique=False)
    op.create_table(
        "observations",
        sa.Column("id", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("rollout", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("arm", sa.Text(), nullable=False),
        sa.Column("intent", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("cohort", sa.Text(), nullable=False),
        sa.Column("assigned", sa.Boolean(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("episode", sa.BigInteger(), nullable=True),
        sa.Column("attempt_n", sa.Integer(), nullable=False),
        sa.Column("attempt_u", sa.BigInteger(), nullable=False),
        sa.Column("served_n", sa.Integer(), nullable=False),
        sa.Column("served_u", sa.BigInteger(), nullable=False),
        sa.Column("flags", sa.Text(), nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), nullable=True),
        sa.Column("cached_tokens", sa.BigInteger(), nullable=True),
        sa.Column("output_tokens", sa.BigInteger(), nullable=True),
        sa.Column("cost_nusd", sa.BigInteger(), nullable=True),
        sa.Column("latency_us", sa.BigInteger(), nullable=True),
        sa.Column("ttft_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", *by_time("at"), name=op.f("pk_observations")),
        postgresql_partition_by="RANGE (at)",
    )
    op.create_table(
        "outcomes",
        sa.Column("id", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("observation", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("received", sa.BigInteger(), nullable=False),
        sa.Column("correct_u", sa.BigInteger(), nullable=True),
        sa.Column("grades", sa.Text(), nullable=False),
        sa.Column("flags", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("fate", sa.Text(), nullable=False),
        sa.Column("rollout", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", *by_time("at"), name=op.f("pk_outcomes")),
        postgresql_partition_by="RANGE (at)",
    )
    op.create_index(
        "ix_outcomes_refused",
        "outcomes",
        ["fate", "received", "rollout"],
        unique=False,
        sqlite_where=sa.text("fate <> 'counted'"),
        postgresql_where=sa.text("fate <> 'counted'"),
    )
    op.create_index(
        "ix_outcomes_waiting",
        "outcomes",
        ["observation"],
        unique=False,
        sqlite_where=sa.text("fate = 'waiting'"),
        postgresql_where=sa.text("fate = 'waiting'"),
    )
    op.create_table(
        "pairs",
        sa.Column("id", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("rollout", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("intent", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("baseline_correct", sa.Boolean(), nullable=False),
        sa.Column("candidate_correct", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", *by_time("at"), name=op.f("pk_pairs")),
        postgresql_partition_by="RANGE (at)",
    )
    op.create_table(
        "plans",
        sa.Column("digest", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_plans")),
    )
    op.create_table(
        "rollouts",
        sa.Column("rollout", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("phase", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("head_hash", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("plan_digest", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("horizon_us", sa.BigInteger(), nullable=False),
        sa.Column("delay_us", sa.BigInteger(), nullable=False),
        sa.Column("ingest_seq", sa.BigInteger(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(
            ["plan_digest"], ["plans.digest"], name=op.f("fk_rollouts_plan_digest_plans")
        ),
        sa.PrimaryKeyConstraint("rollout", name=op.f("pk_rollouts")),
        sa.UniqueConstraint("name", "attempt", name=op.f("uq_rollouts_name_attempt")),
    )
    op.create_index("ix_rollouts_tips", "rollouts", ["rollout", "seq", "ingest_seq"], unique=False)
    op.create_table(
        "judged",
        sa.Column("rollout", sa.Text(), nullable=False),
        sa.Column("through", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["rollout"], ["rollouts.rollout"], name=op.f("fk_judged_rollout_rollouts")
        ),
        sa.PrimaryKeyConstraint("rollout", name=op.f("pk_judged")),
    )
    op.create_table(
        "outbox",
        sa.Column("position", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("rollout", sa.Text(), nullable=False),
        sa.Column("notice", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt", sa.BigInteger(), nullable=False),
        sa.Column("delivered", sa.BigInteger(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["rollout"], ["rollouts.rollout"], name=op.f("fk_outbox_rollout_rollouts")
        ),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_outbox")),
        sa.UniqueConstraint("id", name=op.f("uq_outbox_id")),
    )
    op.create_index(
        "ix_outbox_owed",
        "outbox",
        ["rollout", "position"],
        unique=False,
        sqlite_where=sa.text("delivered IS NULL"),
        postgresql_where=sa.text("delivered IS NULL"),
    )
    op.create_index("ix_outbox_rollout", "outbox", ["rollout", "position"], unique=False)
    op.create_table(
        "records",
        sa.Column("rollout", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["rollout"], ["rollouts.rollout"], name=op.f("fk_records_rollout_rollouts")
        ),
        sa.PrimaryKeyConstraint("rollout", "seq", name=op.f("pk_records")),
        sa.UniqueConstraint("hash", name=op.f("uq_records_hash")),
    )
    op.create_table(
        "splits",
        sa.Column("rollout", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("shares", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["rollout"], ["rollouts.rollout"], name=op.f("fk_splits_rollout_rollouts")
        ),
        sa.PrimaryKeyConstraint("rollout", "version", name=op.f("pk_splits")),
    )
    op.create_table(
        "verified",
        sa.Column("rollout", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("start", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("end", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["rollout"], ["rollouts.rollout"], name=op.f("fk_verified_rollout_rollouts")
        ),
        sa.PrimaryKeyConstraint("rollout", "version", "start", name=op.f("pk_verified")),
    )
    op.execute("INSERT INTO fence (id, value) VALUES (1, 0)")
    forbid_changes = {"sqlite": _forbid_in_sqlite, "postgresql": _forbid_in_postgresql}
    forbid_changes[op.get_bind().dialect.name]()


def downgrade() -> None:
    op.drop_table("verified")
    op.drop_table("splits")
    op.drop_table("records")
    op.drop_index("ix_outbox_rollout", table_name="outbox")
    op.drop_index(
        "ix_outbox_owed",
        table_name="outbox",
        sqlite_where=sa.text("delivered IS NULL"),
        postgresql_where=sa.text("delivered IS NULL"),
    )
    op.drop_table("outbox")
    op.drop_table("judged")
    op.drop_index("ix_rollouts_tips", table_name="rollouts")
    op.drop_table("rollouts")
    op.drop_table("plans")
    op.drop_table("pairs")
    op.drop_index(
        "ix_outcomes_waiting",
        table_name="outcomes",
        sqlite_where=sa.text("fate = 'waiting'"),
        postgresql_where=sa.text("fate = 'waiting'"),
    )
    op.drop_index(
        "ix_outcomes_refused",
        table_name="outcomes",
        sqlite_where=sa.text("fate <> 'counted'"),
        postgresql_where=sa.text("fate <> 'counted'"),
    )
    op.drop_table("outcomes")
    op.drop_table("observations")
    op.drop_index("ix_minutes_seq", table_name="minutes")
    op.drop_table("minutes")
    op.drop_index(
        "ix_labels_in_line",
        table_name="labels",
        sqlite_where=sa.text("block IS NULL"),
        postgresql_where=sa.text("block IS NULL"),
    )
    op.drop_index("ix_labels_block", table_name="labels")
    op.drop_table("labels")
    op.drop_table("hours")
    op.drop_table("fence")
    op.drop_table("episodes")
    op.drop_table("blocks")
    op.drop_table("anchors")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION canaryctl_append_only()")


def _forbid_in_sqlite() -> None:
    for table in APPEND_ONLY:
        for change in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{change.lower()} BEFORE {change} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} are append-only'); END"
            )


def _forbid_in_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION canaryctl_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE integrity_constraint_violation USING MESSAGE = TG_TABLE_NAME || ' are append-only'; END $$"
    )
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION canaryctl_append_only()"
        )
