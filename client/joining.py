"""A hospital joins a consortium: it asks, it pins the coordinator, and it remembers the newest roster.

Made here and staying here: the identity key and the node key. Leaving: `request.json`, which is public. `join` pins the
coordinator's key, its address and the certificate authority of its server in `consortium.json`; from then on nothing
that another key signed is taken for the coordinator's.

Guarantees:
    - Nothing is pinned before a person's words were compared with the key in the invite.
    - A pinned coordinator is never exchanged for another one.
    - An older roster than the newest one seen here is refused, and so are two rosters of one version.
    - Nothing here approves a peer: see `peers`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from wardround.client.policy import SitePolicy
from wardround.client.sitefile import FILE as SITE_FILE
from wardround.common.durable import exclusive, write_atomic
from wardround.common.errors import TrustError, UsageError
from wardround.common.flower.nodekeys import new_node_key, own_node_line
from wardround.common.flower.places import NodePlace
from wardround.common.formats import header
from wardround.common.trust.certcheck import check_authority
from wardround.common.trust.identity import PublicKey, SigningKey
from wardround.common.trust.join import INVITE, Invite, invite_fields, open_invite, read_invite, seal_request
from wardround.common.trust.ledgerfile import make_folder, read_bytes
from wardround.common.trust.rosterfile import SignedRoster, newest, open_roster
from wardround.common.trust.sealed import Kind, check_kind, layout, read_json
from wardround.common.trust.signed import exact_keys
from wardround.common.trust.words import confirm

REQUEST: Final = "request.json"
CONSORTIUM: Final = "consortium.json"
ROSTER: Final = "roster.json"
NODE_KEY: Final = "node.key"
FLOWER: Final = "flower"

NodeKey = Literal["keep", "renew"]

_PINNED: Final = Kind(format="wardround-consortium", version=1, fields=INVITE.fields)
_JOIN: Final = "wardround site join DIR INVITE, with the invite that the coordinator sent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """The consortium that this hospital joined.

    Attributes:
        coordinator: Name of the coordinator.
        coordinator_key: Its key, compared by a person.
        host, port: Where its server listens.
        ca: Certificate (PEM) of the authority that vouches for its server.
        site: This hospital's name.
        site_key: Its key, as the coordinator enrolled it.
        node_key: Its node key, as the coordinator enrolled it.
    """

    coordinator: str
    coordinator_key: PublicKey
    host: str
    port: int
    address: str
    ca: str = field(repr=False)
    site: str
    site_key: PublicKey
    node_key: str = field(repr=False)

    @classmethod
    def of(cls, invite: Invite) -> "Pinned":
        """What an invite pins."""
        return cls(
            coordinator=invite.coordinator,
            coordinator_key=invite.coordinator_key,
            host=invite.host,
            port=invite.port,
            address=invite.address,
            ca=invite.ca,
            site=invite.site.name,
            site_key=invite.site.key,
            node_key=invite.site.node_key,
        )

    @classmethod
    def load(cls, folder: Path | str) -> "Pinned":
        """Read `consortium.json`.

        Raises:
            UsageError: This hospital has not joined yet.
            TrustError: The file is damaged.
            StorageError: It cannot be read, is another kind of file, or a newer release wrote it.
        """
        pinned = _read_pinned(Path(folder))
        if pinned is None:
            raise UsageError(f"the hospital in {folder} has not joined a consortium yet", advice=_JOIN)
        return pinned


def make_request(folder: Path | str, *, node_key: NodeKey = "keep", passphrase: str = "") -> bytes:
    """Write `request.json`, and the node key if there is none.

    Args:
        folder: The site's folder, with `site.toml` and the identity key.
        node_key: `renew` makes a new one; the old one works until the coordinator replaced it, not here any more.
        passphrase: Of the identity key; empty to ask for it if it has one.

    Returns:
        The bytes of the request: public, to be sent to the coordinator and to peers.

    Raises:
        ProtocolError: The policy cannot be read.
        TrustError: Others may read a private key, or a file holds none.
        StorageError: Something cannot be read or written.
    """
    home = Path(folder)
    policy = SitePolicy.load(home / SITE_FILE)
    key = SigningKey.load(policy.identity, passphrase=passphrase)
    request = seal_request(key, policy.site, _node_line(home, node_key))
    write_atomic(home / REQUEST, request)
    return request


def join(folder: Path | str, invite: bytes, *, words: str, now: datetime) -> Pinned:
    """Pin the coordinator of an invite. The same invite again, or a newer one of the same coordinator, is fine.

    Args:
        folder: The site's folder.
        invite: The bytes of the file.
        words: The words of the coordinator's key, as a person heard them from the coordinator.
        now: This computer's clock.

    Raises:
        UsageError: They are no words.
        TrustError: The words are another key's; the invite is damaged, or for another hospital or key; its certificate
            is not valid now; or this hospital joined another coordinator before.
        StorageError: It is another kind of file, from a newer release, or nothing could be written.
    """
    home = Path(folder)
    found = open_invite(invite)
    confirm(words, found.coordinator_key.fingerprint, whose=found.coordinator)
    policy = SitePolicy.load(home / SITE_FILE)
    _check_addressee(home, found, policy.site, SigningKey.load(policy.identity).public)
    _check_same_coordinator(_read_pinned(home), found)
    check_authority(found.ca, now=now, where="the invite's certificate")
    fields = {**header(_PINNED.format, _PINNED.version), **invite_fields(found)}
    write_atomic(home / CONSORTIUM, layout(fields))
    return Pinned.of(found)


def node_place(folder: Path | str) -> NodePlace:
    """Where the SuperNode of this hospital stands; writes the pinned certificate to a file of its own for it.

    Raises:
        UsageError: This hospital has not joined yet.
        TrustError: `consortium.json` is damaged.
        StorageError: Something cannot be read or written.
    """
    home = Path(folder)
    pinned = Pinned.load(home)
    make_folder(home / FLOWER)
    ca = home / FLOWER / "ca.crt"
    if read_bytes(ca) != pinned.ca.encode():
        write_atomic(ca, pinned.ca.encode())
    return NodePlace(superlink=pinned.address, ca=ca, key=home / NODE_KEY, home=home / FLOWER)


def known_roster(folder: Path | str) -> SignedRoster | None:
    """The newest roster that was accepted here; None before the first.

    Raises:
        UsageError: This hospital has not joined yet.
        TrustError: The file is damaged.
        StorageError: It cannot be read.
    """
    return _known(Path(folder), Pinned.load(folder))


def accept_roster(folder: Path | str, data: bytes) -> SignedRoster:
    """Check a roster that arrived, and remember it if it is newer. It approves no peer.

    Args:
        folder: The site's folder.
        data: The bytes of a signed roster.

    Guarantees:
        Returns only if the pinned coordinator signed it, it is no older than any accepted here before, and this
        hospital stands in it with its own key.

    Raises:
        UsageError: This hospital has not joined yet.
        TrustError: Anything else about the roster.
        StorageError: It cannot be written.
    """
    home = Path(folder)
    pinned = Pinned.load(home)
    with exclusive(home / f".{ROSTER}.lock"):
        before = _known(home, pinned)
        signed = newest(before, open_roster(data, pinned.coordinator_key))
        _check_coordinator_name(signed, pinned)
        if signed is not before:
            write_atomic(home / ROSTER, data)
    if signed.roster.sites.get(pinned.site) != pinned.site_key:
        raise TrustError(
            f"{pinned.site!r} does not stand in version {signed.version} of the roster with the key it joined with",
            advice="the coordinator removed this hospital or replaced its key; after a change of keys, join again with "
            "the new invite",
        )
    return signed


def _node_line(home: Path, node_key: NodeKey) -> str:
    path = home / NODE_KEY
    if node_key == "renew" or not path.exists():
        return new_node_key(path)
    line = own_node_line(path)
    public = path.with_suffix(".pub")
    if read_bytes(public) != line.encode() + b"\n":  # a crash fell between the two files
        write_atomic(public, line.encode() + b"\n")
    return line


def _check_addressee(home: Path, invite: Invite, site: str, key: PublicKey) -> None:
    asked = invite.site
    if (asked.name, asked.key) != (site, key):
        what = f"for {asked.name!r}" if asked.name != site else "for another key of this hospital"
        raise TrustError(
            f"this invite is {what}; here is {site!r}, key {key.short}",
            advice="ask the coordinator for the invite of this hospital; if its key is another one than in "
            f"{REQUEST}, somebody enrolled with this name",
        )
    own = own_node_line(home / NODE_KEY)
    if asked.node_key != own:
        raise TrustError(
            "this invite is for another node key than the one here",
            advice=f"send the newest {REQUEST} to the coordinator, who enrols it with --replace, and use that invite",
        )


def _check_same_coordinator(before: Pinned | None, invite: Invite) -> None:
    if before is None:
        return
    if (before.coordinator_key, before.coordinator) != (invite.coordinator_key, invite.coordinator):
        raise TrustError(
            f"this hospital joined {before.coordinator!r}, key {before.coordinator_key.short}; this invite is from "
            f"{invite.coordinator!r}, key {invite.coordinator_key.short}",
            advice="a folder belongs to one consortium. If the coordinator really made a new key, all its hospitals "
            f"start again: move {CONSORTIUM} and {ROSTER} away first",
        )


def _check_coordinator_name(signed: SignedRoster, pinned: Pinned) -> None:
    if signed.roster.coordinator != pinned.coordinator:
        raise TrustError(
            f"expected the roster of {pinned.coordinator!r}, found that of {signed.roster.coordinator!r}"
        )


def _known(home: Path, pinned: Pinned) -> SignedRoster | None:
    data = read_bytes(home / ROSTER)
    return None if data is None else open_roster(data, pinned.coordinator_key, where=str(home / ROSTER))


def _read_pinned(home: Path) -> Pinned | None:
    path = home / CONSORTIUM
    data = read_bytes(path)
    if data is None:
        return None
    found: Mapping[str, object] = read_json(data, where=str(path))
    check_kind(found, _PINNED, where=str(path))
    exact_keys(dict(found), _PINNED.fields | {"format", "version"}, where=str(path))
    try:
        return Pinned.of(read_invite(found, str(path)))
    except TrustError as error:
        raise TrustError(str(error), advice=f"restore the file, or join again: {_JOIN}") from None
