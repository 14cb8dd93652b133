"""The optional section `[fairness]`: training that cares for a group of patients, or for the hospital served worst.

Group weights are public numbers. A patient counts in training by the weight of the patient's group divided by the
largest weight, so by at most 1: under a privacy mechanism the factor is applied after clipping, one patient's influence
stays within C, and the guarantee is that of the same study without weights.

The worst-site objective is q-fair federated learning (Li et al. 2020, "Fair resource allocation in federated
learning"): the sum of F_k^(q+1) / (q+1) over sites, with F_k the mean loss at site k. Its gradient is that of F_k times
F_k^q, so a site multiplies its update by (F_k / reference_loss)^q, with F_k at the model that the round starts from.
With q = 0 it is the plain mean; with a large q it nears agnostic federated learning (Mohri et al. 2019), which
minimises the largest F_k. The factor is computed from the site's patients and would change what one patient can do to
the update: it is refused together with any privacy mechanism, for neither clipping nor noise accounts for it. Steps are
those of gradient descent, without the paper's estimate of a Lipschitz constant; `federation.server_learning_rate` plays
its part.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardround.common.checks import in_range, positive
from wardround.common.errors import ProtocolError

LARGEST_FACTOR: Final = 10.0
"""A site's update is never made longer than this by its loss: one site in trouble must not throw the model away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FairnessTerms:
    """How training cares for groups and hospitals.

    Attributes:
        group_column: One of `cohort.subgroups`, whose values name the groups; empty for no weights.
        groups: Values of that column, as spelled in tables.
        weights: Public weight of each group, > 0. Patients of another or an unknown group have weight 1.
        worst_site_q: q of q-fair federated learning, only with mechanism `none` and strategy `fedavg`; 0 is the plain
            mean over sites.
        reference_loss: Public mean loss at which a site's update keeps its length, > 0.
    """

    group_column: str = ""
    groups: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    worst_site_q: float = 0.0
    reference_loss: float = 1.0

    def __post_init__(self) -> None:
        """Refuse weights without groups, and the reverse."""
        if bool(self.group_column) != bool(self.groups) or len(self.groups) != len(self.weights):
            raise ProtocolError(
                f"fairness: expected group_column with one weight per group, found {len(self.groups)} groups and "
                f"{len(self.weights)} weights"
            )
        if len(set(self.groups)) != len(self.groups):
            raise ProtocolError("fairness: a group is listed twice")
        for weight in self.weights:
            positive(weights=weight)
        in_range(0, 10, worst_site_q=self.worst_site_q)
        positive(reference_loss=self.reference_loss)

    @property
    def plain(self) -> bool:
        """Whether training is as without this section."""
        return not self.groups and self.worst_site_q == 0

    def patient_weights(self, groups: Sequence[object]) -> NDArray[np.float64] | None:
        """What each patient counts, above 0 and at most 1; None where nothing was declared.

        Args:
            groups: The value of `group_column` for each patient; anything else than text for unknown.

        Example:
            >>> FairnessTerms(group_column="sex", groups=("m",), weights=(2.0,)).patient_weights(["f", "m", None])
            array([0.5, 1. , 0.5])
        """
        if not self.groups:
            return None
        known = dict(zip(self.groups, self.weights, strict=True))
        most = max(1.0, *self.weights)
        return np.array([known.get(str(group), 1.0) / most for group in groups])

    def site_factor(self, loss: float) -> float:
        """By what a site multiplies its update, given its mean loss at the round's first model.

        Example:
            >>> FairnessTerms(worst_site_q=2.0, reference_loss=0.5).site_factor(1.0)
            4.0
        """
        return float(min(LARGEST_FACTOR, (loss / self.reference_loss) ** self.worst_site_q))

    def in_words(self) -> str:
        """What a page says of it; `none` if nothing was declared."""
        parts = []
        if self.groups:
            said = ", ".join(
                f"{name} {weight:g}" for name, weight in zip(self.groups, self.weights, strict=True)
            )
            parts.append(f"public weights of patients by {self.group_column} ({said}; others 1)")
        if self.worst_site_q:
            parts.append(f"worst-site objective, q = {self.worst_site_q:g} (q-fair federated learning)")
        return "; ".join(parts) or "none"
