"""A scrape, read by the real parser."""

from __future__ import annotations

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families


class Scrape:
    """Every family once, its samples by labels."""

    def __init__(self, text: str | bytes):
        self.text = text if isinstance(text, str) else text.decode()
        self.families: dict[str, Metric] = {}
        for family in text_string_to_metric_families(self.text):
            assert family.name not in self.families, f"{family.name} is there twice"
            self.families[family.name] = family

    @property
    def names(self) -> set[str]:
        """As they stand in the text."""
        return {line.split()[2] for line in self.text.splitlines() if line.startswith("# TYPE ")}

    def value(self, name: str, **labels: str) -> float | None:
        """None if there is no such sample."""
        found = [
            sample.value
            for family in self.families.values()
            for sample in family.samples
            if sample.name == name and sample.labels == labels
        ]
        assert len(found) <= 1, f"{name} {labels} is there {len(found)} times"
        return found[0] if found else None

    def on(self, name: str, label: str) -> set[str]:
        """The values of one label for which a state set is 1."""
        return {
            sample.labels[label]
            for family in self.families.values()
            for sample in family.samples
            if sample.name == name and sample.value == 1
        }
