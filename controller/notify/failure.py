"""What is known of a delivery that failed: it decides whether and when it is tried again."""

from __future__ import annotations

from datetime import timedelta

from controller.errors import Unreachable


class Undelivered(Unreachable):
    """A notice was not delivered.

    `doubtful`: the receiver may have it all the same, so it is looked for before it is sent again. `wait`: the receiver
    names a time, which is kept exactly. `lasting`: it takes a person to mend it, so trying often is no use. `alone`:
    only this notice is concerned; else all that is owed to the destination waits with it.
    """

    def __init__(
        self,
        message: str,
        *,
        doubtful: bool = False,
        wait: timedelta | None = None,
        lasting: bool = False,
        alone: bool = False,
    ) -> None:
        super().__init__(message)
        self.doubtful = doubtful
        self.wait = wait
        self.lasting = lasting
        self.alone = alone

    def in_doubt(self) -> Undelivered:
        """The same, where the receiver may have the notice from before."""
        return Undelivered(
            str(self), doubtful=True, wait=self.wait, lasting=self.lasting, alone=self.alone
        )


def failure_of(error: Exception) -> Undelivered:
    """The same of any error: nothing is known of one that does not say, so the receiver may have the notice."""
    if isinstance(error, Undelivered):
        return error
    return Undelivered(str(error) or repr(error), doubtful=True, alone=True)
