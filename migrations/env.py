"""Runs migrations on the connection that `controller.store.migrate` hands over, inside its transaction."""

from alembic import context

from controller.store.schema import for_migrations

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=for_migrations(),
    render_as_batch=True,  # SQLite alters tables by copying them
    compare_type=True,
    compare_server_default=True,
)
context.run_migrations()
