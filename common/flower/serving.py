"""The ServerApp in this process: begins a Flower run, takes its task over loopback, and runs our app in it.

So Ctrl-C, our errors and exit codes behave as in a simulation. Flower learns how the run ended in one word. A run that
Flower gives up (the SuperLink was away for a minute) is followed by a new one; the app goes on from its checkpoint.
"""

import contextlib
import time
from collections.abc import Callable
from threading import Event
from typing import Final

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from wardround.common.errors import StudyError, WardroundError
from wardround.common.flower.bundle import thin_bundle
from wardround.common.flower.heartbeat import heartbeat
from wardround.common.flower.internals_calls import (
    COMPLETED,
    FAILED,
    Patience,
    RunLost,
    close_task,
    control_client,
    link_client,
)
from wardround.common.flower.internals_grid import (
    SteadyGrid,
    claim_server_task,
    open_task,
    start_run,
    stop_run,
    unfinished_runs,
)
from wardround.common.flower.places import LinkPlace

_LOOK: Final = 0.05  # seconds
_APPEARS: Final = 30.0  # seconds until a new run's task must be there
_SHORT: Final = 10.0  # seconds; runs that end sooner, again and again, are no accident
_SHORTS: Final = 3

Say = Callable[[str], None]


def serve(app: ServerApp, place: LinkPlace, *, say: Say = lambda _: None, patience: float = 60.0) -> None:
    """Run a ServerApp to its end over the SuperLink of a place.

    Args:
        app: Must go on from its own checkpoint when it is called again.
        place: The SuperLink, on this machine.
        say: Gets one line whenever the SuperLink is waited for.
        patience: Seconds to wait for a SuperLink that has not started yet. One that dies later is waited for
            without limit.

    Raises:
        StudyError: The SuperLink did not start in time, or ends every run at once.
        TrustError: It shows another certificate or refuses this machine's secret.

    Whatever `app` raises passes through, `KeyboardInterrupt` too.
    """
    shorts = 0
    while True:
        began = time.monotonic()
        try:
            return _serve_once(app, place, say, patience)
        except RunLost:
            shorts = shorts + 1 if time.monotonic() - began < _SHORT else 0
            if shorts >= _SHORTS:
                raise
            say("the SuperLink ended the run: beginning another one, from the last checkpoint")


def _serve_once(app: ServerApp, place: LinkPlace, say: Say, patience: float) -> None:
    where = f"the SuperLink on {place.loopback}"
    token = _begin(place, Patience(where, limit=patience, say=say))
    stop = Event()
    lasting = Patience(where, limit=None, say=say, stop=stop)
    grid = SteadyGrid(place, token, lasting)
    with link_client(place.loopback, place.ca, place.secret, lasting, token=token) as client:
        task = open_task(client)
        grid.set_run(task.run)
        outcome = FAILED
        try:
            with heartbeat(client, stop):
                _run(app, grid, task.context)
            outcome = COMPLETED
        finally:
            stop.set()
            _part(place, token, outcome)
            grid.close()


def _run(app: ServerApp, grid: Grid, context: Context) -> None:
    app(grid, context)


def _begin(place: LinkPlace, patience: Patience) -> str:
    """End what earlier processes left, begin a run, claim its task: the task's token."""
    with control_client(place.loopback, place.ca, place.secret, patience) as control:
        for number in unfinished_runs(control):
            with contextlib.suppress(StudyError):  # it ended in this very moment
                stop_run(control, number)
        number = start_run(control, thin_bundle())
    with link_client(place.loopback, place.ca, place.secret, patience, token="") as client:
        deadline = time.monotonic() + _APPEARS
        while time.monotonic() < deadline:
            found = claim_server_task(client)
            if found is not None and found[0] == number:
                return found[1]
            time.sleep(_LOOK)
    raise RunLost("the SuperLink gave the task of the new run to somebody else")


def _part(place: LinkPlace, token: str, outcome: str) -> None:
    """Tell Flower how it ended, if it is there to be told."""
    patience = Patience("the SuperLink", limit=0.0)
    with (
        contextlib.suppress(WardroundError),
        link_client(place.loopback, place.ca, place.secret, patience, token=token) as client,
    ):
        close_task(client, outcome)
