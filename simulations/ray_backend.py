"""The same study on Flower's Ray simulation, for more sites than one process should hold.

Every message opens its site from its folder, in whichever Ray actor it reaches, and closes it again: the ledger's
lock, the keys and the outbox are files, so it makes no difference where a site runs.
"""

import contextlib
import os
import warnings
from collections.abc import Iterator, Sequence

from flwr.app import Context
from flwr.serverapp import ServerApp

from wardround.client.app import SiteFor, client_app
from wardround.client.site import Site
from wardround.common.errors import UsageError
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.identity import Roster
from wardround.simulations.hospitals import Hospital, open_site

CPUS_PER_SITE = 1


def run_on_ray(
    app: ServerApp, protocol: StudyProtocol, hospitals: Sequence[Hospital], roster: Roster
) -> None:
    """Run a ServerApp against one Ray client per hospital.

    Args:
        app: The study's ServerApp.
        protocol: The public terms.
        hospitals: The prepared sites; each travels to the actor that works for it.
        roster: Everybody's public keys.

    Raises:
        UsageError: Ray is not installed.
    """
    try:
        from flwr.simulation import run_simulation
    except ImportError:
        raise UsageError("the Ray backend needs ray", advice="pip install 'flwr[simulation]'") from None
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run_simulation(
            server_app=app,
            client_app=client_app(_by_partition(protocol, hospitals, roster)),
            num_supernodes=len(hospitals),
            backend_config={
                "client_resources": {"num_cpus": CPUS_PER_SITE, "num_gpus": 0.0},
                "init_args": {"include_dashboard": False, "logging_level": "ERROR", "log_to_driver": False},
            },
        )


def _by_partition(protocol: StudyProtocol, hospitals: Sequence[Hospital], roster: Roster) -> SiteFor:
    @contextlib.contextmanager
    def site_for(context: Context) -> Iterator[Site]:
        hospital = hospitals[int(context.node_config["partition-id"])]
        with open_site(hospital, protocol, roster) as site:
            yield site

    return site_for
