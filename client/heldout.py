"""Who trains and who is held out: decided for each patient alone, by a keyed hash of the identifier.

The same key and patient give the same part in every round, run and study; another patient joining or leaving moves
nobody. Whoever has the key and an identifier knows the part, so a hospital's own key never leaves it.
"""

import hashlib
import hmac
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from wardround.common.checks import in_range, positive
from wardround.common.durable import write_atomic

SPLIT_KEY: Final = "split.key"
"""In a site's folder: the key of its own split."""

Indices = NDArray[np.int64]


class HasPatients(Protocol):
    """Anything that knows its patients' identifiers, such as a cohort."""

    @property
    def patients(self) -> tuple[str, ...]:
        """Identifiers, in order."""
        ...


def split(patients: HasPatients | Sequence[str], test_fraction: float, key: bytes) -> tuple[Indices, Indices]:
    """Who trains and who is held out: each patient is decided alone, by a keyed hash of the identifier.

    Args:
        patients: A cohort, or identifiers.
        test_fraction: Expected share held out, in [0, 0.9].
        key: The site's own key for splits; whoever has it and an identifier knows the part.

    Returns:
        Increasing indices of training patients and of held-out patients.

    Example:
        >>> train, test = split([f"p{n}" for n in range(100)], 0.25, b"key")
        >>> len(train), len(test)
        (69, 31)
    """
    in_range(0.0, 0.9, test_fraction=test_fraction)
    held_out = _hashes(patients, key, b"split") < test_fraction
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def folds(patients: HasPatients | Sequence[str], k: int, key: bytes) -> Indices:
    """The fold of each patient, 0 to k - 1, by a keyed hash of the identifier; folds differ a little in size."""
    positive(k=k)
    return np.minimum((_hashes(patients, key, b"folds") * k).astype(np.int64), k - 1)


def own_split_key(home: Path) -> bytes:
    """The secret key of a hospital's own split: made once, kept in its folder, stable across studies."""
    file = home / SPLIT_KEY
    if not file.exists():
        write_atomic(file, os.urandom(32), mode=0o600)
    return file.read_bytes()


def _hashes(patients: HasPatients | Sequence[str], key: bytes, purpose: bytes) -> NDArray[np.float64]:
    """One number in [0, 1) per patient: 53 bits of HMAC-SHA256."""
    ids = patients if isinstance(patients, Sequence) else patients.patients
    messages = (purpose + b"\0" + patient.encode() for patient in ids)
    first = [hmac.new(key, message, hashlib.sha256).digest()[:8] for message in messages]
    return np.array([int.from_bytes(found, "big") >> 11 for found in first], np.float64) * 2.0**-53
