"""A whole study between a coordinator's folder and hospitals' folders, in one process: everything real but the wire."""

import contextlib
from collections.abc import Mapping
from pathlib import Path

from flwr.app import Context, RecordDict
from tests.consortia import Consortium

from wardround.client.app import Answers, client_app
from wardround.client.reception import Reception
from wardround.common.learning.features import FeaturePath
from wardround.common.learning.models import initial
from wardround.common.learning.released import ReleasedModel
from wardround.common.study.protocol import StudyProtocol
from wardround.server.app import server_app
from wardround.server.archive import Archiving
from wardround.server.coordinator import LOG, Coordinator
from wardround.server.enrolment import published_lists
from wardround.server.running import published
from wardround.server.serverfile import ServerFile
from wardround.server.studyrun import FEDERATION, RUN, StudyRun, keep
from wardround.simulations.federation import WAITING
from wardround.simulations.grid import InlineGrid


def play(
    made: Consortium,
    protocol: StudyProtocol,
    sites: Mapping[str, Path] | None = None,
    *,
    archiving: Archiving = "keep",
) -> Coordinator:
    """Publish, approve everywhere, run to the end, keep the run folder.

    Args:
        made: Coordinator and hospitals.
        protocol: The study.
        sites: Name -> folder of the hospitals that answer; by default all.
        archiving: Whether replies are kept.
    """
    made.publish(protocol)
    folders = sites or {name: made.site(name) for name in made.names}
    for name in folders:
        made.approve(name, protocol)
    return play_approved(made, protocol, folders, archiving=archiving)


def play_approved(
    made: Consortium, protocol: StudyProtocol, folders: Mapping[str, Path], *, archiving: Archiving = "keep"
) -> Coordinator:
    """The same for a study that was published and approved before."""
    server = ServerFile.load(made.server)
    home = server.studies / protocol.study.name
    (home / FEDERATION).mkdir(parents=True, exist_ok=True)
    path = FeaturePath.from_protocol(protocol, home)
    coordinator = Coordinator(
        home / FEDERATION,
        key=server.key(),
        roster=published(server, protocol.study.name).roster.roster,
        protocol=protocol,
        initial=initial(protocol, path.width),
        archiving=archiving,
        lists=lambda: published_lists(made.server),
    )
    coordinator.begin()
    serve(coordinator, folders)
    run = StudyRun(path=home / RUN, log=home / FEDERATION / LOG)
    released = ReleasedModel(protocol=protocol, parameters=coordinator.study.model, path=path)
    keep(run, published(server, protocol.study.name), released)
    return coordinator


def serve(coordinator: Coordinator, folders: Mapping[str, Path]) -> None:
    """Let the hospitals in these folders answer until the study is done; each message opens its folder anew."""

    def site_for(context: Context) -> contextlib.AbstractContextManager[Answers]:
        return contextlib.nullcontext(Reception(folders[str(context.node_config["site"])]))

    grid = InlineGrid(client_app(site_for), folders)
    context = Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config={})
    server_app(coordinator, waiting=WAITING)(grid, context)
