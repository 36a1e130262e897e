"""What is said of a command line that is not understood: where, what was found and wanted, and what explains it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer

# typer gives its vendored click's exceptions but one no public name, and what they hold no types.
from typer._click.exceptions import (
    BadOptionUsage,
    MissingParameter,
    NoArgsIsHelpError,
    NoSuchOption,
)

from controller.plans.nearest import did_you_mean

_LONGEST = 40


def explained(error: typer.TyperException, root: Any, arguments: Sequence[str]) -> str:
    """One line, but for a group without a command, which is told whole. `root` is what was given the arguments."""
    if isinstance(error, NoArgsIsHelpError):
        return error.format_message()
    path, command, word = _asked(root, arguments)
    known = {name: one for one in command.params for name in one.opts}
    match error:
        case NoSuchOption(option_name=name):
            options = [one for one in (*known, "--help") if one.startswith("--")]
            said = f"{_shown(name)}: {path} has no such option{did_you_mean(name, options)}."
        case BadOptionUsage(option_name=name) if name in known and "requires" in error.message:
            said = f"{name}: found no value; wanted {_wanted(known[name])}."
        case MissingParameter(param=param) if param is not None:
            said = f"{_name(param)}: found none; wanted {_wanted(param)}."
        case typer.BadParameter(param=param) if param is not None and _found(error) is not None:
            said = f"{_name(param)}: found `{_found(error)}`; wanted {_values(param)}."
        case typer.BadParameter(param_hint=hint) if hint is not None:
            said = f"{hint}: {error.message}."
        case _ if word is not None:
            known = command.commands
            said = f"{_shown(word)}: {path} has no such command{did_you_mean(word, known)}."
        case _:
            said = f"{path}: {error.message[:1].lower()}{error.message[1:].rstrip('.')}."
    return f"{said} `{path} -h` explains it."


def _asked(root: Any, arguments: Sequence[str]) -> tuple[str, Any, str | None]:
    """How the command that is asked for is written, the command, and the word that names none of a group."""
    path, command = "canaryctl", root
    for word in arguments:
        if not hasattr(command, "commands") or word.startswith("-"):
            break
        if word not in command.commands:
            return path, command, word
        path, command = f"{path} {word}", command.commands[word]
    return path, command, None


def _name(param: Any) -> str:
    if param.param_type_name == "argument":
        return str(param.metavar or param.name).strip("[].")
    return " / ".join(param.opts)


def _wanted(param: Any) -> str:
    """A value by its metavar and by what its help says of it first; one of a few by their names."""
    if param.type_descriptor.choices is not None:
        return _values(param)
    first = str(param.help or "").split(". ")[0].rstrip(".")
    if not first[1:2].isupper():
        first = first[:1].lower() + first[1:]
    if param.param_type_name == "argument" or param.metavar is None:
        return first
    return f"{param.metavar}: {first}"


def _values(param: Any) -> str:
    """The values that an option takes."""
    of = param.type_descriptor
    if of.choices is not None:
        *most, last = [str(getattr(one, "value", one)) for one in of.choices]
        return f"{', '.join(most)} or {last}"
    if of.is_datetime:
        return "a day such as 2026-11-29"
    info, kind = of.parameter_info, "a whole number" if of.annotation is int else "a number"
    if of.annotation not in (int, float, int | None, float | None):
        return _wanted(param)
    low, high = info.min, info.max
    if low is None:
        return kind if high is None else f"{kind} of at most {high:,}"
    return f"{kind} of at least {low:,}" if high is None else f"{kind} from {low:,} to {high:,}"


def _found(error: typer.TyperException) -> str | None:
    """The value that could not be read; None where something else was wrong."""
    read = getattr(error.__cause__, "errors", None)
    return None if read is None else _shown(str(read()[0]["input"]))


def _shown(text: str) -> str:
    printable = "".join(one if one.isprintable() else "·" for one in text)
    return printable if len(printable) <= _LONGEST else f"{printable[:_LONGEST]}…"
