"""A site's side of the secure sums of one study: one attempt at a time, kept in the site's own folder between messages.

Messages of one attempt may reach different processes of a site, so the attempt's secret keys stand in a file (0600)
from the first message until just before the masked sum exists. They protect that one sum only, and are gone before
anything masked leaves: a crash in between costs the attempt, never a key used twice.

Guarantees:
    - A roster is accepted only if this site approved every member, and if it has at least h honest members after
      the collusion that this site tolerates by its own policy.
    - A roster that a member weakened to X25519 alone is accepted only where this site's policy says so.
    - In one attempt there is one set of keys and one roster.
    - A kept session that cannot be read costs its attempt, and no other.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wardround.common.durable import sync_folder, write_atomic
from wardround.common.errors import TrustError, WardroundError
from wardround.common.formats import digest
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.agreement import HYBRID
from wardround.common.trust.envelope import Envelope, Header
from wardround.common.trust.identity import PublicKey, SigningKey
from wardround.common.trust.securesum import SumSession
from wardround.common.trust.sumroster import SumContext, read_roster
from wardround.common.trust.sumstate import Approved
from wardround.common.trust.sumwire import unpack_messages


@dataclass(frozen=True, slots=True, kw_only=True)
class SumDesk:
    """Opens, keeps and forgets the sessions of one site in one study.

    Attributes:
        folder: Where the open session is kept.
        name: This site.
        key: Its identity.
        protocol: The approved study.
        peers: Name -> key of the peers that this site approved.
        suites: Of key agreement, that this site offers by its own policy.
        tolerated: t, members of a roster that may collude, from the site's own policy, at least 1.
    """

    folder: Path
    name: str
    key: SigningKey = field(repr=False)
    protocol: StudyProtocol
    peers: Mapping[str, PublicKey] = field(repr=False)
    tolerated: int
    suites: tuple[str, ...] = (HYBRID,)

    @property
    def least(self) -> int:
        """Members that a roster must have: h honest ones and those that may collude."""
        return self.protocol.privacy.honest_sites + self.tolerated

    def open(self, asked: Header) -> bytes:
        """Start the attempt that the coordinator asks for, or find it started; the signed `ready`."""
        try:
            session = self._session(asked)
        except TrustError:  # none, another attempt's, or a damaged one: nothing was ever masked with its keys
            context = _context(asked)
            session = SumSession.open(
                self.key, self.name, context, approved=self.peers, least=self.least, suites=self.suites
            )
            self._keep(session)
        return session.ready

    def agree(self, asked: Envelope) -> bytes:
        """Check the proposed roster; the signed `agreed`."""
        readies, rest = unpack_messages(asked.body)
        if rest:
            raise TrustError("expected nothing after the messages of a roster")
        session = self._session(asked.header)
        agreed = session.agree(readies)
        self._keep(session)  # before it leaves: what was drawn for the peers exists nowhere else
        return agreed

    def confirm(self, asked: Envelope) -> tuple[SumSession, bytes]:
        """Check that every member agreed on one roster, and that the model is the one named in the envelope.

        Returns:
            The session, ready to mask, and the model's bytes.
        """
        agreements, model = unpack_messages(asked.body)
        if digest(model) != asked.header.base_model:
            raise TrustError("the base model is not the one that the envelope names")
        session = self._session(asked.header)
        session.confirm(agreements)
        self._check_still_approved(session)
        return session, model

    def forget(self) -> None:
        """Remove the kept session durably, drafts of it included. To be done before it masks anything."""
        for path in self.folder.glob(f"*{self._path.name}*"):
            path.unlink(missing_ok=True)
        sync_folder(self.folder)

    def _check_still_approved(self, session: SumSession) -> None:
        """A session remembers whom the site approved when it was opened; what counts is whom it approves now."""
        readies = [ready.envelope for ready in session.roster.readies.values()]
        read_roster(readies, Approved({self.name: self.key.public, **self.peers}), session.context)
        if len(readies) < self.least:
            raise TrustError(f"expected at least {self.least} members in the roster, found {len(readies)}")

    @property
    def _path(self) -> Path:
        return self.folder / f"{self.protocol.digest[:16]}.session"

    def _keep(self, session: SumSession) -> None:
        write_atomic(self._path, session.to_bytes(), mode=0o600)

    def _session(self, asked: Header) -> SumSession:
        """The kept session of an attempt.

        Raises:
            TrustError: There is none, it is another attempt's, or the file cannot be read back.
        """
        session = self._read() if self._path.exists() else None
        if session is None or session.context != _context(asked):
            raise TrustError(
                f"no secure sum is open for round {asked.round}, attempt {asked.attempt}",
                advice="a sum begins with fresh keys; an attempt that masked or crashed is not continued",
            )
        return session

    def _read(self) -> SumSession:
        try:
            return SumSession.from_bytes(self._path.read_bytes(), self.key)
        except (WardroundError, LookupError) as error:  # a lookup: a damaged file may lack a member
            raise TrustError(
                f"the kept session {self._path.name} cannot be used: {error}",
                advice="nothing was masked with it; the coordinator's next attempt begins with fresh keys",
            ) from error


def _context(asked: Header) -> SumContext:
    return SumContext(
        study=asked.study,
        protocol_digest=asked.protocol_digest,
        run=asked.run,
        round=asked.round,
        attempt=asked.attempt,
        base_model=asked.base_model,
        coordinator=asked.sender,
    )
