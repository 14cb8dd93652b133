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
from wardround.common.errors import TrustError
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
        keys: Name of a party -> its keys in the order in which they were given; several where it replaced one.
        source: The files, for the report; empty where there are none.
    """

    keys: Mapping[str, tuple[PublicKey, ...]]
    source: str

    @property
    def newest(self) -> Mapping[str, PublicKey]:
        """Name of a party -> the key that was given last."""
        return {name: keys[-1] for name, keys in self.keys.items()}

    def holds(self, name: str, key: PublicKey) -> bool:
        """Whether the auditor brought this key of a party."""
        return key in self.keys.get(name, ())

    def rings(self, named: Mapping[int, Roster]) -> Mapping[int, Roster]:
        """The rosters of a log, with the auditor's key in every place where there is one.

        Of a site that changed its key within the log, and of which the auditor brought one of both, the other one
        stays: nothing under it is ever confirmed.

        Args:
            named: Number of a line -> the roster from there on, as the log names it.

        Raises:
            TrustError: The result gives one key to two parties.
        """
        return {
            line: Roster(
                coordinator=roster.coordinator,
                coordinator_key=self._own(roster.coordinator, roster.coordinator_key),
                sites={
                    name: key if self._replaced(name, named) else self._own(name, key)
                    for name, key in roster.sites.items()
                },
            )
            for line, roster in named.items()
        }

    def vouched(self, found: Finding, name: str, key: PublicKey) -> Finding:
        """A finding that rests on a signature; not checkable where only the bundle says whose key it is."""
        if found.verdict != "confirmed" or self.holds(name, key):
            return found
        why = f"{found.found}, under key {key.short}, which only the bundle names: bring the key of {name!r:.80}"
        return not_checkable(found.claim, why=why, where=found.where)

    def judge(self, rosters: Mapping[int, Roster]) -> Iterator[Finding]:
        """Who of the log's last roster is who the auditor thinks, who is missing, and who had another key before.

        Args:
            rosters: Number of a line -> the roster from there on, as the log names it.
        """
        roster = rosters[max(rosters)]
        yield from self._judge(rosters)
        for name in sorted(self.keys.keys() - {roster.coordinator, *roster.sites}):
            found = "no such party in its last roster"
            yield refuted(_PRESENT, expected="this party", found=found, where=name, severity="serious")
        for line, before in rosters.items():
            for name, key in {before.coordinator: before.coordinator_key, **before.sites}.items():
                if name in self.keys and not self.holds(name, key) and before is not roster:
                    yield self._other(name, key, f"from line {line} on", rosters)

    def _judge(self, rosters: Mapping[int, Roster]) -> Iterator[Finding]:
        roster = rosters[max(rosters)]
        if not self.keys:
            why = "you brought no key: those in the bundle prove nothing about who is who"
            yield not_checkable(_CLAIM, why=why)
            return
        for name, key in {roster.coordinator: roster.coordinator_key, **roster.sites}.items():
            if name not in self.keys:
                why = "you brought no key of this party: the one in the bundle proves nothing about who it is"
                yield not_checkable(_CLAIM, why=why, where=name)
            elif self.holds(name, key):
                yield confirmed(_CLAIM, found=f"key {key.short}", where=name)
            else:
                yield self._other(name, key, "at the end", rosters)

    def _other(self, name: str, key: PublicKey, when: str, rosters: Mapping[int, Roster]) -> Finding:
        """A key that the auditor did not bring: a forgery, or the other one of a site that changed its key."""
        if self._replaced(name, rosters):
            why = (
                f"key {key.short} {when}, which you did not bring; ask {name!r:.80} whether it had this key, and bring "
                "it too: it is honest after a change of keys, and a forgery otherwise"
            )
            return not_checkable(_CLAIM, why=why, where=name)
        own = self.newest[name].short
        return refuted(_CLAIM, expected=f"key {own}", found=f"key {key.short} {when}", where=name)

    def _own(self, name: str, key: PublicKey) -> PublicKey:
        return key if self.holds(name, key) else self.newest.get(name, key)

    def _replaced(self, name: str, named: Mapping[int, Roster]) -> bool:
        """Whether a log names a site under a key of the auditor's, and may name it under another one too."""
        keys = (roster.sites.get(name) for roster in named.values())
        return any(key is not None and self.holds(name, key) for key in keys)


def read_keys(paths: tuple[Path, ...], *, bundles: tuple[Path, ...] = ()) -> OwnKeys:
    """Read the auditor's keys.

    Args:
        paths: Roster files, or PEM files named after the parties; of a party that changed its key, both may come.
        bundles: The folders under audit: a file that lies in one of them is nobody's own and is left out.

    Raises:
        StorageError: A file cannot be read.
        TrustError: It holds no key.
    """
    keys: dict[str, tuple[PublicKey, ...]] = {}
    inside = [folder.resolve() for folder in bundles]
    own = [path for path in paths if not any(path.resolve().is_relative_to(folder) for folder in inside)]
    for path in own:
        for name, key in _read(path).items():
            keys[name] = (*(one for one in keys.get(name, ()) if one != key), key)
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
