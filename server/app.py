"""The ServerApp: the same in simulation and in deployment."""

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from wardround.server.coordinator import Coordinator
from wardround.server.strategy import Left, RoundHook, WardroundStrategy
from wardround.server.waiting import Waiting
from wardround.server.watching import Watch


def server_app(
    coordinator: Coordinator,
    *,
    on_round: RoundHook = lambda _: None,
    waiting: Waiting | None = None,
    left: Left = dict,
    watch: Watch | None = None,
) -> ServerApp:
    """A Flower ServerApp that runs one coordinator's study.

    Args:
        coordinator: The study's coordinator.
        on_round: Called after each completed round with its number.
        waiting: Time limits.
        left: Asked before every attempt: which sites of the roster take part no more, and why.
        watch: Told as the study goes on.
    """
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        WardroundStrategy(coordinator, on_round=on_round, waiting=waiting, left=left, watch=watch).start(grid)

    return app
