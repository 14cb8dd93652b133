"""Letting witnesses and auditors follow the studies' logs: each gets a certificate, and a line in a signed log.

`witnesses.jsonl` has the format and the rules of `members.jsonl`; a witness takes part in no study and is in no roster.
A member that wants to follow the log gets a pass for the keys it is enrolled with, and no line.
"""

import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

from wardround.common.durable import exclusive, write_atomic
from wardround.common.errors import TrustError, UsageError
from wardround.common.flower.nodekeys import node_public_key
from wardround.common.formats import digest
from wardround.common.trust.identity import PublicKey, SigningKey
from wardround.common.trust.join import JoinRequest, open_request
from wardround.common.trust.ledgerfile import make_folder
from wardround.common.trust.logpass import LogPass, seal_pass
from wardround.common.trust.signed import utc_now
from wardround.common.trust.studylog import StudyLog
from wardround.common.trust.words import confirm
from wardround.server.certificates import issue_client
from wardround.server.members import ENROL, REMOVE, ROTATE, Members
from wardround.server.serverfile import ServerFile

PASSES: Final = "passes"


def read_witnesses(server: ServerFile, key: PublicKey) -> Members:
    """The witnesses of this moment. Nothing is written or locked.

    Raises:
        TrustError: Their log was changed.
        StorageError: It cannot be read.
    """
    return Members.of_log(server.witnesses, key)


def admit(
    folder: Path | str,
    request: bytes,
    *,
    words: str,
    replace: str = "",
    clock: Callable[[], datetime] = utc_now,
) -> Path:
    """Let a witness, an auditor or a member follow the logs, and write its pass. Again, the pass is made anew.

    Args:
        folder: The coordinator's.
        request: The bytes of `request.json`.
        words: The words of its identity key, as a person heard them from its owner.
        replace: The name of the witness whose keys this request replaces; empty otherwise.
        clock: For the log and the certificate.

    Returns:
        Where the pass was written.

    Raises:
        TrustError: The request is damaged, its words are others, or its name or keys are taken.
        UsageError: `words` or `replace` cannot be meant, or no log service is set up.
        StorageError: Something could not be written; the same call again goes on from there.
    """
    asked = open_request(request)
    confirm(words, asked.key.fingerprint, whose=asked.name)
    server = ServerFile.load(folder)
    address, key = server.log_address, server.key()
    with exclusive(server.folder / ".enrolment.lock"):
        members = Members.read(server, key.public)
        if members.sites.get(asked.name) != asked:
            _check_apart(server, key, members, asked)
            change = read_witnesses(server, key.public).judge(asked, replace=replace)
            if change != "known":
                kind = ENROL if change == "enrolled" else ROTATE
                StudyLog(server.witnesses, key, clock=clock).append(kind, asked.to_dict())
        path = _pass_path(server, asked.name)
        make_folder(path.parent)
        write_atomic(path, seal_pass(key, _pass(server, key.public, address, asked, clock())))
    return path


def withdraw(folder: Path | str, name: str, *, clock: Callable[[], datetime] = utc_now) -> None:
    """Take a witness out; the log service refuses it from its next call on. Its name stays its own.

    Raises:
        UsageError: There is no witness of that name.
        StorageError: The log could not be written; nothing changed.
    """
    server = ServerFile.load(folder)
    key = server.key()
    with exclusive(server.folder / ".enrolment.lock"):
        known = read_witnesses(server, key.public).sites
        if name not in known:
            raise UsageError(
                f"no witness is called {name!r}", advice=f"witnesses: {', '.join(known) or 'none'}"
            )
        StudyLog(server.witnesses, key, clock=clock).append(REMOVE, known[name].to_dict())


def _check_apart(server: ServerFile, key: SigningKey, members: Members, asked: JoinRequest) -> None:
    """Refuse a name or key of the consortium for somebody else."""
    taken = {key.public.encode(), *(one.key.encode() for one in members.last.values())}
    taken |= {one.node_key for one in members.last.values()} | members.retired
    names = {server.name, *members.last}
    if asked.name in names or asked.key.encode() in taken or asked.node_key in taken:
        raise TrustError(
            f"the name or a key of {asked.name!r} belongs to a member of the consortium, or did",
            advice="a witness has a name and keys of its own; a member sends the request it was enrolled with",
        )


def _pass(server: ServerFile, key: PublicKey, address: str, witness: JoinRequest, now: datetime) -> LogPass:
    authority = server.authority()
    certificate = issue_client(authority, witness.name, node_public_key(witness.node_key), now)
    return LogPass(
        coordinator=server.name,
        coordinator_key=key,
        address=address,
        ca=authority.certificate.decode("ascii"),
        certificate=certificate.decode("ascii"),
        witness=witness,
    )


def _pass_path(server: ServerFile, name: str) -> Path:
    safe = re.sub(r"[^A-Za-z0-9_-]", "-", name)[:60]
    return server.folder / PASSES / f"{safe if safe == name else f'{safe}-{digest(name.encode())[:8]}'}.json"
