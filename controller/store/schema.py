"""The tables. Records, plans and anchors are append-only: triggers in the migrations refuse UPDATE and DELETE.

Moments are whole microseconds since 1970 (`items.micros`): they compare, index and sum alike on every
database, and no driver's idea of time zones comes between. Grades are in millionths. JSON is kept as text: records
must come back letter by letter, and rollups are read and written whole.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    literal_column,
    text,
)

from controller.rollout.counting.items import Fate
from controller.rollout.observation import QUANTITIES

HEAD: Final = "0011"  # the newest revision in migrations/versions; a test holds the two together
APPEND_ONLY: Final = ("records", "plans", "anchors")
PARTITIONED: Final = {"episodes": "start", "observations": "at", "outcomes": "at", "pairs": "at"}
"""Tables that PostgreSQL keeps by the week of this column, which is part of their key there."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _key(name: str, kind: type[Text | Integer | BigInteger] = Text) -> Column[object]:
    return Column(name, kind, primary_key=True, autoincrement=False)


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False)


def _int(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False)


def _big(name: str, *, nullable: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=nullable)


def _rollout() -> Column[str]:
    return Column("rollout", ForeignKey("rollouts.rollout"), nullable=False)


# One row. All writers queue on it: `Database.writing` locks it first.
fence = Table(
    "fence", metadata, _key("id", Integer), _int("value"), CheckConstraint("id = 1", name="one_row")
)

# One row too, and not the same: a renewal must not queue behind an ingest.
leadership = Table(
    "leadership",
    metadata,
    _key("id", Integer),
    _text("holder"),
    _int("fence"),
    _big("beat"),
    _big("term_us"),
    CheckConstraint("id = 1", name="one_row"),
)

plans = Table("plans", metadata, _key("digest"), _text("name"), _text("text"))

rollouts = Table(
    "rollouts",
    metadata,
    _key("rollout"),
    _text("name"),
    _int("attempt"),
    _text("phase"),
    _int("seq"),
    _text("head_hash"),  # the compare-and-set token
    _text("state"),
    Column("plan_digest", ForeignKey("plans.digest"), nullable=False),
    # What the plan says about counting, so that ingest reads no plan.
    _text("unit"),
    _big("horizon_us"),
    _big("delay_us"),
    # The default is what the release before, which does not know the column, counts by.
    Column("sampled_u", BigInteger, nullable=False, server_default="1000000"),
    Column("people_u", BigInteger, nullable=False, server_default="0"),
    Column("cost_caps", Text, nullable=False, server_default=text("''")),  # nano-USD, by commas
    Column("ingest_seq", BigInteger, nullable=False, server_default="0"),
    UniqueConstraint("name", "attempt"),
    Index("ix_rollouts_tips", "rollout", "seq", "ingest_seq"),  # `tips` reads this index alone
)

records = Table(
    "records",
    metadata,
    Column("rollout", ForeignKey("rollouts.rollout"), primary_key=True),
    _key("seq", Integer),
    _big("at"),
    _text("action"),
    _text("hash"),
    _text("text"),
    UniqueConstraint("hash"),
)

anchors = Table(
    "anchors",
    metadata,
    _key("seq", Integer),
    _big("hour"),
    _text("hash"),
    _text("text"),
    UniqueConstraint("hour"),
)

splits = Table(
    "splits",
    metadata,
    Column("rollout", ForeignKey("rollouts.rollout"), primary_key=True),
    _key("version", Integer),
    _big("since"),
    _text("shares"),
)

verified = Table(
    "verified",
    metadata,
    Column("rollout", ForeignKey("rollouts.rollout"), primary_key=True),
    _key("version", Integer),
    _key("start", BigInteger),
    _big("end"),
)

