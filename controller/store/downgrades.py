"""Going back to an earlier schema, where that would lose what rollouts are counted by.

The columns and tables that a schema adds are filled again by nothing: after the way there and back a rollout would be
counted by other terms than before, and its rollups be no sum of what is stored any more. So that way is refused. Down
to no schema at all everything goes anyway.
"""

from __future__ import annotations

from alembic import context, op
from sqlalchemy import text

from controller.errors import Refused


def refuse_while(condition: str, because: str) -> None:
    """Refused where the condition holds of a row of `rollouts`. For a migration's downgrade, before anything else."""
    if not context.get_revision_argument():
        return
    wanted = text(f"SELECT rollout FROM rollouts WHERE {condition} ORDER BY rollout")  # noqa: S608 # a migration's words
    found = list(op.get_bind().scalars(wanted))
    if found:
        named = ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
        raise Refused(
            f"The schema cannot go back: {named} {because}. Restore a copy from before the upgrade instead, "
            "or go on with the present release."
        )
