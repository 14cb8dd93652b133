"""What a study between real hospitals may say of itself: rounds, who counted, and what privacy it cost.

Read from the signed study log and the protocol alone, and from the table that the evaluation released, if there is one.
Nothing else in it was computed on a patient: an exact evaluation would be a release that no ledger knows.

    {"format": "wardround-study-results", "version": 1, "study": ..., "rounds": ..., "privacy": ..., "sites": ...}
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any, Final

from wardround.common.code import package_digest
from wardround.common.formats import header, or_null
from wardround.common.learning.study import quorum_of, training_sites
from wardround.common.privacy.accounting import epsilon
from wardround.common.privacy.coalitions import observers
from wardround.common.privacy.events import DpEvent, JointGaussianSteps, times
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.identity import Roster
from wardround.common.trust.studylog import LogEntry

FORMAT: Final = "wardround-study-results"
VERSION: Final = 1
NOT_ASKED: Final = "not asked"


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteShare:
    """One hospital's part in a study.

    Attributes:
        site: Its name.
        counted: Rounds in which its update counted.
        asked: Attempts in which it was asked: no more releases than these can have been charged for the study.
        confirmed: Whether it confirmed the end, and so freed what it had reserved.
        epsilon: Adversary -> largest epsilon of `asked` releases at the study's delta; infinite without privacy.
    """

    site: str
    counted: int
    asked: int
    confirmed: bool
    epsilon: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyOutcome:
    """A finished study, in public terms.

    Attributes:
        study, question: From the protocol.
        protocol_digest, model_digest: SHA-256 in hexadecimal.
        coordinator: Its name.
        keys: Name of every party -> fingerprint of its key.
        mechanism: `none`, `site-noise` or `joint-noise`.
        private: Whether what left the hospitals carries a guarantee.
        delta: Of every epsilon here.
        rounds: Rounds that count.
        void: Attempts that did not.
        sites: One share per hospital, in the order of the roster.
        began, ended: UTC, as the log says.
        evaluation: What noised tables of held-out patients say of the model; None without an evaluation.
    """

    study: str
    question: str
    protocol_digest: str
    model_digest: str
    coordinator: str
    keys: Mapping[str, str]
    mechanism: str
    private: bool
    delta: float
    rounds: int
    void: int
    sites: tuple[SiteShare, ...]
    began: str
    ended: str
    evaluation: Mapping[str, Any] | None = None

    def as_json(self) -> dict[str, object]:
        """The JSON value; an infinite epsilon is null."""
        body = asdict(self)
        body["sites"] = [
            {**asdict(share), "epsilon": {name: or_null(value) for name, value in share.epsilon.items()}}
            for share in self.sites
        ]
        code = {"code_version": version("wardround"), "code_digest": package_digest()}
        return {**header(FORMAT, VERSION), **body, **code}


def outcome_of(
    protocol: StudyProtocol,
    roster: Roster,
    log: Sequence[LogEntry],
    *,
    evaluation: Mapping[str, Any] | None = None,
) -> StudyOutcome:
    """Sum up a study.

    Args:
        protocol: The public terms.
        roster: The parties of the last bundle.
        log: The whole study log, already verified.
        evaluation: What the study's own evaluation says; see `evaluationclaim`.
    """
    attempts = [entry for entry in log if entry.kind in ("round", "void") and not evaluates(protocol, entry)]
    finish = next((entry for entry in reversed(log) if entry.kind == "finish"), None)
    confirmed = _names(finish.data.get("confirmed")) if finish else frozenset()
    names = dict.fromkeys([*roster.site_names, *(name for entry in attempts for name in _sites(entry))])
    fewest = quorum_of(protocol, len(training_sites(protocol, roster.site_names)))
    shares = tuple(_share(protocol, name, attempts, name in confirmed, fewest) for name in names)
    return StudyOutcome(
        study=protocol.study.name,
        question=protocol.study.question,
        protocol_digest=protocol.digest,
        model_digest=str(finish.data["model"]) if finish else "",
        coordinator=roster.coordinator,
        keys={
            roster.coordinator: roster.coordinator_key.fingerprint,
            **{name: key.fingerprint for name, key in roster.sites.items()},
        },
        mechanism=protocol.privacy.mechanism,
        private=protocol.private and not protocol.drafted,
        delta=protocol.privacy.delta,
        rounds=sum(entry.kind == "round" for entry in attempts),
        void=sum(entry.kind == "void" for entry in attempts),
        sites=shares,
        began=log[0].time if log else "",
        ended=log[-1].time if log else "",
        evaluation=evaluation,
    )


def evaluates(protocol: StudyProtocol, entry: LogEntry) -> bool:
    """Whether a line is about an attempt of the evaluation."""
    round_ = entry.data.get("round")
    return isinstance(round_, int) and protocol.evaluates(round_)


def asked_in(attempts: Iterable[LogEntry], site: str) -> int:
    """In how many attempts a site was asked, and so may have been charged."""
    said = [_sites(entry).get(site) for entry in attempts]
    return sum(found is not None and not _was_not_asked(found) for found in said)


def _share(
    protocol: StudyProtocol, name: str, attempts: Iterable[LogEntry], confirmed: bool, fewest: int
) -> SiteShare:
    attempts = list(attempts)
    said, asked = [(entry.kind, _sites(entry).get(name)) for entry in attempts], asked_in(attempts, name)
    counted = sum(kind == "round" and found is not None and "refused" not in found for kind, found in said)
    return SiteShare(
        site=name,
        counted=counted,
        asked=asked,
        confirmed=confirmed,
        epsilon=epsilons(protocol, asked, fewest=fewest),
    )


def epsilons(protocol: StudyProtocol, releases: int, *, fewest: int, round_: int = 1) -> Mapping[str, float]:
    """Adversary -> epsilon of so many releases of a study: of its training, or of the evaluation.

    Args:
        protocol: The public terms.
        releases: How many, >= 0.
        fewest: The fewest hospitals in any secure sum.
        round_: Any round of training, or the one of the evaluation.

    Guarantees:
        Never below the true cost of so many releases.
    """
    delta, event = protocol.privacy_of(round_).delta, protocol.event_of(round_)
    return {
        words: epsilon(times(event if left is None else _left(event, left), releases), delta)
        for words, left in observers(event, fewest, releases)
    }


def _left(event: DpEvent, honest: int) -> DpEvent:
    return event.with_honest(honest) if isinstance(event, JointGaussianSteps) else event


def _sites(entry: LogEntry) -> Mapping[str, Mapping[str, object]]:
    match entry.data:
        case {"sites": dict(found)}:
            return found
    return {}


def _was_not_asked(found: Mapping[str, object]) -> bool:
    return str(found.get("refused", "")).startswith(NOT_ASKED)


def _names(found: object) -> frozenset[str]:
    return frozenset(map(str, found)) if isinstance(found, list) else frozenset()