judged = Table(
    "judged",
    metadata,
    Column("rollout", ForeignKey("rollouts.rollout"), primary_key=True),
    _big("through"),
    _big("seq"),
    _text("status"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("position", Integer, primary_key=True, autoincrement=True),
    _text("id"),
    _rollout(),
    _text("notice"),
    _big("created"),
    _int("attempts"),
    _big("next_attempt"),
    _big("delivered", nullable=True),
    _text("last_error"),
    # With defaults: the release before this one writes rows too, while it is replaced.
    Column("destination", Text, nullable=False, server_default="log"),
    _big("sending", nullable=True),
    Column("reference", Text, nullable=False, server_default=text("''")),
    UniqueConstraint("id"),
    Index("ix_outbox_rollout", "rollout", "position"),
)
Index(
    "ix_outbox_lines",
    outbox.c.destination,
    outbox.c.rollout,
    outbox.c.position,
    sqlite_where=text("delivered IS NULL"),
)

threads = Table(
    "threads",
    metadata,
    Column("rollout", ForeignKey("rollouts.rollout"), primary_key=True),
    _key("destination"),
    _int("number"),
    _text("channel"),
    _text("ts"),
    _int("seq"),
    _big("shown", nullable=True),
    _big("sending", nullable=True),
)

# One row. What is earlier than its floor is kept no more, and taken no more; who changes it holds the ingest lock.
retention = Table(
    "retention",
    metadata,
    _key("id", Integer),
    _big("floor"),
    CheckConstraint("id = 1", name="one_row"),
)

# Outcomes that were refused and are not kept, and whatever came too late to be kept; no rollout where it is not known.
refusals = Table("refusals", metadata, _key("rollout"), _key("fate"), _big("count"))

# No foreign keys from here on: ingest checks the rollout once a batch, a foreign key would check it for every row.

observations = Table(
    "observations",
    metadata,
    _key("id"),
    _text("rollout"),
    _big("at"),
    _text("unit"),
    _text("arm"),
    _text("intent"),
    _int("version"),
    _text("cohort"),
    Column("assigned", Boolean, nullable=False),
    _text("endpoint"),
    # The start of its episode: with rollout, unit, arm, intent and version its key.
    _big("episode", nullable=True),
    _int("attempt_n"),
    _big("attempt_u"),
    _int("served_n"),
    _big("served_u"),
    _text("flags"),
    *(_big(name, nullable=True) for name in QUANTITIES),
)

outcomes = Table(
    "outcomes",
    metadata,
    _key("id"),
    _text("observation"),
    _big("at"),
    _big("received"),
    _big("correct_u", nullable=True),
    _text("grades"),
    _text("flags"),
    _text("source"),
    _text("fate"),
    Column("rollout", Text),
)
# Written as partial indexes know them: a parameter in their place would hide the index from the planner.
FATE_WAITING = outcomes.c.fate == literal_column(f"'{Fate.WAITING.value}'")
FATE_REFUSED = outcomes.c.fate != literal_column(f"'{Fate.COUNTED.value}'")
Index(
    "ix_outcomes_waiting",
    outcomes.c.observation,
    sqlite_where=text("fate = 'waiting'"),
)
Index(
    "ix_outcomes_refused",
    outcomes.c.fate,
    outcomes.c.received,
    outcomes.c.rollout,
    sqlite_where=text("fate <> 'counted'"),
)

pairs = Table(
    "pairs",
    metadata,
    _key("id"),
    _text("rollout"),
    _big("at"),
    _text("intent"),
    _int("version"),
    Column("baseline_correct", Boolean, nullable=False),  # at least half, of several runs
    Column("candidate_correct", Boolean, nullable=False),
    Column(
        "baseline_u", BigInteger
    ),  # the grade in millionths; null: as the release before has it, 0 or 1
    Column("candidate_u", BigInteger),
)

# Found by its unit, changed by its key. In the order of time on SQLite too: those that are live are beside one another,
# so a batch changes few pages; clustered by unit it would change one for each.
episodes = Table(
    "episodes",
    metadata,
    _text("id"),  # its first request's
    _text("rollout"),
    _text("unit"),
    _text("arm"),
    _text("intent"),
    _int("version"),
    _text("endpoint"),
    _big("start"),
    _big("heard"),
    _int("graded"),
    _big("grades_u"),
    _text("flags"),
    PrimaryKeyConstraint("start", "id"),
    Index("ix_episodes_unit", "rollout", "unit", "start"),
)

# Answers of drawn units that people have graded, or that are wrong without; found by their unit.
by_people = Table(
    "by_people",
    metadata,
    _key("id"),  # the request's
    _text("rollout"),
    _text("unit"),
    _text("arm"),
    _text("intent"),
    _int("version"),
    _big("episode"),  # its start
    _int("attempt_n"),
    _big("attempt_u"),
    _int("served_n"),
    _big("served_u"),
    Column("escalated", Boolean, nullable=False),
    Column("failed", Boolean, nullable=False),
    Index("ix_by_people_unit", "rollout", "unit"),
    Index("ix_by_people_episode", "episode"),  # what is old is looked for by it
)

labels = Table(
    "labels",
    metadata,
    _key("id"),
    _text("rollout"),
    _int("version"),
    _text("intent"),
    _text("arm"),
    _big("start"),
    _big("grade_u"),
    Column("block", Text),
)
Index(
    "ix_labels_in_line",
    labels.c.rollout,
    labels.c.version,
    labels.c.intent,
    labels.c.arm,
    labels.c.start,
    labels.c.id,
    sqlite_where=text("block IS NULL"),
)
Index("ix_labels_block", labels.c.block)

blocks = Table(
    "blocks",
    metadata,
    _key("id"),
    _text("rollout"),
    _int("version"),
    _text("intent"),
    _big("minute"),
    _big("value_u"),
)


minutes = Table(
    "minutes",
    metadata,
    _key("rollout"),
    _key("minute", BigInteger),
    _key("version", Integer),
    _key("arm"),
    _key("intent"),
    _key("endpoint"),
    _key("cohort"),
    _big("seq"),
    _text("stats"),
    Index("ix_minutes_seq", "rollout", "seq"),
    sqlite_with_rowid=False,
)


def for_migrations() -> MetaData:
    """The tables, with what is said of an index for SQLite said for PostgreSQL too.

    Not above, where it would be read with every start of the command line: naming a dialect loads it.
    """
    for table in metadata.tables.values():
        for index in table.indexes:
            where = index.dialect_options["sqlite"]["where"]
            if where is not None:
                index.dialect_options["postgresql"]["where"] = where
    return metadata
