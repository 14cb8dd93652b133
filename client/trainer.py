"""A site's cohort as the state machine sees it: shapes, and one round of training with its own randomness."""

import secrets

import numpy as np
from numpy.typing import NDArray

from wardround.client.training import LocalTrainer, seeded_batches
from wardround.common.learning.data import PatientRows
from wardround.common.learning.models import like
from wardround.common.learning.parameters import Parameters
from wardround.common.learning.statistics import statistics_sum
from wardround.common.privacy.jointnoise import noisy_share
from wardround.common.privacy.randomness import SecureRandom
from wardround.common.study.protocol import StudyProtocol


class CohortTrainer:
    """Trains on one site's patients; tensors and model are built at the first task and kept.

    Args:
        protocol: The approved study.
        rows: The site's training patients. Private.
        site: Name of the site.

    Guarantees:
        Under a private mechanism every round draws a fresh key from the operating system and forgets it before
        the update is returned.
    """

    def __init__(self, protocol: StudyProtocol, rows: PatientRows, *, site: str) -> None:
        self._protocol = protocol
        self._rows = rows
        self._site = site
        self._like = like(protocol, rows.inputs.shape[1])
        self._local: LocalTrainer | None = None

    def like(self) -> Parameters:
        """A model of the declared names and shapes."""
        return self._like

    def train(self, base: Parameters, round_: int) -> Parameters:
        """The update of one round: local model minus base, private if the protocol says so."""
        local = self._trainer()
        if self._protocol.private:
            with SecureRandom() as random:
                return local.private(base, random)
        seed = secrets.randbits(64) if self._protocol.seed is None else self._protocol.seed
        batches = seeded_batches(
            self._protocol, self._rows.n_patients, seed=seed, site=self._site, round_=round_
        )
        return local.plain(base, batches)

    def share(self, base: Parameters, round_: int, *, sites: int) -> NDArray[np.uint32]:
        """This site's noisy summand of a secure sum over `sites` sites, modulo 2^32; private only inside it."""
        if self._protocol.sums_statistics(round_):
            total = statistics_sum(self._protocol, self._rows)
        else:
            total = self._trainer().clipped_sum(base)
        with SecureRandom() as random:
            return noisy_share(self._protocol.privacy, total, sites=sites, random=random)

    def _trainer(self) -> LocalTrainer:
        if self._local is None:
            self._local = LocalTrainer(self._protocol, self._rows, site=self._site)
        return self._local
