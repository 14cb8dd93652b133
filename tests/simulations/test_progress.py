"""What is shown while a run works: a bar for a person, a few lines for a file, nothing on standard output."""

import contextlib
import io
import os
import signal
import time
from collections.abc import Iterator

import pytest

from wardround.simulations.progress import shown


class Terminal(io.StringIO):
    """Text that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _control_c_reaches_us() -> Iterator[None]:
    """A test run that was itself started in the background inherits an ignored Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def work() -> None:
    with shown("study") as step:
        for number in range(1, 4):
            step(f"round {number} of 3", number, 3)
        step("training the yardsticks", 0, 1)
        step("evaluating", 0, 1)
        step("evaluating", 1, 1)


def test_into_a_file_there_is_one_line_per_kind_of_work(capsys: pytest.CaptureFixture[str]) -> None:
    work()
    assert capsys.readouterr() == (
        "",
        "study: round 1 of 3\nstudy: round 3 of 3\nstudy: training the yardsticks\nstudy: evaluating\n",
    )


def test_on_a_terminal_there_is_a_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    work()
    assert "study: evaluating" in screen.getvalue()
    assert "\x1b[" in screen.getvalue()
    assert capsys.readouterr().out == ""


def test_an_error_leaves_the_bar_and_passes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", Terminal())
    with pytest.raises(KeyboardInterrupt), shown("study"):
        raise KeyboardInterrupt


def test_an_interrupt_that_some_code_swallowed_is_raised_at_the_next_step() -> None:
    with shown("small") as step:
        step("round 1 of 9", 1, 9)
        with contextlib.suppress(KeyboardInterrupt):  # as a finalizer or a bare except in a library does
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        with pytest.raises(KeyboardInterrupt):
            step("round 2 of 9", 2, 9)


def test_interrupts_are_as_before_when_the_run_is_over() -> None:
    before = signal.getsignal(signal.SIGINT)
    with shown("small"):
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before
