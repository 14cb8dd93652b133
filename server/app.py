"""The ServerApp: the same in simulation and in deployment."""

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from wardround.server.coordinator import Coordinator
from wardround.server.strategy import RoundHook, WardroundStrategy
from wardround.server.waiting import Waiting


def server_app(
    coordinator: Coordinator, *, on_round: RoundHook = lambda _: None, waiting: Waiting | None = None
) -> ServerApp:
    """A Flower ServerApp that runs one coordinator's study.

    Args:
        coordinator: The study's coordinator.
        on_round: Called after each completed round with its number.
        waiting: Time limits.
    """
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        WardroundStrategy(coordinator, on_round=on_round, waiting=waiting).start(grid)

    return app
