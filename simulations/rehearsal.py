"""`wardround rehearse`: a coordinator and hospitals as real processes on this machine, with real TLS and keys.

Everything runs through the functions behind the commands that people will type: init, request, enrol, join, peers,
publish, approve, up, start, down. Only the telephone is missing: this process reads every key's words out to itself.

    RUN/coordinator/      the coordinator's folder; its studies/NAME/run holds the results
    RUN/hospitals/NAME/   a folder per hospital, with a copy of its rows and a ledger that is thrown away
"""

import socket
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from wardround.client.approving import approve
from wardround.client.joining import join
from wardround.client.peers import confirm_peer
from wardround.common.errors import StudyError, UsageError
from wardround.common.processfile import running
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.join import open_request
from wardround.common.trust.words import spoken
from wardround.server.enrolment import enrol
from wardround.server.publishing import publish
from wardround.server.running import run_study
from wardround.server.serverfile import ServerFile, create_server
from wardround.server.waiting import Waiting
from wardround.server.watching import Attendance, Watch
from wardround.simulations.backstage import Backstage, backstage
from wardround.simulations.hospitals import Consortium, Hospital
from wardround.simulations.party import command
from wardround.simulations.rehearsalsites import RehearsedSite, furnish
from wardround.simulations.run import Step
from wardround.simulations.runfolder import RunFolder

LIMIT: Final = 120.0
"""Seconds until the processes of a busy machine must be ready."""

COORDINATOR: Final = "coordinator"
HOSPITALS: Final = "hospitals"
_LOOPBACK: Final = "127.0.0.1"
_WAITING: Final = Waiting(sites=LIMIT, pause=0.05, doubt=5.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """What to rehearse.

    Attributes:
        protocol: The study.
        source: Folder of the files that the protocol names.
        consortium: Where the hospitals come from.
        chosen: Who takes part, sorted by name.
        site_column: With hospitals of one table: the column that names them.
        seed: With hospitals of one table: of who is held out.
    """

    protocol: StudyProtocol
    source: Path
    consortium: Consortium
    chosen: Sequence[Hospital]
    site_column: str = ""
    seed: int = 0


def rehearse(rehearsal: Rehearsal, out: Path, *, step: Step = lambda *_: None) -> Path:
    """Run a study over real processes on this machine, and end all of them.

    Args:
        rehearsal: What to run.
        out: The run folder; must be absent or empty.
        step: Told as work proceeds.

    Returns:
        The folder of the results.

    Raises:
        UsageError: `out` holds something.
        StudyError: A process ended, or was not ready in time; its last lines are in the message.
        WardroundError: What a command would have refused.
    """
    _claim(out)
    RunFolder(out).keep_protocol(rehearsal.protocol, rehearsal.source)
    with backstage() as stage:
        server = _coordinator(out / COORDINATOR, stage, step)
        sites = furnish(
            rehearsal.protocol,
            rehearsal.consortium,
            rehearsal.chosen,
            out / HOSPITALS,
            site_column=rehearsal.site_column,
            seed=rehearsal.seed,
        )
        _meet(server, sites, step)
        _agree(server, sites, out / RunFolder(out).protocol.name, rehearsal.protocol, step)
        _open_doors(server, sites, stage, step)
        return _run(server, rehearsal.protocol, stage, step)


def _claim(out: Path) -> None:
    if out.exists() and any(out.iterdir()):
        raise UsageError(
            f"{out} is not empty", advice="choose another --out: a rehearsal begins anew each time"
        )
    out.mkdir(parents=True, exist_ok=True)


def _coordinator(folder: Path, stage: Backstage, step: Step) -> ServerFile:
    """As `server init` and `server up` do."""
    step("coordinator starts", 0, 1)
    server = ServerFile(folder=folder, name=COORDINATOR, host=_LOOPBACK, port=_free_port(), listen=_LOOPBACK)
    create_server(server, now=datetime.now(UTC))
    stage.start("the coordinator", command("server", folder), folder.with_suffix(".log"))
    return server


def _meet(server: ServerFile, sites: Sequence[RehearsedSite], step: Step) -> None:
    """As `server enrol` and `site join` do at both ends of a telephone."""
    for number, site in enumerate(sites):
        step(f"joining: {site.name}", number, len(sites))
        words = spoken(open_request(site.request).key.fingerprint)
        invited = enrol(server.folder, site.request, words=words)
        join(
            site.folder,
            invited.invite,
            words=spoken(server.key().public.fingerprint),
            now=datetime.now(UTC),
        )


def _agree(
    server: ServerFile, sites: Sequence[RehearsedSite], study: Path, protocol: StudyProtocol, step: Step
) -> None:
    """As `server publish`, `site peers approve` and `site approve` do."""
    bundle = publish(server.folder, study).read_bytes()
    for number, site in enumerate(sites):
        step(f"approving: {site.name}", number, len(sites))
        for peer in sites if protocol.joint else ():
            if peer.name != site.name:
                key = open_request(peer.request).key
                confirm_peer(site.folder, peer.name, key, spoken(key.fingerprint))
        approve(site.folder, bundle)


def _open_doors(server: ServerFile, sites: Sequence[RehearsedSite], stage: Backstage, step: Step) -> None:
    """As `site up` does, once the coordinator listens."""
    step("coordinator listens", 0, 1)
    stage.wait_for(lambda: _is_up(server.flower), "the coordinator", limit=LIMIT)
    for number, site in enumerate(sites):
        step(f"hospital starts: {site.name}", number, len(sites))
        stage.start(f"hospital {site.name}", command("site", site.folder), site.folder.with_suffix(".log"))


def _is_up(home: Path) -> bool:
    found = running(home)
    return found is not None and found.ready


def _run(server: ServerFile, protocol: StudyProtocol, stage: Backstage, step: Step) -> Path:
    """As `server start` does; ends as soon as a process of anybody ended."""
    rounds = protocol.federation.rounds
    try:
        return run_study(
            server.folder,
            protocol.study.name,
            watch=_Steps(step),
            waiting=replace(_WAITING, stop=stage.stop),
            on_round=lambda number: step(f"round {number} of {rounds}", number, rounds),
        )
    except StudyError:
        stage.check()
        raise


class _Steps(Watch):
    """Shows who is still missing before the first round."""

    def __init__(self, step: Step) -> None:
        self._step = step

    def attendance(self, found: Attendance) -> None:
        """One step whenever another hospital appears."""
        if found.absent:
            here = len(found.present)
            self._step(f"waiting for {', '.join(found.absent)}", here, here + len(found.absent))


def _free_port() -> int:
    """A port nobody listens on at this moment."""
    with socket.create_server((_LOOPBACK, 0)) as found:
        return int(found.getsockname()[1])
