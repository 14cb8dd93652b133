"""A SuperLink that is away, dies, comes back, or cannot start."""

import signal
import subprocess
from pathlib import Path

import pytest
from flwr.app import Context
from flwr.serverapp import Grid
from tests.flowerline import Line, end, free_port, line

from wardround.common.errors import StudyError
from wardround.common.flower.places import LinkPlace, superlink_command


def test_a_superlink_that_dies_and_comes_back_is_waited_for(tmp_path: Path) -> None:
    lines: list[str] = []
    with line(tmp_path) as own:
        process = own.link()

        def app(grid: Grid, context: Context) -> None:
            assert list(grid.get_node_ids()) == []
            end(process, signal.SIGKILL)
            own.start("superlink", superlink_command(own.place))
            assert list(grid.get_node_ids()) == []

        own.serve(app, say=lines.append)
        # On a busy machine it may be away twice before it answers.
        assert set(lines) == {f"waiting for the SuperLink on {own.place.loopback}"}
        assert end(own.processes["superlink"]) == 0


def test_a_superlink_that_is_not_there_is_waited_for_so_long_and_no_longer(tmp_path: Path) -> None:
    own = Line(tmp_path)
    own.place.prepare()
    lines: list[str] = []
    with pytest.raises(StudyError, match="does not answer"):
        own.serve(lambda grid, context: None, say=lines.append, patience=0.5)
    assert lines == [f"waiting for the SuperLink on {own.place.loopback}"]


def test_a_missing_certificate_is_named(tmp_path: Path) -> None:
    place = LinkPlace(
        host="127.0.0.1",
        port=free_port(),
        ca=tmp_path / "none.crt",
        certificate=tmp_path / "none.crt",
        key=tmp_path / "none.key",
        home=tmp_path / "flower",
    )
    done = subprocess.run(superlink_command(place), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 9
    assert "none.crt" in done.stderr
    assert "Traceback" not in done.stderr
