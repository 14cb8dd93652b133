"""Training at one site: with a privacy mechanism, or without one.

With `site-noise`, each local step releases sum of clipped per-patient gradients + N(0, (z C)^2 I), divided by
q times the *public* reference number of patients: nothing here depends on how many patients there are. FedProx
and weight decay act on the parameters, which are already noisy, and never enter a patient's gradient.
Without a mechanism it is plain minibatch SGD. No `torch.optim`: importing it costs more than a small study.

Sources: Abadi et al. (2016) for DP-SGD; Li et al. (2020), "Federated optimization in heterogeneous networks",
for FedProx; Mironov (2012) for rounding what is released.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wardround.client.clipping import PatientClipper, measured
from wardround.common.checks import positive
from wardround.common.errors import PrivacyError
from wardround.common.formats import canonical, digest
from wardround.common.learning.batches import TensorBatch
from wardround.common.learning.data import PatientRows
from wardround.common.learning.losses import cox_loss, mean_loss
from wardround.common.learning.models import build, like, load_into, moved
from wardround.common.learning.parameters import Parameters, check_like
from wardround.common.privacy.randomness import SecureRandom
from wardround.common.study.protocol import StudyProtocol

_GRID: Final = 2.0**-12
_BLOCK: Final = 1 << 15  # values made noisy at a time: they stay in the processor's cache


class LocalTrainer:
    """One site's patients and model, kept in memory between rounds.

    Args:
        protocol: The study.
        rows: The site's training patients. Private.
        site: Name of the site, for its public terms.
    """

    def __init__(self, protocol: StudyProtocol, rows: PatientRows, *, site: str) -> None:
        self._protocol = protocol
        self._site = site
        self._batch = measured(TensorBatch.of(rows)) if protocol.private else TensorBatch.of(rows)
        self._all = np.arange(len(self._batch))
        self._module = build(protocol, rows.inputs.shape[1])
        self._parameters = [p for p in self._module.parameters() if p.requires_grad]
        self._like = like(protocol, rows.inputs.shape[1])

    def private(self, base: Parameters, random: SecureRandom) -> Parameters:
        """The update of one round under `site-noise`: `local_steps` noisy steps from `base`.

        Guarantees:
            (epsilon, delta) of `protocol.event()` per patient, add or remove, whatever `base` is. Step size,
            noise scale, divisor and shapes are public terms. A Poisson sample may be empty; it is a step.

        Args:
            base: The model that the round starts from.
            random: A fresh source for this release.

        Returns:
            Local model minus `base`, float32.

        Raises:
            PrivacyError: The protocol has no privacy mechanism, or a loss that couples patients.
            TrustError: `base` has other shapes, or a value that is not finite or absurdly large.
        """
        privacy = self._protocol.privacy
        if privacy.mechanism != "site-noise" or self._protocol.model.loss != "default":
            raise PrivacyError(
                f"expected mechanism 'site-noise' with the default loss, found {privacy.mechanism!r} "
                f"with {self._protocol.model.loss!r}"
            )
        clipper = PatientClipper(self._module, self._protocol.outcome, privacy.clipping_norm)
        start = self._start(base)
        scale = privacy.noise_multiplier * privacy.clipping_norm
        expected = privacy.sample_rate * self._protocol.reference_patients(self._site)
        total = None
        for _ in range(self._protocol.federation.local_steps):
            total = clipper.sum(self._sample(random), into=total)
            noisy = [torch.from_numpy(with_noise(part.numpy(), scale, random)) for part in total]
            self._step(noisy, start, divisor=expected)
        return self._update(base)

    def clipped_sum(self, base: Parameters) -> NDArray[np.float64]:
        """The sum of the patients' gradients at `base`, each clipped to norm C: not private until noise is added.

        Args:
            base: The model that the round starts from.

        Returns:
            (d,), in the order of the model's parameters, accumulated in float64.

        Raises:
            PrivacyError: The mechanism is not `joint-noise`.
            TrustError: As in `private`.
        """
        if not self._protocol.joint:
            raise PrivacyError(
                f"expected mechanism 'joint-noise', found {self._protocol.privacy.mechanism!r}"
            )
        self._start(base)
        clipper = PatientClipper(self._module, self._protocol.outcome, self._protocol.privacy.clipping_norm)
        return np.concatenate([part.numpy().ravel() for part in clipper.sum(self._batch)])

    def plain(self, base: Parameters, batches: Iterable[NDArray[np.int64]]) -> Parameters:
        """The update of one round without privacy: one SGD step on the mean loss of each batch.

        Args:
            base: The model that the round starts from.
            batches: Patient numbers of each step, in order.

        Returns:
            Local model minus `base`, float32. Exact: it may leave only a public or synthetic cohort.

        Raises:
            PrivacyError: The protocol has a privacy mechanism.
            TrustError: As in `private`.
        """
        if self._protocol.private:
            raise PrivacyError("the protocol promises noise; plain training would release exact gradients")
        start = self._start(base)
        factor = self._factor()
        for index in batches:
            # Not held in a name: the next step reuses their memory instead of asking the system for more.
            self._step(self._gradients(index), start, divisor=1.0)
        update = self._update(base)
        return {name: np.float32(factor) * array for name, array in update.items()} if factor != 1 else update

    def _factor(self) -> float:
        """The site's factor of a worst-site objective at the model that the round starts from."""
        terms = self._protocol.fairness
        if not terms.worst_site_q:
            return 1.0
        with torch.no_grad():
            return terms.site_factor(float(self._mean_loss(self._batch)))

    def _start(self, base: Parameters) -> list[Tensor]:
        load_into(self._module, check_like(base, self._like))
        pulled = self._protocol.federation.proximal_mu > 0
        return [p.detach().clone() if pulled else p.detach() for p in self._parameters]

    def _update(self, base: Parameters) -> Parameters:
        return moved(self._module, base)

    def _sample(self, random: SecureRandom) -> TensorBatch:
        rate = self._protocol.privacy.sample_rate
        if rate == 1:
            return self._batch
        return self._take(np.flatnonzero(random.bernoulli(len(self._batch), rate)))

    def _take(self, index: NDArray[np.int64]) -> TensorBatch:
        if np.array_equal(index, self._all):
            return self._batch
        return self._batch.take(torch.from_numpy(index))

    def _gradients(self, index: NDArray[np.int64]) -> Iterable[Tensor]:
        return torch.autograd.grad(self._mean_loss(self._take(index)), self._parameters)

    def _mean_loss(self, batch: TensorBatch) -> Tensor:
        outputs = self._module(batch.inputs)
        if self._protocol.model.loss == "cox" and batch.event is not None:
            return cox_loss(batch.per_patient(outputs.squeeze(-1)), batch.value, batch.event)
        return mean_loss(outputs, batch, self._protocol.outcome)

    def _step(self, gradients: Iterable[Tensor], start: list[Tensor], *, divisor: float) -> None:
        """In place: w <- w - lr (gradient / divisor + mu (w - start) + l2 w); no l2 on biases."""
        terms, l2 = self._protocol.federation, self._protocol.model.l2
        rate, pull = terms.learning_rate, terms.proximal_mu
        with torch.no_grad():
            for parameter, gradient, first in zip(self._parameters, gradients, start, strict=True):
                # Intercepts and baseline hazards stay free: shrunk towards 0 they would distort every weight.
                decay = l2 if parameter.ndim > 1 else 0.0
                if pull or decay:
                    parameter.mul_(1 - rate * (pull + decay)).add_(first, alpha=rate * pull)
                parameter.add_(gradient, alpha=-rate / divisor)


