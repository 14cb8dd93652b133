"""What `server start` shows: who is there, who is missing, and how far the round is. Lines on standard error.

On a terminal the answers of a round are counted in one line that is written over; elsewhere each event is one line.
"""

import time
from collections.abc import Callable, Mapping
from typing import Final, TextIO

from wardround.server.watching import Attendance, Watch

_BLANK: Final = "\r\x1b[2K"


class Screen(Watch):
    """Shows a study on a stream.

    Args:
        stream: Usually standard error.
        study: Its name.
        rounds: How many it has.
        clock: Seconds, for how long a round took.
    """

    def __init__(
        self, stream: TextIO, *, study: str, rounds: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream
        self._study = study
        self._rounds = rounds
        self._clock = clock
        self._shown: Attendance | None = None
        self._asked = 0
        self._answers: set[str] = set()
        self._began = clock()

    def line(self, text: str) -> None:
        """One line."""
        start = _BLANK if self._stream.isatty() else ""
        print(f"{start}{self._study}: {text}", file=self._stream, flush=True)

    def attendance(self, found: Attendance) -> None:
        """The roster, whenever it changed."""
        if found == self._shown:
            return
        self._shown = found
        self.line(roster_line(found))

    def asked(self, round_: int, attempt: int, sites: int) -> None:
        """A round begins."""
        self._asked, self._began = sites, self._clock()
        self._answers.clear()
        again = f", attempt {attempt}" if attempt > 1 else ""
        self.line(f"{self._named(round_)}{again}: {sites} hospitals are asked")

    def asked_again(self, site: str) -> None:
        """A site is asked once more."""
        self.line(f"  {site} is there and did not answer: something was lost on the way, it is asked again")

    def answered(self, site: str) -> None:
        """Somebody answered: counted on a terminal only."""
        self._answers.add(site)
        if self._stream.isatty():
            text = f"{self._study}: {len(self._answers)} of {self._asked} hospitals answered"
            print(f"{_BLANK}{text}", end="", file=self._stream, flush=True)

    def ended(self, round_: int, attempt: int, problems: Mapping[str, str]) -> None:
        """A round is over: how long it took, and who does not count."""
        seconds = self._clock() - self._began
        self.line(f"{self._named(round_)}: ended after {seconds:.1f} s")
        for site, why in sorted(problems.items()):
            self.line(f"  {site} does not count: {why}")

    def _named(self, round_: int) -> str:
        """The round after the last is the evaluation."""
        return f"round {round_} of {self._rounds}" if round_ <= self._rounds else "evaluation"


def roster_line(found: Attendance) -> str:
    """Who is there and who is not, in one line."""
    parts = [f"here: {', '.join(found.present) or 'nobody'}"]
    if found.absent:
        parts.append(f"missing: {', '.join(found.absent)} (a round needs {found.quorum})")
    parts += [f"{site} takes part no more: {why}" for site, why in sorted(found.left.items())]
    return "; ".join(parts)
