"""Public loadings: a file that maps standardised features to fewer components.

A CSV file with one header line; the first column names the feature, every further column is a component. The
protocol names the file's SHA-256, so that every party multiplies by the same numbers.
"""

import csv
import io
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from wardround.common.errors import ProtocolError
from wardround.common.formats import digest
from wardround.common.learning.parameters import LARGEST
from wardround.common.study.terms import InputTerms


@dataclass(frozen=True, kw_only=True)
class Loadings:
    """The components of some features.

    Attributes:
        features: Names of the m features that the components replace.
        components: Names of the p components.
        matrix: Shape (m, p), float32, each |value| <= LARGEST, used as given.
    """

    features: tuple[str, ...]
    components: tuple[str, ...]
    matrix: NDArray[np.float32]

    def __post_init__(self) -> None:
        """Refuse repeated names, wrong shapes and values that are not finite.

        Raises:
            ProtocolError: Saying which.
        """
        shape = (len(self.features), len(self.components))
        if self.matrix.shape != shape or 0 in shape or self.matrix.dtype != np.float32:
            raise ProtocolError(
                f"loadings: expected float32 values of shape {shape}, found {self.matrix.shape}",
                advice="one header line, then one line per feature with a number for every component",
            )
        if len(set(self.features)) < shape[0] or len(set(self.components)) < shape[1]:
            raise ProtocolError("loadings: a feature or a component is listed twice")
        if not np.all(np.abs(self.matrix) <= LARGEST):
            raise ProtocolError(f"loadings: expected finite numbers of at most {LARGEST:g} in size")


def read_loadings(inputs: InputTerms, folder: Path | None) -> Loadings | None:
    """The loadings that a protocol names, from the folder of its `study.toml`; None where it names none.

    Raises:
        ProtocolError: The file is absent, outside the folder, has another digest, or cannot be read.
    """
    if not inputs.loadings:
        return None
    path = PurePosixPath(inputs.loadings)
    if folder is None or path.is_absolute() or ".." in path.parts:
        raise ProtocolError(
            f"loadings: expected {inputs.loadings!r} inside the folder of study.toml",
            advice="keep the loadings file beside study.toml and load the study from its file",
        )
    try:
        data = (folder / path).read_bytes()
    except OSError as error:
        raise ProtocolError(f"loadings: cannot read {folder / path}: {error.strerror}") from error
    found = digest(data)
    if found != inputs.loadings_sha256:
        raise ProtocolError(
            f"loadings: expected SHA-256 {inputs.loadings_sha256} of {path}, found {found}",
            advice="get the file from whoever published the study; do not edit it",
        )
    return parse_loadings(data)


def parse_loadings(data: bytes) -> Loadings:
    r"""Read the CSV bytes of a loadings file.

    Raises:
        ProtocolError: Not UTF-8 text, ragged lines, or something that is not a number.

    Example:
        >>> parse_loadings(b"feature,PC1\nTP53,0.6\nMYC,0.8\n").features
        ('TP53', 'MYC')
    """
    try:
        header, *lines = csv.reader(io.StringIO(data.decode()))
        matrix = np.array([[float(cell) for cell in line[1:]] for line in lines if line], np.float32)
    except ValueError as error:
        raise ProtocolError(
            "loadings: expected UTF-8 CSV of numbers with a header line, each line equally long"
        ) from error
    names = tuple(line[0] for line in lines if line)
    return Loadings(features=names, components=tuple(header[1:]), matrix=matrix)
