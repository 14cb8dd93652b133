"""The mechanisms that the demo compares: one study without privacy, with joint noise and with site noise.

Settings follow one rule, `joint_recipe`, from public numbers. Site noise gets the rule's settings for the number of
patients at which joint noise would disturb a model as much: K sites that each add all the noise add K times its
variance, so N / sqrt(K) patients. With settings meant for joint noise it would do worse than it must. Rounds and
learning rate without privacy were chosen so that neither the joint model nor a hospital's own would do much better with
others. All of this was fixed on other simulated worlds (seeds 101 to 104), never on the one that the demo runs on.

Measured on those four worlds, three draws of the noise each, delta 1e-5; mean over hospitals. Response (AUC): own
models .776, joint model without privacy .847; survival (C-index): .725 and .789.

    epsilon                     1      3      8
    response, joint noise     .802   .832   .845
    response, site noise      .758   .814   .835
    survival, joint noise     .755   .775   .787
    survival, site noise      .724   .764   .778
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from wardround.common.privacy.calibration import joint_noise_multiplier_for, noise_multiplier_for
from wardround.common.privacy.terms import LARGEST_SUM, PrivacyTerms
from wardround.common.study.protocol import StudyProtocol
from wardround.simulations.joint_recipe import JointRecipe, joint_recipe

EPSILONS: Final = (1.0, 3.0, 8.0)
OPEN_ROUNDS: Final = 60
OPEN_LEARNING_RATE: Final = 5.0

_LENGTH: Final = 1.0  # of every input row: the demo's inputs have norm "unit"


def arms(protocol: StudyProtocol, *, seed: int | None = None) -> Mapping[str, StudyProtocol]:
    """The study under every mechanism of the demo, by a label for people.

    Args:
        protocol: The study; its privacy terms give delta, its sites their declared sizes as weights.
        seed: Of the run without privacy, so that it can be repeated.
    """
    joint = {f"joint noise, epsilon {each:g}": with_joint_noise(protocol, epsilon=each) for each in EPSILONS}
    site = {f"site noise, epsilon {each:g}": with_site_noise(protocol, epsilon=each) for each in EPSILONS}
    return {"without privacy": without_privacy(protocol, seed=seed), **joint, **site}


def without_privacy(protocol: StudyProtocol, *, seed: int | None = None) -> StudyProtocol:
    """The same study with mechanism `none`: for public or synthetic patients only."""
    before = protocol.privacy
    terms = PrivacyTerms(
        mechanism="none",
        delta=before.delta,
        reference_patients=before.reference_patients,
        source="rounds and learning rate were fixed in advance on other simulated worlds",
    )
    federation = replace(protocol.federation, rounds=OPEN_ROUNDS, learning_rate=OPEN_LEARNING_RATE)
    return replace(protocol, privacy=terms, federation=federation, seed=seed)


def with_joint_noise(protocol: StudyProtocol, *, epsilon: float) -> StudyProtocol:
    """The study with joint noise, against everybody but all sites but one; one attempt per round is paid for."""
    sites = protocol.federation.sites
    recipe = joint_recipe(
        epsilon=epsilon, delta=protocol.privacy.delta, patients=_declared(protocol), length=_LENGTH
    )
    noise = joint_noise_multiplier_for(
        epsilon=epsilon,
        delta=protocol.privacy.delta,
        steps=recipe.rounds,
        honest=len(sites) - 1,
        coordinates=LARGEST_SUM,
    )
    terms = _terms(protocol, recipe, noise, epsilon)
    terms = replace(terms, mechanism="joint-noise", honest_sites=len(sites) - 1)
    equal = tuple(replace(site, weight=1.0) for site in sites)
    return _set(replace(protocol, federation=replace(protocol.federation, sites=equal)), terms, recipe)


def with_site_noise(protocol: StudyProtocol, *, epsilon: float) -> StudyProtocol:
    """The study with every site's own noise; one attempt per round is paid for."""
    patients = round(_declared(protocol) / math.sqrt(len(protocol.federation.sites)))
    recipe = joint_recipe(epsilon=epsilon, delta=protocol.privacy.delta, patients=patients, length=_LENGTH)
    noise = noise_multiplier_for(
        epsilon=epsilon, delta=protocol.privacy.delta, sample_rate=1.0, steps=recipe.rounds
    )
    return _set(protocol, _terms(protocol, recipe, noise, epsilon), recipe)


def _declared(protocol: StudyProtocol) -> int:
    return sum(protocol.reference_patients(site.name) for site in protocol.federation.sites)


def _terms(protocol: StudyProtocol, recipe: JointRecipe, noise: float, epsilon: float) -> PrivacyTerms:
    return PrivacyTerms(
        mechanism="site-noise",
        clipping_norm=recipe.clipping_norm,
        noise_multiplier=noise,
        delta=protocol.privacy.delta,
        reference_patients=protocol.privacy.reference_patients,
        source=f"calibrated in advance to epsilon {epsilon:g} over all rounds, one attempt each",
    )


def _set(protocol: StudyProtocol, terms: PrivacyTerms, recipe: JointRecipe) -> StudyProtocol:
    federation = replace(protocol.federation, rounds=recipe.rounds, learning_rate=recipe.learning_rate)
    return replace(protocol, privacy=terms, federation=federation, seed=None)
