"""Checks of this host's processes: the controller, its link to gateways, and the disk."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from controller.doctor import http
from controller.doctor.database import megabytes
from controller.doctor.finding import Finding, failed, ok, warning
from controller.errors import DataError, Unreachable
from controller.ports import Leadership

READY_PATH: Final = "/readyz"
STATUS_PATH: Final = "/link/v1/status"
LITTLE: Final = 2 * 10**9
"""Bytes: with less left on a disk than this, somebody should look."""
TOO_LITTLE: Final = 200 * 10**6
LOOK_S: Final = 0.25


def of_controller(address: str) -> Finding:
    """Whether a controller runs here and is ready, by its own word."""
    try:
        answer = http.get(f"http://{_reachable(address)}{READY_PATH}")
        said = answer.json()
        role, ready = str(said["role"]), bool(said["ready"])
        reasons = [f"{one['check']}: {one['reason']}" for one in said["checks"] if one["reason"]]
    except Unreachable:
        return warning(
            "controller",
            f"none answers at {address}",
            wanted="a controller, here or on another host",
            todo="start `canaryctl run`; if it runs elsewhere, ask there. CANARY_OPS_LISTEN is its address",
        )
    except (DataError, KeyError, TypeError):
        return warning(
            "controller",
            f"something else answers at {address}",
            wanted="a controller's /readyz",
            todo="CANARY_OPS_LISTEN is the address of `canaryctl run`'s operations",
        )
    if ready:
        return ok("controller", f"ready at {address}, as {role}")
    return failed(
        "controller",
        f"not ready: {'; '.join(reasons)}",
        wanted="a controller that is ready",
        todo="see the checks of the database, and the controller's log",
    )


def of_lead(
    first: Leadership, later: Callable[[], Leadership], wait: Callable[[float], object]
) -> Finding:
    """Who leads, and whether the lead is renewed: three times in a term. Waits for at most half of one."""
    looks = math.ceil(first.term.total_seconds() / 2 / LOOK_S)
    present = later()
    for _ in range(looks):
        if not present.holder or (present.holder, present.beat) != (first.holder, first.beat):
            break
        wait(LOOK_S)
        present = later()
    wanted = "one controller that leads"
    if not present.holder:
        return warning(
            "leader",
            "nobody leads",
            wanted=wanted,
            todo="start `canaryctl run`; nothing is judged meanwhile",
        )
    named = f"{present.holder} leads under fence {present.fence}"
    if (present.holder, present.beat) == (first.holder, first.beat):
        return warning(
            "leader",
            f"{named}, but did not renew it while we looked",
            wanted=wanted,
            todo="it may have ended without notice: another controller takes over after the term of "
            f"{first.term.total_seconds():g} s, if there is one",
        )
    return ok("leader", f"{named}, and renews it")


def of_link(address: str, token: str | None) -> Iterator[Finding]:
    """Whether gateways can connect, and which did."""
    if token is None:
        yield warning(
            "link",
            "CANARY_LINK_TOKEN is not set: no gateway can connect to `run`",
            wanted="the same token here and at the gateways; `up` needs none",
            todo="set CANARY_LINK_TOKEN or CANARY_LINK_TOKEN_FILE, at least 16 characters",
        )
        return
    try:
        answer = http.get(f"http://{_reachable(address)}{STATUS_PATH}", token=token)
    except Unreachable:
        yield warning(
            "link",
            f"nothing answers at {address}",
            wanted="the link of `canaryctl run`",
            todo="start it; if it runs elsewhere, ask there. CANARY_LINK_LISTEN is its address",
        )
        return
    if answer.status == 401:
        yield failed(
            "link",
            f"{address} refuses this token",
            wanted="the controller's own CANARY_LINK_TOKEN",
            todo="give controller, gateways and this command the same one",
        )
        return
    yield from _gateways(address, answer)


def _gateways(address: str, answer: http.Answer) -> Iterator[Finding]:
    try:
        replicas: list[dict[str, Any]] = answer.json()["replicas"] if answer.status == 200 else []
    except (DataError, KeyError, TypeError):
        replicas = []
    if not replicas:
        yield warning(
            "link",
            f"{address} answers; no gateway is known there",
            wanted="a gateway; without one nothing is split",
            todo="start `canaryctl gateway --controller URL`; a standby knows none, ask the leader",
        )
        return
    names = ", ".join(str(one["name"]) for one in replicas)
    yield ok("link", f"{address} answers; gateways: {names}")
    for one in replicas:
        if one["lost"]:
            yield failed(
                f"gateway {one['name']}",
                f"{one['lost']} lines lost since it started",
                wanted="none: what is lost is never judged",
                todo="see its log: a full spool, or lines that the controller refuses",
            )


def _reachable(address: str) -> str:
    """Where to ask for what listens at an address: all interfaces are also this one."""
    host, _, port = address.rpartition(":")
    return f"127.0.0.1:{port}" if host in ("0.0.0.0", "[::]", "::") else address  # noqa: S104


def of_disk(what: str, folder: Path) -> Finding:
    """Room where something is written. `folder` may not exist yet."""
    present = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    free = shutil.disk_usage(present).free
    name = f"disk ({what})"
    found = f"{megabytes(free)} free at {present}"
    wanted = f"at least {megabytes(LITTLE)}"
    todo = "make room, or move it to a larger disk"
    if free < TOO_LITTLE:
        return failed(name, found, wanted=wanted, todo=todo)
    if free < LITTLE:
        return warning(name, found, wanted=wanted, todo=todo)
    return ok(name, found)
