"""One error root with an exit code and advice.

An error names what was expected, what was found, where, and what to do. It never shows a patient's value or
identifier: messages travel into logs, screenshots and support tickets.

Example:
    >>> error = PolicyRefusal("the lifetime cap is reached", advice="ask the data protection officer")
    >>> print(error.diagnostics())
    PolicyRefusal: the lifetime cap is reached
    What to do: ask the data protection officer
"""

from typing import ClassVar


class WardroundError(Exception):
    """The root of every error this package raises on purpose.

    Args:
        message: What was expected, what was found, and where.
        advice: What the reader can do about it; empty where nothing can be done.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, advice: str = "") -> None:
        super().__init__(message)
        self.advice = advice

    def diagnostics(self) -> str:
        """The text a command prints before it exits with `exit_code`."""
        head = f"{type(self).__name__}: {self}"
        return f"{head}\nWhat to do: {self.advice}" if self.advice else head


class UsageError(WardroundError):
    """A command or function was called with arguments that cannot mean anything."""

    exit_code = 2


class ProtocolError(WardroundError):
    """A study protocol, policy or other declared file is not acceptable."""

    exit_code = 3


class CohortError(WardroundError):
    """A site's table does not fit the protocol; carries named findings, never a patient's value."""

    exit_code = 4


class PolicyRefusal(WardroundError):  # noqa: N818  (an outcome that the site chose, not a fault)
    """The site's own policy says no, whatever the study asks."""

    exit_code = 5


class TrustError(WardroundError):
    """A signature, digest, order or address is not what it must be."""

    exit_code = 6


class PrivacyError(WardroundError):
    """A privacy rule would be broken, or a guarantee cannot be computed."""

    exit_code = 7


class StudyError(WardroundError):
    """A round or a run cannot go on: no quorum, attempts used up, nothing to resume."""

    exit_code = 8


class StorageError(WardroundError):
    """A file could not be written, locked or read back: full disk, wrong owner, newer format."""

    exit_code = 9
