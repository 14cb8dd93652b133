"""Features of a study: what a column means, in public terms.

Everything here is public. A number measured on the study's own patients must say so in `source`
(`DRAFTED`), and then no result with it may be called private.
"""

import math
from dataclasses import dataclass
from typing import Final, Literal, get_args

from wardround.common.errors import ProtocolError

DRAFTED: Final = "drafted from this study's table"
"""The `source` of a constant that was computed from the study's own patients."""

Kind = Literal["continuous", "binary", "categorical"]
Missing = Literal["refuse", "reference", "indicator"]
Transform = Literal["none", "log1p"]

_ALLOWED: Final = {"kind": get_args(Kind), "missing": get_args(Missing), "transform": get_args(Transform)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One input column.

    Attributes:
        name: Column name after the site's own mapping. In `study.toml`, `names` lists several features that
            share their terms; `low`, `high`, `mean` and `sd` may then be lists of the same length.
        kind: `continuous` (a number with a unit), `binary` (0 or 1, or the two spellings in `categories`),
            `categorical` (one input per category).
        modality: The assay it comes from, e.g. `expression`; a whole modality may be missing at a site.
        unit: UCUM-like unit, e.g. `years`, `log2(TPM+1)`; `1` where there is none.
        low: Smallest plausible value, in `unit`, before `transform`. Values outside are findings.
        high: Largest plausible value, in `unit`, before `transform`.
        transform: Applied per value before standardisation: `none`, or `log1p` for counts.
        mean: Public reference mean after `transform`; a missing value is read as this.
        sd: Public reference standard deviation after `transform`, > 0.
        categories: The spellings; for `binary` exactly (zero, one), or empty for the numbers 0 and 1; empty
            for `continuous`.
        missing: `refuse` a missing value, read it as the `reference` mean, or also add an `indicator` input.
        source: Where the public constants come from.
    """

    name: str
    kind: Kind
    modality: str = "clinical"
    unit: str = "1"
    low: float = -math.inf
    high: float = math.inf
    transform: Transform = "none"
    mean: float = 0.0
    sd: float = 1.0
    categories: tuple[str, ...] = ()
    missing: Missing = "reference"
    source: str

    def __post_init__(self) -> None:
        """Refuse a feature whose terms contradict each other.

        Raises:
            ProtocolError: Naming the feature and the term.
        """
        self._check_words()
        if self.kind == "categorical" and len(self.categories) < 2:
            raise ProtocolError(f"feature {self.name!r}: a categorical feature needs at least two categories")
        if self.kind == "binary" and len(self.categories) not in (0, 2):
            raise ProtocolError(
                f"feature {self.name!r}: binary categories are exactly (zero, one), or absent"
            )
        if len(set(self.categories)) != len(self.categories):
            raise ProtocolError(f"feature {self.name!r}: a category is listed twice")
        if self.categories and self.kind == "continuous":
            raise ProtocolError(f"feature {self.name!r}: a continuous feature has no categories")
        self._check_numbers()
        if self.kind == "continuous":
            self._check_continuous()

    def _check_words(self) -> None:
        if not self.name.strip():
            raise ProtocolError("a feature needs a name")
        if not self.source.strip():
            raise ProtocolError(f"feature {self.name!r}: say the source of its constants")
        if not self.modality.strip():
            raise ProtocolError(f"feature {self.name!r}: say its modality, e.g. 'clinical'")
        for term, allowed in _ALLOWED.items():
            if getattr(self, term) not in allowed:
                raise ProtocolError(f"feature {self.name!r}: {term} is one of {', '.join(allowed)}")

    def _check_numbers(self) -> None:
        if not (math.isfinite(self.mean) and math.isfinite(self.sd) and self.sd > 0):
            raise ProtocolError(f"feature {self.name!r}: expected a finite mean and sd > 0")
        if not self.low < self.high:
            raise ProtocolError(
                f"feature {self.name!r}: expected low < high, found {self.low} and {self.high}"
            )

    def _check_continuous(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            raise ProtocolError(
                f"feature {self.name!r}: expected finite low < high, found {self.low} and {self.high}",
                advice="give the range that any real patient can have, in the declared unit",
            )
        if self.transform == "log1p" and self.low < 0:
            raise ProtocolError(f"feature {self.name!r}: log1p needs low >= 0, found {self.low}")
