"""`wardround study plan`: a table of epsilons before anything is spent, and the study with the choice that was made."""

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from wardround.common.privacy.plan import CostRow, Plan
    from wardround.common.study.protocol import StudyProtocol
    from wardround.simulations.study_plan import Option, Wish

_GAP: Final = "  "
_DECIMALS: Final = 3


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `plan` to the group `study`."""
    plan = commands.add_parser(
        "plan",
        help="what each mechanism would cost, before anything is spent",
        description="Reads the protocol only; no patient's data is needed. Targets are for the whole reservation: "
        "every round with all its attempts.",
    )
    plan.add_argument("study", type=Path, metavar="STUDY", help="the study.toml")
    plan.add_argument(
        "--mechanism",
        nargs="+",
        choices=("joint-noise", "site-noise"),
        default=[],
        metavar="M",
        help="joint-noise, site-noise (default: both)",
    )
    plan.add_argument("--sites", type=int, default=0, metavar="K", help="sites, where the study lists none")
    plan.add_argument(
        "--honest",
        nargs="+",
        type=int,
        default=[],
        metavar="H",
        help="joint-noise: sites that are counted on (default: the study's, or all but one)",
    )
    _register_levels(plan)
    _register_target(plan)
    plan.add_argument("--json", action="store_true", help="print one JSON value")
    plan.set_defaults(run=_plan)


def _register_levels(plan: argparse.ArgumentParser) -> None:
    level = plan.add_mutually_exclusive_group()
    level.add_argument(
        "--epsilon", nargs="+", type=float, default=[], metavar="E", help="targets (default: 1 3 8)"
    )
    level.add_argument(
        "--noise", nargs="+", type=float, default=[], metavar="Z", help="noise multipliers instead of targets"
    )
    plan.add_argument("--rounds", nargs="+", type=int, default=[], metavar="T", help="default: the study's")
    plan.add_argument("--attempts", type=int, default=0, metavar="A", help="per round (default: the study's)")


def _register_target(plan: argparse.ArgumentParser) -> None:
    target = plan.add_mutually_exclusive_group()
    target.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="write the study with the one option that is left; must not exist",
    )
    target.add_argument(
        "--write",
        action="store_const",
        const="yes",
        default="no",
        help="write it into STUDY; the study as it was is kept beside it",
    )


def _plan(typed: argparse.Namespace) -> int:
    from wardround.common.errors import UsageError
    from wardround.common.study.reader import load
    from wardround.simulations.study_facts import sizes
    from wardround.simulations.study_plan import options

    protocol = load(typed.study)
    if protocol.monitoring is not None:
        raise UsageError(
            f"study {protocol.study.name} trains nothing, so there are no rounds to plan",
            advice="plan the study that trained the model: what it says of an evaluation holds for this one too",
        )
    _, coordinates = sizes(protocol, typed.study.resolve().parent)
    found = options(protocol, _wish(typed), coordinates=coordinates)
    print(
        json.dumps(_as_json(protocol, found), indent=1) if typed.json else "\n".join(_lines(protocol, found))
    )
    if typed.out is not None or typed.write == "yes":
        _write(typed, protocol, found)
    return 0


def _wish(typed: argparse.Namespace) -> "Wish":
    from wardround.simulations.study_plan import Wish, asked

    return Wish(
        mechanisms=asked(typed.mechanism),
        sites=typed.sites,
        honest=tuple(typed.honest),
        epsilons=tuple(typed.epsilon),
        noises=tuple(typed.noise),
        rounds=tuple(typed.rounds),
        attempts=typed.attempts,
    )


def _lines(protocol: "StudyProtocol", found: Sequence["Option"]) -> Iterator[str]:
    from wardround.simulations import plan_evaluation

    terms = found[0].terms
    patients = sum(terms.patients.values())
    yield (
        f"{protocol.study.name}: {len(terms.patients)} sites, about {patients} patients, "
        f"{terms.coordinates} parameters, delta {terms.delta:g}"
    )
    yield f"Epsilon of one patient added or removed: one attempt per round / all {terms.attempts}, as a site reserves."
    yield "Last two columns: noise over the longest signal of the smallest site's patients, and of all patients."
    for title, group in _groups(found):
        yield f"\n{title}"
        yield from _table(group)
    yield from plan_evaluation.lines(protocol, plan_evaluation.previews(protocol, found))
    for warning in dict.fromkeys(_warnings(found)):
        yield f"Warning: {warning}"


def _groups(found: Sequence["Option"]) -> Iterator[tuple[str, list["Option"]]]:
    """Options with the same observers together."""
    titles = dict.fromkeys(_title(option) for option in found)
    for title in titles:
        yield title, [option for option in found if _title(option) == title]


def _title(option: "Option") -> str:
    terms = option.terms
    if not terms.joint:
        return "site-noise: each site adds all the noise that its patients need"
    return f"joint-noise: at least {terms.honest} of {len(terms.patients)} sites are honest (*: the claim)"


def _table(group: Sequence["Option"]) -> Iterator[str]:
    plans = [option.found for option in group if option.found is not None]
    if plans:
        rows = [_heads(plans[0]), *(_cells(each) for each in plans)]
        widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
        for row in rows:
            cells = zip(row, widths, strict=True)
            yield _GAP + _GAP.join(cell.rjust(width) for cell, width in cells)
    for option in group:
        if option.found is None:
            yield f"{_GAP}epsilon {option.target:g} over {option.terms.rounds} rounds: {option.reason}"


def _heads(plan: "Plan") -> list[str]:
    words = [row.against for row in plan.costs]
    words = [words[0], *(each.replace("the server and ", "and ") for each in words[1:])]
    marked = [f"{each}{'*' * (row is claim(plan))}" for each, row in zip(words, plan.costs, strict=True)]
    return ["rounds", "noise", *marked, "one replaced*", "smallest", "all"]


def _cells(plan: "Plan") -> list[str]:
    costs = [f"{up(row.spent)} / {up(row.reserved)}" for row in plan.costs]
    smallest = max(row.per_study for row in plan.noise[:-1])
    ratios = [f"{ratio:.2g}" for ratio in (smallest, plan.noise[-1].per_study)]
    return [str(plan.terms.rounds), f"{plan.noise_multiplier:.3f}", *costs, up(claim(plan).replaced), *ratios]


def claim(plan: "Plan") -> "CostRow":
    """The row of the coalition that the study's claim is about."""
    return next(row for row in plan.costs if row.shares == plan.terms.honest)


