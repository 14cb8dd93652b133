"""The executor as a real process behind a real SuperNode: one child per message, nothing said, nobody left behind."""

import io
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from flwr.app import Context, Message
from flwr.serverapp import Grid
from tests.flowerline import ROOT, Line, alive, ask, end, line, until
from tests.toysite import SECRET

from wardround.client.executor import main
from wardround.common.flower import serving
from wardround.common.flower.bundle import check_thin, thin_bundle
from wardround.common.flower.executing import in_short
from wardround.common.flower.records import unpack

GONE = "ClientApp stopped responding."  # Flower's words, the same for every child that died


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """A SuperLink and one site with SuperNode and executor."""
    with line(tmp_path_factory.mktemp("site")) as made:
        made.link()
        made.executor("north")  # before there is a SuperNode to ask
        made.node("north")
        yield made


def asking(site: Line, data: bytes, *, meanwhile: Callable[[], None] = lambda: None) -> Message:
    """Ask the site one thing in a run of its own."""
    replies: list[Message] = []

    def app(grid: Grid, context: Context) -> None:
        (node,) = grid.get_node_ids()
        with ThreadPoolExecutor(1) as beside:
            done = beside.submit(meanwhile)
            replies.append(ask(grid, node, data))
            done.result()

    site.serve(app)
    return replies[0]


def child_of(site: Line) -> tuple[int, int]:
    """The process that works on a `wait` message, and its parent, once they have written their numbers."""
    note = site.root / "north" / "child.pid"
    until(lambda: note.exists() and len(note.read_text(encoding="ascii").split()) == 2)
    child, parent = map(int, note.read_text(encoding="ascii").split())
    note.unlink()
    return child, parent


def test_a_message_is_answered_by_a_child_of_a_parent_without_threads(site: Line) -> None:
    assert unpack(asking(site, b"echo abc").content) == b"cba"
    assert unpack(asking(site, b"threads").content) == b"1"
    assert "waiting for the SuperNode" in site.said("north-executor")
    assert site.said("north-executor").count("waiting for the SuperNode") == 1


def test_no_text_of_an_exception_leaves_and_none_of_a_patient_is_logged(site: Line) -> None:
    reply = asking(site, b"fail")
    assert reply.has_error()
    assert (reply.error.code, reply.error.reason) == (2, "SiteFailed")
    said = site.said("north-executor")
    assert SECRET not in said
    assert "ValueError at" in said
    assert "toysite.py" in said


def test_what_was_revoked_counts_at_the_next_message(site: Line) -> None:
    note = site.root / "north" / "revoked"
    note.touch()
    try:
        reply = asking(site, b"echo abc")
    finally:
        note.unlink()
    assert (reply.error.code, reply.error.reason) == (2, "SiteFailed")
    assert unpack(asking(site, b"echo abc").content) == b"cba"


def test_a_bundle_that_carries_code_is_refused_and_nothing_of_it_runs(
    site: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    touched = site.root / "touched"
    monkeypatch.setattr(serving, "thin_bundle", lambda: with_code(f"open({str(touched)!r}, 'w')"))
    reply = asking(site, b"echo abc")
    assert (reply.error.code, reply.error.reason) == (2, "SiteFailed")
    assert not touched.exists()
    assert "nothing but pyproject.toml" in site.said("north-executor")
    monkeypatch.undo()
    assert unpack(asking(site, b"echo abc").content) == b"cba"


def with_code(code: str) -> bytes:
    """Our bundle with a module that shadows the app's."""
    data = io.BytesIO(thin_bundle())
    with zipfile.ZipFile(data, "a") as archive:
        archive.writestr("wardround/client/app.py", code)
    return data.getvalue()


def test_a_killed_child_is_answered_for_at_once_and_the_next_message_works(site: Line) -> None:
    def kill() -> None:
        child, _ = child_of(site)
        os.kill(child, signal.SIGKILL)

    reply = asking(site, b"wait 300", meanwhile=kill)
    assert (reply.error.code, reply.error.reason) == (8, GONE)
    assert unpack(asking(site, b"echo abc").content) == b"cba"


def test_a_child_that_dies_before_it_has_fetched_its_message_is_answered_for_at_once(site: Line) -> None:
    note = site.root / "north" / "die-first"
    note.touch()
    began = time.monotonic()
    try:
        reply = asking(site, b"echo abc")
    finally:
        note.unlink()
    assert (reply.error.code, reply.error.reason) == (8, GONE)
    assert time.monotonic() - began < 30  # Flower itself notices after a minute
    assert unpack(asking(site, b"echo abc").content) == b"cba"


def test_a_killed_executor_takes_its_child_along_and_its_successor_answers(site: Line) -> None:
    def kill() -> None:
        child, parent = child_of(site)
        executor = site.processes["north-executor"]
        assert parent == executor.pid
        end(executor, signal.SIGKILL)
        until(lambda: not alive(child))
        site.executor("north")

    reply = asking(site, b"wait 300", meanwhile=kill)
    assert (reply.error.code, reply.error.reason) == (8, GONE)
    assert unpack(asking(site, b"echo abc").content) == b"cba"


def test_sigterm_ends_it_cleanly_with_its_child(site: Line) -> None:
    codes: list[int] = []

    def stop() -> None:
        child, _ = child_of(site)
        codes.append(end(site.processes["north-executor"]))
        assert not alive(child)
        site.executor("north")

    assert asking(site, b"wait 300", meanwhile=stop).error.code == 8
    assert codes == [0]


def test_a_second_executor_in_the_same_folder_is_refused(site: Line) -> None:
    unpack(asking(site, b"echo abc").content)  # the first one is there
    second = subprocess.run(
        [sys.executable, "-m", "tests.toysite", str(site.root / "north")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert second.returncode != 0
    assert "is in use by another process" in second.stderr


def test_its_own_bundle_is_thin_and_the_same_everywhere() -> None:
    check_thin(thin_bundle())
    assert thin_bundle() == thin_bundle()


def test_a_log_line_of_a_foreign_error_has_no_text_of_it() -> None:
    with pytest.raises(RuntimeError) as caught:
        fail_after(KeyError(SECRET))
    said = in_short(caught.value)
    assert SECRET not in said
    assert "RuntimeError at" in said
    assert "after KeyError" in said


def fail_after(first: Exception) -> None:
    """An error about an error."""
    try:
        raise first
    except KeyError:
        raise RuntimeError(f"about {SECRET}") from None


def test_the_command_wants_one_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main([]) == 2
    assert "the site's folder" in capsys.readouterr().err
