"""Where a peer's key comes from before its words are compared: the newest roster, or a file that somebody sent.

A key found here counts for nothing. `peers` accepts it only with the words that a person heard from the peer.
"""

from collections.abc import Mapping
from pathlib import Path

from wardround.client.joining import REQUEST, Pinned, known_roster
from wardround.client.peers import confirm_peer
from wardround.client.policy import SitePolicy
from wardround.client.sitefile import FILE as SITE_FILE
from wardround.common.errors import StorageError, TrustError, UsageError
from wardround.common.study.bundle import KIND as BUNDLE_KIND
from wardround.common.study.bundle import LARGEST, read_bundle
from wardround.common.trust.identity import PublicKey, SigningKey
from wardround.common.trust.join import REQUEST as REQUEST_KIND
from wardround.common.trust.join import open_request
from wardround.common.trust.ledgerfile import read_bytes
from wardround.common.trust.rosterfile import KIND as ROSTER_KIND
from wardround.common.trust.rosterfile import open_roster
from wardround.common.trust.sealed import read_json


def own_key(folder: Path | str) -> tuple[str, PublicKey]:
    """This hospital's own name and public key; from its request, so that no passphrase is needed.

    Raises:
        ProtocolError: The policy cannot be read.
        TrustError: The request is damaged, or a private key is none.
        StorageError: Nothing can be read.
    """
    home = Path(folder)
    policy = SitePolicy.load(home / SITE_FILE)
    data = read_bytes(home / REQUEST)
    if data is None:
        return policy.site, SigningKey.load(policy.identity).public
    request = open_request(data, where=REQUEST)
    return request.name, request.key


def roster_keys(folder: Path | str) -> Mapping[str, PublicKey]:
    """Name -> key of the newest roster seen here; none before this hospital joined and saw one.

    Raises:
        TrustError: The pinned consortium or the roster is damaged.
        StorageError: They cannot be read.
    """
    try:
        signed = known_roster(folder)
    except UsageError:
        return {}
    return signed.roster.sites if signed else {}


def find_key(folder: Path | str, name: str, source: bytes | None) -> PublicKey:
    """The key that a file gives a peer.

    Args:
        folder: This site's folder.
        name: The peer.
        source: A join request, a signed roster or a study's bundle; None for the newest roster seen here.

    Raises:
        UsageError: The file says nothing about this peer.
        TrustError: It is damaged, or signed by somebody else than it must be.
        StorageError: It is another kind of file, or from a newer release.
    """
    keys = roster_keys(folder) if source is None else _keys_in(Path(folder), source)
    if name not in keys:
        raise UsageError(
            f"expected the key of {name!r}, found {', '.join(keys) or 'no key'}",
            advice="ask that hospital for its request.json: --from request.json"
            if source is None
            else "write the name as it stands in the file",
        )
    return keys[name]


def approve_peer(folder: Path | str, name: str, key: PublicKey, words: str) -> None:
    """Approve a peer after comparing words; never this hospital itself nor the coordinator.

    Raises:
        UsageError: `words` are none, or the peer is this hospital.
        TrustError: The words are another key's, the key is the coordinator's, or the peer has another key already.
        StorageError: The file cannot be written.
    """
    home = Path(folder)
    own_name, own = own_key(home)
    if name == own_name or key == own:
        raise UsageError(
            f"{name!r} is this hospital itself, or has its key", advice="it counts without approval"
        )
    if (home / "consortium.json").exists() and Pinned.load(home).coordinator_key == key:
        raise TrustError(
            f"{name!r} has the key of the coordinator", advice="a coordinator is no peer of a hospital"
        )
    confirm_peer(home, name, key, words)


def _keys_in(home: Path, source: bytes) -> Mapping[str, PublicKey]:
    kind = _format(source)
    if kind == REQUEST_KIND.format:
        request = open_request(source)
        return {request.name: request.key}
    if kind == ROSTER_KIND.format:
        return open_roster(source, Pinned.load(home).coordinator_key).roster.sites
    if kind == BUNDLE_KIND.format:
        return read_bundle(source, Pinned.load(home).coordinator_key).roster.roster.sites
    raise StorageError(
        "expected a request.json, a roster.json or a study's bundle, found another kind of file",
        advice="ask the other hospital for its request.json",
    )


def _format(source: bytes) -> object:
    return read_json(source, where="the file", longest=LARGEST).get("format")
