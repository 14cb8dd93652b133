"""What another system's run really spent, and which of the usual mistakes its claim makes.

Where the noise was not published it is found from the claim: the least noise at which the stated accountant gives the
stated epsilon for the steps that it counted.

Shuffled batches are never Poisson samples: no bound for them with amplification is known that holds in general, and
claims that account them as Poisson were shown to be up to 4 times too small. So two figures are given: what Poisson
sampling would cost, which grants the run more than it has, and what holds without any amplification, because a pass
over shuffled records uses each of them once.

Sources: Annamalai et al. (2024), "To shuffle or not to shuffle"; Chua et al. (2024), "How private are DP-SGD
implementations?"; NIST SP 800-226 (2025).
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from wardround.common.audit.foreign import ForeignRun
from wardround.common.audit.recompute import recompute
from wardround.common.audit.verdicts import Finding, confirmed, not_checkable, refuted
from wardround.common.errors import UsageError
from wardround.common.privacy.events import GaussianSteps

ROUNDED: Final = 0.01
"""A stated epsilon may be below the recomputed one by this part of itself: publications round."""

_LEAST, _MOST = 2.0**-7, 2.0**17  # noise multipliers among which a calibrated one is looked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A run, recomputed.

    Attributes:
        run: What was said.
        noise_multiplier: As said, or as the claim needs.
        granted: Epsilon of all steps, add or remove one record; of shuffled batches as if they were Poisson samples.
        replaced: The same for replacing one record.
        unamplified: Epsilon in the relation of the claim that needs no random sampling, only that a pass uses each
            record once; for adding or removing one, as if its place in the batches stayed empty (zero-out).
        same_method: Epsilon of all steps by Renyi accounting, where the claim was made with it; else 0.
        findings: A verdict for each thing that the claim says.
    """

    run: ForeignRun
    noise_multiplier: float
    granted: float
    replaced: float
    unamplified: float
    same_method: float
    findings: tuple[Finding, ...]

    @property
    def amplified(self) -> bool:
        """Whether the sampling gives what `granted` counts on."""
        return self.run.sampling in ("poisson", "full-batch")


def judge(run: ForeignRun) -> Judged:
    """Recompute a run and judge its claim.

    Raises:
        UsageError: No noise gives the claim.
    """
    noise = _calibrated(run) if run.calibrated else run.noise_multiplier
    steps = GaussianSteps(noise_multiplier=noise, sample_rate=run.rate, steps=run.run_steps)
    passes = GaussianSteps(noise_multiplier=noise, sample_rate=1.0, steps=run.passes)
    judged = Judged(
        run=run,
        noise_multiplier=noise,
        granted=recompute([steps], run.delta).epsilon,
        replaced=recompute([steps], run.delta, "replace-one").epsilon,
        unamplified=recompute([passes], run.delta, run.relation).epsilon,
        same_method=_renyi(noise, run.rate, run.run_steps, run.delta) if _is_renyi(run) else 0.0,
        findings=(),
    )
    return Judged(**{name: getattr(judged, name) for name in _FIGURES}, findings=tuple(_findings(judged)))


_FIGURES: Final = ("run", "noise_multiplier", "granted", "replaced", "unamplified", "same_method")


def _findings(judged: Judged) -> Iterator[Finding]:
    run = judged.run
    if run.stated_epsilon:
        yield _claim(judged)
    yield from _accounting(run)
    yield from _sampling(run)
    yield _delta(run)
    yield from _constants(run)


def _claim(judged: Judged) -> Finding:
    run = judged.run
    stated, spent = run.stated_epsilon, judged.granted if run.relation == "add-or-remove" else judged.replaced
    claim = f"epsilon is {stated:g} at delta {run.delta:g} ({run.relation})"
    if spent > stated * (1 + ROUNDED):
        least = "" if judged.amplified else "at least "
        method = (
            f" ({judged.same_method:.2f} by {run.accountant} over all steps)" if judged.same_method else ""
        )
        found = f"{least}{spent:.2f}{method}"
        return refuted(claim, expected=f"at most {stated:g}", found=found, where=run.name)
    if judged.amplified or judged.unamplified <= stated * (1 + ROUNDED):
        return confirmed(claim, found=f"{spent:.2f} recomputed", where=run.name)
    why = f"{run.sampling} batches: {spent:.2f} if they were Poisson samples, {judged.unamplified:.2f} without that"
    return not_checkable(claim, why=why, where=run.name)


