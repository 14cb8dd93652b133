"""A coordinator that says whatever a test wants, with the real key, to one real hospital over a real SuperLink."""

from collections.abc import Callable, Iterable
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from tests.deployment.wards import Ward
from tests.flowerline import ask

from wardround.common.flower.nodes import registered
from wardround.common.flower.places import LinkPlace
from wardround.common.flower.records import unpack
from wardround.common.flower.serving import serve
from wardround.common.learning.exchange import TASK
from wardround.common.learning.features import FeaturePath
from wardround.common.learning.models import initial
from wardround.common.learning.parameters import Parameters, parameters_digest, to_bytes
from wardround.common.study.protocol import StudyProtocol
from wardround.server.coordinator import Coordinator
from wardround.server.enrolment import current_roster


class Script:
    """One study as the coordinator's key could conduct it.

    Args:
        made: The ward, whose SuperLink and hospital run.
        protocol: The study, as the hospital approved it.
        site: Whom to ask.
    """

    def __init__(self, made: Ward, protocol: StudyProtocol, site: str) -> None:
        self.protocol, self.site, self._ward = protocol, site, made
        home = _new_folder(made.root / "scripted", f"{protocol.study.name}-{site}")
        self.base = initial(protocol, FeaturePath.from_protocol(protocol, home).width)
        self.coordinator = Coordinator(
            home,
            key=made.server.key(),
            roster=current_roster(made.server.folder).roster,
            protocol=protocol,
            initial=self.base,
        )

    def task(self, round_: int, attempt: int = 1, *, base: Parameters | None = None) -> bytes:
        """A task as the coordinator seals it: the same words give the same bytes."""
        model = self.base if base is None else base
        return self.coordinator.seal(
            self.site, TASK, to_bytes(model), round_, attempt, parameters_digest(model)
        )

    def say(self, messages: Iterable[bytes]) -> list[bytes | str]:
        """Send one message after the other; each answer, or the reason of Flower's error in its place."""
        place = self._ward.server.link_place()
        node = next(one.number for one in registered(place) if one.name == self.site)
        return _over(place, lambda grid: [_said(grid, node, message) for message in messages])


def _said(grid: Grid, node: int, message: bytes) -> bytes | str:
    reply = ask(grid, node, message)
    return str(reply.error.reason) if reply.has_error() else unpack(reply.content)


def _over(place: LinkPlace, work: Callable[[Grid], list[bytes | str]]) -> list[bytes | str]:
    found: list[bytes | str] = []
    app = ServerApp()

    @app.main()
    def run(grid: Grid, context: Context) -> None:
        found[:] = work(grid)

    serve(app, place)
    return found


def _new_folder(root: Path, name: str) -> Path:
    root.mkdir(exist_ok=True)
    folder = root / f"{name}-{len(list(root.iterdir()))}"
    folder.mkdir()
    return folder
