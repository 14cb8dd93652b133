"""Central DP-SGD, the yardstick of joint noise: all patients in one place, the same steps, clipping and epsilon.

What no hospital may do. Each step adds N(0, (z C)^2) to the sum of everybody's clipped gradients; joint noise adds
K / h as much variance, because the noise must suffice when K - h sites fail to bring theirs.

`train_unmasked` is joint noise itself without masks, signatures and messages: the same sums, shares and steps. Masks
cancel exactly, so the model has the same distribution; with a hundred sites and more it is the quick way to it.

Source: Abadi et al. (2016), "Deep learning with differential privacy", at sample rate 1.
"""

from collections.abc import Mapping

import numpy as np

from wardround.client.clipping import PatientClipper, measured
from wardround.client.trainer import CohortTrainer
from wardround.common.learning.batches import TensorBatch
from wardround.common.learning.data import PatientRows
from wardround.common.learning.models import build, initial, load_into
from wardround.common.learning.parameters import Parameters, from_vector, to_vector
from wardround.common.learning.study import Progress, Study
from wardround.common.privacy.jointnoise import opened_sum
from wardround.common.study.protocol import StudyProtocol


def train_centrally(
    protocol: StudyProtocol,
    rows: PatientRows,
    *,
    patients: int,
    noise_multiplier: float,
    rng: np.random.Generator,
) -> Parameters:
    """The model after the protocol's rounds, each one noisy full-batch step.

    Args:
        protocol: Gives rounds, learning rate, clipping norm and model; its strategy must be plain descent.
        rows: The training patients of all sites.
        patients: Public divisor of the sum: the declared patients of all sites.
        noise_multiplier: z; 0 for clipping without noise.
        rng: Of the noise. Simulation only: a numpy generator protects nobody.
    """
    terms, norm = protocol.federation, protocol.privacy.clipping_norm
    module = build(protocol, rows.inputs.shape[1])
    clipper = PatientClipper(module, protocol.outcome, norm)
    batch = measured(TensorBatch.of(rows))
    model = initial(protocol, rows.inputs.shape[1])
    for _ in range(terms.rounds):
        load_into(module, model)
        total = np.concatenate([part.numpy().ravel() for part in clipper.sum(batch)])
        noisy = total + rng.normal(0, noise_multiplier * norm, total.shape)
        model = from_vector(to_vector(model) - terms.learning_rate * noisy / patients, model)
    return model


def train_unmasked(protocol: StudyProtocol, parts: Mapping[str, PatientRows]) -> Parameters:
    """The model of a study with joint noise, each site's noisy summand in the open; for simulation only.

    Args:
        protocol: With mechanism `joint-noise`.
        parts: Training patients of each site.
    """
    trainers = {site: CohortTrainer(protocol, rows, site=site) for site, rows in parts.items()}
    width = next(iter(parts.values())).inputs.shape[1]
    study = Study(protocol, tuple(parts), Progress(parameters=initial(protocol, width)))
    for number in range(1, protocol.federation.rounds + 1):
        base = study.progress.parameters
        shares = [trainer.share(base, number, sites=len(parts)) for trainer in trainers.values()]
        total = np.stack(shares).sum(axis=0, dtype=np.uint32)
        study.advance_by_sum(opened_sum(protocol.privacy, total, sites=len(parts)), tuple(parts))
    return study.model
