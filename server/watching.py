"""What whoever watches a study at the coordinator is told while it runs. Nothing here decides anything.

Everything told is public among the parties: names, rounds, and who answered. No reply's content is.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Attendance:
    """Who of the roster is there.

    Attributes:
        present: Sites that answered the roll call, in the order of the roster.
        absent: Sites that have not answered.
        left: Site -> why it is not asked any more.
        quorum: Sites without which no round begins.
    """

    present: tuple[str, ...]
    absent: tuple[str, ...]
    left: Mapping[str, str]
    quorum: int

    @property
    def enough(self) -> bool:
        """Whether a round can begin."""
        return len(self.present) >= self.quorum


class Watch:
    """Told as a study goes on; by default it says nothing."""

    def attendance(self, found: Attendance) -> None:
        """Who is there; told whenever it may have changed."""

    def asked(self, round_: int, attempt: int, sites: int) -> None:
        """An attempt of a round begins with so many sites."""

    def asked_again(self, site: str) -> None:
        """What was sent to a site, or its answer, was lost on the way."""

    def answered(self, site: str) -> None:
        """Something came back from a site in the open attempt."""

    def ended(self, round_: int, attempt: int, problems: Mapping[str, str]) -> None:
        """An attempt is over; `problems` says of the sites that do not count why."""
