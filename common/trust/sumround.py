"""One secure sum as the coordinator and the auditor see it: rosters put together, masked uploads added. No I/O.

Nobody here can open a single upload. Every message is kept verbatim, so that whoever archives the messages can have
the sum computed again. All or nothing: one member without an acceptable upload makes the sum void, by name.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from wardround.common.checks import positive
from wardround.common.errors import TrustError, UsageError
from wardround.common.trust.envelope import KeyRing, open_envelope
from wardround.common.trust.masking import WORD
from wardround.common.trust.sumroster import (
    MASKED,
    SumContext,
    SumRoster,
    Transcript,
    read_agreed,
    read_ready,
    read_roster,
    read_transcript,
)
from wardround.common.trust.sumwire import Masked, pack_messages


class SumVoid(TrustError):  # noqa: N818  (an outcome of an attempt, not a fault of the program)
    """A sum that cannot be had.

    Attributes:
        causes: Site -> why, in words that may be logged.
    """

    def __init__(self, context: SumContext, causes: Mapping[str, str]) -> None:
        self.causes = dict(sorted(causes.items()))
        words = "; ".join(f"{site!r}: {why}" for site, why in self.causes.items())
        super().__init__(
            f"the sum of {context.moment} is void: {words}",
            advice="ask again with a new attempt; what the sites sent stays charged",
        )


class SumRound:
    """One attempt at the coordinator: replies go in one by one, in the order ready, agreed, masked.

    Args:
        context: The attempt.
        keys: Public keys of the study, e.g. its `Roster`.
        length: Values per upload, d.

    Attributes:
        uploads: Site -> SHA-256 of the body of its masked upload, for the log.
    """

    def __init__(self, context: SumContext, *, keys: KeyRing, length: int) -> None:
        positive(length=length)
        self.context = context
        self.uploads: dict[str, str] = {}
        self._keys = keys
        self._readies: dict[str, bytes] = {}
        self._roster: SumRoster | None = None
        self._agreements: dict[str, bytes] = {}
        self._transcript: Transcript | None = None
        self._causes: dict[str, str] = {}
        self._total: NDArray[np.uint32] = np.zeros(length, WORD)

    def ready(self, site: str, reply: bytes) -> None:
        """Take a site's `ready` message.

        Raises:
            TrustError: It is not acceptable; the site stays out of the roster.
            UsageError: The roster is closed.
        """
        if self._roster is not None:
            raise UsageError("the roster of this attempt is closed")
        read_ready(reply, self._keys, self.context, sender=site)
        self._readies[site] = reply

    @property
    def roster(self) -> SumRoster:
        """Everybody who is ready; closes the roster when it is first read.

        Raises:
            TrustError: Fewer than two sites, or no suite that all of them offer.
        """
        if self._roster is None:
            self._roster = read_roster(list(self._readies.values()), self._keys, self.context)
        return self._roster

    def roster_body(self) -> bytes:
        """The body of the `roster` message, the same for every member."""
        return pack_messages([ready.envelope for ready in self.roster.readies.values()])

    def agreed(self, site: str, reply: bytes) -> None:
        """Take a member's `agreed` message.

        Raises:
            SumVoid: It is not acceptable.
            UsageError: The agreements are closed.
        """
        if self._transcript is not None:
            raise UsageError("the agreements of this attempt are closed")
        try:
            read_agreed(reply, self._keys, self.roster, sender=site)
        except TrustError as error:
            raise self._void(site, str(error)) from None
        self._agreements[site] = reply

    @property
    def transcript(self) -> Transcript:
        """What all members agreed to; closes the agreements when it is first read.

        Raises:
            SumVoid: A member has not agreed.
        """
        if self._transcript is None:
            self._require_all(self._agreements, "did not agree to the roster")
            self._transcript = read_transcript(list(self._agreements.values()), self._keys, self.roster)
        return self._transcript

    def agreements_body(self) -> bytes:
        """The first part of the body of the task, the same for every member; the model follows it.

        Raises:
            SumVoid: A member has not agreed.
        """
        return pack_messages(list(self.transcript.agreements.values()))

    def masked(self, site: str, reply: bytes) -> bytes:
        """Take a member's upload and add it to the sum. The same bytes again change nothing.

        Returns:
            The receipt that travelled beside the vector.

        Raises:
            SumVoid: It is altered, for another transcript, of another length, or the site's second one.
        """
        try:
            digest, upload = self._open(site, reply)
        except TrustError as error:
            raise self._void(site, str(error)) from None
        if site in self.uploads:
            if self.uploads[site] != digest:
                raise self._void(site, "sent two different uploads")
        else:
            self.uploads[site] = digest
            self._total += upload.values
        return upload.receipt

    def total(self) -> NDArray[np.uint32]:
        """The sum of all members' vectors modulo 2^32.

        Returns:
            Shape (d,).

        Raises:
            SumVoid: A member's upload is missing or was refused; every such member is named.
        """
        self._require_all(self.uploads, "no upload")
        return self._total.copy()

    def _open(self, site: str, reply: bytes) -> tuple[str, Masked]:
        envelope = open_envelope(
            reply,
            self._keys,
            kind=MASKED,
            sender=site,
            receiver=self.context.coordinator,
            **self.context.bound,
        )
        if site not in self.roster.readies:
            raise TrustError("not a member of the roster")
        upload = Masked.unpack(envelope.body, len(self._total))
        if upload.transcript != self.transcript.digest:
            raise TrustError("masked for another roster than the one that all members agreed to")
        return envelope.body_digest, upload

    def _require_all(self, found: Mapping[str, object], why: str) -> None:
        missing = {site: why for site in self.roster.members if site not in found}
        if causes := {**missing, **self._causes}:
            raise SumVoid(self.context, causes)

    def _void(self, site: str, why: str) -> SumVoid:
        self._causes[site] = why
        return SumVoid(self.context, {site: why})


def recompute_sum(
    context: SumContext,
    *,
    keys: KeyRing,
    length: int,
    readies: Sequence[bytes],
    agreements: Sequence[bytes],
    uploads: Iterable[tuple[str, bytes]],
) -> NDArray[np.uint32]:
    """The sum again, from archived messages: what an auditor compares with the released one.

    Args:
        context: The attempt.
        keys: Public keys that the auditor trusts.
        length: Values per upload.
        readies: The roster, verbatim.
        agreements: The `agreed` messages, verbatim.
        uploads: (site, `masked` envelope) of every member; read one at a time.

    Returns:
        Shape (length,).

    Raises:
        TrustError: A message is not acceptable; `SumVoid` where that makes the sum void.
    """
    attempt = SumRound(context, keys=keys, length=length)
    attempt._roster = read_roster(readies, keys, context)
    attempt._transcript = read_transcript(agreements, keys, attempt.roster)
    for site, upload in uploads:
        attempt.masked(site, upload)
    return attempt.total()
