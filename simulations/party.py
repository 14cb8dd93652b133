"""One party of a rehearsal as a process: `python -m wardround.simulations.party server|site DIR`.

What `wardround server up` and `wardround site up` do, and it ends with the rehearsal, even where that is killed.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from wardround.common.errors import UsageError, WardroundError
from wardround.common.flower.lifeline import end_with_supervisor

MODULE: Final = "wardround.simulations.party"


def command(role: str, folder: Path) -> list[str]:
    """The command that starts a party."""
    return [sys.executable, "-m", MODULE, role, str(folder.absolute())]


def main(arguments: Sequence[str]) -> int:
    """Run a party until SIGTERM.

    Returns:
        The exit code.
    """
    try:
        _up(arguments)
    except WardroundError as error:
        print(error.diagnostics(), file=sys.stderr)
        return error.exit_code
    return 0


def _up(arguments: Sequence[str]) -> None:
    end_with_supervisor()
    match arguments:
        case ["server", folder]:
            from wardround.server.processes import up as server_up

            server_up(Path(folder), say=_say)
        case ["site", folder]:
            from wardround.client.processes import up as site_up

            site_up(Path(folder), say=_say)
        case _:
            raise UsageError("expected server or site, and a folder")


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
