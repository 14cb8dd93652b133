"""The numbers that answer an evaluation: a site's noised table, and the sum over sites that is released."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardround.common.errors import TrustError
from wardround.common.formats import digest
from wardround.common.learning.parameters import Parameters
from wardround.common.privacy.jointnoise import grid_of
from wardround.common.study.protocol import StudyProtocol

TABLE: Final = "table"
"""Name of the numbers in a site's reply."""

MOST_COUNTED: Final = 2.0**24
"""No hospital has more patients in a cell, noise included: beyond it float32 counts no single patient."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """What an evaluation released.

    Attributes:
        table: Shape (cells,), the sum over its sites, noise included.
        sites: Those sites, in the order of the roster.
    """

    table: NDArray[np.float64] = field(repr=False)
    sites: tuple[str, ...]

    @property
    def digest(self) -> str:
        """SHA-256 of the table: what the study log names."""
        return digest(np.ascontiguousarray(self.table, "<f8").tobytes())


def cell_deviation(protocol: StudyProtocol, *, sites: int) -> float:
    """Standard deviation of the noise in each cell of a table of so many sites."""
    privacy = protocol.privacy_of(protocol.federation.rounds + 1)
    if privacy.mechanism == "joint-noise":
        grid = grid_of(privacy, sites=sites, coordinates=protocol.table_cells)
        return grid.share_deviation * math.sqrt(sites)
    return privacy.noise_multiplier * privacy.clipping_norm * math.sqrt(sites)


def check_table(protocol: StudyProtocol, reply: Mapping[str, NDArray[np.float32]]) -> Parameters:
    """Refuse what is no site's table.

    Raises:
        TrustError: Another name or shape, or a value that is not finite or absurdly large; never showing values.
    """
    table = reply.get(TABLE, np.empty(0, np.float32))
    if set(reply) != {TABLE} or table.shape != (protocol.table_cells,) or table.dtype != np.float32:
        raise TrustError(
            f"expected a table of {protocol.table_cells} cells and nothing else, found another reply"
        )
    if not (np.abs(table) <= MOST_COUNTED).all():  # NaN fails too
        raise TrustError(f"a cell of the table is not finite or exceeds {MOST_COUNTED:g}")
    return {TABLE: table}
