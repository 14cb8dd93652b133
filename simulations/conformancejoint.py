"""The studies of a conformance run under joint noise: one hospital's share in a sum to which others add nothing."""

import math
from collections.abc import Iterator
from typing import Final

import numpy as np

from wardround.common.learning.models import like
from wardround.common.learning.parameters import Parameters
from wardround.common.learning.statistics import size
from wardround.common.privacy.grid import NoiseGrid
from wardround.common.privacy.jointnoise import grid_of
from wardround.simulations import conformancelaws as laws
from wardround.simulations import conformancenoise as noises
from wardround.simulations.conformanceexam import Examination, others, silent
from wardround.simulations.conformancepatients import (
    CALM,
    CLIP,
    FEW,
    FIRST_SILENT,
    HONEST,
    OVERFLOWING,
    PATIENTS,
    WIDTH,
    WITH,
    WITHOUT,
    Asked,
)
from wardround.simulations.conformancesite import PEERS, Moment, rounds
from wardround.simulations.conformancestats import Check, Floats

JOINT: Final = Asked(name="joint-noise", mechanism="joint-noise", hidden=(128,), rounds=5, attempts=2)
JOINT_CALM: Final = Asked(name="joint-clipping", mechanism="joint-noise", noise=CALM, rounds=2)
STATISTICS: Final = Asked(
    name="joint-statistics",
    mechanism="joint-noise",
    noise=CALM,
    rounds=1,
    attempts=2,
    first_round="statistics",
)
_AGAIN: Final = (Moment(round=1), Moment(round=1, attempt=2))


def noise(exam: Examination) -> Iterator[Check]:
    """Noise of a share: of rounds, of two attempts at one round, of other hospitals."""
    shapes = like(JOINT.protocol(), WIDTH)
    length = sum(array.size for array in shapes.values())
    moments = [*_AGAIN, *rounds(JOINT.rounds)[1:]]
    same = exam.shares(JOINT, WITHOUT, moments, length)
    elsewhere = [*exam.shares(JOINT, WITH, _AGAIN[:1], length), *exam.shares(JOINT, FEW, _AGAIN[:1], length)]
    deviation, step = _share_deviation(JOINT, length), _grid(JOINT, length).step
    releases = [_shaped(share, shapes) for share in (*same, *elsewhere)]
    pure = np.stack([silent(release) for release in releases]) / deviation
    layers = [others(release, deviation) for release in releases[: len(same)]]
    yield from noises.whole(JOINT.name, layers, pure, deviation=deviation, step=step)


def clipping(exam: Examination) -> Iterator[Check]:
    """What each patient adds to a share."""
    length = WIDTH + 1
    deviation = _share_deviation(JOINT_CALM, length)
    moments = rounds(JOINT_CALM.rounds)
    fewer, more = (np.stack(exam.shares(JOINT_CALM, site, moments, length)) for site in (WITHOUT, WITH))
    yield from laws.clipped(JOINT_CALM, fewer[:, :PATIENTS], fewer[:, -1], deviation)
    own = (PATIENTS, OVERFLOWING, WIDTH)
    yield from laws.one_patient_more(JOINT_CALM, fewer, more, own, deviation)


def statistics(exam: Examination) -> Iterator[Check]:
    """The other thing that a share may hold: a round of second moments, where silent columns meet in noise alone."""
    length = size(STATISTICS.protocol(), WIDTH)
    deviation = _share_deviation(STATISTICS, length)
    fewer, more = (np.stack(exam.shares(STATISTICS, site, _AGAIN, length)) for site in (WITHOUT, WITH))
    rows, columns = np.triu_indices(WIDTH + 1)
    among = (rows >= FIRST_SILENT) & (columns < WIDTH)
    pure = np.concatenate([fewer, more])[:, : len(rows)][:, among] / deviation
    yield noises.scale(STATISTICS.name, pure)
    yield noises.each_scale(STATISTICS.name, pure)
    own = np.isin(rows, (PATIENTS, OVERFLOWING, WIDTH)) | np.isin(columns, (PATIENTS, OVERFLOWING, WIDTH))
    touched = [*np.flatnonzero(own), *range(len(rows), length)]
    yield from laws.one_patient_more(STATISTICS, fewer, more, touched, deviation)


def _grid(asked: Asked, length: int) -> NoiseGrid:
    return grid_of(asked.protocol().privacy, sites=1 + len(PEERS), coordinates=length)


def _share_deviation(asked: Asked, length: int) -> float:
    """Z C' / sqrt(h): what any h shares together need, C' = C (1 + 2^-10) + step * sqrt(d) as documented."""
    sensitivity = CLIP * (1 + 2.0**-10) + _grid(asked, length).step * math.sqrt(length)
    return asked.noise * sensitivity / math.sqrt(HONEST)


def _shaped(vector: Floats, shapes: Parameters) -> dict[str, Floats]:
    """A flat vector by layer; `from_vector` would round it to float32."""
    ends = np.cumsum([array.size for array in shapes.values()])
    parts = np.split(vector, ends[:-1])
    return {
        name: part.reshape(array.shape) for (name, array), part in zip(shapes.items(), parts, strict=True)
    }
