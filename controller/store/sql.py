"""The store in SQL: SQLite embedded, PostgreSQL for several processes. Core statements, no ORM."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Engine, ExceptionContext, event
from sqlalchemy.exc import IntegrityError

from controller.store.engine import Database
from controller.store.leadership import SqlLeadership
from controller.store.metrics import SqlMetrics
from controller.store.migrate import require_current
from controller.store.outbox import SqlOutbox
from controller.store.records import SqlRecords
from controller.store.retention import SqlRetention


class SqlStore(SqlRecords, SqlOutbox, SqlMetrics, SqlRetention, SqlLeadership):
    """`controller.ports.Store` on one engine (see `controller.store.open`). Safe for several threads and processes."""

    def __init__(self, engine: Engine) -> None:
        database = Database(engine)
        SqlRecords.__init__(self, database)
        SqlOutbox.__init__(self, database)
        SqlMetrics.__init__(self, database)
        SqlRetention.__init__(self, database)
        SqlLeadership.__init__(self, database)

    def check(self) -> None:
        require_current(self._database.engine)

    def when_failing(self, tell: Callable[[], None]) -> None:
        def failed(context: ExceptionContext) -> None:
            # A key that was taken is an answer.
            if not isinstance(context.sqlalchemy_exception, IntegrityError):
                tell()

        event.listen(self._database.engine, "handle_error", failed)

    def close(self) -> None:
        """Close its connections; a later call opens new ones."""
        self._database.engine.dispose()