def train_private(
    protocol: StudyProtocol, base: Parameters, rows: PatientRows, *, site: str, random: SecureRandom
) -> Parameters:
    """One round under `site-noise`; see `LocalTrainer.private`."""
    return LocalTrainer(protocol, rows, site=site).private(base, random)


def train_plain(
    protocol: StudyProtocol, base: Parameters, rows: PatientRows, batches: Iterable[NDArray[np.int64]]
) -> Parameters:
    """One round without privacy; see `LocalTrainer.plain`."""
    return LocalTrainer(protocol, rows, site="").plain(base, batches)


def with_noise(values: NDArray[np.floating], scale: float, random: SecureRandom) -> NDArray[np.float32]:
    """Values plus N(0, scale^2), independent for each.

    Guarantees:
        Noise is added in float64 and the result rounded to a public power of two, at most 2^-12 of `scale`, so
        that the low bits of floating-point numbers carry no trace of the sum. The rounding adds less than
        1e-8 of the noise's variance.

    Args:
        values: Any shape and memory order.
        scale: Standard deviation, > 0.
        random: Where the noise comes from.

    Returns:
        A new float32 array of the same shape; what float32 cannot hold of the grid is lost after the noise.
    """
    positive(scale=scale)
    grid = 2.0 ** math.floor(math.log2(scale * _GRID))
    flat = values.ravel()
    result = np.empty(flat.shape, np.float32)
    for begin in range(0, len(flat), _BLOCK):
        part = flat[begin : begin + _BLOCK]
        noisy = random.gaussian(len(part))
        noisy *= scale / grid
        noisy += part / np.float64(grid)
        result[begin : begin + _BLOCK] = np.rint(noisy) * grid
    return result.reshape(values.shape)


def seeded_batches(
    protocol: StudyProtocol, n: int, *, seed: int, site: str, round_: int
) -> Iterator[NDArray[np.int64]]:
    """The batches of one round without privacy: each epoch a new shuffle, its last batch what is left.

    They depend on the arguments only, not on earlier rounds, so that a resumed run repeats an uninterrupted one.

    Args:
        protocol: Gives the number of steps and the batch size; 0, or n and more, is the full batch in order.
        n: Number of patients, >= 1.
        seed: Of the run.
        site: Name of the site.
        round_: Number of the round.

    Yields:
        Patient numbers, `local_steps` times.
    """
    positive(n=n)
    size, left = protocol.federation.batch_size, protocol.federation.local_steps
    if not 0 < size < n:
        yield from [np.arange(n)] * left
        return
    key = digest(canonical(["wardround-batches", seed, site, round_]))
    generator = np.random.Generator(np.random.PCG64(int(key, 16)))
    while left:
        order = generator.permutation(n)
        for begin in range(0, min(n, left * size), size):
            yield order[begin : begin + size]
            left -= 1
