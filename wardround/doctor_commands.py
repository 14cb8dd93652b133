"""`wardround doctor`: what is wrong with a hospital's or a coordinator's installation, and what to do."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wardround.common.doctor import Finding

_Groups = argparse._SubParsersAction


def register(subparsers: "_Groups[argparse.ArgumentParser]") -> None:
    """Add the command to the root command; its `run` takes the arguments and gives an exit code."""
    text = (
        "Look at everything that usually goes wrong: versions, disk, permissions, clock, name, proxy, port, "
        "certificate, ledger, processes. Changes nothing. Exit code 1 if there is a fault."
    )
    doctor = subparsers.add_parser(
        "doctor", help="what is wrong with an installation, and what to do", description=text
    )
    doctor.add_argument("folder", type=Path, metavar="DIR", help="a hospital's or a coordinator's own folder")
    doctor.add_argument("--json", action="store_true", help="print it as JSON")
    doctor.set_defaults(run=run_doctor)


def run_doctor(arguments: argparse.Namespace) -> int:
    """`wardround doctor`."""
    from wardround.common.doctor import as_json, exit_code, lines

    found = _findings(arguments.folder)
    print(as_json(found) if arguments.json else "\n".join(lines(found)))
    return exit_code(found)


def _findings(folder: Path) -> "tuple[Finding, ...]":
    from wardround.common.errors import UsageError
    from wardround.common.trust.signed import utc_now

    if (folder / "server.toml").exists():
        from wardround.server.doctor import findings as at_coordinator

        return at_coordinator(folder, now=utc_now)
    if (folder / "site.toml").exists():
        from wardround.client.doctor import findings as at_hospital

        return at_hospital(folder, now=utc_now)
    raise UsageError(
        f"expected site.toml or server.toml in {folder}, found neither",
        advice="give the folder of a hospital (wardround site init) or of a coordinator (wardround server init)",
    )
