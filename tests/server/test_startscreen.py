"""What the coordinator's terminal shows: the roster when it changes, each round, and who does not count."""

import io

from wardround.server.startscreen import Screen
from wardround.server.watching import Attendance

ALONE = Attendance(present=("north",), absent=("south", "west"), left={}, quorum=2)
TWO = Attendance(present=("north", "south"), absent=(), left={"west": "it was removed"}, quorum=2)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def play(stream: io.StringIO) -> str:
    seconds = iter([0.0, 1.0, 3.5])
    screen = Screen(stream, study="trial", rounds=9, clock=lambda: next(seconds))
    for found in (ALONE, ALONE, TWO):
        screen.attendance(found)
    screen.asked(4, 2, 2)
    screen.answered("north")
    screen.ended(4, 2, {"south": "declined"})
    return stream.getvalue()


def test_a_file_gets_one_line_per_event() -> None:
    assert play(io.StringIO()).splitlines() == [
        "trial: here: north; missing: south, west (a round needs 2)",
        "trial: here: north, south; west takes part no more: it was removed",
        "trial: round 4 of 9, attempt 2: 2 hospitals are asked",
        "trial: round 4 of 9: ended after 2.5 s",
        "trial:   south does not count: declined",
    ]


def test_a_terminal_counts_answers_in_a_line_that_is_written_over() -> None:
    assert "\x1b[2Ktrial: 1 of 2 hospitals answered\r\x1b[2Ktrial: round 4" in play(Terminal())


def test_the_round_after_the_last_is_called_the_evaluation() -> None:
    stream = io.StringIO()
    screen = Screen(stream, study="trial", rounds=9, clock=lambda: 0.0)
    screen.asked(10, 1, 2)
    screen.ended(10, 1, {})
    assert stream.getvalue().splitlines() == [
        "trial: evaluation: 2 hospitals are asked",
        "trial: evaluation: ended after 0.0 s",
    ]
