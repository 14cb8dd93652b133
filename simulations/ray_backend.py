"""The same study on Flower's Ray simulation, for more sites than one process should hold.

Every message opens its site from its folder, in whichever Ray actor it reaches, and closes it again: the ledger's
lock, the keys and the outbox are files, so it makes no difference where a site runs. Patients travel once, into Ray's
object store on this machine. Neither Flower nor Ray reports to anybody.
"""

import contextlib
import logging
import os
import shutil
import warnings
from collections.abc import Iterator, Sequence
from threading import Event
from typing import TYPE_CHECKING, Final

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from wardround.client.app import SiteFor, client_app
from wardround.client.site import Site
from wardround.common.errors import StudyError, UsageError
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.identity import Roster
from wardround.simulations.hospitals import Hospital, enter

if TYPE_CHECKING:
    from ray import ObjectRef

CPUS_PER_SITE: Final = 1


def run_on_ray(
    app: ServerApp, protocol: StudyProtocol, hospitals: Sequence[Hospital], roster: Roster, *, stop: Event
) -> None:
    """Run a ServerApp against one Ray client per hospital, and stop Ray again.

    Args:
        app: The study's ServerApp; it runs in a thread of its own.
        protocol: The public terms.
        hospitals: The prepared sites.
        roster: Everybody's public keys.
        stop: Set when this function is left, so that the ServerApp's thread does not wait for replies any more.

    Raises:
        UsageError: Ray is not installed.
        StudyError: Ray failed.
        WardroundError: Whatever ended the ServerApp.
    """
    try:
        from flwr.simulation import run_simulation
    except ImportError:
        raise _no_ray() from None
    ended: list[BaseException | None] = []
    with _ray(len(hospitals)), _silence(), _stopping(stop):
        try:
            run_simulation(
                server_app=_overheard(app, ended),
                client_app=client_app(_by_partition(protocol, _stored(hospitals), roster)),
                num_supernodes=len(hospitals),
                backend_config={"client_resources": {"num_cpus": CPUS_PER_SITE, "num_gpus": 0.0}},
            )
        except RuntimeError as error:
            ended.append(error)
    _raise_what_ended(ended)


def _no_ray() -> UsageError:
    return UsageError("the Ray backend needs ray", advice="pip install 'flwr[simulation]'")


def _overheard(app: ServerApp, ended: list[BaseException | None]) -> ServerApp:
    """The same ServerApp; how it ended is kept, because Flower does not raise it in every case."""
    overheard = ServerApp()

    @overheard.main()
    def main(grid: Grid, context: Context) -> None:
        try:
            app(grid, context)
        except BaseException as error:
            ended.append(error)
        else:
            ended.append(None)

    return overheard


def _raise_what_ended(ended: Sequence[BaseException | None]) -> None:
    first = ended[0] if ended else RuntimeError("the ServerApp never ended")
    if isinstance(first, RuntimeError):
        raise StudyError(
            f"the Ray simulation failed: {first}",
            advice="repeat the same command to resume it, or use --backend inline",
        ) from first
    if first is not None:
        raise first


@contextlib.contextmanager
def _ray(sites: int) -> Iterator[None]:
    """A Ray of our own on this machine, with no more workers than sites, and without its reports and its chatter."""
    try:
        import ray
    except ImportError:
        raise _no_ray() from None
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        started = ray.init(
            num_cpus=min(sites, len(os.sched_getaffinity(0))) * CPUS_PER_SITE,
            num_gpus=0,
            include_dashboard=False,
            logging_level=logging.CRITICAL,
            log_to_driver=False,
        )
        try:
            yield
        finally:
            ray.shutdown()
            # Ray keeps its logs, and with them whatever a site printed.
            shutil.rmtree(started.address_info["session_dir"], ignore_errors=True)  # type: ignore[attr-defined]


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Flower prints the traceback of a site that declined to answer; the study log says what matters."""
    logger = logging.getLogger("flwr")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextlib.contextmanager
def _stopping(stop: Event) -> Iterator[None]:
    try:
        yield
    finally:
        stop.set()


def _stored(hospitals: Sequence[Hospital]) -> "list[ObjectRef[Hospital]]":
    import ray

    return [ray.put(hospital) for hospital in hospitals]


def _by_partition(
    protocol: StudyProtocol, hospitals: "Sequence[ObjectRef[Hospital]]", roster: Roster
) -> SiteFor:
    @contextlib.contextmanager
    def site_for(context: Context) -> Iterator[Site]:
        import ray

        hospital: Hospital = ray.get(hospitals[int(context.node_config["partition-id"])])
        with enter(hospital) as premises:
            yield premises.site(protocol, roster)

    return site_for
