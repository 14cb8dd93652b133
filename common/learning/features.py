"""The public feature path: from a site's table to model inputs, by public constants only.

A value is cut to its plausible range, transformed, standardised by the public mean and sd, and clamped. What
is missing becomes 0, the public mean. Categories become one input each. A modality that a site or a patient
may lack gives one `present:<modality>` input; where it is absent all its inputs are 0. Nothing here is
fitted, so one patient's row depends on that patient only.

The check-up of a cohort has already refused what cannot be read; here the same values count as missing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wardround.common.errors import CohortError, ProtocolError
from wardround.common.learning.loadings import Loadings, read_loadings
from wardround.common.learning.values import category_codes, numbers
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.schema import Feature
from wardround.common.study.terms import InputTerms

BLOCK: Final = 1024
"""Columns converted at once: bounds the extra memory on wide panels."""


class Column(NamedTuple):
    """One input column before loadings: its name, its modality, and the feature it belongs to."""

    name: str
    modality: str
    feature: str


class Standardised(NamedTuple):
    """Rows between a table and the model's inputs: before loadings and scaling to unit length.

    Shapes (rows, columns), within the clamp, and (rows, optional modalities).
    """

    values: NDArray[np.float32]
    present: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class FeaturePath:
    """The mapping of a study's columns to model inputs.

    Guarantees:
        Every output is finite, whatever the table holds. Before loadings every |value| <= `inputs.clamp`.
        With `norm = "unit"` every row has L2 norm 1 (to float32 rounding), or is all zero.

    Example:
        >>> age = Feature(name="age", kind="continuous", low=0, high=120, mean=60, sd=10, source="s")
        >>> path = FeaturePath(features=(age,), optional_modalities=(), inputs=InputTerms(), loadings=None)
        >>> path.transform(pd.DataFrame({"age": ["75", "", "1e9"]})).ravel().tolist()
        [1.5, 0.0, 5.0]
    """

    features: tuple[Feature, ...]
    optional_modalities: tuple[str, ...]
    inputs: InputTerms
    loadings: Loadings | None

    def __post_init__(self) -> None:
        """Refuse terms that fit no feature.

        Raises:
            ProtocolError: An optional modality of no feature, or loadings of an unknown feature.
        """
        known = {feature.modality for feature in self.features}
        if unknown := [name for name in self.optional_modalities if name not in known]:
            raise ProtocolError(f"optional_modalities: no feature belongs to {', '.join(unknown)}")
        numeric = {self.features[place].name for place in self._numeric}
        if self.loadings and (strange := [n for n in self.loadings.features if n not in numeric]):
            raise ProtocolError(f"loadings: {', '.join(strange[:5])} is not a numeric feature of the study")

    @classmethod
    def from_protocol(cls, protocol: StudyProtocol, folder: Path | None) -> "FeaturePath":
        """The path of a study; `folder` holds `study.toml` and the loadings file beside it.

        Raises:
            ProtocolError: The loadings file is absent, is not the one the protocol names, or does not fit.
        """
        return cls(
            features=protocol.features,
            optional_modalities=protocol.cohort.optional_modalities,
            inputs=protocol.inputs,
            loadings=read_loadings(protocol.inputs, folder),
        )

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The model's inputs, in order: features, then components, then `present:<modality>`."""
        kept = tuple(self.columns[place].name for place in self._kept)
        components = self.loadings.components if self.loadings else ()
        return (*kept, *components, *(f"present:{name}" for name in self.optional_modalities))

    @property
    def width(self) -> int:
        """How many inputs the model has."""
        return len(self.names)

    def transform(self, frame: pd.DataFrame) -> NDArray[np.float32]:
        """Model inputs of a table's rows.

        Args:
            frame: One row per sample; strings or numbers. Columns of other names are ignored. All columns of
                an optional modality may be absent.

        Returns:
            Shape (rows, width), float32, finite.

        Raises:
            CohortError: A column is absent or there twice, naming it.
        """
        return self.inputs_of(self.standardised(frame))

    def inputs_of(self, rows: Standardised) -> NDArray[np.float32]:
        """The second half of `transform`: loadings, and unit length where the protocol wants it."""
        return self._scaled(self._compressed(rows.values, rows.present))

    def standardised(self, frame: pd.DataFrame) -> Standardised:
        """The first half of `transform`; its arguments and errors."""
        absent = self._absent(frame)
        values = np.zeros((len(frame), len(self.columns)), np.float32)
        missing = np.ones((len(frame), len(self.features)), np.bool_)
        self._fill_numeric(frame, absent, values, missing)
        self._fill_categories(frame, absent, values, missing)
        present = self._mark_missing(values, missing)
        np.clip(values, -self.inputs.clamp, self.inputs.clamp, out=values)
        return Standardised(values, present)

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """The columns before loadings, in order."""
        columns: list[Column] = []
        for feature in self.features:
            names = [feature.name]
            if feature.kind == "categorical":
                names = [f"{feature.name}={category}" for category in feature.categories]
            if feature.missing == "indicator":
                names.append(f"missing:{feature.name}")
            columns += [Column(name, feature.modality, feature.name) for name in names]
        return tuple(columns)

    @cached_property
    def _first(self) -> NDArray[np.int64]:
        """The input column at which each feature starts."""
        widths = [len(f.categories) if f.kind == "categorical" else 1 for f in self.features]
        extra = [f.missing == "indicator" for f in self.features]
        total = np.asarray(widths, np.int64) + np.asarray(extra, np.int64)
        return np.cumsum(total) - total

    @cached_property
    def _numeric(self) -> NDArray[np.int64]:
        """Places of the features that are read as numbers."""
        return _places(
            [f.kind == "continuous" or (f.kind == "binary" and not f.categories) for f in self.features]
        )

    @cached_property
    def _loaded(self) -> NDArray[np.int64]:
        """Input columns that the loadings replace, in the order of the loadings' features."""
        if self.loadings is None:
            return np.empty(0, np.int64)
        place = {feature.name: first for feature, first in zip(self.features, self._first, strict=True)}
        return np.asarray([place[name] for name in self.loadings.features], np.int64)

    @cached_property
    def _kept(self) -> NDArray[np.int64]:
        return np.setdiff1d(np.arange(len(self.columns)), self._loaded)

    def _absent(self, frame: pd.DataFrame) -> frozenset[str]:
        """Names of feature columns that the table may lack and does lack."""
        found = set(frame.columns)
        if len(found) < len(frame.columns):
            raise CohortError("a column name appears twice", advice="rename or drop one of the two")
        absent = {feature.name for feature in self.features if feature.name not in found}
        whole = {
            name
            for name in self.optional_modalities
            if all(feature.name in absent for feature in self.features if feature.modality == name)
        }
        wrong = [f.name for f in self.features if f.name in absent and f.modality not in whole]
        if wrong:
            raise CohortError(
                f"{len(wrong)} columns are absent: {', '.join(wrong[:5])}",
                advice="map the site's own column names in its policy; a modality can only lack as a whole",
            )
        return frozenset(absent)

    def _fill_numeric(
        self,
        frame: pd.DataFrame,
        absent: frozenset[str],
        values: NDArray[np.float32],
        missing: NDArray[np.bool_],
    ) -> None:
        there = [int(place) for place in self._numeric if self.features[place].name not in absent]
        for start in range(0, len(there), BLOCK):
            places = there[start : start + BLOCK]
            features = [self.features[place] for place in places]
            block = _standardised(numbers(frame[[feature.name for feature in features]]), features)
            unknown = np.isnan(block)
            missing[:, places] = unknown
            block[unknown] = 0.0
            values[:, self._first[places]] = np.clip(block, -self.inputs.clamp, self.inputs.clamp)

    def _fill_categories(
        self,
        frame: pd.DataFrame,
        absent: frozenset[str],
        values: NDArray[np.float32],
        missing: NDArray[np.bool_],
    ) -> None:
        numeric = set(self._numeric.tolist())
        for place, feature in enumerate(self.features):
            if place in numeric or feature.name in absent:
                continue
            codes = category_codes(frame[feature.name], feature.categories)
            missing[:, place] = codes < 0
            rows, first = np.flatnonzero(codes >= 0), self._first[place]
            if feature.kind == "binary":
                values[rows, first] = (codes[rows] - feature.mean) / feature.sd
            else:
                values[rows, first + codes[rows]] = 1.0

    def _mark_missing(self, values: NDArray[np.float32], missing: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Set the missing indicators; empty the inputs of absent modalities; say who has which modality."""
        for place, feature in enumerate(self.features):
            if feature.missing == "indicator":
                width = len(feature.categories) if feature.kind == "categorical" else 1
                values[:, self._first[place] + width] = missing[:, place]
        present = np.zeros((len(values), len(self.optional_modalities)), np.float32)
        for index, modality in enumerate(self.optional_modalities):
            own = _places([feature.modality == modality for feature in self.features])
            lacking = missing[:, own].all(axis=1)
            present[:, index] = ~lacking
            columns = _places([column.modality == modality for column in self.columns])
            values[np.ix_(lacking, columns)] = 0.0
        return np.minimum(present, np.float32(self.inputs.clamp))

    def _compressed(self, values: NDArray[np.float32], present: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.loadings is None:
            return np.concatenate([values, present], axis=1)
        components = values[:, self._loaded] @ self.loadings.matrix
        return np.concatenate([values[:, self._kept], components, present], axis=1)

    def combined(self, columns: NDArray[np.float32]) -> NDArray[np.float32]:
        """Model inputs of rows whose columns are standardised already and which lack no modality.

        Args:
            columns: Shape (rows, number of `columns`).

        Returns:
            As `transform`.
        """
        present = np.ones((len(columns), len(self.optional_modalities)), np.float32)
        return self.inputs_of(Standardised(columns, np.minimum(present, np.float32(self.inputs.clamp))))

    def _scaled(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.inputs.norm == "none":
            return values
        lengths = np.sqrt(np.einsum("ij,ij->i", values, values, dtype=np.float64))
        lengths[lengths == 0.0] = 1.0
        np.divide(values, lengths[:, None], out=values, casting="same_kind")
        return values


def _places(chosen: Sequence[bool]) -> NDArray[np.int64]:
    return np.flatnonzero(np.asarray(chosen, np.bool_))


def _standardised(raw: NDArray[np.float64], features: Sequence[Feature]) -> NDArray[np.float64]:
    """Transformed and standardised values; NaN stays NaN, and so becomes a binary cell other than 0 and 1."""
    binary = np.asarray([feature.kind == "binary" for feature in features])
    raw = np.where(binary & (raw != 0) & (raw != 1), np.nan, raw)
    values = np.clip(raw, [feature.low for feature in features], [feature.high for feature in features])
    counts = _places([feature.transform == "log1p" for feature in features])
    values[:, counts] = np.log1p(values[:, counts])
    means = np.asarray([feature.mean for feature in features])
    sds = np.asarray([feature.sd for feature in features])
    with np.errstate(over="ignore"):  # infinity is clamped next
        result: NDArray[np.float64] = (values - means) / sds
    return result
