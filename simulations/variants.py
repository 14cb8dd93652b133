"""Studies beside the one that a run is about: one fold, one hospital left out; and hospitals that are external."""

from dataclasses import replace

from wardround.common.study.protocol import StudyProtocol
from wardround.simulations.hospitals import Consortium


def with_external(consortium: Consortium, protocol: StudyProtocol) -> Consortium:
    """The consortium, where every patient of an external site is held out."""
    hospitals = tuple(
        h.all_held_out() if h.name in protocol.external_sites else h for h in consortium.hospitals
    )
    return replace(consortium, hospitals=hospitals)


def cross_validated(protocol: StudyProtocol) -> StudyProtocol:
    """The study of one fold: every patient trains in some of them, so nobody is held out and evaluates privately."""
    return replace(protocol, evaluation=None, cohort=replace(protocol.cohort, test_fraction=0.0))


def variant(protocol: StudyProtocol, suffix: str) -> StudyProtocol:
    """A study of its own, with its own reservation in every ledger: the same patients are used once more."""
    if not suffix:
        return protocol
    study = replace(protocol.study, name=f"{protocol.study.name}{suffix}")
    return replace(protocol, study=study, evaluation=None)
