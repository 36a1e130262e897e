"""Log lines: structlog and the standard library's `logging` through one chain, to stderr.

Data goes to stdout, so a log line never ends up in a pipe. Timestamps are UTC, ISO 8601; they are the log's own and
nothing is decided by them.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, TextIO

import structlog

if TYPE_CHECKING:
    from structlog.typing import Processor

_QUIET = ("apscheduler", "httpcore2", "httpx2", "slack_sdk", "urllib3")
"""Libraries whose information lines say nothing about rollouts: heard from `warning` up."""


def configure_logging(log_format: str, level: str, *, stream: TextIO | None = None) -> None:
    """Write log lines of `level` and above to `stream` (stderr), replacing any earlier configuration.

    `log_format` is `json`, `console` or `auto` (console on a terminal, else JSON); `level` is debug, info, warning or
    error. Tracebacks carry no local variables: those may hold secrets and customers' text.
    """
    out = stream if stream is not None else sys.stderr
    as_json = {"json": True, "console": False, "auto": not out.isatty()}[log_format]
    threshold = logging.getLevelNamesMapping()[level.upper()]

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        # Not cached: a logger made at import time follows the configuration that comes later.
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *(_json() if as_json else _console(colours=_wants_colours(out))),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=threshold, force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(threshold, logging.WARNING))
    logging.captureWarnings(True)


def _json() -> list[Processor]:
    tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    return [
        structlog.processors.ExceptionRenderer(tracebacks),
        structlog.processors.JSONRenderer(default=str, ensure_ascii=False),
    ]


def _console(*, colours: bool) -> list[Processor]:
    return [
        structlog.dev.ConsoleRenderer(
            colors=colours, exception_formatter=structlog.dev.plain_traceback
        )
    ]


def _wants_colours(out: TextIO) -> bool:
    return out.isatty() and not os.environ.get("NO_COLOR")
