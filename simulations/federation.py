"""One federated study over prepared hospitals, on Flower: the production ServerApp, strategy, ClientApp and sites.

Only the grid differs from a deployment. Everything durable (keys, ledgers, checkpoint, log) lives in folders, so a
run that was interrupted goes on where it stopped.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Literal

from flwr.app import Context, RecordDict
from flwr.serverapp import ServerApp

from wardround.client.app import SiteFor, client_app
from wardround.client.peers import approve_peers
from wardround.client.site import Site
from wardround.common.errors import PolicyRefusal, TrustError
from wardround.common.flower.internals import quieten
from wardround.common.learning.evaluated import Evaluated
from wardround.common.learning.monitored import starting_model
from wardround.common.learning.parameters import Parameters
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.identity import Roster, SigningKey
from wardround.server import checkpoints
from wardround.server.app import server_app
from wardround.server.archive import Archiving
from wardround.server.coordinator import CHECKPOINT, Coordinator
from wardround.server.waiting import Waiting
from wardround.simulations.grid import InlineGrid
from wardround.simulations.hospitals import Hospital, Premises, enter, refused_by

Backend = Literal["inline", "ray"]
RoundHook = Callable[[int, Parameters], None]

COORDINATOR = "coordinator"
WAITING = Waiting(pause=0.05)


@dataclass(frozen=True, slots=True, kw_only=True)
class Federation:
    """Who runs which study where.

    Attributes:
        protocol: The public terms.
        hospitals: The prepared sites, with their training patients.
        folder: The coordinator's folder: key, checkpoint, study log.
        backend: `inline` runs every site in this process; `ray` spreads them over Flower's Ray simulation.
        archiving: Whether the coordinator keeps admitted replies for an auditor.
    """

    protocol: StudyProtocol
    hospitals: Sequence[Hospital]
    folder: Path
    backend: Backend = "inline"
    archiving: Archiving = "keep"


def run_federation(federation: Federation, *, on_round: RoundHook = lambda *_: None) -> Parameters:
    """Run the study to its end, from its checkpoint if there is one.

    Args:
        federation: Who runs what.
        on_round: Called after each completed round with its number and the new model.

    Returns:
        The final model.

    Raises:
        PolicyRefusal: A site's cap does not allow the study; nothing was charged at that site.
        StudyError: A round used up its attempts.
    """
    quieten()
    federation.folder.mkdir(parents=True, exist_ok=True)
    if federation.backend == "ray":
        from wardround.simulations.ray_backend import run_on_ray

        coordinator, roster = begin(federation)
        waiting = replace(WAITING, stop=Event())
        app = _app(coordinator, on_round, waiting)
        run_on_ray(app, federation.protocol, federation.hospitals, roster, stop=waiting.stop)
        return coordinator.study.model
    with opened(federation) as premises:
        coordinator, roster = _begin(federation, premises)
        sites = {one.hospital.name: one.site(federation.protocol, roster) for one in premises}
        grid = InlineGrid(client_app(by_name(sites)), sites)
        context = Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config={})
        _app(coordinator, on_round, WAITING)(grid, context)
    return coordinator.study.model


def released_table(folder: Path, protocol: StudyProtocol) -> Evaluated | None:
    """The table that the evaluation of a finished study released; None without one.

    Args:
        folder: The coordinator's.
        protocol: The study.
    """
    found = checkpoints.read(folder / CHECKPOINT, protocol.digest)
    return found.progress.evaluation if found else None


def _app(coordinator: Coordinator, on_round: RoundHook, waiting: Waiting) -> ServerApp:
    return server_app(
        coordinator,
        on_round=lambda number: on_round(number, coordinator.study.model),
        waiting=waiting,
    )


@contextlib.contextmanager
def opened(federation: Federation) -> Iterator[Sequence[Premises]]:
    """All hospitals of a federation at once, each holding its ledger's lock."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(enter(hospital)) for hospital in federation.hospitals]


def begin(federation: Federation) -> tuple[Coordinator, Roster]:
    """Let every site approve the study, then write down that it begins; or find what an interrupted run wrote."""
    with opened(federation) as premises:
        return _begin(federation, premises)


def _begin(federation: Federation, premises: Sequence[Premises]) -> tuple[Coordinator, Roster]:
    key = coordinator_key(federation.folder)
    roster = Roster(
        coordinator=COORDINATOR,
        coordinator_key=key.public,
        sites={one.hospital.name: one.office.key.public for one in premises},
    )
    coordinator = coordinator_of(federation, roster)
    _approve_all(premises, coordinator)
    coordinator.begin()
    return coordinator, roster


def coordinator_of(federation: Federation, roster: Roster) -> Coordinator:
    """The coordinator with its own files, at its last checkpoint."""
    return Coordinator(
        federation.folder,
        key=coordinator_key(federation.folder),
        roster=roster,
        protocol=federation.protocol,
        initial=starting_model(federation.protocol, federation.hospitals[0].width, federation.folder.parent),
        archiving=federation.archiving,
    )


def _approve_all(premises: Sequence[Premises], coordinator: Coordinator) -> None:
    """Every site approves; or, where one refuses a new study, what the others reserved for it is free again."""
    for one in premises:
        try:
            _approve(one, coordinator)
            if coordinator.study.protocol.joint:
                approve_peers(one.hospital.folder, coordinator.roster.sites)
        except PolicyRefusal as refusal:
            for other in premises if coordinator.fresh else ():
                other.door.close(coordinator.study.protocol)
            raise refused_by(one.hospital.name, refusal) from None


def _approve(one: Premises, coordinator: Coordinator) -> None:
    """What a hospital's people would do: check the policy, reserve the study. A resumed study was approved."""
    protocol = coordinator.study.protocol
    one.office.policy.check(protocol)
    if coordinator.fresh:
        one.door.reserve_anew(protocol)
    elif not coordinator.study.complete:
        one.door.reserve(protocol)


def coordinator_key(folder: Path) -> SigningKey:
    """The coordinator's key of a run: made once, kept for a resume."""
    path = folder / "coordinator.pem"
    if not path.exists():
        SigningKey.generate().save(path)
    return SigningKey.load(path)


def by_name(sites: Mapping[str, Site]) -> SiteFor:
    """Finds a node's site among open ones, by the name in the node's own configuration."""

    def site_for(context: Context) -> contextlib.AbstractContextManager[Site]:
        name = context.node_config.get("site")
        if not isinstance(name, str) or name not in sites:
            raise TrustError("this node's configuration names no site of the run")
        return contextlib.nullcontext(sites[name])

    return site_for
