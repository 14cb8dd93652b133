"""The auditor's own keys, against those that the log names.

A key is the auditor's own if it was compared with its owner over another channel. It may come as a roster file, signed
or not, or as single PEM files named after the party: `north.pem`. Keys that only the bundle holds prove that the record
hangs together, not who wrote it.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from wardround.common.audit.verdicts import Finding, confirmed, not_checkable, refuted
from wardround.common.errors import TrustError, UsageError
from wardround.common.formats import check_header
from wardround.common.trust.identity import FORMAT, VERSION, PublicKey, Roster, check_name
from wardround.common.trust.rosterfile import KIND, open_roster
from wardround.common.trust.sealed import read_json, read_sent

_PEM: Final = b"-----BEGIN"
_CLAIM: Final = "the record was written by the parties whose keys you hold"
_PRESENT: Final = "every party whose key you hold is in this record"


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnKeys:
    """Keys that the auditor brings.

    Attributes:
        keys: Name of a party -> its key.
        source: The files, for the report; empty where there are none.
    """

    keys: Mapping[str, PublicKey]
    source: str

    def ring(self, roster: Roster) -> Roster:
        """The roster of the log, with the auditor's key in every place where there is one.

        Raises:
            TrustError: The result gives one key to two parties.
        """
        return Roster(
            coordinator=roster.coordinator,
            coordinator_key=self.keys.get(roster.coordinator, roster.coordinator_key),
            sites={name: self.keys.get(name, key) for name, key in roster.sites.items()},
        )

    def judge(self, rosters: Mapping[int, Roster]) -> Iterator[Finding]:
        """Who of the log's last roster is who the auditor thinks, who is missing, and who had another key before.

        A key that was honestly replaced is refuted too: whoever brings only the new one cannot tell it from a forgery.

        Args:
            rosters: Number of a line -> the roster from there on, as the log names it.
        """
        roster = rosters[max(rosters)]
        yield from self._judge(roster)
        for name in sorted(self.keys.keys() - {roster.coordinator, *roster.sites}):
            found = "no such party in its last roster"
            yield refuted(_PRESENT, expected="this party", found=found, where=name, severity="serious")
        for line, before in rosters.items():
            for name, key in {before.coordinator: before.coordinator_key, **before.sites}.items():
                own = self.keys.get(name)
                if own is not None and own != key and before is not roster:
                    found = f"key {key.short} from line {line} on"
                    yield refuted(_CLAIM, expected=f"key {own.short}", found=found, where=name)

    def _judge(self, roster: Roster) -> Iterator[Finding]:
        parties = {roster.coordinator: roster.coordinator_key, **roster.sites}
        if not self.keys:
            why = "you brought no key: those in the bundle prove nothing about who is who"
            yield not_checkable(_CLAIM, why=why)
            return
        for name, key in parties.items():
            own = self.keys.get(name)
            if own is None:
                why = "you brought no key of this party: the one in the bundle proves nothing about who it is"
                yield not_checkable(_CLAIM, why=why, where=name)
            elif own != key:
                yield refuted(_CLAIM, expected=f"key {own.short}", found=f"key {key.short}", where=name)
            else:
                yield confirmed(_CLAIM, found=f"key {key.short}", where=name)


def read_keys(paths: tuple[Path, ...], *, bundles: tuple[Path, ...] = ()) -> OwnKeys:
    """Read the auditor's keys.

    Args:
        paths: Roster files, or PEM files named after the parties.
        bundles: The folders under audit: a file that lies in one of them is nobody's own and is left out.

    Raises:
        StorageError: A file cannot be read.
        TrustError: It holds no key.
        UsageError: Two files give one party different keys.
    """
    keys: dict[str, PublicKey] = {}
    inside = [folder.resolve() for folder in bundles]
    own = [path for path in paths if not any(path.resolve().is_relative_to(folder) for folder in inside)]
    for path in own:
        for name, key in _read(path).items():
            if keys.setdefault(name, key) != key:
                raise UsageError(f"{path} gives {name!r:.80} another key than the files before it")
    return OwnKeys(keys=keys, source=", ".join(path.name for path in own))


def _read(path: Path) -> Mapping[str, PublicKey]:
    data = read_sent(path)
    if data.lstrip().startswith(_PEM):
        check_name(path.stem)
        return {path.stem: _from_pem(data, path)}
    found = read_json(data, where=str(path))
    if found.get("format") == KIND.format:
        match found:
            case {"roster": {"coordinator": {"key": key}}}:
                return _parties(open_roster(data, PublicKey.decode(key), where=str(path)).roster)
        raise TrustError(f"expected a roster in {path}")
    check_header(found, name=FORMAT, version=VERSION, where=str(path))
    return _parties(Roster.from_dict(found))


def _parties(roster: Roster) -> Mapping[str, PublicKey]:
    return {roster.coordinator: roster.coordinator_key, **roster.sites}


def _from_pem(data: bytes, path: Path) -> PublicKey:
    key = None
    with contextlib.suppress(ValueError, UnsupportedAlgorithm):
        key = load_pem_public_key(data)
    if not isinstance(key, Ed25519PublicKey):
        raise TrustError(
            f"expected an Ed25519 public key in {path}", advice="a private key is never given to an auditor"
        )
    return PublicKey(key.public_bytes_raw())
