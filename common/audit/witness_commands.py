"""`wardround audit request` and `wardround audit witness`: follow a study's log from outside, verify it, cosign it.

DIR/identity.pem   the witness's private key, which signs cosignatures
DIR/node.key       the private key that opens connections
DIR/request.json   what the coordinator is sent
DIR/pass.json      what it sends back
DIR/STUDY/         the witness's own copy of a study's log (see `followed`)
"""

import argparse
import contextlib
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from wardround.common.audit.followed import FollowedLog
    from wardround.common.audit.logclient import LogClient
    from wardround.common.trust.checkpoint import SignedCheckpoint
    from wardround.common.trust.identity import PublicKey
    from wardround.common.trust.logpass import LogPass

_Parsers = argparse._SubParsersAction

IDENTITY: Final = "identity.pem"
NODE_KEY: Final = "node.key"
REQUEST: Final = "request.json"
PASS: Final = "pass.json"  # noqa: S105  (a file name, not a secret)

_LONGEST: Final = 86_400.0  # seconds that `--once` may take

_REQUEST: Final = (
    "Make a witness's keys and request.json, which its coordinator answers with a pass once the words of the key were "
    "compared on the telephone. Private keys stay in the folder."
)
_WITNESS: Final = (
    "Follow a study's log at the coordinator's log service, verify every line and every checkpoint against an own "
    "copy, and cosign each checkpoint that continues it. Goes on through cuts until Ctrl-C. A rollback or a second "
    "history ends it with exit code 6; the evidence is kept in DIR."
)


def register(verbs: "_Parsers[argparse.ArgumentParser]") -> None:
    """Add the two verbs; each one's `run` takes the arguments and gives an exit code."""
    request = verbs.add_parser("request", help="make a witness's keys and request", description=_REQUEST)
    request.add_argument("folder", type=Path, metavar="DIR", help="the witness's own folder")
    request.add_argument("--name", required=True, help="the witness's name, as people call it")
    request.add_argument(
        "--passphrase",
        action="store_true",
        help="encrypt identity.pem; asked for, or from WARDROUND_PASSPHRASE",
    )
    request.set_defaults(run=run_request)
    witness = verbs.add_parser("witness", help="follow, verify and cosign a log", description=_WITNESS)
    witness.add_argument("address", metavar="ADDRESS", help="host:port of the coordinator's log service")
    witness.add_argument(
        "--keys",
        type=Path,
        nargs="+",
        required=True,
        metavar="FILE",
        help="the parties' public keys as you compared them: a roster, or PEM files named after the parties",
    )
    witness.add_argument("--state", type=Path, required=True, metavar="DIR", help="the witness's own folder")
    witness.add_argument(
        "--study", default="", metavar="NAME", help="the study, where the service shows several"
    )
    witness.add_argument(
        "--once",
        action="store_const",
        const=run_once,
        default=run_witness,
        dest="run",
        help="catch up with the newest checkpoint, cosign it and end",
    )
    witness.add_argument(
        "--limit",
        type=float,
        default=600.0,
        metavar="SECONDS",
        help="with --once: how long it may take (600); what was verified until then is kept, and the next call goes on",
    )


def run_request(arguments: argparse.Namespace) -> int:
    """`wardround audit request`."""
    from wardround.common.durable import write_atomic
    from wardround.common.flower.nodekeys import new_node_key, own_node_line
    from wardround.common.trust.identity import SigningKey
    from wardround.common.trust.join import seal_request
    from wardround.common.trust.keyfile import new_passphrase
    from wardround.common.trust.ledgerfile import make_folder
    from wardround.common.trust.words import spoken_lines

    folder = arguments.folder
    make_folder(folder)
    passphrase = new_passphrase() if arguments.passphrase else ""
    if not (folder / IDENTITY).exists():
        SigningKey.generate().save(folder / IDENTITY, passphrase=passphrase)
    key = SigningKey.load(folder / IDENTITY, passphrase=passphrase)
    node = folder / NODE_KEY
    line = own_node_line(node) if node.exists() else new_node_key(node)
    write_atomic(folder / REQUEST, seal_request(key, arguments.name, line))
    print("The words of this key, to be read out to the coordinator:")
    for words in spoken_lines(key.public.fingerprint):
        print(f"    {words}")
    print(f"Send {folder / REQUEST} to the coordinator, and keep what it sends back as {folder / PASS}.")
    return 0


