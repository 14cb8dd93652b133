"""The public terms of a study that trains nothing: it evaluates a released model again, on patients who came later.

Such a study has `rounds = 0` and an `[evaluation]`, and is approved, charged, logged and audited like any other. Who is
counted follows from the hospital's table and from the keyed hash that kept patients out of training: a patient below
`[cohort] test_fraction` trained in no study that holds out as many or more. No list of those who trained is needed,
which would be a file about patients that could be lost, and nobody's word.

What it is compared with is the table that the model's own study released, named by its digest.
"""

from dataclasses import dataclass
from typing import Final

from wardround.common.checks import in_range, positive
from wardround.common.errors import ProtocolError
from wardround.common.study.terms import FederationTerms

_DIGEST: Final = 64  # hexadecimal digits of SHA-256
_DIGITS: Final = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitoringTerms:
    """Which released model is evaluated again, with what it is compared, and what change matters.

    Attributes:
        study: Name of the study that released the model.
        protocol: Digest of that study's protocol.
        model: Digest of the model's layers, as that study's log names it; a site evaluates no other one.
        calibration: Digest of that study's `calibration.json`: the table of its own evaluation.
        patients: In words, which patients every site puts into its table, e.g. those first seen in 2026.
        smallest_change: A change of the evaluation's `measure` that must not go unnoticed. Where this evaluation could
            have missed it, the answer is too few patients to tell.
    """

    study: str
    protocol: str
    model: str
    calibration: str
    patients: str
    smallest_change: float = 0.1

    def __post_init__(self) -> None:
        """Refuse what names nothing, and no words about whom to count."""
        for name in ("protocol", "model", "calibration"):
            text = getattr(self, name)
            if len(text) != _DIGEST or not set(text) <= _DIGITS:
                raise ProtocolError(
                    f"monitoring: {name} is a SHA-256 of {_DIGEST} hexadecimal digits, found {text!r:.80}",
                    advice="`wardround evaluate RUN --draft DIR` writes them from the run that released the model",
                )
        if not self.study or not self.patients.strip():
            raise ProtocolError(
                "monitoring: say which study released the model, and which patients are counted"
            )
        positive(smallest_change=self.smallest_change)
        in_range(0, 1, smallest_change=self.smallest_change)


def check_monitoring(terms: MonitoringTerms | None, federation: FederationTerms, *, evaluates: bool) -> None:
    """Refuse a study that both trains and monitors, or does neither.

    Raises:
        ProtocolError: Naming the section.
    """
    if (terms is None) != (federation.rounds > 0):
        raise ProtocolError(
            f"federation: expected rounds = 0 with [monitoring] and only then, found {federation.rounds}",
            advice="a study either trains a model or evaluates a released one again",
        )
    if terms is not None and not evaluates:
        raise ProtocolError("monitoring: there is no [evaluation], so nothing would be counted")
    if terms is not None and federation.first_round != "gradients":
        raise ProtocolError("monitoring: no round sums statistics; leave federation.first_round out")
