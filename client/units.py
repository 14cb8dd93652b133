"""Which unit would fit a column whose numbers do not fit the declared one.

A hospital exports days where months were declared, mmol/L for mg/dL, percent for a fraction, raw counts for
logarithms. The declared range and reference mean are public; a conversion under which nearly all values fit is
named. Only its name is returned, never a number computed from patients.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardround.common.study.outcomes import DAYS_PER_UNIT
from wardround.common.study.schema import Feature

Floats = NDArray[np.float64]

MUCH: Final = 0.05
"""Share of values outside the declared range from which another unit is looked for."""
NEARLY_ALL: Final = 0.98
"""Share of converted values that must lie inside it."""

_TIME: Final = {name: DAYS_PER_UNIT[name] for name in ("days", "months", "years")}
_LENGTH: Final = {"mm": 1.0, "cm": 10.0, "m": 1000.0}
_MASS: Final = {"g": 1.0, "lb": 453.592, "kg": 1000.0}
_SHARE: Final = {"percent": 0.01, "fraction": 1.0}
_FAMILIES: Final = (_TIME, _LENGTH, _MASS, _SHARE)
_ALIASES: Final = {
    "d": "days", "day": "days", "mo": "months", "month": "months", "a": "years", "y": "years", "yr": "years",
    "year": "years", "%": "percent", "[lb_av]": "lb", "proportion": "fraction",
}  # fmt: skip
# mg/dL per mmol/L of glucose, cholesterol, triglycerides; micromol/L per mg/dL of creatinine, bilirubin.
_MOLAR: Final = (18.016, 38.67, 88.57)
_MICROMOLAR: Final = (88.42, 17.10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """A way to read a column: its name as a phrase, and the change into the declared unit."""

    phrase: str
    convert: Callable[[Floats], Floats]
    factor: float = math.nan


def _times(factor: float, phrase: str) -> Conversion:
    return Conversion(phrase=phrase, convert=lambda values: values * factor, factor=factor)


def named_conversions(unit: str) -> tuple[Conversion, ...]:
    """Readings in a sister unit of the declared one, nearest first."""
    key = _ALIASES.get(unit.strip().lower(), unit.strip().lower())
    for family in _FAMILIES:
        if key in family:
            sisters = [(name, size / family[key]) for name, size in family.items() if name != key]
            sisters.sort(key=lambda sister: abs(math.log(sister[1])))
            return tuple(_times(factor, f"the column is in {name}") for name, factor in sisters)
    return _laboratory(key)


def _laboratory(key: str) -> tuple[Conversion, ...]:
    match key:
        case "mg/dl":
            molar = [_times(factor, "the column is in mmol/L") for factor in _MOLAR]
            return (*molar, *(_times(1 / factor, "the column is in umol/L") for factor in _MICROMOLAR))
        case "mmol/l":
            return tuple(_times(1 / factor, "the column is in mg/dL") for factor in _MOLAR)
        case "umol/l" | "µmol/l":
            return tuple(_times(factor, "the column is in mg/dL") for factor in _MICROMOLAR)
        case "cel" | "°c":
            return (
                Conversion(phrase="the column is in Fahrenheit", convert=lambda values: (values - 32) / 1.8),
            )
        case _:
            return ()


def _generic(unit: str) -> tuple[Conversion, ...]:
    powers = [
        reading
        for ten in (10.0, 100.0, 1000.0)
        for reading in (
            _times(1 / ten, f"every value is divided by {ten:g}"),
            _times(ten, f"every value is multiplied by {ten:g}"),
        )
    ]
    if "log" in unit.lower():
        return (Conversion(phrase="the column is not yet log2-transformed", convert=_log2p1), *powers)
    logged = Conversion(phrase="the column is log2-transformed already", convert=_exp2m1)
    return (*powers, logged)


def _log2p1(values: Floats) -> Floats:
    return np.log2(np.maximum(values, 0.0) + 1.0)


def _exp2m1(values: Floats) -> Floats:
    return np.exp2(np.clip(values, -60.0, 60.0)) - 1.0


def fitting_unit(values: Floats, *, unit: str, low: float, high: float, centre: float = math.nan) -> str:
    """The reading under which nearly all values lie in [low, high], if many do not as they are.

    Args:
        values: Shape (n,), finite.
        unit: The declared unit.
        low: Smallest declared value.
        high: Largest declared value.
        centre: A public typical value in the declared unit; breaks ties. NaN where none is known.

    Returns:
        A phrase such as "the column is in days"; empty if few values are outside or nothing fits.

    Example:
        >>> days = np.array([400.0, 900.0, 2000.0, 3100.0])
        >>> fitting_unit(days, unit="months", low=0.0, high=360.0)
        'the column is in days'
    """
    if not len(values) or np.mean((values < low) | (values > high)) <= MUCH:
        return ""
    for readings in (named_conversions(unit), _generic(unit)):
        fits = [reading for reading in readings if _inside(reading.convert(values), low, high) >= NEARLY_ALL]
        if fits:
            return _nearest(fits, values, centre).phrase
    return ""


def _inside(values: Floats, low: float, high: float) -> float:
    return float(np.mean((values >= low) & (values <= high)))


def _nearest(readings: list[Conversion], values: Floats, centre: float) -> Conversion:
    if not math.isfinite(centre):
        return readings[0]
    return min(readings, key=lambda reading: abs(float(np.median(reading.convert(values))) - centre))


def unit_by_mean(values: Floats, feature: Feature) -> str:
    """The sister unit whose factor explains a median far from the public reference mean; empty if none.

    Needs a declared mean above zero and the median more than three declared standard deviations away.
    """
    known = feature.mean > 0 and len(values) >= 5
    if not known:
        return ""
    seen = np.log1p(np.maximum(values, 0)) if feature.transform == "log1p" else values
    if abs(float(np.median(seen)) - feature.mean) <= 3 * feature.sd:
        return ""
    mean = math.expm1(feature.mean) if feature.transform == "log1p" else feature.mean
    ratio = float(np.median(values)) / mean
    for reading in named_conversions(feature.unit):
        explained = math.isfinite(reading.factor) and abs(ratio * reading.factor - 1) < 0.35
        if explained and _inside(reading.convert(values), feature.low, feature.high) >= NEARLY_ALL:
            return reading.phrase
    return ""


def unit_by_horizon(times: Floats, *, unit: str, high: float, cuts: tuple[float, ...]) -> str:
    """The time unit that fits the public cut points where the declared one does not; empty if none.

    The declared unit does not fit if half of the patients are followed beyond the last cut point, or half not even
    to the first; the other one fits if its median lies between them, and within a factor of two of the middle one.
    """
    if len(times) < 5:
        return ""
    median, middle = float(np.median(times)), cuts[len(cuts) // 2]
    if cuts[0] <= median <= cuts[-1]:
        return ""
    for reading in named_conversions(unit):
        read = median * reading.factor
        central = cuts[0] <= read <= cuts[-1] and 0.5 < read / middle < 2
        if central and _inside(reading.convert(times), 0.0, high) >= NEARLY_ALL:
            return reading.phrase
    return ""
