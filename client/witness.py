"""A site as a witness of a study's log: it cosigns what continues its last cosignature, and nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from wardround.client.release import ReleaseDoor
from wardround.common.errors import TrustError
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.checkpoint import origin
from wardround.common.trust.identity import PublicKey, SigningKey
from wardround.common.trust.witness import Seen, witnessed


@dataclass(frozen=True, slots=True, kw_only=True)
class Witnessed:
    """What a reply says of the log.

    Attributes:
        seen: What it cosigns, to be remembered before it leaves; None for nothing.
        said: The fields of its envelope's header.
    """

    seen: Seen | None = None
    said: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


def witness(
    shown: str,
    *,
    key: SigningKey,
    protocol: StudyProtocol,
    run: str,
    coordinator: PublicKey,
    door: ReleaseDoor,
    time: datetime,
) -> Witnessed:
    """Check the log that a message shows, and cosign it.

    Once the study is closed here nothing new is remembered, so only what was cosigned last is cosigned again.

    Args:
        shown: The `log` of the message's header; empty where none is shown.
        key: This site's.
        protocol: The study.
        run: The run that the message is of.
        coordinator: The pinned coordinator.
        door: Where this site remembers what it cosigned.
        time: The site's clock when the message came: before training, of whose duration it must say nothing.

    Raises:
        TrustError: The log does not continue what this site cosigned, or is shown no more. The reason names both sizes.
    """
    seen = door.cosigned(protocol, run)
    if not shown:
        if seen.size:
            raise TrustError(
                f"expected the study's log of at least {seen.size} lines to be shown, found none",
                advice="the coordinator showed it before: ask why it stopped, and compare copies of the log",
            )
        return Witnessed()
    name = origin(protocol.study.name, protocol.digest, run)
    now, text = witnessed(key, shown, seen=seen, origin=name, coordinator=coordinator, time=time)
    if door.reservation(protocol) is None and now != seen:
        return Witnessed()
    return Witnessed(seen=now, said=MappingProxyType({"log": text}))
