"""The roster as the coordinator sends it: signed, with a version that only grows.

    {"format": "wardround-signed-roster", "version": 1, "number": 3, "roster": {...}, "signature": "..."}

`version` is that of the file's layout, `number` that of the roster, from 1. A receiver keeps the newest roster that it
accepted and refuses an older one: that would bring back a member that was removed or a key that was replaced.

The signature says what the coordinator says, not that a hospital is who it is called: for that, people compare words.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from wardround.common.errors import TrustError, UsageError, WardroundError
from wardround.common.trust.identity import PublicKey, Roster, SigningKey
from wardround.common.trust.sealed import Kind, open_file, seal_file
from wardround.common.trust.signed import is_count

KIND: Final = Kind(format="wardround-signed-roster", version=1, fields=frozenset({"number", "roster"}))


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedRoster:
    """A roster and its version.

    Attributes:
        roster: The members and their keys.
        version: Counts the changes, from 1.
    """

    roster: Roster
    version: int

    def __post_init__(self) -> None:
        """Refuse a version that counts nothing.

        Raises:
            UsageError: It is below 1.
        """
        if not is_count(self.version) or self.version < 1:
            raise UsageError(f"expected a roster version >= 1, found {self.version!r:.40}")

    @property
    def digest(self) -> str:
        """SHA-256 of the roster itself."""
        return self.roster.digest


def seal_roster(key: SigningKey, roster: Roster, version: int) -> bytes:
    """Sign a roster; the same arguments give the same bytes.

    Args:
        key: The coordinator's.
        roster: The members.
        version: Of the roster, >= 1.

    Raises:
        UsageError: The key is not the roster's coordinator's, or the version is below 1.
    """
    if key.public != roster.coordinator_key:
        raise UsageError("expected the key of the roster's own coordinator")
    signed = SignedRoster(roster=roster, version=version)
    return seal_file(key, KIND, {"number": signed.version, "roster": roster.to_dict()})


def open_roster(data: bytes, coordinator_key: PublicKey, *, where: str = "the roster") -> SignedRoster:
    """Check a roster and read it.

    Args:
        data: The file, from anybody.
        coordinator_key: As this party pinned it.
        where: The file, for messages.

    Guarantees:
        Returns only if the pinned coordinator signed exactly this roster with exactly this version.

    Raises:
        StorageError: Another kind of file, or a newer layout.
        TrustError: Truncated, changed, or another coordinator's.
    """
    found = open_file(data, KIND, signer=lambda _: coordinator_key, where=where)
    signed = _read(found, where)
    if signed.roster.coordinator_key != coordinator_key:
        raise TrustError(f"{where} names another coordinator than the one that signed it")
    return signed


def newest(before: SignedRoster | None, after: SignedRoster) -> SignedRoster:
    """The roster to go on with, if `after` may follow `before`.

    Raises:
        TrustError: It is older, or there are two rosters of one version.
    """
    if before is None or after.version > before.version:
        return after
    if after.version < before.version:
        raise TrustError(
            f"expected roster version {before.version} or newer, found {after.version}",
            advice="an older roster may hold a member that was removed or a key that was replaced: "
            "ask the coordinator for the newest study file",
        )
    if after.digest != before.digest:
        raise TrustError(
            f"two different rosters have version {after.version}",
            advice="the coordinator showed different members to different hospitals, or restored an old copy: "
            "approve nothing, and ask by telephone",
        )
    return before


def _read(found: Mapping[str, object], where: str) -> SignedRoster:
    match found:
        case {"number": int(number), "roster": dict(roster)} if is_count(number) and number:
            try:
                return SignedRoster(roster=Roster.from_dict(roster), version=number)
            except WardroundError as error:
                raise TrustError(f"{where}: {error}", advice=error.advice) from None
    raise TrustError(f"expected a version number and a roster in {where}")