def run_witness(arguments: argparse.Namespace) -> int:
    """`wardround audit witness`."""
    import random

    from wardround.common.audit.logclient import LaterError
    from wardround.common.audit.witnessing import cosigned
    from wardround.common.processes import pause_after
    from wardround.common.trust.signed import utc_now

    failures, jitter = 0, random.SystemRandom()
    with _Witness(arguments) as witness:
        while True:
            try:
                with witness.connect() as client:
                    log = witness.log(client)
                    for new in cosigned(client, log, witness.key, clock=utc_now):
                        failures = 0
                        _show(log, new)
            except LaterError as error:
                failures += 1
                print(error, file=sys.stderr, flush=True)
                time.sleep(pause_after(failures, jitter))


def run_once(arguments: argparse.Namespace) -> int:
    """`wardround audit witness --once`."""
    from wardround.common.audit.witnessing import catch_up
    from wardround.common.errors import UsageError
    from wardround.common.trust.signed import utc_now

    if not 0 < arguments.limit <= _LONGEST:
        raise UsageError(f"expected a --limit of 0 to {_LONGEST:g} seconds, found {arguments.limit:g}")
    with _Witness(arguments) as witness, witness.connect() as client:
        log = witness.log(client)
        _show(log, catch_up(client, log, witness.key, clock=utc_now, limit=arguments.limit))
    return 0


class _Witness:
    """A witness's folder, held by this process, with its keys and its pass."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self._folder: Path = arguments.state
        self._held = contextlib.ExitStack()

    def __enter__(self) -> "_Witness":
        from wardround.common.audit.keys import read_keys
        from wardround.common.durable import exclusive
        from wardround.common.errors import StorageError, TrustError
        from wardround.common.trust.identity import SigningKey

        if not (self._folder / PASS).is_file():
            raise StorageError(
                f"expected the coordinator's pass in {self._folder / PASS}, found none",
                advice="wardround audit request DIR --name NAME makes the request that it answers",
            )
        self._held.enter_context(exclusive(self._folder / ".lock"))
        self.keys = read_keys(tuple(self._arguments.keys)).newest
        self.given = _own_pass(self._folder / PASS, self.keys)
        self.key = SigningKey.load(self._folder / IDENTITY)
        if self.key.public != self.given.witness.key:
            self._held.close()
            raise TrustError(
                f"{self._folder / PASS} is for another key than {IDENTITY}",
                advice="send this folder's request.json to the coordinator, and keep what it sends back",
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def connect(self) -> "LogClient":
        """A connection to the log service."""
        from wardround.common.audit.logclient import LogClient

        return LogClient(self._arguments.address, self.given, self._folder / NODE_KEY)

    def log(self, client: "LogClient") -> "FollowedLog":
        """The witness's copy of the log that is meant."""
        from wardround.common.audit.followed import FollowedLog
        from wardround.common.audit.logwire import is_study
        from wardround.common.errors import UsageError

        study = self._arguments.study or _only(client.studies())
        if not is_study(study):
            raise UsageError(f"expected the name of a study, found {study!r:.80}")
        others = {name: key for name, key in self.keys.items() if key != self.given.coordinator_key}
        return FollowedLog(
            self._folder / study, study, coordinator=self.given.coordinator_key, cosigners=others
        )


def _own_pass(path: Path, keys: "Mapping[str, PublicKey]") -> "LogPass":
    """The pass, if the coordinator that it names is one whose key the witness brought."""
    from wardround.common.errors import TrustError
    from wardround.common.trust.logpass import open_pass
    from wardround.common.trust.sealed import read_json, read_sent

    data = read_sent(path)
    name = read_json(data, where=str(path)).get("coordinator")
    if not (isinstance(name, str) and name in keys):
        raise TrustError(
            f"expected the key of {name!r:.80}, which made {path}, among --keys, found none",
            advice="compare its words with the coordinator, and give the roster or NAME.pem",
        )
    return open_pass(data, keys[name], where=str(path))


def _only(studies: "Mapping[str, int]") -> str:
    from wardround.common.errors import UsageError

    if len(studies) != 1:
        raise UsageError(
            f"expected one study at the log service, found {len(studies)}",
            advice=f"--study NAME, one of: {', '.join(sorted(studies)) or 'none yet'}",
        )
    return next(iter(studies))


def _show(log: "FollowedLog", signed: "SignedCheckpoint") -> None:
    checkpoint = signed.checkpoint
    by = log.cosigned(signed)
    print(
        f"{log.study}: {checkpoint.size} lines verified, root {checkpoint.root.hex()[:16]}, cosigned by this witness"
        f"{', ' if by else ''}{', '.join(by)}",
        flush=True,
    )
