"""`wardround site init|request|join|peers`: a hospital makes its keys, joins a consortium and approves its peers.

Nothing here sends anything: people send the files, and compare words on the telephone.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wardround.common.trust.identity import PublicKey

_Groups = argparse._SubParsersAction
_OWN_WORDS = "It finds them with `wardround site peers list DIR` of its own folder."
_COORDINATOR_WORDS = "The coordinator finds them with `wardround server roster DIR`."


def register(commands: "_Groups[argparse.ArgumentParser]") -> None:
    """Add the commands to `wardround site`; each one's `run` takes the arguments and gives an exit code."""
    _register_init(commands)
    _register_request(commands)
    _register_join(commands)
    _register_peers(commands)


def _register_init(commands: "_Groups[argparse.ArgumentParser]") -> None:
    text = (
        "Write a first site.toml with a comment for every limit, the site's private keys, and request.json, which the "
        "coordinator needs. The keys never leave this folder."
    )
    init = commands.add_parser("init", help="write a first policy, keys and a join request", description=text)
    init.add_argument("folder", type=Path, metavar="DIR", help="the site's own folder")
    init.add_argument("--name", required=True, help="the site's name, as in the roster")
    init.add_argument("--table", type=Path, required=True, metavar="FILE", help="the site's table")
    init.add_argument(
        "--cohort",
        choices=("private", "public", "synthetic"),
        default="private",
        help="'public' only if anybody may read the table (default: private)",
    )
    init.add_argument("--epsilon-cap", type=float, default=3.0, metavar="E", help="lifetime cap (3)")
    init.add_argument("--delta", type=float, default=1e-5, metavar="D", help="lifetime delta (1e-5)")
    init.add_argument("--smallest-cohort", type=int, default=20, metavar="N", help="fewest patients (20)")
    init.add_argument(
        "--passphrase",
        action="store_true",
        help="encrypt identity.pem; the passphrase is asked for, or taken from WARDROUND_PASSPHRASE",
    )
    init.set_defaults(run=run_init)


def _register_request(commands: "_Groups[argparse.ArgumentParser]") -> None:
    text = "Write request.json again, for a folder made by an earlier release or after a change of keys."
    request = commands.add_parser("request", help="write the join request again", description=text)
    request.add_argument("folder", type=Path, metavar="DIR", help="the site's own folder")
    request.add_argument(
        "--new-node-key",
        action="store_const",
        const="renew",
        default="keep",
        dest="node_key",
        help="make a new node key first; the coordinator then enrols with --replace",
    )
    request.set_defaults(run=run_request)


def _register_join(commands: "_Groups[argparse.ArgumentParser]") -> None:
    from wardround.common.trust.askwords import add_words_option

    text = (
        "Pin the coordinator's key, address and certificate from its invite, once the words of its key were compared "
        "on the telephone. Nothing is sent."
    )
    join = commands.add_parser("join", help="pin the coordinator from its invite", description=text)
    join.add_argument("folder", type=Path, metavar="DIR", help="the site's own folder")
    join.add_argument("invite", type=Path, metavar="INVITE", help="the file that the coordinator sent")
    add_words_option(join, "the coordinator's key")
    join.set_defaults(run=run_join)


def _register_peers(commands: "_Groups[argparse.ArgumentParser]") -> None:
    from wardround.common.trust.askwords import add_words_option

    text = (
        "Other hospitals whose noise counts here. The coordinator's word never suffices: two people compare the words "
        "of the key."
    )
    peers = commands.add_parser("peers", help="hospitals whose keys were compared", description=text)
    actions = peers.add_subparsers(dest="peers_command", metavar="ACTION", required=True)
    listing = actions.add_parser(
        "list", help="this site's own words, approved peers, and others", description="Who is approved."
    )
    approve = actions.add_parser(
        "approve",
        help="accept a peer's key",
        description="Compare the words with the peer's key and accept it. The key is taken from the newest roster, or "
        "from a file: the peer's request.json, a roster, or a study's bundle.",
    )
    remove = actions.add_parser(
        "remove", help="take a peer off the list", description="A removed peer counts no longer."
    )
    for action in (listing, approve, remove):
        action.add_argument("folder", type=Path, metavar="DIR", help="the site's own folder")
    approve.add_argument(
        "names", metavar="NAME", nargs="+", help="the peer's name; of several the words are asked one by one"
    )
    remove.add_argument("name", metavar="NAME", help="the peer's name")
    approve.add_argument("--from", type=Path, metavar="FILE", dest="source", help="where its key is")
    add_words_option(approve, "the peer's key")
    listing.set_defaults(run=run_peers_list)
    approve.set_defaults(run=run_peers_approve)
    remove.set_defaults(run=run_peers_remove)


