"""`server start`: one published study, from its last checkpoint to its run folder.

    DIR/studies/NAME/NAME.wardround   what was published: protocol, loadings, roster
    DIR/studies/NAME/federation/      checkpoint and study log
    DIR/studies/NAME/run/             what the study leaves behind

Assumes that `server up` runs on this machine: the SuperLink, whose list of nodes follows the members. One study runs at
a time. Who takes part is looked up again before every attempt: a hospital that was removed, or whose key was replaced,
is neither asked nor admitted from the next attempt on, whatever bundle or node it comes with.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from wardround.common.durable import LockedError, exclusive
from wardround.common.errors import StudyError
from wardround.common.flower.places import settle
from wardround.common.flower.version import require_supported
from wardround.common.learning.features import FeaturePath
from wardround.common.learning.monitored import starting_model
from wardround.common.learning.released import ReleasedModel
from wardround.common.processfile import running
from wardround.common.study.bundle import SUFFIX, Bundle, read_bundle, read_bundle_file
from wardround.common.trust.identity import Roster
from wardround.server.coordinator import LOG, Coordinator
from wardround.server.enrolment import current_roster, published_lists
from wardround.server.serverfile import ServerFile
from wardround.server.studyrun import FEDERATION, RUN, StudyRun, keep
from wardround.server.waiting import Waiting
from wardround.server.watching import Watch

LOCK: Final = "start.lock"
DEPLOYED: Final = Waiting(sites=120.0, quorum=math.inf, pause=0.1, doubt=5.0)
"""Hospitals are waited for without limit; after two minutes a quorum begins. After 5 s a silent one is called."""

Say = Callable[[str], None]


def run_study(
    folder: Path,
    study: str,
    *,
    watch: Watch | None = None,
    waiting: Waiting = DEPLOYED,
    on_round: Callable[[int], None] = lambda _: None,
    say: Say = lambda _: None,
) -> Path:
    """Run a published study to its end, from its last checkpoint if there is one.

    Args:
        folder: The coordinator's folder.
        study: Name of the study.
        watch: Told as the study goes on.
        waiting: Time limits.
        on_round: Called after each completed round with its number.
        say: Gets a line if the study goes on from a checkpoint, and whenever the SuperLink has to be waited for.

    Returns:
        The run folder.

    Raises:
        StudyError: No such study was published, it is finished, another one is running, the SuperLink does not run,
            no quorum is left, or a round used up its attempts.
        TrustError: Roster, bundle or certificates are not what they must be.
        StorageError: Something could not be read or written; the same call goes on from there.
    """
    require_supported()
    server = ServerFile.load(folder)
    with _alone(server):
        bundle = published(server, study)
        home = server.studies / study
        run = StudyRun(path=home / RUN, log=home / FEDERATION / LOG)
        run.check_unfinished()
        path = FeaturePath.from_protocol(bundle.protocol, home)
        coordinator = _coordinator(server, bundle, path)
        if done := coordinator.study.progress.rounds:
            say(f"goes on after round {done} of {bundle.protocol.federation.rounds}")
        _serve(server, coordinator, bundle.roster.roster, watch or Watch(), waiting, on_round, say)
        keep(
            run,
            bundle,
            ReleasedModel(protocol=bundle.protocol, parameters=coordinator.study.model, path=path),
        )
        return run.path


def published(server: ServerFile, study: str) -> Bundle:
    """What `server publish` made for the hospitals.

    Raises:
        StudyError: No study of this name was published.
        TrustError: The file was changed since.
    """
    path = server.studies / study / f"{study}{SUFFIX}"
    if not path.is_file():
        found = sorted(one.parent.name for one in server.studies.glob(f"*/*{SUFFIX}"))
        raise StudyError(
            f"no study {study!r} was published here",
            advice=f"published: {', '.join(found) or 'none'}. `wardround server publish DIR study.toml` makes one",
        )
    return read_bundle(read_bundle_file(path), server.key().public)


def is_running(folder: Path) -> bool:
    """Whether a study of this coordinator runs at this moment."""
    try:
        with exclusive(folder / LOCK):
            return False
    except LockedError:
        return True


def left_of(folder: Path, published_roster: Roster) -> Mapping[str, str]:
    """Who of a published roster takes part no more: removed since, or with another key.

    Raises:
        TrustError: The members' log was changed or rolled back.
    """
    now = current_roster(folder).roster.sites
    return {
        site: "its key was replaced: publish the study again" if site in now else "it was removed"
        for site, key in published_roster.sites.items()
        if now.get(site) != key
    }


@contextlib.contextmanager
def _alone(server: ServerFile) -> Iterator[None]:
    """Hold the coordinator's one place for a running study."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(exclusive(server.folder / LOCK))
        except LockedError:
            raise StudyError(
                f"a study of {server.folder} is running already",
                advice="wait for it, or stop it with Ctrl-C where it was started",
            ) from None
        yield


def _coordinator(server: ServerFile, bundle: Bundle, path: FeaturePath) -> Coordinator:
    home = server.studies / bundle.protocol.study.name
    federation = home / FEDERATION
    federation.mkdir(parents=True, exist_ok=True)
    made = Coordinator(
        federation,
        key=server.key(),
        roster=bundle.roster.roster,
        protocol=bundle.protocol,
        initial=starting_model(bundle.protocol, path.width, home),
        archiving=server.archive,
        lists=lambda: published_lists(server.folder),
    )
    made.begin()
    return made


def _serve(
    server: ServerFile,
    coordinator: Coordinator,
    roster: Roster,
    watch: Watch,
    waiting: Waiting,
    on_round: Callable[[int], None],
    say: Say,
) -> None:
    settle(server.flower)  # before Flower is imported
    from wardround.common.flower.internals import quieten
    from wardround.common.flower.serving import serve
    from wardround.server.app import server_app

    quieten()
    place = server.link_place()
    place.prepare()
    if running(place.home) is None:
        say("`wardround server up` does not run for this folder: waiting for it")
    app = server_app(
        coordinator,
        on_round=on_round,
        waiting=waiting,
        left=lambda: left_of(server.folder, roster),
        watch=watch,
    )
    serve(app, place, say=say)