def _accounting(run: ForeignRun) -> Iterator[Finding]:
    claim = "the accountant counted every noisy step"
    if run.accounted == "round" and run.counted_steps < run.run_steps:
        found = f"a new accountant every round: {run.counted_steps} of {run.run_steps} steps in each answer"
        yield refuted(claim, expected=f"{run.run_steps} steps in one account", found=found, where=run.name)
    elif run.counted_steps != run.run_steps:
        found = f"{run.counted_steps} counted"
        yield refuted(claim, expected=f"{run.run_steps} steps", found=found, where=run.name)
    elif run.stated_epsilon:
        yield confirmed(claim, found=f"{run.run_steps} steps", where=run.name)
    if run.accountant:
        yield _method(run)


def _method(run: ForeignRun) -> Finding:
    claim = "the accountant gives an upper bound"
    if run.accountant in ("gdp", "clt") and run.rate < 1:
        found = f"{run.accountant}: a limit theorem, which reports too little for sampled batches"
        return refuted(claim, expected="pld, prv or rdp", found=found, where=run.name, severity="serious")
    return confirmed(claim, found=run.accountant, where=run.name)


def _sampling(run: ForeignRun) -> Iterator[Finding]:
    if run.rate == 1:
        return
    claim = f"batches were drawn as they were accounted, each record with probability {run.rate:.4g}"
    if run.sampling == "poisson":
        yield not_checkable(claim, why="said so; only the running code can show it", where=run.name)
    else:
        found = f"{run.sampling} batches"
        yield refuted(claim, expected="Poisson samples", found=found, where=run.name, severity="serious")


def _delta(run: ForeignRun) -> Finding:
    claim = f"delta {run.delta:g} is below one over the number of records"
    if not run.records:
        return not_checkable(claim, why="the number of records is not said", where=run.name)
    if run.delta * run.records < 1:
        return confirmed(claim, found=f"1/{run.records} = {1 / run.records:.2g}", where=run.name)
    found = f"delta {run.delta:g}: publishing one whole record at random would meet the claim"
    return refuted(
        claim, expected=f"below 1/{run.records} = {1 / run.records:.2g}", found=found, where=run.name
    )


def _constants(run: ForeignRun) -> Iterator[Finding]:
    claim = "rate, normaliser and noise do not depend on the number of records"
    if run.constants == "public":
        yield not_checkable(claim, why="said so; only the running code can show it", where=run.name)
    elif run.relation == "add-or-remove":
        found = "computed from the number of records: neighbours of n and n + 1 records get other noise"
        yield refuted(claim, expected="public constants", found=found, where=run.name)


def _is_renyi(run: ForeignRun) -> bool:
    return run.accountant in ("rdp", "moments")


def _calibrated(run: ForeignRun) -> float:
    """The least noise, to a thousandth of itself, at which the claim holds for the steps it counts."""

    def cost(noise: float) -> float:
        if _is_renyi(run):
            return _renyi(noise, run.rate, run.counted_steps, run.delta)
        event = GaussianSteps(noise_multiplier=noise, sample_rate=run.rate, steps=run.counted_steps)
        return recompute([event], run.delta, run.relation).epsilon

    high = 1.0
    while cost(high) > run.stated_epsilon:
        high *= 2
        if high > _MOST:
            raise UsageError(f"no noise gives epsilon {run.stated_epsilon:g} for {run.name!r:.80}")
    low = high / 2
    while low > _LEAST and cost(low) <= run.stated_epsilon:
        low, high = low / 2, low
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if cost(middle) <= run.stated_epsilon else (middle, high)
    return high


def _renyi(noise: float, rate: float, steps: int, delta: float) -> float:
    """Epsilon by Renyi accounting, which most libraries use: an upper bound, some tenths too large."""
    import dp_accounting
    from dp_accounting.rdp import RdpAccountant

    event = dp_accounting.GaussianDpEvent(noise)
    accountant = RdpAccountant()
    logging.getLogger("absl").setLevel(
        logging.ERROR
    )  # an order that does not converge is left out, with a warning
    accountant.compose(event if rate == 1 else dp_accounting.PoissonSampledDpEvent(rate, event), steps)
    return float(accountant.get_epsilon(delta))
