"""The verbs of `wardround audit` that exercise training; they need the packages of `wardround[simulation]`."""

import argparse
import json
import os
import sys
from collections.abc import Callable
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


def _verb(
    verbs: "_Parsers[argparse.ArgumentParser]",
    run: Callable[[argparse.Namespace], int],
    short: str,
    description: str,
) -> argparse.ArgumentParser:
    """A verb that is named like its function, with what all of them have."""
    name = run.__name__.removeprefix("run_")
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=short, description=description)
    parser.add_argument("--json", action="store_true", help="print what was found as JSON")
    parser.set_defaults(run=run)
    return parser


def _add_conform(verbs: "_Parsers[argparse.ArgumentParser]") -> None:
    conform = _verb(
        verbs,
        run_conform,
        "does the installed code add the promised noise, on synthetic patients",
        "Drive the installed hospital with signed tasks on synthetic patients, and compare what leaves it "
        "with what its protocols promise: noise, clipping, sampling, public constants, freshness, refusals. Speaks "
        "about this installation only. Exit code 1 if it does not conform.",
    )
    conform.add_argument("--only", nargs="+", default=[], metavar="STUDY", help="run only these studies")
    conform.add_argument("--out", type=Path, metavar="FILE", help="write the signed report here; needs --key")
    conform.add_argument("--key", type=Path, metavar="PEM", help="private key that signs the report")


def _add_canary(verbs: "_Parsers[argparse.ArgumentParser]") -> None:
    canary = _verb(
        verbs,
        run_canary,
        "how much epsilon the installed mechanism really has",
        "Put canaries among a hospital's patients, let it answer as in a study, and bound epsilon from "
        "below in four ways, each with the largest value that it could have. A bound below the claim is no proof of "
        "privacy. Exit code 1 if the claim is refuted.",
    )
    canary.add_argument(
        "--epsilon", type=float, required=True, metavar="E", help="the claim, for all steps together"
    )
    for name, kind, default, letter, words in (
        ("--delta", float, 1e-5, "D", "its delta (1e-5)"),
        ("--rate", float, 0.1, "Q", "sample rate (0.1)"),
        ("--steps", int, 200, "T", "steps (200)"),
        ("--canaries", int, 1000, "M", "canaries (1000)"),
        ("--level", float, 0.05, "A", "how often a bound may be wrong (0.05)"),
        ("--seed", int, 0, "N", "of who is in; noise has no seed (0)"),
    ):
        canary.add_argument(name, type=kind, default=default, metavar=letter, help=words)


def _add_attack(verbs: "_Parsers[argparse.ArgumentParser]") -> None:
    attack = _verb(
        verbs,
        run_attack,
        "what a curious server sees of raw, of site-noise and of joint-noise updates",
        "Run attacks on updates of the installed trainer: span, inversion, trap, generator, membership. "
        "On synthetic patients, or on a table of your own. An attack that fails is no proof of privacy.",
    )
    attack.add_argument(
        "attacks", nargs="*", default=[], metavar="ATTACK", help="which; all if none is named"
    )
    attack.add_argument("--table", type=Path, metavar="FILE", help="patients of your own; needs --study")
    attack.add_argument("--study", type=Path, metavar="STUDY", help="the study.toml that reads the table")
    for name, kind, default, letter, words in (
        ("--patients", int, 200, "N", "patients who train (200)"),
        ("--epsilon", float, 8.0, "E", "of the private arms (8)"),
        ("--shadows", int, 16, "N", "shadow models of LiRA, even (16)"),
        ("--seed", int, 0, "N", "of everything but noise (0)"),
    ):
        attack.add_argument(name, type=kind, default=default, metavar=letter, help=words)


def _add_secagg(verbs: "_Parsers[argparse.ArgumentParser]") -> None:
    _verb(
        verbs,
        run_secagg,
        "does the installed hospital follow a lying coordinator in a secure sum",
        "Put a coordinator that keeps no rule in front of the installed hospital: swapped keys, two "
        "rosters, a short one, replays, another run, inconsistent models, false dropouts. Then check one honest "
        "attempt from what was sent. Exit code 1 if the hospital goes along with anything.",
    )


def run_conform(chosen: argparse.Namespace) -> int:
    """`wardround audit conform`."""
    # Read once, when torch is loaded: threads that wait for work between small products would burn half of the time.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
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
