"""A plan's file -> `Plan`, or every problem of the file at once.

Parsed twice: the file's shape (`shape`), then its meaning (`meaning`). Nothing after this sees a string like "5m".
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

from controller.errors import PlanError, Problem
from controller.plans.document import MAX_BYTES, Mapping, Node, Place, Problems, Scalar, parse
from controller.plans.leaves import describe
from controller.plans.meaning import read_meaning
from controller.plans.models import ModelTable
from controller.plans.nearest import nearest
from controller.plans.reading import Reading
from controller.plans.schema import API_VERSION, KIND
from controller.plans.shape import read_shape
from controller.plans.units import shown
from controller.rollout.plan import Plan

_START = Place(1, 1)


def load_text(text: str, *, file: str, today: date, models: ModelTable) -> Plan:
    """The one plan of a file. PlanError with all problems, in the order of the file."""
    plans = load_all(text, file=file, today=today, models=models)
    if len(plans) == 1:
        return plans[0]
    names = ", ".join(plan.name for plan in plans)
    raise _refused(file, f"{len(plans)} plans in one file ({names}); expected one")


def load_file(path: Path, *, today: date, models: ModelTable) -> Plan:
    """The one plan of a file on disk; see `load_text` and `read_file`."""
    return load_text(read_file(path), file=str(path), today=today, models=models)


def load_all(text: str, *, file: str, today: date, models: ModelTable) -> tuple[Plan, ...]:
    """Every plan of a file whose documents are separated by `---`; empty documents are passed over.

    PlanError with all problems of all documents. Two plans of one name are a problem.
    """
    problems = Problems(file)
    roots = [root for root in parse(text, problems) if not _is_empty(root)]
    if not roots and not problems:
        problems.add(
            _START, "", f"empty; expected a plan that begins with `apiVersion: {API_VERSION}`"
        )
    plans = [plan for root in roots if (plan := _plan(root, problems, today, models)) is not None]
    _refuse_same_names(roots, problems)
    if problems:
        raise PlanError(problems.sorted())
    return tuple(plans)


def read_file(path: Path) -> str:
    """The text of a plan's file. PlanError if it is no readable UTF-8 of at most 1 MiB."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise _refused(str(path), f"cannot be read: {error.strerror or error}") from error
    return decode(data, file=str(path))


def decode(data: bytes, *, file: str) -> str:
    """The text of a plan's bytes (a file or standard input). PlanError if they are no UTF-8 of at most 1 MiB."""
    if len(data) > MAX_BYTES:
        raise _refused(file, "more than 1 MiB; a plan is a few kilobytes. Is this the right file?")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _refused(file, "UTF-16 text; a plan is UTF-8: save the file as UTF-8")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", errors="replace")
        line = before.count("\n") + 1
        column = len(before) - before.rfind("\n")
        wrong = f"byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8"
        raise _refused(file, wrong, Place(line, column)) from error


def _plan(root: Node, problems: Problems, today: date, models: ModelTable) -> Plan | None:
    if not isinstance(root, Mapping):
        found = describe(root)
        problems.add(
            root.place, "", f"expected a plan (an object with apiVersion, kind …), found {found}"
        )
        return None
    if other := _other_kind(root):
        # Its keys would be judged as a plan's, and each would be wrong.
        problems.add(other.place, "kind", f"{shown(other.text)} is not a plan; expected `{KIND}`")
        return None
    read = read_shape(root, problems)
    if read.shape is None:
        return None
    reading = Reading(problems=problems, models=models, today=today, partial=not read.whole)
    return read_meaning(read.shape, reading)


def _other_kind(root: Mapping) -> Scalar | None:
    kind = root.entries.get("kind")
    if kind is None or not isinstance(kind.value, Scalar):
        return None
    return None if nearest(kind.value.text, (KIND,)) else kind.value


def _is_empty(root: Node) -> bool:
    return isinstance(root, Scalar) and not root.quoted and not root.text


def _refuse_same_names(roots: list[Node], problems: Problems) -> None:
    first: dict[str, Place] = {}
    for root in roots:
        name = _name_node(root)
        if name is None:
            continue
        if name.text in first:
            line = first[name.text].line
            problems.add(
                name.place,
                name.path,
                f"`{name.text}` is already the plan of line {line}; rename one",
            )
        first.setdefault(name.text, name.place)


def _name_node(root: Node) -> Scalar | None:
    metadata = root.entries.get("metadata") if isinstance(root, Mapping) else None
    if metadata is None or not isinstance(metadata.value, Mapping):
        return None
    name = metadata.value.entries.get("name")
    return name.value if name is not None and isinstance(name.value, Scalar) else None


def _refused(file: str, message: str, place: Place = _START) -> PlanError:
    return PlanError(
        (Problem(file=file, line=place.line, column=place.column, path="", message=message),)
    )
