"""Opens a store by its address."""

from __future__ import annotations

from controller.store.engine import connect
from controller.store.migrate import require_current, upgrade
from controller.store.sql import SqlStore


def open_store(url: str, *, migrate: bool) -> SqlStore:
    """The store at an SQLAlchemy URL. A schema that is behind is upgraded with `migrate`, else SchemaBehind.

    `migrate` suits the embedded SQLite file; a database with several processes is upgraded by its own command.
    """
    engine = connect(url)
    try:
        if migrate:
            upgrade(engine)
        require_current(engine)
    except BaseException:
        engine.dispose()
        raise
    return SqlStore(engine)
