"""Merkle tree and checkpoints: could the coordinator have shown this log to you alone, or changed it since?

A checkpoint names how many lines there were and their root; the sites cosign it only after they verified that the log
continues the last one they cosigned. So a log that was rewritten, shortened or forked needs the keys of a quorum of
sites. The last line, `finish`, says who confirmed the end; nobody can cosign it, and nothing rests on it.
"""

import contextlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from wardround.common.audit.case import ENDINGS, Case
from wardround.common.audit.evidence import LOG, WITNESS
from wardround.common.audit.verdicts import Finding, confirmed, not_checkable, refuted
from wardround.common.errors import TrustError, WardroundError
from wardround.common.learning.study import quorum_of, training_sites
from wardround.common.trust.checkpoint import SignedCheckpoint, origin, verify
from wardround.common.trust.checkpointfile import CHECKPOINTS, COSIGNATURES, merged, read_line
from wardround.common.trust.identity import PublicKey
from wardround.common.trust.ledgerfile import split
from wardround.common.trust.merkle import Tree
from wardround.common.trust.statement import read_statement
from wardround.common.trust.witness import NOTHING, Seen

_CONSISTENT: Final = "every checkpoint is the coordinator's, of this log as it stands"
_MEMORY: Final = "the log is the one that the hospital says it cosigned"
_QUORUM: Final = "a quorum of sites verified and cosigned the log up to its result"


