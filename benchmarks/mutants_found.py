"""What mutmut found: how the changes of each function ended, and the lines of those that no test noticed."""

from __future__ import annotations

import ast
import difflib
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.mutants_groups import group_of, source
from benchmarks.write import FOLDER

WORK: Final = FOLDER / ".mutants"
STATUS: Final = {0: "survived", 1: "killed", 3: "killed", 5: "not reached", 33: "not reached"}
TIMED_OUT: Final = {-24, 24, 36, 152, 255}
LIVED: Final = {"survived", "not reached"}

Kept = dict[str, Any]
"""Of one module: `functions` by name, each with a digest of its `text` and its `counts`; its `survivors`; and which
functions `changed` since they were tried, or never were."""


@dataclass(frozen=True, slots=True)
class Survivor:
    """A change that no test noticed: the lines that were there and those instead."""

    function: str
    was: str
    now: str

    @property
    def change(self) -> str:
        return f"{self.was} → {self.now}"


@dataclass(frozen=True, slots=True)
class Mutant:
    """`code` is mutmut's of how the tests ended; None: not run."""

    name: str
    function: str
    code: int | None

    @property
    def status(self) -> str:
        if self.code is None:
            return "not run"
        return "timed out" if self.code in TIMED_OUT else STATUS.get(self.code, "crashed")

    @property
    def lived(self) -> bool:
        return self.status in LIVED


def mutants(module: str) -> list[Mutant]:
    """Every one that was made of the module as it stands; none if it was not looked at since it changed."""
    meta, copy = _mutated(module).with_suffix(".py.meta"), _copied(module)
    if not meta.exists() or not copy.exists() or copy.read_bytes() != source(module).read_bytes():
        return []
    codes: dict[str, int | None] = json.loads(meta.read_text(encoding="utf-8"))["exit_code_by_key"]
    return [Mutant(name, _function_of(name), code) for name, code in codes.items()]


def told(module: str, before: Kept | None) -> Kept:
    """What is to be kept of a module: anew of each function whose mutants were all run, else as it was kept `before`.

    A function that is gone is forgotten.
    """
    texts, made = digests(module), mutants(module)
    tried = texts.keys() - {one.function for one in made if one.code is None} if made else set()
    functions = {name: one for name, one in _functions(before).items() if name in texts}
    for name in tried:
        ended = Counter(one.status for one in made if one.function == name)
        functions[name] = {"text": texts[name], "counts": dict(sorted(ended.items()))}
    lived = [one for one in survivors(before) if one.function in functions.keys() - tried]
    lived += lines_of(module, [one for one in made if one.function in tried and one.lived])
    return {
        "functions": dict(sorted(functions.items())),
        "survivors": [
            asdict(one) for one in sorted(lived, key=lambda one: (one.function, one.was, one.now))
        ],
        "changed": changed(module, functions),
    }


def survivors(kept: Kept | None) -> list[Survivor]:
    return [Survivor(**row) for row in kept["survivors"]] if kept is not None else []


def changed(module: str, functions: Mapping[str, Any]) -> list[str]:
    """Functions of the module that have changed since they were tried, or never were."""
    return sorted(
        name
        for name, text in digests(module).items()
        if name not in functions or functions[name]["text"] != text
    )


def _functions(kept: Kept | None) -> dict[str, Any]:
    return kept["functions"] if kept is not None else {}


def digests(module: str) -> dict[str, str]:
    """Of each function and method, however it is laid out and whatever is said of it: of its code alone."""
    tree = ast.parse(source(module).read_text(encoding="utf-8"))
    return {
        name: hashlib.sha256(ast.unparse(_undocumented(one)).encode()).hexdigest()[:12]
        for name, one in _defined(tree, ())
    }


_Definition = ast.FunctionDef | ast.AsyncFunctionDef


def _defined(
    within: ast.Module | ast.ClassDef, of: Sequence[str]
) -> Iterator[tuple[str, _Definition]]:
    for one in within.body:
        match one:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield ".".join([*of, one.name]), one
            case ast.ClassDef():
                yield from _defined(one, [*of, one.name])


def _undocumented(one: _Definition) -> _Definition:
    if ast.get_docstring(one) is not None:
        one.body = one.body[1:] or [ast.Pass()]
    return one


def lines_of(module: str, chosen: Iterable[Mutant]) -> Iterator[Survivor]:
    """Which lines each of the mutants changes."""
    chosen = list(chosen)
    if not chosen:
        return  # nor need there be a copy of a module of which none is asked
    path = _mutated(module)
    lines = path.read_text(encoding="utf-8").splitlines()
    spans = json.loads(path.with_suffix(".py.spans").read_text(encoding="utf-8"))["spans"]
    for one in chosen:
        mutant = one.name.rpartition(".")[2]
        function = mutant.partition("__mutmut_")[0]
        before, after = (
            _text(lines[slice(spans[key][0] - 1, spans[key][1])], key)
            for key in (f"{function}__mutmut_orig", mutant)
        )
        was, now = _difference(before, after)
        yield Survivor(function=one.function, was=was, now=now)


def _text(lines: Sequence[str], name: str) -> list[str]:
    return [line.replace(name, "_").strip() for line in lines]


def _difference(before: Sequence[str], after: Sequence[str]) -> tuple[str, str]:
    apart = list(difflib.ndiff(before, after))
    return (
        " ".join(line[2:] for line in apart if line.startswith("- ")),
        " ".join(line[2:] for line in apart if line.startswith("+ ")),
    )


def _function_of(mutant: str) -> str:
    """`controller.stats.betting.xǁBetsǁpost__mutmut_3` is of Bets.post, `….x_bets__mutmut_1` of bets."""
    function = mutant.rpartition(".")[2].partition("__mutmut_")[0]
    return function.removeprefix("xǁ").replace("ǁ", ".") if "ǁ" in function else function[2:]


def _mutated(module: str) -> Path:
    return WORK / group_of(module) / "mutants" / source(module).relative_to(FOLDER)


def _copied(module: str) -> Path:
    return WORK / group_of(module) / source(module).relative_to(FOLDER)
