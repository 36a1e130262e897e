"""`canaryctl`: the console entry. Heavy libraries are imported by the commands that use them, never here."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import typer
from typer.main import get_command

from controller.cli import (
    act,
    apply,
    audit,
    backtest,
    data,
    demo,
    describe,
    doctor,
    get,
    history,
    notify,
    plans,
    process,
    simulate,
    traffic,
    watch,
)
from controller.cli.context import DEBUG, Context
from controller.cli.help import Sectioned
from controller.cli.usage import explained
from controller.errors import CanaryError

HELP = """\
Moves LLM traffic from one model to another in steps, and pauses or rolls back by itself."""


MODULES = (
    demo,
    plans,
    apply,
    get,
    describe,
    watch,
    history,
    act,
    audit,
    data,
    traffic,
    notify,
    process,
    doctor,
    backtest,
    simulate,
)


def build(verb: str | None = None) -> typer.Typer:
    """Every command; or, if `verb` is one of them, that one alone: making all of them ready takes 20 ms."""
    app = typer.Typer(
        name="canaryctl",
        cls=Sectioned,
        help=HELP,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def canaryctl() -> None: ...

    for module in MODULES:
        module.register(app)
    own = [one for one in app.registered_commands if one.callback and one.callback.__name__ == verb]
    if own:
        app.registered_commands, app.registered_groups = own, []
    return app


def run(arguments: Sequence[str], context: Context) -> int:
    """Run one command line and return its exit code: everything that can go wrong becomes words on stderr."""
    app = get_command(build(arguments[0] if arguments else None))
    try:
        code = app.main(
            args=list(arguments), prog_name="canaryctl", obj=context, standalone_mode=False
        )
    except typer.TyperException as error:
        context.say(explained(error, app, arguments))
        return error.exit_code
    except typer.Abort:
        context.say("Aborted.")
        return 1
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except CanaryError as error:
        _report(error, context)
        return error.exit_code
    except Exception as error:
        if context.environ.get(DEBUG) == "1":
            raise
        _report_defect(error, context)
        return 1
    finally:
        context.close()
    return code if isinstance(code, int) else 0


def main() -> None:
    code = run(sys.argv[1:], Context(environ=os.environ))
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader went away; the interpreter's own flush at exit must not complain about it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _report(error: CanaryError, context: Context) -> None:
    context.say(str(error) or (type(error).__doc__ or type(error).__name__))


def _report_defect(error: Exception, context: Context) -> None:
    context.say(
        f"canaryctl: {type(error).__name__}: {error}\n"
        f"This is a defect, please report it. {DEBUG}=1 shows the traceback."
    )


if __name__ == "__main__":
    main()
