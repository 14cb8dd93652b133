"""What the sum of integer noise shares costs beyond one continuous Gaussian: a theorem, its proof, its numbers.

Write rho_s(x) = exp(-x^2 / (2 s^2)), D_s for the discrete Gaussian, P(n) = rho_s(n) / rho_s(Z) on the integers, and
e(t) = 2 sum_{j >= 1} exp(-2 pi^2 t^2 j^2) < 2.01 exp(-2 pi^2 t^2) for t >= 1.

Poisson summation: for every real c, sum_m rho_t(m - c) = t sqrt(2 pi) (1 + a) with |a| <= e(t).

Lemma 1 (widening; Peikert 2010, theorem 3.1; Micciancio and Walter 2017). For X ~ D_s and Y ~ D_s' independent and
an integer k, the law of X + k Y is D_S, S^2 = s^2 + k^2 s'^2, times a factor within exp(+-l(t)), where
t = s s' / S and l(t) = ln((1 + e(t)) / (1 - e(t))). If the laws of X and Y are such laws only within factors
exp(+-a) and exp(+-b), the factor is within exp(+-(a + b + l(t))).
Proof. P(n) is proportional to sum_m rho_s(n - k m) rho_s'(m). Completing the square,
(n - k m)^2 / s^2 + m^2 / s'^2 = n^2 / S^2 + (m - c n)^2 / t^2 with c = k t^2 / s^2. So P(n) is proportional to
rho_S(n) sum_m rho_t(m - c n), and the last sum is constant within 1 +- e(t). Factors of X and Y multiply each term.

Lemma 2 (integer noise is a post-processed Gaussian). For integers x and S > r > 0, the law of x + D_S is, within
a factor exp(+-u), that of: draw y from N(x, S^2 - r^2), then round it at random to n with probability proportional
to rho_r(n - y). Here u = ln((1 + e(S)) / (1 - e(r))).
Proof. The rounding divides by rho_r(Z - y) = r sqrt(2 pi) (1 +- e(r)). What is left integrates to a convolution of
two normal densities: the density of N(x, S^2) at n. And D_S(n - x) is that density within 1 +- e(S).

Theorem. One release adds to each of d integers the shares of m honest sites, each x1 + k x2 of `integernoise`.
Let s^2 = 1024^2 (1 + k^2). If T releases, each chosen after seeing the earlier ones, of vectors with integer
sensitivity D (Euclidean) would be (epsilon, delta)-DP with noise N(0, (m s^2 - 9) I), also among other mechanisms,
then the real ones are (epsilon + 2 u, exp(u) delta + (1 + exp(epsilon + 2 u)) v)-DP, with u = d T 2^-111 and
v = 2 m d T 2^-183. Further shares, sums and reduction modulo 2^32 are post-processing.
Proof. First with ideal tables. The m first parts add up to D_A, A = 1024 sqrt(m), and so do the second parts: Lemma 1
with k = 1, t >= 1024 / sqrt(2), so that l(t) < 10^-1000000 each time. Together they are D_S, S^2 = m s^2: Lemma 1
with t = 1024 sqrt(m) / sqrt(1 + k^2) > 1.999 for k <= 512, so l(t) < 2.1e-34. Lemma 2 with r = 3 adds 2e-77. All of
it is below 2^-111 = 3.8e-34 for each coordinate and release. What an observer sees of all releases therefore has,
pointwise, within exp(+-u), the probability that it has where each is a post-processed Gaussian mechanism:
P(E) <= e^u G(E) <= e^u (e^epsilon G'(E) + delta) <= e^(epsilon + 2u) P'(E) + e^u delta.
Real tables: 2 m d T draws, independent of the patients, each off by a total variation of at most 2^-183, so all
together by at most v, which is added once to P(E) and once to P'(E).

Nothing here goes through Renyi or concentrated DP, so nothing is lost in a conversion: the epsilon of the Gaussian
mechanism at almost the same noise and delta is the claim.

Sources: beside those above, Kairouz, Liu and Steinke (2021), "The distributed discrete Gaussian mechanism for
federated learning with secure aggregation", for sums of shares.
"""

import math
from dataclasses import dataclass
from typing import Final

from wardround.common.privacy.integernoise import TOTAL_VARIATION, share_variance

ROUNDING_VARIANCE: Final = 9
"""r^2 of Lemma 2, in squared grid steps."""

LOG_RATIO: Final = 2.0**-111
"""u of one coordinate of one release."""

_SPARED: Final = 2.0**-30  # the part of delta kept back for v
_SMALLEST: Final = share_variance(1)


def gaussian_variance(shares: int, widening: int) -> int:
    """The variance of the continuous Gaussian that `shares` shares amount to: m s^2 - 9, in squared grid steps.

    >>> gaussian_variance(4, 1)
    8388599
    """
    return shares * share_variance(widening) - ROUNDING_VARIANCE


def noise_ratio(shares: int, honest: int) -> float:
    """Of the noise that `honest` shares amount to, what `shares` shares amount to: a lower bound for every k.

    sqrt((m s^2 - 9) / (h s^2 - 9)) for the smallest s, and sqrt(m / h) where m >= h, its limit for large s.

    >>> round(noise_ratio(1, 4), 6)
    0.499999
    """
    found = (shares * _SMALLEST - ROUNDING_VARIANCE) / (honest * _SMALLEST - ROUNDING_VARIANCE)
    return math.sqrt(min(shares / honest, found))


@dataclass(frozen=True, slots=True, kw_only=True)
class Excess:
    """u and v of the theorem, added up over all releases of a patient pool.

    Attributes:
        values: Noisy integers released: the sum of d T.
        draws: Draws from the table behind them: the sum of 2 m d T.
    """

    values: int
    draws: int

    @property
    def log_ratio(self) -> float:
        """The theorem's u."""
        return self.values * LOG_RATIO

    def gaussian_delta(self, delta: float) -> float:
        """The delta at which the Gaussian mechanisms must hold, so that the integer ones hold at `delta`."""
        return delta * (1 - _SPARED) * math.exp(-self.log_ratio) if self.values else delta

    def claim(self, epsilon: float, delta: float) -> float:
        """Epsilon of the integer mechanisms at `delta`.

        Args:
            epsilon: Of the Gaussian ones, at `gaussian_delta(delta)`.
            delta: In (0, 1).

        Returns:
            epsilon + 2 u; infinity above about 70, where the total variation would no longer fit into delta.
        """
        claimed = epsilon + 2 * self.log_ratio
        spared = math.log(_SPARED * delta)
        fits = not self.draws or _log_sum(claimed) + math.log(self.draws * TOTAL_VARIATION) <= spared
        return claimed if fits else math.inf


def _log_sum(epsilon: float) -> float:
    """ln(1 + exp(epsilon)) for epsilon >= 0, without overflow."""
    return epsilon + math.log1p(math.exp(-epsilon))
