"""Whether a site may evaluate a released model again: nobody who trained it may be counted.

The site looks into its own ledger, not at a list of patients: there stands of every study that trained here which share
of patients it held out, and the keyed hash that chose them is the same in every study (`client.heldout`). Which study
trained the model the protocol says; a site that evaluated the model before also finds it in its ledger.
"""

from wardround.common.errors import PolicyRefusal
from wardround.common.study.parts import parts
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.ledger import Ledger


def check_untrained(protocol: StudyProtocol, site: str, ledger: Ledger) -> None:
    """Refuse a study that would count patients who trained the model that it monitors.

    Args:
        protocol: Any study; one that monitors nothing passes.
        site: This site.
        ledger: The open ledger of its patient pool.

    Raises:
        PolicyRefusal: Naming both shares. The message is for the site; nothing of it is ever sent.
    """
    if protocol.monitoring is None:
        return
    counted = max(part.share for part in parts(protocol, site))
    named = protocol.monitoring.protocol, *ledger.protocols_about(protocol.monitoring.model)
    apart = min((share for one in named for share in ledger.shares(one)), default=1.0)
    if counted > apart:
        raise PolicyRefusal(
            f"study {protocol.study.name} would count {counted:.0%} of the patients here, and study "
            f"{protocol.monitoring.study} held out {apart:.0%} when it trained this model: some trained it",
            advice=f"ask for cohort.test_fraction = {apart:g} or less; only a site that did not train the model may be "
            "one of evaluation.external_sites",
        )


def unknown_training(protocol: StudyProtocol, ledger: Ledger) -> list[str]:
    """What a person should ask where this site's ledger knows nothing of the study that is said to have trained.

    Which study trained the model is the coordinator's word. At a hospital that took part in it and finds this, another
    study was named, and patients who trained would be counted.
    """
    terms = protocol.monitoring
    if terms is None or ledger.shares(terms.protocol):
        return []
    return [
        f"the ledger here holds no training under the protocol that is said to have made this model, of study "
        f"{terms.study}: if this hospital took part in training it, do not approve, and ask the coordinator"
    ]
