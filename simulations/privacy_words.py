"""What a report may say about privacy: the banner on top, the terms, and both lists of what is protected.

A number never stands alone: epsilon comes with delta, the privacy unit, the neighbouring relation, the scope and
who is assumed to be curious. What is not protected is said as plainly as what is.
"""

import math
from dataclasses import dataclass
from typing import Final, Literal

from wardround.common.privacy.accounting import epsilon
from wardround.common.study.protocol import StudyProtocol
from wardround.simulations.observers import EVERYBODY_ELSE, TOLERATED, words
from wardround.simulations.results import Results


@dataclass(frozen=True, slots=True, kw_only=True)
class Banner:
    """A box at the top of the page. `tone` is told by words and border, not by colour alone."""

    tone: Literal["private", "warning"]
    title: str
    text: str


_UNPROTECTED: Final = Banner(
    tone="warning",
    title="No privacy protection",
    text="This run used mechanism “none”: whoever sees an update or the model may learn about single patients. "
    "Epsilon is infinite. A hospital's policy allows this only for public or synthetic patients.",
)
_DRAFTED: Final = Banner(
    tone="warning",
    title="Constants were drafted from this study's own table: not private",
    text="Ranges, means or categories were computed from the patients themselves, before any noise. "
    "The accounting below does not cover that. Replace them by public constants before a private study.",
)
_NOT_PRIVATE: Final = Banner(
    tone="warning",
    title="Training is not private",
    text="These patients were part of a release without privacy before, or a privacy rule was broken: epsilon is "
    "infinite over the life of the patient pool, whatever noise this run added.",
)
_PRIVATE: Final = Banner(
    tone="private",
    title="Training is private. This table is not.",
    text="What left each hospital in training carries the guarantee stated below. The results on this page were "
    "computed exactly, on held-out patients, which only a simulation can do. With real patients, this page must "
    "stay where the patients' data may be.",
)
_JOINT: Final = (
    "Single updates were masked and cannot be read; what is released is the sum over all hospitals with all their "
    "noise. It carries the guarantee stated below as long as at least {honest} of the {sites} hospitals are honest. "
    "The results on this page were computed exactly, on held-out patients, which only a simulation can do. With real "
    "patients, this page must stay where the patients' data may be."
)
_IMAGINED: Final = Banner(
    tone="warning",
    title="The hospitals are imagined: repeated runs on one table compose",
    text="One table was divided by a column, and every run starts with empty ledgers in its own folder. "
    "Privacy losses of several runs on the same table add up, and no ledger here counts them together.",
)

PROTECTED: Final = (
    "What one patient's rows and samples, taken together, add to the updates, to the model, and to everything "
    "computed from them: within epsilon and delta, against all parties named above.",
    "Whether a hospital has one patient more or fewer: sampling rates, weights and denominators are public "
    "constants, so that noise and message sizes do not depend on it.",
)
NOT_PROTECTED: Final = (
    "That a hospital takes part, and when it answers.",
    "Properties of a cohort as a whole, for instance that a hospital treats mostly older patients.",
    "That patients in a study were eligible for it.",
    "A patient treated at several of these hospitals: the losses at each add up.",
    "The model against a member that sends harmful updates within the allowed range.",
    "Anything released outside this framework, and the results on this page.",
)


_FEWER_HONEST: Final = (
    "One patient, by the epsilon that is stated first, if fewer than {honest} hospitals are honest: every member that "
    "pools what it knows takes its share of the noise away. If all others do, the epsilon of the last column holds."
)
_NOBODY: Final = "Any single patient: an update or the model may tell something about one."


def unprotected(results: Results) -> tuple[str, ...]:
    """What the run does not protect; single patients first where training is not private."""
    if not results.training_private:
        return (_NOBODY, *NOT_PROTECTED)
    if results.honest_sites:
        return (_FEWER_HONEST.format(honest=results.honest_sites), *NOT_PROTECTED)
    return NOT_PROTECTED


def banners(results: Results) -> list[Banner]:
    """What must be said before any number is read."""
    found = []
    if results.mechanism == "none":
        found.append(_UNPROTECTED)
    elif results.training_private:
        found.append(_private(results))
    elif not results.drafted:
        found.append(_NOT_PRIVATE)
    if results.drafted:
        found.append(_DRAFTED)
    if results.imagined_sites and results.mechanism != "none":
        found.append(_IMAGINED)
    return found


def _private(results: Results) -> Banner:
    if not results.honest_sites:
        return _PRIVATE
    text = _JOINT.format(honest=results.honest_sites, sites=len(results.sites))
    return Banner(tone="private", title=_PRIVATE.title, text=text)


def stated(value: float) -> str:
    """Epsilon as written in a report.

    >>> stated(2.9997), stated(math.inf)
    ('2.9997', 'infinite')
    """
    return "infinite" if math.isinf(value) else f"{value:.4f}".rstrip("0").rstrip(".")


def small(delta: float) -> str:
    """A delta as it is written by hand.

    >>> small(1e-5), small(0.001)
    ('1e-5', '0.001')
    """
    return f"{delta:g}".replace("e-0", "e-")