def run_init(arguments: argparse.Namespace) -> int:
    """`wardround site init`."""
    from wardround.client.joining import make_request
    from wardround.client.sitefile import FirstPolicy, create_site
    from wardround.common.trust.keyfile import new_passphrase

    first = FirstPolicy(
        site=arguments.name,
        table=arguments.table,
        cohort=arguments.cohort,
        epsilon_cap=arguments.epsilon_cap,
        delta=arguments.delta,
        smallest_cohort=arguments.smallest_cohort,
    )
    passphrase = new_passphrase() if arguments.passphrase else ""
    policy, fingerprint = create_site(arguments.folder, first, passphrase=passphrase)
    make_request(arguments.folder, passphrase=passphrase)
    print(f"Wrote {arguments.folder / 'site.toml'}, {policy.identity.name}, node.key and request.json.")
    print(f"Key fingerprint: {fingerprint}")
    _print_words("Its words, to be read out on the telephone to the coordinator and to peers:", fingerprint)
    print("Next: read site.toml, check your table (`wardround site check STUDY --policy site.toml`),")
    print("and send request.json to the coordinator. Send nothing else of this folder.")
    return 0


def run_request(arguments: argparse.Namespace) -> int:
    """`wardround site request`."""
    from wardround.client.joining import REQUEST, make_request
    from wardround.common.trust.join import open_request

    request = open_request(make_request(arguments.folder, node_key=arguments.node_key))
    print(f"Wrote {arguments.folder / REQUEST} of {request.name}. Send it to the coordinator.")
    _print_words("The words of its key:", request.key.fingerprint)
    return 0


def run_join(arguments: argparse.Namespace) -> int:
    """`wardround site join`."""
    from wardround.client.joining import join
    from wardround.common.trust.askwords import heard
    from wardround.common.trust.join import open_invite
    from wardround.common.trust.sealed import read_sent
    from wardround.common.trust.signed import utc_now

    data = read_sent(arguments.invite)
    invite = open_invite(data, where=arguments.invite.name)
    words = heard(arguments.words, whose=invite.coordinator, where=_COORDINATOR_WORDS)
    pinned = join(arguments.folder, data, words=words, now=utc_now())
    print(f"{pinned.site} joined the consortium of {pinned.coordinator} at {pinned.address}.")
    _print_words("Pinned the key with these words:", pinned.coordinator_key.fingerprint)
    print("Next: wardround site peers list DIR, and wardround site review DIR STUDY.wardround")
    return 0


def run_peers_list(arguments: argparse.Namespace) -> int:
    """`wardround site peers list`."""
    from wardround.client.peering import own_key, roster_keys
    from wardround.client.peers import approved_peers

    approved = approved_peers(arguments.folder)
    name, key = own_key(arguments.folder)
    _print_words(f"{name} (this hospital)", key.fingerprint)
    _print_keys("approved", approved.items())
    others = roster_keys(arguments.folder).items()
    _print_keys("APPROVED WITH ANOTHER KEY", [(n, k) for n, k in others if approved.get(n, k) != k])
    unknown = [n for n, _ in others if n not in approved and n != name]
    if unknown:
        print(f"In the roster and not approved here: {', '.join(unknown)}.")
        print(f"Next, with the telephone at hand: wardround site peers approve DIR {' '.join(unknown)}")
    return 0


def run_peers_approve(arguments: argparse.Namespace) -> int:
    """`wardround site peers approve`."""
    from wardround.client.peering import approve_peer, find_key
    from wardround.common.errors import UsageError
    from wardround.common.study.bundle import LARGEST
    from wardround.common.trust.askwords import heard
    from wardround.common.trust.sealed import read_sent

    if arguments.words and len(arguments.names) > 1:
        raise UsageError(
            f"expected one name beside --words, found {len(arguments.names)}",
            advice="leave --words out to be asked for each, or approve one at a time",
        )
    source = read_sent(arguments.source, longest=LARGEST) if arguments.source else None
    for name in arguments.names:
        key = find_key(arguments.folder, name, source)
        approve_peer(arguments.folder, name, key, heard(arguments.words, whose=name, where=_OWN_WORDS))
        print(f"{name} is an approved peer: its noise counts here.")
    return 0


def run_peers_remove(arguments: argparse.Namespace) -> int:
    """`wardround site peers remove`."""
    from wardround.client.peers import remove_peer

    remove_peer(arguments.folder, arguments.name)
    print(f"{arguments.name} is no approved peer any more.")
    return 0


def _print_keys(what: str, keys: "Iterable[tuple[str, PublicKey]]") -> None:
    for name, key in keys:
        _print_words(f"{name} ({what})", key.fingerprint)


def _print_words(title: str, fingerprint: str) -> None:
    from wardround.common.trust.words import spoken_lines

    print(title)
    for line in spoken_lines(fingerprint):
        print(f"    {line}")
