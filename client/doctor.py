"""`wardround doctor` at a hospital: its folder, its way to the coordinator, its ledger, its processes.

No table is opened and no private key used, so it asks for no passphrase: the ledger is verified with the public key
that the consortium pinned.
"""

import os
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

from wardround.client.approvals import approvals
from wardround.client.joining import NODE_KEY, Pinned, known_roster
from wardround.client.policy import SitePolicy
from wardround.client.processes import UP, home, logs
from wardround.client.sitefile import FILE
from wardround.common.doctor import Check, Finding, examine, fault, fine, warning
from wardround.common.durable import LockedError, exclusive
from wardround.common.flower.nodekeys import own_node_line
from wardround.common.machinechecks import (
    authority,
    clock_is_kept,
    disk,
    earlier_start,
    private,
    server_reached,
    versions,
)
from wardround.common.processfile import running
from wardround.common.trust.ledger import LEDGER, LOCK, read_ledger
from wardround.common.trust.ledgerfile import ASK, check_head, read_head

PACKAGES: Final = ("wardround", "flwr", "torch", "opacus", "pandas")


def findings(folder: Path, *, now: Callable[[], datetime]) -> tuple[Finding, ...]:
    """Everything there is to say about a hospital's installation.

    Args:
        folder: The site's folder.
        now: This computer's clock.

    Raises:
        ProtocolError: `site.toml` cannot be read; nothing else can be looked at without it.
        StorageError: It is another kind of file, or of a newer release.
    """
    policy = SitePolicy.load(folder / FILE)
    return examine(
        (
            Check(name="versions", look=lambda: versions(PACKAGES)),
            Check(name="time", look=clock_is_kept),
            Check(name="disk", look=lambda: disk((folder, policy.ledger, policy.head.parent, logs(folder)))),
            Check(name="private files", look=lambda: private(_private_files(folder, policy))),
            Check(name="table", look=lambda: _table(policy)),
            Check(name="consortium", look=lambda: _consortium(folder, policy, now)),
            *_way(folder, now),
            Check(name="ledger", look=lambda: _ledger(folder, policy)),
            Check(name="studies", look=lambda: _studies(folder)),
            Check(name="processes", look=lambda: earlier_start(home(folder), UP)),
        )
    )


def _private_files(folder: Path, policy: SitePolicy) -> Iterator[Path]:
    yield from (policy.identity, folder / NODE_KEY, folder / "split.key", policy.ledger / LEDGER, policy.head)
    yield from (home(folder), home(folder) / "superexec.secret", home(folder) / "runtime.key")
    yield from folder.glob("approvals/*/*.npz")


def _table(policy: SitePolicy) -> Iterator[Finding]:
    if os.access(policy.table, os.R_OK):
        yield fine("table", "there, and can be read")
    else:
        yield warning(
            "table",
            f"{policy.table} cannot be read",
            f"correct `table` in {FILE}; needed for the next approval",
        )


def _consortium(folder: Path, policy: SitePolicy, now: Callable[[], datetime]) -> Iterator[Finding]:
    pinned = Pinned.load(folder)
    yield fine("consortium", f"{pinned.site} joined {pinned.coordinator} at {pinned.address}")
    if pinned.site != policy.site:
        yield fault(
            "consortium", f"{FILE} names {policy.site}, the invite {pinned.site}", f"correct `site` in {FILE}"
        )
    if pinned.node_key != own_node_line(folder / NODE_KEY):
        yield fault(
            "consortium",
            "the coordinator enrolled another node key than the one here",
            "send request.json again, have it enrolled with --replace, and join with the new invite",
        )
    yield from authority(pinned.ca, now=now())
    if known_roster(folder) is None:
        yield warning(
            "consortium", "no roster was seen yet", "it comes with the first study: wardround site review"
        )


def _way(folder: Path, now: Callable[[], datetime]) -> tuple[Check, ...]:
    """Nothing before the hospital has joined: that is said by another check."""
    found: list[Check] = []

    def steps() -> Iterator[Finding]:
        pinned = Pinned.load(folder)
        found.extend(server_reached(pinned.host, pinned.port, pinned.ca, now=now))
        yield from ()

    examine([Check(name="consortium", look=steps)])
    return tuple(found)


def _ledger(folder: Path, policy: SitePolicy) -> Iterator[Finding]:
    path = policy.ledger / LEDGER
    if not path.exists():
        yield from _no_ledger(policy)
        return
    if (policy.ledger / LOCK).exists():
        try:
            with exclusive(policy.ledger / LOCK):
                yield from _verified(path, folder, policy)
        except LockedError:
            yield _locked(folder, policy)


def _no_ledger(policy: SitePolicy) -> Iterator[Finding]:
    if policy.head.exists():
        yield fault(
            "ledger", f"{policy.ledger / LEDGER} is gone, while its witness {policy.head} is there", ASK
        )
    else:
        yield fine("ledger", "nothing was spent or reserved yet")


def _verified(path: Path, folder: Path, policy: SitePolicy) -> Iterator[Finding]:
    key = Pinned.load(folder).site_key
    entries = list(read_ledger(path, key))
    head = read_head(policy.head, key)
    check_head(entries, head, str(path))
    if head is None and len(entries) > 1:
        yield warning("ledger", f"its witness {policy.head} is missing", "it is written with the next entry")
    yield fine("ledger", f"{len(entries)} entries, all signed by this site, none missing")
    if folder.absolute() in policy.head.absolute().parents:
        yield warning(
            "ledger",
            "its witness lies in the site's own folder, where one backup restores both",
            f"stop the site, move {policy.head} elsewhere and name that place as `head` in {FILE}",
        )


def _locked(folder: Path, policy: SitePolicy) -> Finding:
    if running(home(folder)) is not None:
        return fine("ledger", "in use by this site's processes at this moment")
    return fault(
        "ledger",
        "locked by another process, while this site is not up",
        f"find it: fuser -v {policy.ledger / LOCK}; two copies of one site must never run",
    )


def _studies(folder: Path) -> Iterator[Finding]:
    approved = [approval.name for approval in approvals(folder) if approval.state == "approved"]
    if approved:
        yield fine("studies", f"approved: {', '.join(dict.fromkeys(approved))}")
    else:
        yield warning(
            "studies",
            "none is approved, so every message is refused",
            "wardround site review DIR STUDY.wardround",
        )
