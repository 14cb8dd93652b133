"""How a hospital comes into a consortium: a join request one way, an invite the other.

A request holds a name and two public keys: the identity key, which signs it, and the node key, which opens the
connection. An invite pins the coordinator for the hospital: name, key, address and the certificate authority of its
server, and repeats what was enrolled. Each proves that its sender holds the key in it, and nothing else: whose key
that is, two people find out on the telephone, by the words of `words`.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from wardround.common.errors import TrustError, UsageError, WardroundError
from wardround.common.flower.nodekeys import check_node_key
from wardround.common.trust.identity import PublicKey, SigningKey, check_name
from wardround.common.trust.sealed import Kind, open_file, seal_file
from wardround.common.trust.signed import exact_keys

REQUEST: Final = Kind(
    format="wardround-join-request", version=1, fields=frozenset({"name", "key", "node_key"})
)
INVITE: Final = Kind(
    format="wardround-invite", version=1, fields=frozenset({"coordinator", "address", "ca", "site"})
)

_LABEL: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_ADVICE: Final = "give a host name or IP address and a port, for example fl.example.org:8443"


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinRequest:
    """What a hospital says about itself. Public.

    Attributes:
        name: Its name.
        key: Its identity key, which signs what it says.
        node_key: Its node key, one OpenSSH line, which opens connections.
    """

    name: str
    key: PublicKey
    node_key: str

    def __post_init__(self) -> None:
        """Refuse a name or a key that is none.

        Raises:
            UsageError: The name cannot be used.
            TrustError: The node key is none, or has a second spelling.
        """
        check_name(self.name)
        if check_node_key(self.node_key) != self.node_key:
            raise TrustError("expected the node key in its one spelling, without a comment")

    def to_dict(self) -> dict[str, object]:
        """The file form, without a header."""
        return {"name": self.name, "key": self.key.encode(), "node_key": self.node_key}


@dataclass(frozen=True, slots=True, kw_only=True)
class Invite:
    """What a coordinator gives a hospital that it enrolled.

    Attributes:
        coordinator: Name of the coordinator.
        coordinator_key: Its public key.
        host, port: Where its server listens.
        ca: Certificate (PEM) of the authority that vouches for its server.
        site: The hospital, as it was enrolled.
    """

    coordinator: str
    coordinator_key: PublicKey
    host: str
    port: int
    ca: str
    site: JoinRequest

    def __post_init__(self) -> None:
        """Refuse a name or an address that cannot be meant.

        Raises:
            UsageError: Either.
        """
        check_name(self.coordinator)
        if split_address(self.address) != (self.host, self.port):
            raise UsageError(f"expected a plain host and port, found {self.address!r:.80}")

    @property
    def address(self) -> str:
        """`host:port`, an IPv6 address in brackets."""
        return join_address(self.host, self.port)


def seal_request(key: SigningKey, name: str, node_key: str) -> bytes:
    """The join request of a hospital, signed by its identity key.

    Raises:
        UsageError: The name cannot be used.
        TrustError: The node key is none.
    """
    return seal_file(key, REQUEST, JoinRequest(name=name, key=key.public, node_key=node_key).to_dict())


def open_request(data: bytes, *, where: str = "the join request") -> JoinRequest:
    """Check a join request and read it.

    Guarantees:
        Returns only if the holder of the key in it signed it. Says nothing about whose key that is.

    Raises:
        StorageError: Another kind of file, or a newer version.
        TrustError: Truncated, changed, or not acceptable.
    """
    found = open_file(data, REQUEST, signer=lambda fields: PublicKey.decode(fields["key"]), where=where)
    return read_request(found, where)


def seal_invite(key: SigningKey, invite: Invite) -> bytes:
    """The invite for one hospital, signed by the coordinator.

    Raises:
        UsageError: The key is not that of the invite's coordinator.
    """
    if key.public != invite.coordinator_key:
        raise UsageError("expected the key of the invite's own coordinator")
    return seal_file(key, INVITE, invite_fields(invite))


def invite_fields(invite: Invite) -> dict[str, object]:
    """The file form, without a header."""
    return {
        "coordinator": {"name": invite.coordinator, "key": invite.coordinator_key.encode()},
        "address": invite.address,
        "ca": invite.ca,
        "site": invite.site.to_dict(),
    }


def open_invite(data: bytes, *, where: str = "the invite") -> Invite:
    """Check an invite and read it.

    Guarantees:
        Returns only if the holder of the coordinator key in it signed it. Whose key that is, words must tell.

    Raises:
        StorageError: Another kind of file, or a newer version.
        TrustError: Truncated, changed, or not acceptable.
    """
    found = open_file(data, INVITE, signer=lambda fields: _coordinator(fields, where)[1], where=where)
    return read_invite(found, where)


def read_invite(found: Mapping[str, object], where: str) -> Invite:
    """Read `invite_fields` back.

    Raises:
        TrustError: A field is not acceptable.
    """
    name, key = _coordinator(found, where)
    match found:
        case {"address": str(address), "ca": str(ca), "site": dict(site)}:
            exact_keys(site, REQUEST.fields, where=where)
            try:
                host, port = split_address(address)
                return Invite(
                    coordinator=name,
                    coordinator_key=key,
                    host=host,
                    port=port,
                    ca=ca,
                    site=read_request(site, where),
                )
            except UsageError as error:
                raise TrustError(f"{where}: {error}", advice=error.advice) from None
    raise TrustError(f"expected an address, a certificate and a site in {where}")


def split_address(address: str, *, default_port: int | None = None) -> tuple[str, int]:
    """Host and port of `host:port`.

    >>> split_address("[2001:db8::1]:8443")
    ('2001:db8::1', 8443)

    Args:
        address: A host name or IP address and a port.
        default_port: Used where none is given.

    Raises:
        UsageError: It is none.
    """
    host, colon, port = address.rpartition(":")
    if default_port is not None and (not colon or _is_ip(address) or address.endswith("]")):
        host, port = address, str(default_port)
    inner = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    number = int(port) if port.isascii() and port.isdecimal() and len(port) <= 5 else 0
    if not 0 < number < 65536:
        raise UsageError(f"expected a port from 1 to 65535 in {address!r:.80}", advice=_ADVICE)
    return check_host(inner), number


def join_address(host: str, port: int) -> str:
    """The other way round."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def check_host(host: str) -> str:
    """A host name or an IP address, as it stands.

    Raises:
        UsageError: It is neither.
    """
    if _is_ip(host):
        return host
    labels = host.split(".")
    numbers = all(label.isdecimal() for label in labels)
    if len(host) > 253 or numbers or not all(_LABEL.fullmatch(label) for label in labels):
        raise UsageError(f"expected a host name or an IP address, found {host!r:.80}", advice=_ADVICE)
    return host


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def _coordinator(found: Mapping[str, object], where: str) -> tuple[str, PublicKey]:
    match found.get("coordinator"):
        case {"name": str(name), "key": key, **rest} if not rest:
            return name, PublicKey.decode(key)
    raise TrustError(f"expected a coordinator with name and key in {where}")


def read_request(found: Mapping[str, object], where: str) -> JoinRequest:
    """Read `JoinRequest.to_dict` back.

    Raises:
        TrustError: A field is not acceptable.
    """
    match found:
        case {"name": str(name), "key": key, "node_key": str(node_key)}:
            try:
                return JoinRequest(name=name, key=PublicKey.decode(key), node_key=node_key)
            except WardroundError as error:
                raise TrustError(f"{where}: {error}", advice=error.advice) from None
    raise TrustError(f"expected a name, a key and a node key in {where}")
