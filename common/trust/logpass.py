"""What a coordinator gives a witness or auditor: where its log service is, and a certificate that opens it.

A pass is asked for as membership is, with a signed request that holds a name, an identity key and a node key, and words
that two people compare. The certificate is for the node key; the identity key signs cosignatures. A pass holds no
secret: without the node's private key it opens nothing.
"""

from dataclasses import dataclass
from typing import Final

from wardround.common.errors import TrustError, UsageError
from wardround.common.trust.identity import PublicKey, SigningKey
from wardround.common.trust.join import REQUEST, JoinRequest, read_request, split_address
from wardround.common.trust.sealed import Kind, open_file, seal_file
from wardround.common.trust.signed import exact_keys

PASS: Final = Kind(
    format="wardround-log-pass",
    version=1,
    fields=frozenset({"coordinator", "coordinator_key", "address", "ca", "certificate", "witness"}),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPass:
    """A pass for one coordinator's log service.

    Attributes:
        coordinator: Name of the coordinator.
        coordinator_key: Its public key.
        address: `host:port` of the log service.
        ca: Certificate (PEM) of the authority that vouches for it.
        certificate: The witness's own (PEM), for its node key.
        witness: Whose pass this is.
    """

    coordinator: str
    coordinator_key: PublicKey
    address: str
    ca: str
    certificate: str
    witness: JoinRequest


def seal_pass(key: SigningKey, made: LogPass) -> bytes:
    """The pass, signed by the coordinator.

    Raises:
        UsageError: The key is not that of its coordinator.
    """
    if key.public != made.coordinator_key:
        raise UsageError("expected the key of the pass's own coordinator")
    fields = {
        "coordinator": made.coordinator,
        "coordinator_key": made.coordinator_key.encode(),
        "address": made.address,
        "ca": made.ca,
        "certificate": made.certificate,
        "witness": made.witness.to_dict(),
    }
    return seal_file(key, PASS, fields)


def open_pass(data: bytes, coordinator_key: PublicKey, *, where: str = "the pass") -> LogPass:
    """Check a pass and read it.

    Args:
        data: The file's bytes.
        coordinator_key: As it was compared by a person.
        where: The file, for messages.

    Guarantees:
        Returns only if the holder of that key made this pass.

    Raises:
        StorageError: Another kind of file, or a newer version.
        TrustError: Truncated, changed, somebody else's, or not acceptable.
    """
    found = open_file(data, PASS, signer=lambda _: coordinator_key, where=where)
    match found:
        case {
            "coordinator": str(name),
            "coordinator_key": key,
            "address": str(address),
            "ca": str(ca),
            "certificate": str(certificate),
            "witness": dict(witness),
        } if PublicKey.decode(key) == coordinator_key:
            exact_keys(witness, REQUEST.fields, where=where)
            try:
                split_address(address)
            except UsageError as error:
                raise TrustError(f"{where}: {error}", advice=error.advice) from None
            return LogPass(
                coordinator=name,
                coordinator_key=coordinator_key,
                address=address,
                ca=ca,
                certificate=certificate,
                witness=read_request(witness, where),
            )
    raise TrustError(f"expected a coordinator, an address, certificates and a witness in {where}")
