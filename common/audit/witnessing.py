"""What a witness does: follow a log, verify it, and cosign each checkpoint that continues what it cosigned before.

A cosignature is given away only after the lines under it and the checkpoint itself are durable in the witness's own
copy. After a crash or a cut the newest one is offered again; the service keeps the first of each.
"""

import contextlib
from collections.abc import Callable, Generator
from datetime import datetime

from wardround.common.audit.followed import FollowedLog
from wardround.common.audit.logclient import LogClient
from wardround.common.errors import TrustError, UsageError, WardroundError
from wardround.common.trust.checkpoint import SignedCheckpoint, cosign
from wardround.common.trust.identity import SigningKey


def verified(
    client: LogClient, log: FollowedLog, *, limit: float | None = None
) -> Generator[SignedCheckpoint, None, None]:
    """Follow a log from the end of the copy: each checkpoint once it and all lines under it were verified and kept.

    Never ends by itself, but for the limit in seconds.

    Raises:
        LaterError: The service cannot go on now, or the limit is over; the next call goes on from there.
        TrustError: The log is not what it must be. The service's newest checkpoint was set aside as evidence if the
            coordinator signed it.
        StorageError: The copy could not be written.
    """
    try:
        for step in client.follow(log.study, log.size, limit=limit):
            if new := log.take(step):
                yield new
    except TrustError:
        with contextlib.suppress(WardroundError):
            log.set_aside(client.checkpoint(log.study))
        raise


def cosigned(
    client: LogClient,
    log: FollowedLog,
    key: SigningKey,
    *,
    clock: Callable[[], datetime],
    limit: float | None = None,
) -> Generator[SignedCheckpoint, None, None]:
    """The same, and hand over a cosignature for each; for the one that is remembered too, if there is one.

    Args:
        client: The connection.
        log: The witness's copy.
        key: The witness's.
        clock: For the time in each cosignature.
        limit: As for `verified`.

    Raises:
        LaterError, TrustError, StorageError: As `verified`.
    """
    if log.remembered:
        with contextlib.suppress(UsageError, TrustError):  # not taken: following says why
            _hand_over(client, log, log.remembered, key, clock)
    for new in verified(client, log, limit=limit):
        _hand_over(client, log, new, key, clock)
        yield new


def catch_up(
    client: LogClient, log: FollowedLog, key: SigningKey, *, clock: Callable[[], datetime], limit: float
) -> SignedCheckpoint:
    """Follow and cosign up to the checkpoint that is the newest now.

    Args:
        client: The connection.
        log: The witness's copy.
        key: The witness's.
        clock: For the time in each cosignature.
        limit: Seconds after which it gives up: whoever names a checkpoint and never shows its lines holds up nobody.

    Returns:
        The newest checkpoint that was verified.

    Raises:
        LaterError, TrustError, StorageError: As `verified`.
    """
    newest = client.checkpoint(log.study)
    if log.remembered and newest.checkpoint.size == log.remembered.checkpoint.size:
        log.take(newest)  # refused if it is another one
        _hand_over(client, log, log.remembered, key, clock)
        return newest
    for new in cosigned(client, log, key, clock=clock, limit=limit):
        if new.checkpoint.size >= newest.checkpoint.size:
            return new
    raise AssertionError("following never ends by itself")


def _hand_over(
    client: LogClient,
    log: FollowedLog,
    signed: SignedCheckpoint,
    key: SigningKey,
    clock: Callable[[], datetime],
) -> None:
    line = cosign(key, signed.checkpoint, time=clock())
    client.cosign(log.study, signed.checkpoint.size, line)
