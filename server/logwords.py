"""What a line of the study log says of one site in one attempt."""

from collections.abc import Mapping

from wardround.common.trust.signed import text_of
from wardround.server.admission import Admitted, Refused
from wardround.server.jointround import JointRound


def word_in_sum(joint: JointRound, site: str) -> Mapping[str, object]:
    """What the log says of a site in a secure sum; the digests show whose fault a void attempt was."""
    said: dict[str, object] = {}
    if site in joint.refused:
        said["refused"] = joint.refused[site]
    if site in joint.rejected:
        said["reply"] = joint.rejected[site]
    if site in joint.receipts:
        said |= {"upload": joint.upload(site), **joint.receipts[site].to_dict()}
        said |= {"head": text_of(joint.heads[site]), "reply": joint.replies[site]}
    return said


def word_of(found: Admitted | Refused) -> Mapping[str, object]:
    """A verdict as the log says it; an update with the site's own word for it."""
    if isinstance(found, Refused):
        return {"refused": found.reason}
    settled = {"reply": found.reply} if found.reply else {}
    return {
        "update": found.sha256,
        **found.receipt.to_dict(),
        "head": text_of(found.head),
        **settled,
    }
