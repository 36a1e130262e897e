"""What the controller needs from the world, as Protocols. Each has an in-memory and a real implementation, held to
one contract suite (`tests/contract`)."""

from controller.ports.leadership import (
    Ending,
    Leadership,
    LeadershipStore,
    Mandate,
    Unrivalled,
)
from controller.ports.metrics import (
    Judged,
    MetricsStore,
    Note,
    Pruned,
    VerifiedStretch,
)
from controller.ports.notifier import (
    Notifier,
)
from controller.ports.rollouts import (
    Backlog,
    Commit,
    Head,
    Owed,
    RolloutStore,
    SplitVersion,
    Thread,
)
from controller.ports.store import (
    Sight,
    Store,
)
from controller.ports.target import (
    LEASE,
    Granted,
    Held,
    Link,
    Report,
    Split,
    Standing,
    Target,
    Word,
)
from controller.ports.telemetry import (
    UNTOLD,
    Telemetry,
    Ticked,
    Wakeable,
)

__all__ = [
    "LEASE",
    "UNTOLD",
    "Backlog",
    "Commit",
    "Ending",
    "Granted",
    "Head",
    "Held",
    "Judged",
    "Leadership",
    "LeadershipStore",
    "Link",
    "Mandate",
    "MetricsStore",
    "Note",
    "Notifier",
    "Owed",
    "Pruned",
    "Report",
    "RolloutStore",
    "Sight",
    "Split",
    "SplitVersion",
    "Standing",
    "Store",
    "Target",
    "Telemetry",
    "Thread",
    "Ticked",
    "Unrivalled",
    "VerifiedStretch",
    "Wakeable",
    "Word",
]
