"""The coordinator of one study: its key, roster, state machine and files, without Flower.

Everything durable is written here, in this order: the archive of the replies, the checkpoint, which carries the
attempt's log line, then the line itself. After a crash between the last two the line is written from the checkpoint;
after a crash before both, the attempt is asked again and the sites resend identical bytes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from wardround.common.errors import WardroundError
from wardround.common.learning.exchange import FINISH, PRESENT, TASK
from wardround.common.learning.parameters import Parameters, parameters_digest
from wardround.common.learning.study import Progress, RoundTask, Study
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.checkpoint import origin
from wardround.common.trust.checkpointfile import CHECKPOINTS
from wardround.common.trust.envelope import Header, new_run, open_envelope, seal
from wardround.common.trust.identity import Roster, SigningKey
from wardround.common.trust.studylog import StudyLog
from wardround.server import checkpoints
from wardround.server.admission import Admitted, Refused, admit, said_of_log
from wardround.server.approvals import Approvals, Lists
from wardround.server.archive import ARCHIVE, Archive, Archiving
from wardround.server.jointround import JointRound, check_sums
from wardround.server.logwords import word_in_sum, word_of
from wardround.server.witnessing import Witnesses

CHECKPOINT = "checkpoint.safetensors"
LOG = "study-log.jsonl"


class Coordinator:
    """One study at the coordinator.

    Args:
        folder: Where the checkpoint and the study log live; must exist.
        key: The coordinator's identity.
        roster: Everybody's public keys.
        protocol: The public terms.
        initial: The model of round 1, known to every party from the protocol.
        archiving: Whether admitted replies are kept for an auditor; no term of the study.
        lists: All lists of members that were published; a site may have approved another one than `roster`.

    Raises:
        StudyError: The roster cannot fill the protocol's quorum.
        PrivacyError: The sums of the study cannot be made private as the protocol says.

    Attributes:
        study: The state machine.
        fresh: Whether there was no checkpoint to resume from.
        run: Identifier of this run: drawn once, and kept in the checkpoint.
        left: Site of the roster -> why it is neither asked nor admitted any more.
    """

    def __init__(
        self,
        folder: Path,
        *,
        key: SigningKey,
        roster: Roster,
        protocol: StudyProtocol,
        initial: Parameters,
        archiving: Archiving = "keep",
        lists: Lists = tuple,
    ) -> None:
        self.roster = roster
        self.left: Mapping[str, str] = {}
        self._key = key
        self._checkpoint = folder / CHECKPOINT
        found = checkpoints.read(self._checkpoint, protocol.digest)
        progress = found.progress if found else Progress(parameters=initial)
        self.study = Study(protocol, roster.site_names, progress)
        if protocol.joint:
            check_sums(protocol, progress.parameters, sites=len(roster.site_names))
        self.fresh = found is None
        self.run = found.run if found else new_run()
        self._archive = Archive(folder / ARCHIVE if archiving == "keep" else None)
        self._log = StudyLog(folder / LOG, key)
        self._approvals = Approvals(self._log, protocol=protocol, roster=roster, lists=lists)
        self._witnesses = Witnesses(
            folder / CHECKPOINTS,
            key=key,
            origin=origin(protocol.study.name, protocol.digest, self.run),
            tree=self._log.tree,
            sites=roster.sites,
        )
        if found and found.kind:
            self._log.append_once(found.kind, found.record)

    def begin(self) -> None:
        """Write down what is about to run; a later coordinator on this folder resumes it."""
        protocol = self.study.protocol
        if self.fresh:
            self._save("", {})  # first: no line may name a run that a crash forgets
        terms = {"digest": protocol.digest, "name": protocol.study.name, "run": self.run}
        self._log.append_once("protocol", terms)
        self._log.append_once("roster", self.roster.to_dict())

    @property
    def active(self) -> tuple[str, ...]:
        """The sites that may be asked and admitted in the open round, in the order of the roster."""
        return tuple(site for site in self.study.sites if site not in self.left)

    @property
    def unsure(self) -> frozenset[str]:
        """Sites that must be called again before the next task: what they cosigned last is not known."""
        return frozenset(self._witnesses.unsure)

    def let_leave(self, left: Mapping[str, str]) -> None:
        """Say who of the roster takes part no more from the next attempt on, and why; a change is logged."""
        known = {site: why for site, why in left.items() if site in self.study.everyone}
        if known != self.left:
            progress = self.study.progress
            moment = {"round": progress.rounds + 1, "attempt": progress.attempts + 1}
            self._log.append_once("members", {**moment, "left": known})
            self.left = known

    def seal(
        self, receiver: str, kind: str, body: bytes, round_: int, attempt: int, base_model: str
    ) -> bytes:
        """A signed envelope to one site, or to `EVERYONE`.

        The end shows the site the log's checkpoint, and so does each task of a private study. Without privacy no claim
        rests on a single round, and what the sites cosign at the end covers them all.
        """
        shows = kind == FINISH or (kind == TASK and self.study.protocol.private)
        fields = Header(
            kind=kind,
            study=self.study.protocol.study.name,
            protocol_digest=self.study.protocol.digest,
            run=self.run,
            round=round_,
            attempt=attempt,
            sender=self.roster.coordinator,
            receiver=receiver,
            base_model=base_model,
            log=self._witnesses.show(receiver) if shows else "",
        )
        is_model = kind == TASK and not self.study.protocol.joint
        return seal(self._key, fields, body, body_digest=base_model if is_model else "")

    def name_in(self, reply: bytes, kind: str) -> str | None:
        """The site that signed a roll-call or finish answer; None where nobody of the roster did.

        An approval that comes with it is kept for `keep_approvals`; with one that is not its own for this study, the
        site is not named.
        """
        try:
            envelope = open_envelope(
                reply,
                self.roster,
                kind=kind,
                protocol_digest=self.study.protocol.digest,
                run=self.run,
                receiver=self.roster.coordinator,
            )
            sender = envelope.header.sender
            if envelope.body and kind == PRESENT:
                self._approvals.hear(sender, envelope.body)
            self._witnesses.hear(sender, envelope.header.log)
        except WardroundError:
            return None
        return None if sender in self.left else sender

    def keep_approvals(self) -> None:
        """Write the approvals that were heard into the log, as they came."""
        self._approvals.keep()

    def close(self, task: RoundTask, verdicts: Mapping[str, Admitted | Refused]) -> bool:
        """End an attempt: advance or void it, write the checkpoint, then the log.

        A site without any reply counts as missing. Tells whether the round counts.
        """
        updates = {
            site: verdict.update
            for site, verdict in verdicts.items()
            if isinstance(verdict, Admitted) and site not in self.left
        }
        counted = self.study.close(updates)
        record = self._record(task, {site: word_of(verdict) for site, verdict in verdicts.items()})
        self._write("void" if not counted else self._counts(task), record)
        return counted

    def joint_round(self, task: RoundTask) -> JointRound:
        """An attempt of a secure sum, to be fed with replies."""
        return JointRound(
            self.study.protocol,
            self.roster,
            task,
            run=self.run,
            fewest=self.study.quorum,
            archive=self._archive,
        )

    def admit(self, site: str, reply: bytes, task: RoundTask) -> Admitted | Refused:
        """Judge a site's reply to a task; one that counts under a private mechanism goes into the archive.

        Raises:
            StorageError: It could not be kept: the attempt is asked again after a restart.
        """
        terms = self.study.protocol
        found = admit(reply, sender=site, task=task, run=self.run, protocol=terms, roster=self.roster)
        if isinstance(found, Refused):
            self._witnesses.hear(site, said_of_log(reply, site, self.roster))
            return found
        self._witnesses.hear(site, found.log)
        if not self.study.protocol.private:
            return found
        return replace(found, reply=self._archive.keep(task.round, task.attempt, reply))

    def close_joint(self, joint: JointRound) -> bool:
        """End an attempt of a secure sum: advance or void it, write the checkpoint, then the log."""
        total = joint.total()
        if total is None:
            self.study.void()
        else:
            self.study.advance_by_sum(total, joint.members)
            if self.study.protocol.sums_statistics(joint.task.round):
                self._archive.keep_model(self.study.progress.parameters)
        for site, said in joint.logs.items():
            self._witnesses.hear(site, said)
        verdicts = {site: word_in_sum(joint, site) for site in {*joint.refused, *joint.receipts}}
        record = self._record(joint.task, verdicts)
        record["secure_sum"] = joint.record()
        self._write("void" if total is None else self._counts(joint.task), record)
        return total is not None

    def _counts(self, task: RoundTask) -> str:
        """How the log calls an attempt that ended its round."""
        return "evaluation" if self.study.protocol.evaluates(task.round) else "round"

    def _write(self, kind: str, record: Mapping[str, object]) -> None:
        """Make an attempt's end durable: the checkpoint, its line, then the cosignatures that came with the replies."""
        self._save(kind, record)
        self._log.append_once(kind, record)
        self._witnesses.keep()

    def _save(self, kind: str, record: Mapping[str, object]) -> None:
        checkpoint = checkpoints.Checkpoint(
            run=self.run, progress=self.study.progress, kind=kind, record=record
        )
        checkpoints.write(self._checkpoint, checkpoint, self.study.protocol.digest)

    def conclude(self) -> None:
        """Record what the study comes to, before the sites are told: so that all of them cosign it."""
        model, rounds = parameters_digest(self.study.model), self.study.progress.rounds
        self._log.append_once("result", {"model": model, "rounds": rounds})

    def finish(self, sites: Iterable[str]) -> None:
        """Record the end of the study and which sites confirmed it."""
        model, confirmed = parameters_digest(self.study.model), sorted(sites)
        self._log.append_once("finish", {"model": model, "confirmed": confirmed})
        self._witnesses.keep()

    def _record(self, task: RoundTask, verdicts: Mapping[str, Mapping[str, object]]) -> dict[str, object]:
        sites, evaluated = self.study.sites_at(task.round), self.study.progress.evaluation
        return {
            "round": task.round,
            "attempt": task.attempt,
            "base_model": task.base_model,
            "result_model": parameters_digest(self.study.progress.parameters),
            "sites": {site: verdicts.get(site, {"refused": "no reply"}) for site in sites},
            **({"table": evaluated.digest} if evaluated else {}),
        }
