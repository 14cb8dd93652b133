"""How a command asks a person for the words of somebody's key.

The words are typed as they were heard and are not shown first: a person who only has to agree, agrees.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Final

from wardround.common.errors import UsageError

_ASK: Final = """\
Call {whose}, on a telephone number that you knew before, and have the {count} words of its key read out to you.
{shown}
Type them here: """


def add_words_option(parser: argparse.ArgumentParser, whose: str) -> None:
    """Add `--words` to a command that lets a key in.

    Args:
        parser: Of the command.
        whose: Whose words they are, for the help.
    """
    parser.add_argument(
        "--words",
        "--fingerprint",
        dest="words",
        metavar='"WORDS"',
        default="",
        help=f"the 16 words of {whose}, as heard on the telephone; without it you are asked for them",
    )
    parser.add_argument("--yes", "-y", nargs=0, action=_Refused, help=argparse.SUPPRESS)


def heard(words: str, *, whose: str, where: str) -> str:
    """The words that were given, or typed now.

    Args:
        words: From the command line; empty if none were given.
        whose: Whose key it is.
        where: Where that party finds its words.

    Raises:
        UsageError: None were given, and there is no terminal to ask on.
    """
    if words:
        return words
    if not sys.stdin.isatty():
        raise UsageError(
            f"expected the words of {whose}, found none, and no terminal to ask on",
            advice=f'call {whose} and give what you hear: --words "WORD WORD ..."',
        )
    return input(_ASK.format(whose=whose, count=16, shown=where))


class _Refused(argparse.Action):
    """A key is never let in by agreeing to whatever stands in a file."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[object] | None,
        option_string: str | None = None,
    ) -> None:
        parser.error(f"{option_string} is refused: a key counts only after its words were compared (--words)")
