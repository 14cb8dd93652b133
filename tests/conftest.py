"""What every test gets: its own state folders, one thread, and a reason where real cohorts are absent."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parent.parent

# Before anything imports torch; importing it here would cost every test a second.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["MPLBACKEND"] = "Agg"

# The same examples on every machine: what lands was tested with what the author saw.
hypothesis.settings.register_profile("house", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("house")


def _real_data() -> Path:
    return Path(os.environ.get("WARDROUND_REAL_DATA", ROOT.parent / "shared" / "data"))


def pytest_configure(config: pytest.Config) -> None:
    """No test, and no process a test starts, writes into the home of whoever runs it."""
    state = Path(tempfile.mkdtemp(prefix="wardround-tests-"))
    config.stash[STATE] = state
    for variable in ("XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "FLWR_HOME", "MPLCONFIGDIR"):
        folder = state / variable.lower()
        folder.mkdir()
        os.environ[variable] = str(folder)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Take the state folders away again."""
    shutil.rmtree(config.stash[STATE], ignore_errors=True)


STATE = pytest.StashKey[Path]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest; skip what needs the real cohorts where they are not, and say so."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
    data = _real_data()
    if data.is_dir():
        return
    skip = pytest.mark.skip(reason=f"the real cohorts are not at {data}; set WARDROUND_REAL_DATA")
    for item in items:
        if item.get_closest_marker("real_data"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of the real cohorts; use it only in tests marked `real_data`."""
    return _real_data()


@pytest.fixture(autouse=True)
def _same_folder() -> Iterator[None]:
    """A test that changes the working folder must change it back."""
    before = Path.cwd()
    yield
    after = Path.cwd()
    os.chdir(before)
    if after != before:
        pytest.fail(f"the test left the working folder changed to {after}")


@pytest.fixture
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for no disk: a simulated crash takes nothing from the kernel, and hundreds of syncs take minutes."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
