"""What a hospital could do without the consortium, and what nobody could do: local-only and pooled training.

Both are exact and without privacy, on the same patients and the same recipe as the federated model: a federation of
one party, with the same model, local steps, rounds and server optimiser. They stay with the person who runs the
simulation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from wardround.client.training import LocalTrainer, seeded_batches
from wardround.common.learning.data import PatientRows
from wardround.common.learning.models import initial
from wardround.common.learning.parameters import Parameters, to_vector
from wardround.common.learning.study import Progress, Study
from wardround.common.privacy.terms import PrivacyTerms
from wardround.common.study.outcomes import Targets
from wardround.common.study.protocol import StudyProtocol


def train_alone(protocol: StudyProtocol, rows: PatientRows, *, site: str, seed: int) -> Parameters:
    """The model of one set of patients: as many local steps as the whole federated study takes.

    Args:
        protocol: The study; its privacy terms are set aside, its proximal term has nothing to hold on to.
        rows: The training patients.
        site: Names the random order, nothing else.
        seed: Of the order of patients.
    """
    plain = protocol.with_privacy(PrivacyTerms(mechanism="none", delta=protocol.privacy.delta))
    # A yardstick has one site, and no worst one.
    plain = replace(plain, fairness=replace(plain.fairness, worst_site_q=0.0))
    plain = replace(plain, federation=replace(plain.federation, sites=(), quorum=1))
    trainer = LocalTrainer(plain, rows, site=site)
    study = Study(plain, (site,), Progress(parameters=initial(plain, rows.inputs.shape[1])))
    while not study.complete:
        task = study.task()
        batches = seeded_batches(plain, rows.n_patients, seed=seed, site=site, round_=task.round)
        study.advance(to_vector(trainer.plain(task.base, batches)).astype(np.float64))
    return study.model


def pooled_rows(parts: Sequence[PatientRows]) -> PatientRows:
    """The patients of several sites as one table: what no hospital may do, as a yardstick."""
    starts = np.cumsum([0, *(part.n_patients for part in parts[:-1])])
    events = [part.targets.event for part in parts if part.targets.event is not None]
    weights = [part.weight for part in parts if part.weight is not None]
    return PatientRows(
        inputs=np.concatenate([part.inputs for part in parts]),
        patient=np.concatenate([part.patient + start for part, start in zip(parts, starts, strict=True)]),
        targets=Targets(
            value=np.concatenate([part.targets.value for part in parts]),
            event=np.concatenate(events) if events else None,
        ),
        weight=np.concatenate(weights) if weights else None,
    )


def train_baselines(
    protocol: StudyProtocol, parts: Mapping[str, PatientRows], *, seed: int
) -> dict[str, Parameters]:
    """`pooled`, and `local:<site>` for every site.

    Args:
        protocol: The study.
        parts: Training patients of each site.
        seed: Of the order of patients.
    """
    models = {"pooled": train_alone(protocol, pooled_rows(list(parts.values())), site="pooled", seed=seed)}
    for site, rows in parts.items():
        models[f"local:{site}"] = train_alone(protocol, rows, site=site, seed=seed)
    return models
