"""`wardround audit verify`, `epsilon` and `report`: judge a bundle."""

import argparse
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wardround.common.audit.case import Case
    from wardround.common.audit.keys import OwnKeys
    from wardround.common.audit.ownledger import OwnLedger

_Parsers = argparse._SubParsersAction

_VERIFY = (
    "Judge every claim of a study from its bundle: signatures, order, the Merkle tree and its cosignatures, approvals, "
    "executed terms, every model recomputed from the archive, epsilon recomputed per site, and the ledgers that were "
    "handed over. Bundles of the server and of hospitals may be given together. Exit code 10 if a claim is refuted."
)
_EPSILON = (
    "State a study's privacy claim in words, and recompute its epsilon per site and observer with Google's "
    "dp-accounting. Of a ledger: what its patients have spent over their lifetime."
)
_REPORT = "Write one page for a data protection officer: what was claimed, what was checked, what cannot be checked."
_RECOMPUTED = "the epsilon of the study can be recomputed from its log"
_KEYS = (
    "a key file of your own: a roster, or NAME.pem of one party; may be given more than once, also for a party that "
    "changed its key. Without it, who signed is not checkable"
)


def register(verbs: "_Parsers[argparse.ArgumentParser]") -> None:
    """Add the verbs; each one's `run` takes the arguments and gives an exit code."""
    verify = _verb(verbs, "verify", "judge every claim of a bundle", _VERIFY)
    verify.add_argument("--json", action="store_true", help="print the findings as JSON")
    verify.set_defaults(run=run_verify)
    epsilon = _verb(verbs, "epsilon", "the claim in words and numbers", _EPSILON, "BUNDLE|LEDGER")
    epsilon.add_argument("--delta", type=float, metavar="D", help="delta for a ledger's lifetime (1e-5)")
    epsilon.add_argument("--json", action="store_true", help="print it as JSON")
    epsilon.set_defaults(run=run_epsilon)
    report = _verb(verbs, "report", "a page for a data protection officer", _REPORT)
    report.add_argument("--out", type=Path, required=True, metavar="FILE", help="the page, e.g. report.html")
    report.set_defaults(run=run_report)


def _verb(
    verbs: "_Parsers[argparse.ArgumentParser]", name: str, line: str, text: str, what: str = "BUNDLE"
) -> argparse.ArgumentParser:
    command = verbs.add_parser(name, help=line, description=text)
    command.add_argument("paths", nargs="+", type=Path, metavar=what, help="what was handed to you")
    command.add_argument("--keys", action="append", default=[], type=Path, metavar="FILE", help=_KEYS)
    return command


def run_verify(arguments: argparse.Namespace) -> int:
    """`wardround audit verify`."""
    from wardround.common.audit.verdicts import as_json, as_text, exit_code
    from wardround.common.audit.verify import verify

    _, findings = verify(tuple(arguments.paths), tuple(arguments.keys))
    print(as_json(findings) if arguments.json else as_text(findings))
    return exit_code(findings)


def run_report(arguments: argparse.Namespace) -> int:
    """`wardround audit report`."""
    from wardround.common.audit.page import page_of
    from wardround.common.audit.verdicts import exit_code
    from wardround.common.durable import write_atomic

    page, findings = page_of(tuple(arguments.paths), tuple(arguments.keys))
    write_atomic(arguments.out, page.encode())
    print(f"Wrote {arguments.out}.")
    return exit_code(findings)


def run_epsilon(arguments: argparse.Namespace) -> int:
    """`wardround audit epsilon`."""
    from wardround.common.audit.keys import read_keys
    from wardround.common.errors import UsageError

    folders = tuple(path for path in arguments.paths if path.is_dir())
    own = read_keys(tuple(arguments.keys), bundles=folders)
    if folders and len(folders) < len(arguments.paths):
        raise UsageError("expected either bundles or ledgers, found both")
    if folders and arguments.delta:
        raise UsageError("--delta is for a ledger; a study's delta stands in its protocol")
    if folders:
        return _of_study(arguments, folders, own)
    return _of_ledgers(arguments, own)


