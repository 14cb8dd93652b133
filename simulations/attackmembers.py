"""Who trained the released model: membership from its loss, and by comparison with models of one's own (LiRA).

Sources: Yeom et al. (2018), "Privacy risk in machine learning", for the loss; Carlini et al. (2022), "Membership
inference attacks from first principles", for LiRA, here online, with one spread for all patients as they advise for few
shadow models.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from wardround.common.learning.batches import TensorBatch
from wardround.common.learning.data import PatientRows
from wardround.common.learning.losses import patient_losses
from wardround.common.learning.metrics import auc
from wardround.common.learning.models import build, initial, load_into
from wardround.common.learning.parameters import Parameters
from wardround.simulations.attackcohort import Attacked, Training, update

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """How well members are told from strangers.

    Attributes:
        auc: 0.5 is a guess.
        hit_rate: Members found where one stranger of a hundred is taken for one.
    """

    auc: float
    hit_rate: float

    @classmethod
    def of(cls, members: Floats, strangers: Floats) -> "Membership":
        """From scores, larger for members."""
        scores = np.concatenate([members, strangers])
        truth = np.repeat([1.0, 0.0], [len(members), len(strangers)])
        threshold = float(np.quantile(strangers, 0.99))
        return cls(auc=float(auc(truth, scores)), hit_rate=float((members > threshold).mean()))


def trained(cohort: Attacked, training: Training, rows: PatientRows, *, seed: int) -> Parameters:
    """The model after one hospital's training from the public start."""
    base = initial(training.protocol(cohort, rows.n_patients), cohort.width)
    moved = update(cohort, training, base, rows, seed=seed)
    return {name: base[name] + moved[name] for name in base}


def confidence(cohort: Attacked, training: Training, model: Parameters, rows: PatientRows) -> Floats:
    """log(p / (1 - p)) of each patient's true outcome, p = exp(-loss): (n,), larger where the model is surer."""
    module = build(training.protocol(cohort, 2), cohort.width)
    load_into(module, model)
    batch = TensorBatch.of(rows)
    with torch.no_grad():
        losses = patient_losses(module(batch.inputs), batch, cohort.outcome).double().numpy()
    return np.asarray(-np.log(np.expm1(np.maximum(losses, 1e-12))))


def by_loss(members: Floats, strangers: Floats) -> Membership:
    """The attack that needs nothing but the released model."""
    return Membership.of(members, strangers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadows:
    """Models that an attacker trained on random halves of everybody.

    Attributes:
        scores: Confidence of each model in each patient, (models, 2 n).
        inside: Whether the patient trained the model.
    """

    scores: Floats
    inside: NDArray[np.bool_]

    @classmethod
    def train(cls, cohort: Attacked, training: Training, models: int, rng: np.random.Generator) -> "Shadows":
        """Train them as the hospital trains, each patient in half of them."""
        everybody = both(cohort.members, cohort.strangers)
        n = everybody.n_patients
        order = np.array([rng.permutation(n) for _ in range(models // 2)])
        inside = np.concatenate([order < n // 2, order >= n // 2])
        scores = [
            confidence(
                cohort,
                training,
                trained(cohort, training, everybody.take(np.flatnonzero(chosen)), seed=number),
                everybody,
            )
            for number, chosen in enumerate(inside, start=1)
        ]
        return cls(scores=np.stack(scores), inside=inside)

    def ratio(self, observed: Floats) -> Floats:
        """Log-likelihood of `observed` (2 n,) as a member's minus as a stranger's."""
        means = [
            (self.scores * chosen).sum(axis=0) / chosen.sum(axis=0) for chosen in (self.inside, ~self.inside)
        ]
        spreads = [
            np.sqrt((((self.scores - mean) ** 2) * chosen).sum() / chosen.sum())
            for mean, chosen in zip(means, (self.inside, ~self.inside), strict=True)
        ]
        terms = [
            -np.log(spread) - (observed - mean) ** 2 / (2 * spread**2)
            for mean, spread in zip(means, spreads, strict=True)
        ]
        return np.asarray(terms[0] - terms[1])


def both(first: PatientRows, second: PatientRows) -> PatientRows:
    """The patients of two cohorts in one; all have the same columns."""
    events = (first.targets.event, second.targets.event)
    event = None if events[0] is None or events[1] is None else np.concatenate([events[0], events[1]])
    return PatientRows(
        inputs=np.concatenate([first.inputs, second.inputs]),
        patient=np.concatenate([first.patient, second.patient + first.n_patients]),
        targets=type(first.targets)(
            value=np.concatenate([first.targets.value, second.targets.value]), event=event
        ),
    )
