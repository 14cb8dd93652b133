"""The peers that this site approved: hospitals whose key fingerprint a person here compared with a person there.

    format = "wardround-peers"
    version = 1
    [peers]
    "north" = "<public key, base64>"

A secure sum protects a site by the noise of its peers. A coordinator could invent peers; so only keys in this file
count, and the coordinator's roster never adds to it.

Source: rule 14 of the privacy design, "trust is the site's own".
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from wardround.common.durable import write_atomic
from wardround.common.errors import TrustError, UsageError
from wardround.common.formats import check_header
from wardround.common.study.decode import as_table, parse, read_text, refuse_unknown
from wardround.common.study.writer import quoted
from wardround.common.trust.identity import PublicKey, check_name
from wardround.common.trust.words import confirm

FILE: Final = "peers.toml"
FORMAT: Final = "wardround-peers"
VERSION: Final = 1


def approved_peers(folder: Path) -> Mapping[str, PublicKey]:
    """Name -> public key of every peer that the site in `folder` approved; none where the file is absent.

    Raises:
        ProtocolError: The file cannot be read as TOML, or has keys that are not known.
        StorageError: It is another kind of file, or was written for a newer release.
        TrustError: A key is none, or two peers share one.
    """
    path = folder / FILE
    if not path.exists():
        return {}
    top = parse(read_text(path), path.name)
    check_header(top, name=FORMAT, version=VERSION, where=path.name)
    refuse_unknown(top, ("format", "version", "peers"), f"{path.name}:")
    listed = as_table(top.get("peers", {}), f"{path.name}: [peers]")
    return _distinct({name: PublicKey.decode(text) for name, text in listed.items()})


def approve_peers(folder: Path, peers: Mapping[str, PublicKey]) -> None:
    """Add peers to those that the site approved. To be called only after people compared fingerprints.

    Raises:
        TrustError: A peer of that name was approved with another key, or two peers share a key.
        StorageError: The file cannot be written; what was approved before stays.
    """
    before = approved_peers(folder)
    changed = [name for name, key in peers.items() if before.get(name, key) != key]
    if changed:
        raise TrustError(
            f"peer {changed[0]!r} was approved with another key",
            advice="call that hospital on a number that you knew before. If it made a new key: "
            f"wardround site peers remove DIR {changed[0]!r}, then approve it again",
        )
    together = _distinct({**before, **peers})
    if together != before:
        write_atomic(folder / FILE, _text(together), mode=0o600)


def confirm_peer(folder: Path, name: str, key: PublicKey, words: str) -> None:
    """Approve one peer after comparing the words that a person heard with its key.

    Args:
        folder: The site's folder.
        name: The peer.
        key: Its key, from anybody: only the words make it count.
        words: As the peer's own people read them out.

    Raises:
        TrustError: The words are another key's, or a peer of that name was approved with another key.
        UsageError: They are no words.
        StorageError: The file cannot be written.
    """
    confirm(words, key.fingerprint, whose=name)
    approve_peers(folder, {name: key})


def remove_peer(folder: Path, name: str) -> None:
    """Take a peer off the list: its noise no longer counts here.

    Raises:
        UsageError: It was not approved.
        StorageError: The file cannot be written; the peer stays approved.
    """
    before = dict(approved_peers(folder))
    if before.pop(name, None) is None:
        raise UsageError(
            f"{name!r} is not an approved peer", advice=f"approved: {', '.join(before) or 'nobody'}"
        )
    write_atomic(folder / FILE, _text(before), mode=0o600)


def _distinct(peers: Mapping[str, PublicKey]) -> Mapping[str, PublicKey]:
    for name in peers:
        check_name(name)
    if len(set(peers.values())) < len(peers):
        raise TrustError(
            f"two names in {FILE} have the same key", advice="one hospital must not count as two peers"
        )
    return dict(sorted(peers.items()))


def _text(peers: Mapping[str, PublicKey]) -> bytes:
    lines = [f'format = "{FORMAT}"', f"version = {VERSION}", "", "[peers]"]
    lines += [f"{quoted(name)} = {quoted(key.encode())}" for name, key in peers.items()]
    return "\n".join([*lines, ""]).encode()
