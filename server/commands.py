"""`wardround server`: what a coordinator runs on its own machine.

`init` makes its folder, `enrol` and `remove` change its members, `roster` shows them. A coordinator sees no patient.
"""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from wardround.common.trust.askwords import add_words_option
from wardround.server import (
    bundle_command,
    process_commands,
    publish_commands,
    run_commands,
    witness_commands,
)

if TYPE_CHECKING:
    from datetime import datetime

    from wardround.server.enrolment import Enrolment
    from wardround.server.serverfile import ServerFile

_Groups = argparse._SubParsersAction
_REQUEST_WORDS = "It finds them with `wardround site peers list DIR`, and `wardround site init` showed them."


def register(subparsers: "_Groups[argparse.ArgumentParser]") -> None:
    """Add the group `server` to the root command; each command's `run` takes the arguments and gives an exit code."""
    server = subparsers.add_parser(
        "server",
        help="what a coordinator runs: its folder, its members",
        description="The coordinator brings hospitals together; it never sees a patient.",
    )
    commands = server.add_subparsers(dest="server_command", metavar="COMMAND", required=True)
    _register_init(commands)
    _register_enrol(commands)
    _register_remove(commands)
    _register_roster(commands)
    witness_commands.register(commands)
    publish_commands.register(commands)
    process_commands.register(commands)
    run_commands.register(commands)
    bundle_command.register(commands)


def _register_init(commands: "_Groups[argparse.ArgumentParser]") -> None:
    text = (
        "Make the coordinator's folder: its private key, a certificate authority and a certificate for its server. "
        "Private keys never leave the folder."
    )
    init = _command(commands, "init", "make the coordinator's folder, or renew its certificate", text)
    init.add_argument("--name", default="", help="the coordinator's name, as in the roster")
    init.add_argument("--address", default="", metavar="HOST[:PORT]", help="what hospitals dial (port 8443)")
    init.add_argument(
        "--also",
        action="append",
        default=[],
        metavar="HOST",
        help="another name or IP address of this machine; may be given more than once",
    )
    init.add_argument(
        "--log-port",
        type=int,
        default=0,
        metavar="PORT",
        help="run a log service there, for witnesses and auditors; usually 8444 (none)",
    )
    init.add_argument("--listen", default="0.0.0.0", metavar="IP", help="address to listen on (all)")  # noqa: S104
    init.add_argument(
        "--renew-certificate",
        action="store_const",
        const=run_renew,
        default=run_init,
        dest="run",
        help="only make a new server certificate, for the names in server.toml; hospitals need do nothing",
    )


def _register_enrol(commands: "_Groups[argparse.ArgumentParser]") -> None:
    text = (
        "Let a hospital in by its request.json, once the words of its key were compared on the telephone, and write "
        "its invite."
    )
    enrol = _command(commands, "enrol", "let a hospital in and write its invite", text)
    enrol.add_argument("request", type=Path, metavar="REQUEST", help="the request.json that it sent")
    enrol.add_argument(
        "--replace",
        default="",
        metavar="NAME",
        help="the member that made new keys; its old ones stop working",
    )
    enrol.add_argument("--out", type=Path, metavar="FILE", help="write the invite there too")
    add_words_option(enrol, "the hospital's key")
    enrol.set_defaults(run=run_enrol)


def _register_remove(commands: "_Groups[argparse.ArgumentParser]") -> None:
    text = (
        "Take a hospital out of the roster; from the next round on it is not asked. Its name stays its own."
    )
    remove = _command(commands, "remove", "take a hospital out", text)
    remove.add_argument("name", metavar="NAME", help="the hospital")
    remove.set_defaults(run=run_remove)


def _register_roster(commands: "_Groups[argparse.ArgumentParser]") -> None:
    text = "The members, the words of their keys and of the coordinator's, and every change so far."
    roster = _command(commands, "roster", "show the members and every change", text)
    roster.add_argument("--json", action="store_true", help="print it as JSON")
    roster.set_defaults(run=run_roster)


def _command(
    commands: "_Groups[argparse.ArgumentParser]", name: str, line: str, text: str
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=line, description=text)
    command.add_argument("folder", type=Path, metavar="DIR", help="the coordinator's own folder")
    return command


