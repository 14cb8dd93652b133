"""The root command: a static table of groups, each imported only when it is chosen.

The table is fixed here, so no other installed package can add a command to a hospital's tool, and asking for
help imports nothing of the framework. Every error raised on purpose becomes its diagnostics on standard error
and its own exit code; anything else is a bug and shows a traceback.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Final

GROUPS: Final[dict[str, tuple[str, str]]] = {
    "demo": ("wardround.simulations.commands", "run a generated consortium end to end and name its report"),
    "simulate": (
        "wardround.simulations.commands",
        "run a study over local tables as if each were a hospital",
    ),
    "evaluate": (
        "wardround.simulations.evaluate_command",
        "evaluate a released model on new patients, and say whether it drifted",
    ),
    "rehearse": (
        "wardround.simulations.rehearse_command",
        "run a study over real processes on this machine, as hospitals would",
    ),
    "report": ("wardround.simulations.commands", "write report and model card of a finished run again"),
    "bench": ("wardround.simulations.commands", "measure the framework's overhead"),
    "study": ("wardround.simulations.study_commands", "draft, plan, check and explain a study protocol"),
    "site": ("wardround.client.commands", "what a hospital runs: check its table, its policy, its ledger"),
    "predict": (
        "wardround.client.predict_commands",
        "apply a released model to a hospital's table, and say how sure it is",
    ),
    "server": ("wardround.server.commands", "what a coordinator runs: its folder, its members"),
    "audit": ("wardround.common.audit.commands", "check claims about privacy"),
    "doctor": ("wardround.doctor_commands", "what is wrong with an installation, and what to do"),
}
"""Command -> (module with `register`, one line of help)."""

FURTHER: Final[dict[str, tuple[str, ...]]] = {
    "audit": ("wardround.simulations.audit_commands", "wardround.simulations.bundle_command"),
}
"""Command -> modules of higher floors with `extend`, which takes what the command's `register` returned."""

INTERRUPTED: Final = 130
PIPE_CLOSED: Final = 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: What follows `wardround` on the command line; by default the process's own.

    Returns:
        The exit code: 0, the error's own code, 2 for wrong usage, 130 after Ctrl-C, 141 for a closed pipe.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _guarded(words)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The interpreter flushes standard output once more at exit, which must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except KeyboardInterrupt:
        print(
            "\nInterrupted. What was written stays; the same command goes on from there.",
            file=sys.stderr,
        )
        return INTERRUPTED


def _guarded(words: list[str]) -> int:
    from wardround.common.errors import WardroundError

    group = next((word for word in words if not word.startswith("-")), "")
    try:
        chosen = _parser(group).parse_args(words)
        run: Callable[[argparse.Namespace], int] = chosen.run
        return run(chosen)
    except WardroundError as error:
        print(error.diagnostics(), file=sys.stderr)
        return error.exit_code
    except ModuleNotFoundError as error:
        if _ours(error.name):
            raise
        print(_missing_package(error.name, group), file=sys.stderr)
        return 2


def _parser(group: str) -> argparse.ArgumentParser:
    """The root parser; only the chosen group's module is imported."""
    parser = argparse.ArgumentParser(
        prog="wardround",
        description="One model across hospitals, while every patient's data stays at home.",
        epilog="`wardround COMMAND --help` explains one command. Start with `wardround demo`.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the installed version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    chosen = GROUPS[group][0] if group in GROUPS else ""
    if chosen:
        verbs = import_module(chosen).register(commands)
        for further in FURTHER.get(group, ()):
            import_module(further).extend(verbs)
    for name, (module, line) in GROUPS.items():
        if module != chosen:
            commands.add_parser(name, help=line, add_help=False)
    return parser


class _Version(argparse.Action):
    """Prints the version; the package's metadata is read only when asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(f"wardround {version('wardround')}")
        parser.exit()


def _ours(module: str | None) -> bool:
    return module is None or module.split(".")[0] == "wardround"


def _missing_package(module: str | None, group: str) -> str:
    extra = {"site": "site", "predict": "site", "server": "server"}.get(group, "simulation")
    return (
        f"`wardround {group}` needs the package {module}, which is not installed.\n"
        f"What to do: pip install 'wardround[{extra}]'"
    )