def _of_study(arguments: argparse.Namespace, folders: tuple[Path, ...], own: "OwnKeys") -> int:
    from wardround.common.audit import verdicts
    from wardround.common.audit.evidence import gather
    from wardround.common.audit.verify import UNREADABLE, opened, words_of

    found = opened(gather(folders), own)
    if not isinstance(found, verdicts.Finding):
        try:
            shown = (
                json.dumps(_study_json(found), indent=2) if arguments.json else "\n".join(_study_text(found))
            )
            print(shown)
            return 0
        except UNREADABLE as error:
            found = verdicts.refuted(_RECOMPUTED, expected="a log that can be read", found=words_of(error))
    print(verdicts.as_json([found]) if arguments.json else verdicts.as_text([found]))
    return verdicts.exit_code([found])


def _of_ledgers(arguments: argparse.Namespace, own: "OwnKeys") -> int:
    from wardround.common.audit.ownledger import ledger_at

    delta = arguments.delta or 1e-5
    brought = [(name, key) for name, keys in own.keys.items() for key in keys]
    ledgers = [ledger_at(path, brought) for path in arguments.paths]
    if arguments.json:
        print(json.dumps([_ledger_json(one, delta) for one in ledgers], indent=2))
    else:
        print("\n".join(line for one in ledgers for line in _ledger_text(one, delta)))
    return 0


def _study_text(case: "Case") -> Iterator[str]:
    from wardround.common.audit.claim import NOT_COVERED, assumptions, epsilon_rows, promised
    from wardround.common.audit.verdicts import plain

    yield plain(f"{case.protocol.study.name}: {case.protocol.study.question}")
    for name, words in promised(case.protocol):
        yield f"  {name:<17} {words}"
    yield "Epsilon, recomputed (in brackets: replace one patient)"
    for row in epsilon_rows(case):
        counted = f"{row.patients}: {row.releases} releases, {row.receipts} receipts"
        beyond = f"; {row.beyond}" if row.beyond else ""
        yield f"  {row.site:<17} {row.added:8.3f} ({row.replaced:.3f})  {counted}, against {row.against}{beyond}"
    yield "It holds if"
    yield from (f"  - {line}" for line in assumptions(case.protocol))
    yield "It does not speak of"
    yield from (f"  - {line}" for line in NOT_COVERED)


def _study_json(case: "Case") -> dict[str, object]:
    from dataclasses import asdict

    from wardround.common.audit.claim import NOT_COVERED, assumptions, epsilon_rows, promised

    rows = [asdict(row) for row in epsilon_rows(case)]
    return {
        "study": case.protocol.study.name,
        "protocol": case.protocol.digest,
        "promised": dict(promised(case.protocol)),
        "epsilon": [{name: _finite(value) for name, value in row.items()} for row in rows],
        "assumptions": list(assumptions(case.protocol)),
        "not_covered": list(NOT_COVERED),
    }


def _ledger_text(ledger: "OwnLedger", delta: float) -> Iterator[str]:
    from wardround.common.audit.ledgers import lifetime
    from wardround.common.audit.verdicts import plain

    yield f"{ledger.site}, patient pool {ledger.pool!r}, {len(ledger.entries)} entries"
    for study, releases in _releases(ledger).items():
        yield plain(f"  {study}: {releases} releases")
    yield f"  lifetime: {lifetime(ledger.spent(), delta)} at delta {delta:g}"


def _releases(ledger: "OwnLedger") -> dict[str, int]:
    """Study -> releases charged, all its runs together."""
    found: dict[str, int] = {}
    for account in ledger.state.accounts:
        study = str(account.reserved.payload["study"])
        found[study] = found.get(study, 0) + account.charged
    return found


def _ledger_json(ledger: "OwnLedger", delta: float) -> dict[str, object]:
    from wardround.common.audit.recompute import recompute

    spent = ledger.spent()
    accounts = {"tolerated": None, "everyone-else": 1}
    return {
        "site": ledger.site,
        "pool": ledger.pool,
        "delta": delta,
        "releases": _releases(ledger),
        "epsilon": {
            name: {
                "add-or-remove": _finite(recompute(spent, delta, left=left).epsilon),
                "replace-one": _finite(recompute(spent, delta, "replace-one", left=left).epsilon),
            }
            for name, left in accounts.items()
        },
    }


def _finite(value: object) -> object:
    return None if value == math.inf else value