def run_init(arguments: argparse.Namespace) -> int:
    """`wardround server init`."""
    from wardround.common.errors import UsageError
    from wardround.common.trust.join import split_address
    from wardround.common.trust.signed import utc_now
    from wardround.server.serverfile import DEFAULT_PORT, ServerFile, create_server

    if not (arguments.name and arguments.address):
        raise UsageError("a new coordinator needs --name and --address")
    host, port = split_address(arguments.address, default_port=DEFAULT_PORT)
    server = ServerFile(
        folder=arguments.folder,
        name=arguments.name,
        host=host,
        port=port,
        listen=arguments.listen,
        names=tuple(arguments.also),
        log_port=arguments.log_port,
    )
    key = create_server(server, now=utc_now())
    print(f"Made the coordinator {server.name} in {server.folder}; hospitals dial {server.address}.")
    _print_words("The words of its key, to be read out to each hospital:", key.public.fingerprint)
    _print_expiry(server)
    print("Next, for each request.json that you receive: wardround server enrol DIR REQUEST")
    return 0


def run_renew(arguments: argparse.Namespace) -> int:
    """`wardround server init --renew-certificate`."""
    from wardround.common.errors import UsageError
    from wardround.common.trust.signed import utc_now
    from wardround.server.serverfile import ServerFile, renew_certificate

    if arguments.name or arguments.address or arguments.also:
        raise UsageError(
            "--renew-certificate goes alone", advice="change names and address in server.toml first"
        )
    server = ServerFile.load(arguments.folder)
    renew_certificate(server, now=utc_now())
    _print_expiry(server)
    print("The server shows it from its next start. Hospitals need do nothing.")
    return 0


def run_enrol(arguments: argparse.Namespace) -> int:
    """`wardround server enrol`."""
    from wardround.common.durable import write_atomic
    from wardround.common.trust.askwords import heard
    from wardround.common.trust.join import open_request
    from wardround.common.trust.sealed import read_sent
    from wardround.server.enrolment import enrol

    data = read_sent(arguments.request)
    name = open_request(data, where=arguments.request.name).name
    words = heard(arguments.words, whose=name, where=_REQUEST_WORDS)
    done = enrol(arguments.folder, data, words=words, replace=arguments.replace)
    if arguments.out:
        write_atomic(arguments.out, done.invite)
    _print_enrolment(done, arguments.out or done.path)
    return 0


def run_remove(arguments: argparse.Namespace) -> int:
    """`wardround server remove`."""
    from wardround.server.enrolment import remove

    version = remove(arguments.folder, arguments.name)
    print(f"{arguments.name} is not in version {version} of the roster.")
    print(
        "From the next round on it is not asked. Publish running studies again to show hospitals the new roster."
    )
    return 0


def run_roster(arguments: argparse.Namespace) -> int:
    """`wardround server roster`."""
    from wardround.server.enrolment import history
    from wardround.server.members import Members
    from wardround.server.serverfile import ServerFile

    server, members = ServerFile.load(arguments.folder), Members.load(arguments.folder)
    coordinator = server.key().public
    changes = [
        {"version": entry.seq + 1, "time": entry.time, "change": entry.kind, "name": entry.data["name"]}
        for entry in history(arguments.folder)
    ]
    if arguments.json:
        sites = {
            name: {"key": m.key.encode(), "fingerprint": m.key.fingerprint}
            for name, m in members.sites.items()
        }
        shown = {
            "coordinator": server.name,
            "fingerprint": coordinator.fingerprint,
            "version": members.version,
        }
        print(json.dumps({**shown, "sites": sites, "changes": changes}, indent=2, ensure_ascii=False))
        return 0
    _print_words(f"{server.name} (coordinator) at {server.address}", coordinator.fingerprint)
    for name, member in members.sites.items():
        _print_words(name, member.key.fingerprint)
    print(f"Version {members.version} of the roster, {len(members.sites)} hospitals.")
    for change in changes:
        print(f"    {change['version']:>3}  {change['time']}  {change['change']:<6}  {change['name']}")
    return 0


def _print_enrolment(done: "Enrolment", invite: Path) -> None:
    name = done.member.name
    what = {
        "enrolled": f"Enrolled {name}",
        "rotated": f"{name} has new keys; the old ones stop working",
        "known": f"{name} was enrolled with these keys already",
    }[done.change]
    print(f"{what}. Version {done.version} of the roster.")
    print(
        f"Send {invite} to {name}, and read the words of your own key out to it (wardround server roster DIR)."
    )


def _print_words(title: str, fingerprint: str) -> None:
    from wardround.common.trust.words import spoken_lines

    print(title)
    for line in spoken_lines(fingerprint):
        print(f"    {line}")


def _print_expiry(server: "ServerFile") -> None:
    from wardround.common.trust.certcheck import check_server_certificate, server_names
    from wardround.common.trust.signed import utc_now

    data = server.certificate.read_bytes()
    end: datetime = check_server_certificate(data, server.ca.read_bytes(), host=server.host, now=utc_now())
    print(f"The server's certificate is for {', '.join(server_names(data))}, until {end:%Y-%m-%d}.")