def assuming(results: Results) -> str:
    """What a reader must know beside the first epsilon of a run: whom it counts on, and what holds if they fail.

    Empty under site noise, which counts on nobody.

    >>> from wardround.simulations.resultrows import EpsilonRow
    >>> rows = [("tolerated", 1.0), ("everybody else", 2.1547)]
    >>> run = Results(
    ...     study="s", mechanism="joint-noise", training_private=True, evaluation_private=False, delta=1e-5,
    ...     epsilon=tuple(
    ...         EpsilonRow(site=site, adversary=name, value=value) for site in "ABC" for name, value in rows
    ...     ),
    ...     rounds=1, evaluation=(), honest_sites=2,
    ... )
    >>> assuming(run)
    'while at least 2 of 3 hospitals are honest; 2.1547 if all others collude'
    """
    if not results.honest_sites:
        return ""
    alone = stated(results.largest(EVERYBODY_ELSE))
    honest = f"while at least {results.honest_sites} of {len(results.sites)} hospitals are honest"
    return f"{honest}; {alone} if all others collude"


def adversaries(results: Results) -> list[tuple[str, str]]:
    """Each adversary of a run: as the file names it, and in words."""
    names = dict.fromkeys(row.adversary for row in results.epsilon)
    known = words(honest=results.honest_sites, sites=len(results.sites)) if results.honest_sites else {}
    claimed = {TOLERATED: " (the claim)"} if results.honest_sites else {}
    return [(name, known.get(name, name) + claimed.get(name, "")) for name in names]


def terms(results: Results, protocol: StudyProtocol) -> list[tuple[str, str]]:
    """Everything that an epsilon needs beside it, as pairs of term and meaning."""
    if results.mechanism == "none":
        return [("Mechanism", "none: epsilon is infinite at every delta")]
    return [
        ("Mechanism", _mechanism(results)),
        ("Privacy unit", "one patient, with all rows and samples of that patient at a hospital"),
        ("Neighbouring relation", f"add or remove one patient. {_replaced(results, protocol)}"),
        ("Delta", f"{small(results.delta)}, one for the lifetime of a patient pool"),
        ("Who may be curious", _curious(results)),
        ("Scope", "the patient pool of a hospital, for its lifetime: all studies, trials and releases"),
        ("Public constants", _constants(results, protocol)),
        ("Trust", _trust(results)),
    ]


def _mechanism(results: Results) -> str:
    if results.honest_sites:
        return (
            "joint-noise: each hospital adds a share of the noise to one sum of clipped gradients and masks it, so "
            "that only the sum over all hospitals can be read; any "
            f"{results.honest_sites} shares together carry the noise that the claim counts on"
        )
    return (
        "site-noise: each hospital trains with DP-SGD and adds its own full noise, so that every update is "
        "private on its own and no other party needs to be trusted with it"
    )


def _curious(results: Results) -> str:
    if not results.honest_sites:
        return "the server, all other hospitals and outsiders, all together"
    sites = len(results.sites)
    curious = sites - results.honest_sites
    return (
        f"the server, outsiders and up to {curious} of the {sites} hospitals, all together; against fewer and against "
        "all others the table has an epsilon of its own"
    )


def _constants(results: Results, protocol: StudyProtocol) -> str:
    privacy = protocol.privacy
    common = f"clipping norm {privacy.clipping_norm:g}, noise multiplier {privacy.noise_multiplier:g}"
    if results.honest_sites:
        return (
            f"{common} of {privacy.honest_sites} shares together, full batch, one sum per round, "
            f"rounds {results.rounds}, at most {privacy.most_patients} patients"
        )
    return (
        f"{common}, sample rate {privacy.sample_rate:g}, "
        f"noisy steps per round {protocol.federation.local_steps}, rounds {results.rounds}"
    )


def _trust(results: Results) -> str:
    if not results.honest_sites:
        return "that each hospital's own software added the noise; a log can show arithmetic, not that"
    return (
        f"that the software of at least {results.honest_sites} hospitals added its share and told nobody, and that "
        "people compared the fingerprints of the hospitals' keys; a log can show arithmetic, not that"
    )


def _replaced(results: Results, protocol: StudyProtocol) -> str:
    events = [protocol.event()] * results.rounds
    both = [stated(epsilon(events, results.delta, relation)) for relation in ("add-or-remove", "replace-one")]
    return f"Replacing one patient by another instead: this study's rounds cost {both[1]} where they cost {both[0]}"


def meaning(results: Results) -> str:
    """The largest epsilon in words, or nothing where training has no guarantee."""
    worst = results.largest()
    if not results.training_private or math.isinf(worst):
        return ""
    return (
        f"In words: {_onlooker(results)} can raise or lower the odds of a guess that a "
        f"certain patient was in training by at most a factor of {math.exp(worst):.3g}, except with a "
        f"probability of {small(results.delta)}. This is a limit, not an estimate of what an attack would reach."
    )


def _onlooker(results: Results) -> str:
    if not results.honest_sites:
        return "whoever sees everything that left a hospital"
    known = len(results.sites) - results.honest_sites
    return f"whoever sees everything that left the hospitals, and all that {known} of them {_know(known)},"


def _know(hospitals: int) -> str:
    return "knows" if hospitals == 1 else "know"
