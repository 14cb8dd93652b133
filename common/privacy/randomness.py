"""Randomness for privacy: an AES-256-CTR keystream under a fresh key from the operating system.

One object serves one release. It has no seed, it cannot be copied into another process (a forked child would
repeat the noise), and it is closed when the release has left. Statistical generators such as torch's or numpy's
are not used for privacy: their state can be computed back from what they produced.

Normals come from Marsaglia's polar method on 64-bit words in float64. It has no tail cut before 13 standard
deviations; what it omits beyond has probability below 2^-100. Each value carries float64 rounding (about 2^-50
relative), so the exact law is discrete: whoever releases sums must round them to a grid far coarser than that,
as `client.clipping` does, and then the rounding of the sampler is not visible.

Sources: NIST SP 800-38A (CTR mode); Marsaglia and Bray (1964); Mironov (2012), "On significance of the least
significant bits for differential privacy".
"""

import builtins
import math
import os
from types import TracebackType
from typing import Final, Self

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from numpy.typing import NDArray

from wardround.common.checks import in_range, not_negative
from wardround.common.errors import PrivacyError

_CHUNK: Final = 1 << 20  # bytes encrypted per call
_ZEROS: Final = bytes(_CHUNK)
_PAIRS: Final = 1 << 14  # pairs of normals per pass: the working set stays in the processor's cache


class SecureRandom:
    """Unpredictable bytes, choices and normals for one release.

    Guarantees:
        Every object has its own key from `os.urandom`. An object answers only in the process that made it, and
        not after `close`. There is no way to set or read the key. Not for use by two threads at once.

    Example:
        >>> with SecureRandom() as random:
        ...     random.gaussian(3).shape
        (3,)
    """

    __slots__ = ("_owner", "_stream")

    def __init__(self) -> None:
        # A counter from zero is right: no two objects share a key.
        cipher = Cipher(algorithms.AES(os.urandom(32)), modes.CTR(builtins.bytes(16)))
        self._stream: CipherContext | None = cipher.encryptor()
        self._owner: int | None = os.getpid()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> str:
        raise PrivacyError("a source of noise cannot be copied or sent", advice="make one where it is used")

    def close(self) -> None:
        """Forget the key. Any later draw is refused; closing again does nothing."""
        self._owner = None
        self._stream = None

    def bytes(self, n: int) -> builtins.bytes:
        """`n` bytes."""
        return self._fill(np.empty(n, np.uint8)).tobytes()

    def words(self, n: int) -> NDArray[np.uint64]:
        """`n` uniform 64-bit words, shape (n,), the caller's own."""
        not_negative(n=n)
        return self._fill(np.empty(8 * n, np.uint8)).view(np.uint64)

    def bernoulli(self, n: int, q: float) -> NDArray[np.bool_]:
        """`n` independent choices, each True with probability q.

        The probability is floor(q * 2^64) / 2^64: exact for q >= 2^-11, otherwise at most 2^-64 below q.

        Args:
            n: How many, >= 0.
            q: In [0, 1].

        Returns:
            Shape (n,).
        """
        in_range(0, 1, q=q)
        words = self.words(n)
        threshold = int(math.ldexp(q, 64))
        return np.ones(n, np.bool_) if threshold >> 64 else words < np.uint64(threshold)

    def gaussian(self, n: int) -> NDArray[np.float64]:
        """`n` independent standard normals.

        Returns:
            Shape (n,), float64.
        """
        not_negative(n=n)
        result = np.empty(n)
        words = np.empty(16 * min(_PAIRS, n + 8), np.uint8)
        done = 0
        while done < n:
            normals = _polar(self._fill(words).view(np.int64))[: n - done]
            result[done : done + len(normals)] = normals
            done += len(normals)
        return result

    def _fill(self, out: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Overwrite with keystream, in place: `update_into` is several times faster than `update`."""
        if self._stream is None or self._owner != os.getpid():
            raise PrivacyError(
                "this source of noise was closed, or belongs to another process",
                advice="make a new SecureRandom for each release, after any fork",
            )
        view = memoryview(out.data)
        for start in range(0, len(view), _CHUNK):
            part = view[start : start + _CHUNK]
            self._stream.update_into(_ZEROS[: len(part)], part)
        return out


def _polar(words: NDArray[np.int64]) -> NDArray[np.float64]:
    """Normals from pairs of 64-bit words; about 21 percent of the pairs fall outside the circle and are dropped."""
    point = np.multiply(words.reshape(2, -1), 2.0**-63)
    square = point[0] ** 2 + point[1] ** 2
    inside = np.flatnonzero((square < 1) & (square > 0))
    square = square.take(inside)
    kept: NDArray[np.float64] = point.take(inside, axis=1)
    kept *= np.sqrt(-2 * np.log(square) / square)
    return kept.ravel()
