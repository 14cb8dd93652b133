"""One federated study over prepared hospitals, on Flower: the production ServerApp, strategy, ClientApp and sites.

Only the grid differs from a deployment. Everything durable (keys, ledgers, checkpoint, log) lives in folders, so a
run that was interrupted goes on where it stopped.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from flwr.app import Context, RecordDict

from wardround.client.app import SiteFor, client_app
from wardround.client.site import Site
from wardround.common.errors import TrustError
from wardround.common.flower.internals import quieten
from wardround.common.learning.models import initial
from wardround.common.learning.parameters import Parameters
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.identity import Roster, SigningKey
from wardround.server.app import server_app
from wardround.server.coordinator import Coordinator
from wardround.server.strategy import Waiting
from wardround.simulations.grid import InlineGrid
from wardround.simulations.hospitals import Hospital, open_door, open_site

Backend = Literal["inline", "ray"]
RoundHook = Callable[[int, Parameters], None]

COORDINATOR = "coordinator"
WAITING = Waiting()


@dataclass(frozen=True, slots=True, kw_only=True)
class Federation:
    """Who runs which study where.

    Attributes:
        protocol: The public terms.
        hospitals: The prepared sites, with their training patients.
        folder: The coordinator's folder: key, checkpoint, study log.
        backend: `inline` runs every site in this process; `ray` spreads them over Flower's Ray simulation.
    """

    protocol: StudyProtocol
    hospitals: Sequence[Hospital]
    folder: Path
    backend: Backend = "inline"

    def roster(self, key: SigningKey) -> Roster:
        """The keys of all parties, as a consortium would exchange them."""
        sites = {hospital.name: hospital.key().public for hospital in self.hospitals}
        return Roster(coordinator=COORDINATOR, coordinator_key=key.public, sites=sites)


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
    protocol = federation.protocol
    coordinator, roster = begin(federation)
    app = server_app(
        coordinator,
        on_round=lambda number: on_round(number, coordinator.study.progress.parameters),
        waiting=WAITING,
    )
    if federation.backend == "ray":
        from wardround.simulations.ray_backend import run_on_ray

        run_on_ray(app, protocol, federation.hospitals, roster)
    else:
        with open_sites(federation, roster) as sites:
            grid = InlineGrid(client_app(by_name(sites)), sites)
            app(grid, Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config={}))
    return coordinator.study.progress.parameters


def begin(federation: Federation) -> tuple[Coordinator, Roster]:
    """Let every site approve the study, then write down that it begins; or find what an interrupted run wrote."""
    roster = federation.roster(coordinator_key(federation.folder))
    coordinator = coordinator_of(federation, roster)
    _approve(federation, coordinator)
    coordinator.begin()
    return coordinator, roster


def coordinator_of(federation: Federation, roster: Roster) -> Coordinator:
    """The coordinator with its own files, at its last checkpoint."""
    return Coordinator(
        federation.folder,
        key=coordinator_key(federation.folder),
        roster=roster,
        protocol=federation.protocol,
        initial=initial(federation.protocol, federation.hospitals[0].width),
    )


def _approve(federation: Federation, coordinator: Coordinator) -> None:
    """What each hospital's people would do: check the policy, reserve the study. A resumed study was approved."""
    for hospital in federation.hospitals:
        hospital.policy().check(federation.protocol)
        with open_door(hospital) as door:
            if coordinator.fresh:
                door.reserve_anew(federation.protocol)
            elif not coordinator.study.complete:
                door.reserve(federation.protocol)


def coordinator_key(folder: Path) -> SigningKey:
    """The coordinator's key of a run: made once, kept for a resume."""
    path = folder / "coordinator.pem"
    if not path.exists():
        SigningKey.generate().save(path)
    return SigningKey.load(path)


@contextlib.contextmanager
def open_sites(federation: Federation, roster: Roster) -> Iterator[Mapping[str, Site]]:
    """All sites of a federation, open at once, each holding its ledger's lock."""
    with contextlib.ExitStack() as stack:
        yield {
            hospital.name: stack.enter_context(open_site(hospital, federation.protocol, roster))
            for hospital in federation.hospitals
        }


def by_name(sites: Mapping[str, Site]) -> SiteFor:
    """Finds a node's site among open ones, by the name in the node's own configuration."""

    def site_for(context: Context) -> contextlib.AbstractContextManager[Site]:
        name = context.node_config.get("site")
        if not isinstance(name, str) or name not in sites:
            raise TrustError("this node's configuration names no site of the run")
        return contextlib.nullcontext(sites[name])

    return site_for
