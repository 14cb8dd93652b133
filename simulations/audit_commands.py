"""The verbs of `wardround audit` that exercise training; they need the packages of `wardround[simulation]`."""

import argparse
import json
import sys
from pathlib import Path

_Parsers = argparse._SubParsersAction


def extend(verbs: "_Parsers[argparse.ArgumentParser]") -> None:
    """Add the verbs to the group `audit`.

    Args:
        verbs: What `wardround.common.audit.commands.register` returned.
    """
    _add_conform(verbs)
    _add_canary(verbs)
    _add_attack(verbs)
    _add_secagg(verbs)


def _add_conform(verbs: "_Parsers[argparse.ArgumentParser]") -> None:
    conform = verbs.add_parser(
        "conform",
        help="does the installed code add the promised noise, on synthetic patients",
        description="Drive the installed hospital with signed tasks on synthetic patients, and compare what leaves it "
        "with what its protocols promise: noise, clipping, sampling, public constants, freshness, refusals. Speaks "
        "about this installation only. Exit code 1 if it does not conform.",
    )
    conform.add_argument("--only", nargs="+", default=[], metavar="STUDY", help="run only these studies")
    conform.add_argument("--out", type=Path, metavar="FILE", help="write the signed report here; needs --key")
    conform.add_argument("--key", type=Path, metavar="PEM", help="private key that signs the report")
    conform.add_argument("--json", action="store_true", help="print the report as JSON")
    conform.set_defaults(run=run_conform)


def _add_canary(verbs: "_Parsers[argparse.ArgumentParser]") -> None:
    canary = verbs.add_parser(
        "canary",
        help="how much epsilon the installed mechanism really has",
        description="Put canaries among a hospital's patients, let it answer as in a study, and bound epsilon from "
        "below in four ways, each with the largest value that it could have. A bound below the claim is no proof of "
        "privacy. Exit code 1 if the claim is refuted.",
    )
    canary.add_argument(
        "--epsilon", type=float, required=True, metavar="E", help="the claim, for all steps together"
    )
    canary.add_argument("--delta", type=float, default=1e-5, metavar="D", help="its delta (1e-5)")
    canary.add_argument("--rate", type=float, default=0.1, metavar="Q", help="sample rate (0.1)")
    canary.add_argument("--steps", type=int, default=200, metavar="T", help="steps (200)")
    canary.add_argument("--canaries", type=int, default=1000, metavar="M", help="canaries (1000)")
    canary.add_argument(
        "--level", type=float, default=0.05, metavar="A", help="how often a bound may be wrong (0.05)"
    )
    canary.add_argument("--seed", type=int, default=0, help="of who is in; noise has no seed (0)")
    canary.add_argument("--json", action="store_true", help="print it as JSON")
    canary.set_defaults(run=run_canary)


def _add_attack(verbs: "_Parsers[argparse.ArgumentParser]") -> None:
    attack = verbs.add_parser(
        "attack",
        help="what a curious server sees of raw, of site-noise and of joint-noise updates",
        description="Run attacks on updates of the installed trainer: span, inversion, trap, generator, membership. "
        "On synthetic patients, or on a table of your own. An attack that fails is no proof of privacy.",
    )
    attack.add_argument(
        "attacks", nargs="*", default=[], metavar="ATTACK", help="which; all if none is named"
    )
    attack.add_argument("--table", type=Path, metavar="FILE", help="patients of your own; needs --study")
    attack.add_argument("--study", type=Path, metavar="STUDY", help="the study.toml that reads the table")
    attack.add_argument("--patients", type=int, default=200, metavar="N", help="patients who train (200)")
    attack.add_argument("--epsilon", type=float, default=8.0, metavar="E", help="of the private arms (8)")
    attack.add_argument(
        "--shadows", type=int, default=16, metavar="N", help="shadow models of LiRA, even (16)"
    )
    attack.add_argument("--seed", type=int, default=0, help="of everything but noise (0)")
    attack.add_argument("--json", action="store_true", help="print it as JSON")
    attack.set_defaults(run=run_attack)


