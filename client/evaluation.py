"""Evaluating a model on a site's held-out patients: one table, counted, then noised before anything else sees it.

The same noise as in training: under `site-noise` each cell gets this site's own full Gaussian, under `joint-noise` a
share of integer noise inside a secure sum. Nothing here refuses because of who the patients are: none held out, one
class only, no event, a group that is not recorded, a model that overflows, all give a table of the declared shape.
"""

import numpy as np
from numpy.typing import NDArray

from wardround.client.training import with_noise
from wardround.common.errors import PrivacyError
from wardround.common.learning.data import PatientRows
from wardround.common.learning.evaluated import TABLE
from wardround.common.learning.models import like
from wardround.common.learning.parameters import Parameters
from wardround.common.learning.tabulating import Codes, counted
from wardround.common.privacy.jointnoise import noisy_share
from wardround.common.privacy.randomness import SecureRandom
from wardround.common.study.protocol import StudyProtocol


class Examiner:
    """A site's held-out patients as the state machine sees them; the counterpart of `CohortTrainer`.

    Args:
        protocol: The approved study.
        rows: The site's held-out patients. Private.
        codes: Their groups, as `tabulating.group_codes` gives them. Private.

    Guarantees:
        Every release draws a fresh key from the operating system and forgets it before the table is returned.
        (epsilon, delta) of `protocol.event_of(round)` per held-out patient, add or remove, whatever the model is.
    """

    def __init__(self, protocol: StudyProtocol, rows: PatientRows, codes: Codes) -> None:
        self._protocol = protocol
        self._rows = rows
        self._codes = codes

    def like(self) -> Parameters:
        """A model of the declared names and shapes."""
        return like(self._protocol, self._rows.inputs.shape[1])

    def train(self, base: Parameters, round_: int) -> Parameters:
        """The table of held-out patients under this site's own full noise.

        Raises:
            PrivacyError: The mechanism is another one.
        """
        privacy = self._protocol.privacy_of(round_)
        if privacy.mechanism != "site-noise" or not self._protocol.evaluates(round_):
            raise PrivacyError(f"expected an evaluation under 'site-noise', found {privacy.mechanism!r}")
        table = counted(self._protocol, base, self._rows, self._codes)
        with SecureRandom() as random:
            return {TABLE: with_noise(table, privacy.noise_multiplier * privacy.clipping_norm, random)}

    def share(self, base: Parameters, round_: int, *, sites: int) -> NDArray[np.uint32]:
        """This site's noisy summand of a secure sum of tables, modulo 2^32; private only inside it.

        Raises:
            PrivacyError: The mechanism is another one.
        """
        if not self._protocol.evaluates(round_):
            raise PrivacyError("expected an evaluation")
        table = counted(self._protocol, base, self._rows, self._codes)
        with SecureRandom() as random:
            return noisy_share(self._protocol.privacy_of(round_), table, sites=sites, random=random)
