"""Runs migrations on the connection that `controller.store.migrate` hands over, inside its transaction."""

from alembic import context

from controller.store.partitions import partitions
from controller.store.schema import for_migrations

connection = context.config.attributes["connection"]
# They come and go with the weeks, and are no part of the schema.
weeks = partitions(connection)


def include_name(name, kind, _):
    return kind != "table" or name not in weeks


context.configure(
    connection=connection,
    target_metadata=for_migrations(),
    include_name=include_name,
    render_as_batch=True,  # SQLite alters tables by copying them
    compare_type=True,
    compare_server_default=True,
)
context.run_migrations()