def up(value: float) -> str:
    """An epsilon with three decimals, never below what it is.

    >>> up(2.1541), up(1.0), up(float("inf"))
    ('2.155', '1.000', 'infinite')
    """
    if math.isinf(value):
        return "infinite"
    units = math.ceil(round(value * 10**_DECIMALS, 6))
    return f"{units / 10**_DECIMALS:.{_DECIMALS}f}"


def _warnings(found: Sequence["Option"]) -> Iterator[str]:
    for option in found:
        if option.found is None:
            continue
        for text in option.found.warnings:
            yield f"{option.terms.mechanism}, epsilon {up(claim(option.found).reserved)}: {text}"


def _as_json(protocol: "StudyProtocol", found: Sequence["Option"]) -> dict[str, object]:
    from dataclasses import asdict

    from wardround.simulations import plan_evaluation

    terms = found[0].terms
    return {
        "study": protocol.study.name,
        "digest": protocol.digest,
        "delta": terms.delta,
        "patients": dict(terms.patients),
        "parameters": terms.coordinates,
        "options": [
            {
                "mechanism": option.terms.mechanism,
                "rounds": option.terms.rounds,
                "attempts": option.terms.attempts,
                "honest_sites": option.terms.honest if option.terms.joint else None,
                "target": option.target or None,
                "reason": option.reason,
                "noise_multiplier": option.found.noise_multiplier if option.found else None,
                "epsilon": [_finite(asdict(row)) for row in option.found.costs] if option.found else [],
                "noise": [asdict(row) for row in option.found.noise] if option.found else [],
                "warnings": list(option.found.warnings) if option.found else [],
            }
            for option in found
        ],
        "evaluation": plan_evaluation.as_json(plan_evaluation.previews(protocol, found)),
    }


def _finite(row: dict[str, object]) -> dict[str, object]:
    return {name: None if value == math.inf else value for name, value in row.items()}


def _write(typed: argparse.Namespace, protocol: "StudyProtocol", found: Sequence["Option"]) -> None:
    import sys

    from wardround.common.durable import write_atomic
    from wardround.common.errors import UsageError
    from wardround.common.study.writer import dumps
    from wardround.simulations.study_plan import changes, chosen

    if len(found) != 1:
        raise UsageError(
            f"expected one option to write, found {len(found)}",
            advice="name one --mechanism, one --epsilon or --noise, one --rounds and, for joint-noise, one --honest",
        )
    after = chosen(protocol, found[0])
    out = _room(typed, protocol)
    if typed.write == "yes":
        print(f"The study as it was is kept in {_keep(typed.study, protocol.digest)}.", file=sys.stderr)
    write_atomic(out, dumps(after).encode())
    for note in changes(protocol, after):
        print(f"- {note}", file=sys.stderr)
    print(f"Wrote {out}, digest {after.digest}. Next: wardround study check {out}", file=sys.stderr)


def _keep(study: Path, digest: str) -> Path:
    """A copy of the study beside it, named after its digest."""
    from wardround.common.durable import write_atomic
    from wardround.common.errors import UsageError

    kept, text = study.with_suffix(f".{digest[:8]}.toml"), study.read_bytes()
    if kept.exists() and kept.read_bytes() != text:
        raise UsageError(f"{kept} exists already and is another file", advice="move it away, or use --out")
    write_atomic(kept, text)
    return kept


def _room(typed: argparse.Namespace, protocol: "StudyProtocol") -> Path:
    """Where to write; a file that exists is only ever replaced where that was asked for."""
    from wardround.common.errors import UsageError

    if typed.write == "yes":
        return Path(typed.study)
    out = Path(typed.out)
    if out.exists():
        raise UsageError(f"{out} exists already", advice="choose another --out, or move it away")
    if protocol.inputs.loadings and out.resolve().parent != typed.study.resolve().parent:
        raise UsageError(
            f"the study names {protocol.inputs.loadings}, which would not be found beside {out}",
            advice=f"write into {typed.study.parent}",
        )
    return out