def _add_secagg(verbs: "_Parsers[argparse.ArgumentParser]") -> None:
    secagg = verbs.add_parser(
        "secagg",
        help="does the installed hospital follow a lying coordinator in a secure sum",
        description="Put a coordinator that keeps no rule in front of the installed hospital: swapped keys, two "
        "rosters, a short one, replays, inconsistent models, false dropouts. Then check one honest attempt from what "
        "was sent. "
        "Exit code 1 if the hospital goes along with anything.",
    )
    secagg.add_argument("--json", action="store_true", help="print it as JSON")
    secagg.set_defaults(run=run_secagg)


def run_conform(chosen: argparse.Namespace) -> int:
    """`wardround audit conform`."""
    from wardround.common.errors import UsageError
    from wardround.common.trust.identity import SigningKey
    from wardround.simulations.conformance import NAMES, as_json, conform, in_words, write_report
    from wardround.simulations.progress import shown

    if (chosen.out is None) != (chosen.key is None):
        raise UsageError(
            "expected --out and --key together, found one", advice="a report is signed, or printed"
        )
    key = None if chosen.key is None else SigningKey.load(chosen.key)
    with shown("conform") as step:
        found = conform(chosen.only or NAMES, step=step)
    print(as_json(found) if chosen.json else in_words(found))
    if key is not None:
        write_report(found, chosen.out, key)
        print(f"Signed report: {chosen.out}", file=sys.stderr)
    return 1 if found.failed else 0


def run_canary(chosen: argparse.Namespace) -> int:
    """`wardround audit canary`."""
    from wardround.simulations.canaryrun import audit, in_words
    from wardround.simulations.canarysite import Claim, at_a_hospital
    from wardround.simulations.progress import shown

    claim = Claim(
        epsilon=chosen.epsilon,
        delta=chosen.delta,
        rate=chosen.rate,
        steps=chosen.steps,
        canaries=chosen.canaries,
        level=chosen.level,
    )
    with shown("canary") as step:
        found = audit(claim, at_a_hospital(claim, chosen.seed, step=step))
    print(json.dumps(found.as_dict(), indent=1) if chosen.json else in_words(found))
    return 1 if found.refuted else 0


def run_attack(chosen: argparse.Namespace) -> int:
    """`wardround audit attack`."""
    from wardround.common.errors import UsageError
    from wardround.simulations.attackcohort import from_table, synthetic
    from wardround.simulations.attackruns import ATTACKS, Plan, as_fields, attack, in_words
    from wardround.simulations.progress import shown

    if (chosen.table is None) != (chosen.study is None):
        raise UsageError("expected --table and --study together, found one")
    if chosen.table is None:
        cohort = synthetic(chosen.patients, chosen.seed)
    else:
        cohort = from_table(chosen.study, chosen.table, chosen.patients, chosen.seed)
    plan = Plan(cohort=cohort, epsilon=chosen.epsilon, seed=chosen.seed, shadows=chosen.shadows)
    with shown("attack") as step:
        found = attack(plan, chosen.attacks or tuple(ATTACKS), step=step)
    members = cohort.members.n_patients
    if chosen.json:
        print(json.dumps({"members": members, "inputs": cohort.width, "results": as_fields(found)}, indent=1))
    else:
        print(f"{members} patients train, {cohort.width} inputs.\n{in_words(found)}")
    return 0


def run_secagg(chosen: argparse.Namespace) -> int:
    """`wardround audit secagg`."""
    from wardround.simulations.progress import shown
    from wardround.simulations.secsumtrial import as_json, in_words, secagg

    with shown("secagg") as step:
        found = secagg(step=step)
    print(as_json(found) if chosen.json else in_words(found))
    return 0 if all(trial.holds for trial in found) else 1
