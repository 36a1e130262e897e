"""What is left of a demonstration, from both sides: the application's own log, and the database."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controller.demo.place import Place
from controller.rollout.assignment import point
from controller.rollout.plan import FULL_BP

SCALE = 1 << 64
LEASE_US = 300 * 1_000_000


@dataclass(frozen=True, slots=True)
class Told:
    """The application's log: ids that were answered, ids that were under way when a connection ended."""

    answered: Mapping[str, dict[str, Any]]  # by id
    lost: Mapping[str, str]  # key by id
    refused: list[dict[str, Any]]

    def graded(self, last_minute: int) -> Counter[str]:
        """Outcomes that were sent by then, by what must become of them: one about a request of no rollout waits."""
        due = [one for one in self.answered.values() if one["due"] <= last_minute]
        return Counter("counted" if one["arm"] is not None else "waiting" for one in due)

    @property
    def keys(self) -> Counter[str]:
        return Counter(one["answered"] for one in self.answered.values())


def told(place: Place) -> Told:
    answered, lost, refused = {}, {}, []
    for line in place.requests.read_bytes().splitlines():
        if not line.strip():
            continue
        entry = json.loads(line)
        if "answered" in entry:
            assert entry["id"] not in answered
            answered[entry["id"]] = entry
        elif "lost" in entry:
            lost[entry["id"]] = entry["lost"]
        else:
            refused.append(entry)
    return Told(answered, lost, refused)


class Ledger:
    """The database as tables."""

    def __init__(self, place: Place) -> None:
        file = Path(place.database.removeprefix("sqlite:///"))
        self._connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
        self._connection.row_factory = sqlite3.Row

    def close(self) -> None:
        self._connection.close()

    def observations(self) -> list[sqlite3.Row]:
        return self._connection.execute("SELECT * FROM observations ORDER BY at").fetchall()

    def outcome_fates(self) -> Counter[str]:
        rows = self._connection.execute("SELECT fate, count(*) FROM outcomes GROUP BY fate")
        return Counter(dict(rows.fetchall()))

    def counted(self) -> Counter[tuple[str, str]]:
        """Requests by rollout and arm, as the rollups have them."""
        sums: Counter[tuple[str, str]] = Counter()
        for row in self._connection.execute("SELECT rollout, arm, stats FROM minutes"):
            sums[row["rollout"], row["arm"]] += json.loads(row["stats"]).get("n", 0)
        return Counter({key: n for key, n in sums.items() if n})

    def phases(self) -> dict[str, str]:
        return dict(self._connection.execute("SELECT name, phase FROM rollouts").fetchall())

    def salts(self) -> dict[str, str]:
        rows = self._connection.execute("SELECT rollout, state FROM rollouts")
        return {rollout: json.loads(state)["salt"] for rollout, state in rows}

    def splits(self) -> dict[str, list[sqlite3.Row]]:
        found: dict[str, list[sqlite3.Row]] = {}
        for row in self._connection.execute("SELECT * FROM splits ORDER BY rollout, version"):
            found.setdefault(row["rollout"], []).append(row)
        return found


def beyond_what_was_committed(ledger: Ledger) -> Iterator[str]:
    """Candidate requests whose unit lies above every share that was committed and whose lease could still run."""
    splits, salts = ledger.splits(), ledger.salts()
    for row in ledger.observations():
        if row["arm"] != "candidate":
            continue
        permitted = 0
        versions = splits[row["rollout"]]
        for number, split in enumerate(versions):
            ended = versions[number + 1]["since"] if number + 1 < len(versions) else None
            begun = split["since"] <= row["at"]
            if begun and (ended is None or ended + LEASE_US > row["at"]):
                permitted = max(permitted, json.loads(split["shares"]).get(row["intent"], 0))
        if not point(salts[row["rollout"]], row["unit"]) * FULL_BP < permitted * SCALE:
            yield f"{row['id']} at {row['at']}: {permitted} bp"


def flips(ledger: Ledger) -> Iterator[str]:
    """Units that came to the candidate after the baseline had served them."""
    served: dict[tuple[str, str], str] = {}
    for row in ledger.observations():
        key = (row["rollout"], row["unit"])
        if served.get(key) == "baseline" and row["arm"] == "candidate":
            yield f"{row['unit']} of {row['rollout']}"
        served[key] = row["arm"]
