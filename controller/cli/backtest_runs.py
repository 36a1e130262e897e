"""Single runs of a backtest as functions of a module, so that other processes can be told to do them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from controller.simulate.backtest.policies import Run
    from controller.simulate.backtest.run import Finished, Setup, World


def world(database: str | None = None) -> World:
    """A world of its own, that begins where every backtest begins; its records in memory, or in a database."""
    from controller.clock import ManualClock
    from controller.simulate.backtest.run import START, World
    from controller.wiring import memory_store, memory_target, open_store

    clock = ManualClock(START)
    store = memory_store() if database is None else open_store(database)
    return World(store=store, target=memory_target(clock), clock=clock)


def finish(setup: Setup) -> Finished:
    """One run to its end."""
    from controller.simulate.backtest.run import backtest

    return backtest(setup, world())


def run(setup: Setup) -> Run:
    """The same, and of it what is kept where there are many."""
    from controller.simulate.backtest.policies import run_of

    return run_of(setup, finish(setup))
