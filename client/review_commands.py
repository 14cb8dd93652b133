"""`wardround site review|approve|revoke|studies`: a person at the hospital decides which studies run here.

None of these sends anything. Whoever runs them speaks for the hospital.
"""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wardround.client.approving import Approved
    from wardround.client.standing import Standing

_Groups = argparse._SubParsersAction


def register(commands: "_Groups[argparse.ArgumentParser]") -> None:
    """Add the commands to `wardround site`; each one's `run` takes the arguments and gives an exit code."""
    _register_review(commands)
    _register_approve(commands)
    _register_revoke(commands)
    _register_studies(commands)


def _register_review(commands: "_Groups[argparse.ArgumentParser]") -> None:
    text = (
        "What a study asks, costs and sends, and what changed since it was approved last. Nothing is sent, nothing "
        "is approved. Exit code 0 if it can be approved here; else that of the first reason against it."
    )
    review = _command(commands, "review", "read what a study asks, costs and sends", text)
    review.add_argument("bundle", type=Path, metavar="BUNDLE", help="the coordinator's NAME.wardround")
    review.add_argument("--json", action="store_true", help="print the review as JSON")
    review.set_defaults(run=run_review)


def _register_approve(commands: "_Groups[argparse.ArgumentParser]") -> None:
    text = (
        "Let a study run at this hospital: its whole cost is reserved in the ledger, and its training patients are "
        "frozen. Only the very bundle that `wardround site review` showed here is accepted, or the one whose digest is "
        "named. Another version of the study needs another approval."
    )
    approve = _command(commands, "approve", "let a study run at this hospital", text)
    approve.add_argument(
        "bundle",
        metavar="BUNDLE|NAME",
        help="the coordinator's file; or the name of a study approved here before, in its last version",
    )
    approve.add_argument(
        "--digest",
        default="",
        metavar="HEX",
        help="approve the bundle that was reviewed on another computer: its whole digest",
    )
    approve.add_argument(
        "--again", action="store_true", help="run a finished study once more, on top of what it spent"
    )
    approve.set_defaults(run=run_approve)


def _register_revoke(commands: "_Groups[argparse.ArgumentParser]") -> None:
    text = (
        "Withdraw a study: its next message is declined. What it spent stays spent; what it had reserved is free "
        "again. Approving it once more is possible."
    )
    revoke = _command(commands, "revoke", "withdraw a study", text)
    revoke.add_argument(
        "name", metavar="NAME", help="the study; or the first 8 or more digits of one protocol of it"
    )
    revoke.set_defaults(run=run_revoke)


def _register_studies(commands: "_Groups[argparse.ArgumentParser]") -> None:
    text = "Every study that was approved here, with what it has used of what was reserved for it."
    studies = _command(commands, "studies", "the studies that were approved here", text)
    studies.add_argument("--json", action="store_true", help="print the list as JSON")
    studies.set_defaults(run=run_studies)


def _command(
    commands: "_Groups[argparse.ArgumentParser]", name: str, line: str, text: str
) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(name, help=line, description=text)
    command.add_argument("folder", type=Path, metavar="DIR", help="the site's own folder, with site.toml")
    return command


def run_review(arguments: argparse.Namespace) -> int:
    """`wardround site review`: 0 if the study can be approved, else the exit code of the first reason against it."""
    from wardround.client.review import review
    from wardround.client.reviewed import note_reviewed
    from wardround.client.reviewprint import as_dict, page
    from wardround.common.study.bundle import read_bundle_file

    data = read_bundle_file(arguments.bundle)
    found = review(arguments.folder, data)
    print(json.dumps(as_dict(found), indent=2, allow_nan=False) if arguments.json else page(found))
    note_reviewed(arguments.folder, data)
    return 0 if found.allowed else found.refusals[0].exit_code


def run_approve(arguments: argparse.Namespace) -> int:
    """`wardround site approve`."""
    from wardround.client.approving import approve

    data = _bundle(arguments.folder, arguments.bundle, named=arguments.digest)
    done = approve(arguments.folder, data, again="again" if arguments.again else "once")
    print(_said(done, arguments.folder))
    return 0


def _bundle(folder: Path, given: str, *, named: str) -> bytes:
    """The bundle of a file, which was reviewed; or, of a study's name, the one that was approved last."""
    from wardround.client.approvals import last_approved
    from wardround.client.reviewed import check_reviewed
    from wardround.common.errors import UsageError
    from wardround.common.study.bundle import read_bundle_file

    if (path := Path(given)).is_file():
        data = read_bundle_file(path)
        check_reviewed(folder, data, named=named)
        return data
    before = last_approved(folder, given)
    if before is None:
        raise UsageError(
            f"{given!r} is neither a file nor a study that was approved here before",
            advice="give the path of the coordinator's NAME.wardround",
        )
    return read_bundle_file(before.bundle_path)


def _said(done: "Approved", folder: Path) -> str:
    found = done.approval
    match done.change:
        case "known":
            return f"Study {found.name} is approved already, under roster version {found.roster_version}."
        case "roster":
            return (
                f"Study {found.name} goes on under roster version {found.roster_version}; its patients stay."
            )
        case "approved":
            return (
                f"Approved study {found.name}, revision {found.revision}, protocol {found.protocol.digest[:16]}.\n"
                "Its whole cost is reserved in the ledger, and its training patients are frozen.\n"
                f"To withdraw it: wardround site revoke {folder} {found.name}"
            )


def run_revoke(arguments: argparse.Namespace) -> int:
    """`wardround site revoke`."""
    from wardround.client.revoking import revoke

    for protocol in revoke(arguments.folder, arguments.name):
        print(
            f"Revoked study {protocol.study.name}, protocol {protocol.digest[:16]}: its next message is declined."
        )
    return 0


def run_studies(arguments: argparse.Namespace) -> int:
    """`wardround site studies`."""
    from wardround.client.standing import studies

    found = studies(arguments.folder)
    if arguments.json:
        print(json.dumps([each.as_dict() for each in found], indent=2))
    else:
        print("\n".join(map(_line, found)) or "No study was approved here.")
    return 0


def _line(found: "Standing") -> str:
    return (
        f"{found.name}  protocol {found.digest[:16]}  {found.state}  "
        f"{found.charged} of {found.reserved} releases used  roster {found.roster_version}  {found.time}"
    )