_NEWEST: Final = (
    500  # checkpoints whose signatures are verified; of older ones the root, which is what they say
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Covered:
    """Who cosigned how much.

    Attributes:
        notes: How many checkpoints there are.
        signed: Of how many the signatures were verified: the newest.
        sites: Site -> the largest size that it cosigned; absent where it cosigned none of these.
        own: The same under keys that the auditor brought.
    """

    notes: int
    signed: int
    sites: Mapping[str, int]
    own: Mapping[str, int]


def check_tree(case: Case) -> Iterator[Finding]:
    """Checkpoints against the tree, and the quorum."""
    try:
        covered = cover(case)
    except TrustError as error:
        yield refuted(_CONSISTENT, expected="checkpoints of this log", found=str(error), where=CHECKPOINTS)
        return
    if covered.notes:
        found = f"{covered.notes} checkpoints; signatures of the newest {covered.signed}"
        consistent = confirmed(_CONSISTENT, found=found)
        yield case.keys.vouched(consistent, case.roster.coordinator, case.roster.coordinator_key)
    yield _quorum(case, covered)
    yield from _remembered(case)


def _remembered(case: Case) -> Iterator[Finding]:
    """What sites say, in statements of their own, that they cosigned last."""
    tree = Tree(entry.line for entry in case.entries)
    for name in case.evidence.below(WITNESS):
        try:
            site, seen = _witness(case, name)
        except WardroundError as error:
            yield refuted(_MEMORY, expected="the statement of a site", found=str(error), where=name)
            continue
        if seen.size == 0:
            why = "the site says that it had cosigned nothing of this run"
            yield not_checkable(_MEMORY, why=why, where=site)
        elif seen.size > tree.size or tree.root(seen.size) != seen.root:
            expected = f"these {tree.size} lines or their beginning"
            yield refuted(_MEMORY, expected=expected, found=f"another log of {seen.size} lines", where=site)
        else:
            same = confirmed(_MEMORY, found=f"{seen.size} lines", where=site)
            yield case.keys.vouched(same, site, case.roster.sites[site])


def _witness(case: Case, name: str) -> tuple[str, Seen]:
    """A site, and what it says in a statement to have cosigned last of this run.

    Raises:
        TrustError: No site of the study signed it, or it is about another study.
    """
    data = case.evidence.need(name)
    for site, key in case.roster.sites.items():
        with contextlib.suppress(TrustError):
            found = read_statement(data, kind=WITNESS, signer=key, where=name).fields
            match found:
                case {
                    "site": str(said),
                    "protocol": str(protocol),
                    "logs": dict(logs),
                }:
                    if (said, protocol) == (site, case.protocol.digest):
                        return site, Seen.from_dict(logs[case.run]) if case.run in logs else NOTHING
    raise TrustError(f"{name} is no site's own word on the log of this study")


def cover(case: Case) -> Covered:
    """Verify the root of every checkpoint, and the signatures of the newest.

    Raises:
        TrustError: One cannot be read, is not the coordinator's, or is of another log than this.
    """
    tree = Tree(entry.line for entry in case.entries)
    keys = {key: name for roster in case.rosters.values() for name, key in roster.sites.items()}
    parties = {*keys, *(key for roster in case.named.values() for key in roster.sites.values())}
    notes = [*_notes(case, CHECKPOINTS, parties), *_notes(case, COSIGNATURES, ())]
    for note in notes:
        _check_root(note, tree)
        if note.checkpoint.origin != _origin(case):
            raise TrustError(f"a checkpoint of {note.checkpoint.origin!r:.120}, which is another log")
    # A cosignature that came alone, e.g. of a witness, has the coordinator's line beside it in the other file.
    whole = merged(notes).values()
    newest = sorted(whole, key=lambda note: -note.checkpoint.size)[:_NEWEST]
    cosigned: dict[PublicKey, int] = {}
    for note in newest:
        for fingerprint in verify(
            note, origin=_origin(case), coordinator=case.roster.coordinator_key, cosigners=keys
        ):
            key = next(key for key in keys if key.fingerprint == fingerprint)
            cosigned[key] = max(cosigned.get(key, 0), note.checkpoint.size)
    own = {key: size for key, size in cosigned.items() if case.keys.holds(keys[key], key)}
    return Covered(
        notes=len(whole),
        signed=len(newest),
        sites=_by_site(case, keys, cosigned),
        own=_by_site(case, keys, own),
    )


def _by_site(case: Case, names: Mapping[PublicKey, str], sizes: Mapping[PublicKey, int]) -> Mapping[str, int]:
    """The largest size of each site, under whichever of its keys; who is not in the last roster has no vote."""
    found: dict[str, int] = {}
    for key, size in sizes.items():
        if names[key] in case.roster.sites:
            found[names[key]] = max(found.get(names[key], 0), size)
    return found


def _check_root(note: SignedCheckpoint, tree: Tree) -> None:
    size = note.checkpoint.size
    if size > tree.size:
        raise TrustError(f"a checkpoint of {size} lines, the log has {tree.size}: lines are missing")
    if tree.root(size) != note.checkpoint.root:
        raise TrustError(f"the checkpoint of {size} lines has another root than the first {size} lines")


def _origin(case: Case) -> str:
    return origin(case.protocol.study.name, case.protocol.digest, case.run)


def _notes(case: Case, name: str, parties: Collection[PublicKey]) -> Iterator[SignedCheckpoint]:
    """The checkpoints of a file. Where its parties are known, nobody else has a line in it."""
    lines, _ = split(case.evidence.read(name) or b"")
    known = {_origin(case), *(key.fingerprint for key in parties)}
    for number, line in enumerate(lines, start=1):
        note = read_line(line, where=f"{name}, line {number}")
        if note is None:
            continue
        if parties and not known.issuperset(one.name for one in note.signatures):
            raise TrustError(f"{name}, line {number}: a signature of somebody who is no party")
        yield note


def _quorum(case: Case, covered: Covered) -> Finding:
    quorum = quorum_of(case.protocol, len(training_sites(case.protocol, case.roster.site_names)))
    needed = max((e.seq + 1 for e in case.entries if e.kind in (*ENDINGS, "void", "result")), default=1)
    sizes = sorted(covered.sites.values(), reverse=True)
    most = sizes[quorum - 1] if len(sizes) >= quorum else 0
    cosigners = sorted(site for site, size in covered.sites.items() if size >= needed)
    names = ", ".join(cosigners)
    if most < needed:
        found = f"{quorum} sites cosigned {most} lines; all {needed}: {names or 'nobody'}"
        return refuted(_QUORUM, expected=f"{quorum} sites over {needed} lines", found=found, where=LOG)
    own = sum(size >= needed for size in covered.own.values())
    if own < quorum:
        why = f"{needed} lines, by {names}; you brought the keys of {own} of them, a quorum is {quorum}"
        return not_checkable(_QUORUM, why=why)
    return confirmed(_QUORUM, found=f"{needed} lines, by {names}")
