"""What is shown while a run works: a bar for a person, a few lines for a file, nothing on standard output."""

import io

import pytest

from wardround.simulations.progress import shown


class Terminal(io.StringIO):
    """Text that says it is a terminal."""

    def isatty(self) -> bool:
        return True


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
