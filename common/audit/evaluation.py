"""The evaluation of a study once more: of the released model, with the table that was sent, at the stated price.

The table is added up again from the archive, as a sum of updates is. Every published measure follows from it, the
protocol and the released model, so that it is computed again too; the generator behind the intervals is seeded by the
table's digest.
"""

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from wardround.common.audit.archived import archived_reply, archived_sum, is_archived
from wardround.common.audit.case import Case
from wardround.common.audit.evaluationcost import check_costs
from wardround.common.audit.evidence import MODEL, RESULTS
from wardround.common.audit.lines import Attempt
from wardround.common.audit.modelcheck import released_parameters
from wardround.common.audit.verdicts import Finding, confirmed, not_checkable, refuted
from wardround.common.errors import TrustError, WardroundError
from wardround.common.learning.evaluated import TABLE, Evaluated, check_table
from wardround.common.learning.parameters import parameters_digest
from wardround.common.privacy.jointnoise import opened_sum
from wardround.common.study.evaluation import table_shape
from wardround.common.trust.sealed import read_json

if TYPE_CHECKING:
    from wardround.common.learning.evaluating import PrivateEvaluation

_ONCE: Final = "the released model was evaluated once, after the last round"
_TABLE: Final = "the released table is recomputed from what the sites sent"
_SAYS: Final = "the published measures follow from the released table"
_DRIFT: Final = (
    "what is said of drift follows from the released table and the earlier one that the protocol names"
)

_ALIKE: Final = 1e-6  # of the same numbers on another machine


def check_evaluation(case: Case) -> Iterator[Finding]:
    """All of it; nothing where the study declares no evaluation.

    Raises:
        TrustError: A line says something else than its kind.
        StorageError: A file cannot be read.
    """
    if case.protocol.evaluation is None:
        return
    once = _once(case)
    yield once
    counted = [one for one in case.evaluations if one.counted]
    if once.verdict != "confirmed" or not counted:
        return
    yield _table(case, counted[0])
    yield from _claims(case, counted[0])


def _once(case: Case) -> Finding:
    allowed = case.protocol.attempts_of(case.protocol.federation.rounds + 1)
    numbers = [one.attempt for one in case.evaluations]
    counted = [one.counted for one in case.evaluations]
    if numbers != list(range(1, len(numbers) + 1)) or len(numbers) > allowed or counted[:-1].count(True):
        found = f"attempts {numbers}, {counted.count(True)} of which count"
        return refuted(_ONCE, expected=f"attempts from 1 to {allowed}, of which the last counts", found=found)
    if not counted or not counted[-1]:
        return refuted(_ONCE, expected="a line `evaluation`", found="none")
    one, last = case.evaluations[-1], max((each.line for each in case.attempts), default=0)
    models = {str(entry.data.get("model")) for entry in case.of_kind("result")}
    if case.evaluations[0].line < last or models - {one.base_model}:
        found = f"model {one.base_model[:16]} in line {one.line}"
        return refuted(
            _ONCE, expected="the released model, after the last round", found=found, where=one.where
        )
    return confirmed(_ONCE, found=f"model {one.base_model[:16]}, {len(numbers)} attempts", where=one.where)


def _table(case: Case, one: Attempt) -> Finding:
    if not is_archived(case, one):
        return not_checkable(_TABLE, why="there is no archive of what the sites sent", where=one.where)
    try:
        found = Evaluated(table=_sum(case, one), sites=one.contributors).digest
    except TrustError as error:
        return refuted(_TABLE, expected="the table in the log", found=str(error), where=one.where)
    if found != one.table:
        return refuted(
            _TABLE, expected=f"table {one.table[:16]}", found=f"table {found[:16]}", where=one.where
        )
    return confirmed(_TABLE, found=f"table {found[:16]} of {len(one.contributors)} sites", where=one.where)


def _sum(case: Case, one: Attempt) -> "np.ndarray[Any, np.dtype[np.float64]]":
    protocol = case.protocol
    if protocol.joint:
        total = archived_sum(case, one, protocol.table_cells)
        return opened_sum(protocol.privacy_of(one.round), total, sites=len(one.members))
    left, names = case.left_at(one.line), case.roster_at(one.line).site_names
    present = [site for site in names if site in one.contributors and site not in left]
    replies = [check_table(protocol, archived_reply(case, one, site))[TABLE] for site in present]
    return np.asarray(np.sum([reply.astype(np.float64) for reply in replies], axis=0))


def _claims(case: Case, one: Attempt) -> Iterator[Finding]:
    data = case.evidence.read(RESULTS)
    claim = read_json(data, where=RESULTS).get("evaluation") if data is not None else None
    if data is None:
        yield not_checkable(_SAYS, why=f"there is no {RESULTS}: nothing is claimed", where=RESULTS)
    elif not isinstance(claim, dict):
        yield refuted(_SAYS, expected="what the evaluation says", found="nothing", where=RESULTS)
    else:
        yield _measures(case, one, claim)
        yield from _drift(case, one, claim)
        yield from check_costs(case, claim)


def _measures(case: Case, one: Attempt, claim: Mapping[str, Any]) -> Finding:
    from wardround.common.learning.evaluating import evaluation_of

    try:
        cells = np.array(claim["table"]["cells"], np.float64)
        released = Evaluated(table=cells, sites=one.members or one.contributors)
        if released.digest != one.table:
            found = f"table {released.digest[:16]}"
            return refuted(_SAYS, expected=f"table {one.table[:16]}", found=found, where=RESULTS)
        if MODEL not in case.evidence.files:
            return not_checkable(_SAYS, why=f"there is no {MODEL}", where=RESULTS)
        again = evaluation_of(case.protocol, released_parameters(case), released)
        name = _other(case, claim, released, again)
    except (WardroundError, LookupError, TypeError, ValueError, AttributeError) as error:
        return refuted(_SAYS, expected="a table and its measures", found=f"{error}"[:120], where=RESULTS)
    if name:
        return refuted(_SAYS, expected=f"{name} of the table", found="others", where=RESULTS)
    return confirmed(
        _SAYS, found=f"{len(again.rows)} measures; the declared one: {again.judgement.verdict}", where=RESULTS
    )


def _other(case: Case, claim: Mapping[str, Any], released: Evaluated, again: "PrivateEvaluation") -> str:
    """What a claim says otherwise than its table, in words; empty where all of it follows."""
    for name, what, known in (("rows", "measures", again.rows), ("bins", "bins", again.bins)):
        stated = claim.get(name)
        if not isinstance(stated, list) or len(stated) != len(known) or not all(map(_same, known, stated)):
            return f"{len(known)} {what}"
    if not _same(again.judgement, claim.get("judgement")):
        return f"the declared measure, its threshold and the verdict {again.judgement.verdict!r}"
    table, terms = claim["table"], case.protocol.evaluation
    beside = {
        "delta": terms is not None and claim.get("delta") == terms.delta,
        "model": claim.get("model_digest") == parameters_digest(released_parameters(case)),
        "digest": table.get("sha256") == released.digest,
        "shape": terms is not None and table.get("shape") == list(table_shape(terms, case.protocol.outcome)),
        "hospitals": sorted(table.get("hospitals", [])) == sorted(released.sites),
        "noise": math.isclose(table.get("deviation", math.nan), again.deviation, rel_tol=_ALIKE),
    }
    return next((name for name, holds in beside.items() if not holds), "")


def _drift(case: Case, one: Attempt, claim: Mapping[str, Any]) -> Iterator[Finding]:
    """What became of a model since it was released, compared again; a study that trains its own says nothing of it."""
    if (terms := case.protocol.monitoring) is None:
        if "drift" in claim:
            yield refuted(_DRIFT, expected="none: the study monitors no model", found="one", where=RESULTS)
        return
    if MODEL not in case.evidence.files:
        yield not_checkable(_DRIFT, why=f"there is no {MODEL}", where=RESULTS)
        return
    from wardround.common.learning.calibrationfile import Calibration
    from wardround.common.learning.calibrationof import calibration_of
    from wardround.common.learning.drift import drift_of

    try:
        said, model = claim["drift"], released_parameters(case)
        before = Calibration.from_json(said["before"], where=RESULTS)
        if before.digest != terms.calibration:
            raise TrustError(
                f"earlier table {before.digest[:16]}, the protocol names {terms.calibration[:16]}"
            )
        released = Evaluated(table=np.array(claim["table"]["cells"]), sites=one.members or one.contributors)
        again = drift_of(case.protocol, model, before, calibration_of(case.protocol, model, released))
        rows, stated = (again.primary, *again.changes), (said["primary"], *said["changes"])
        if len(rows) != len(stated) or not all(map(_same, rows, stated)):
            raise TrustError("other changes than those of the two tables")
        if said["calibration"] != again.calibration:
            raise TrustError("another verdict on calibration")
    except (WardroundError, LookupError, TypeError, ValueError, AttributeError) as error:
        yield refuted(
            _DRIFT, expected="the changes between the two tables", found=f"{error}"[:120], where=RESULTS
        )
        return
    words = f"performance: {again.primary.verdict}, calibration: {again.calibration}"
    earlier = f"the earlier table is that of protocol {before.protocol[:16]}, whose own audit speaks to it"
    yield confirmed(_DRIFT, found=f"{words}; {earlier}", where=RESULTS)


def _same(row: object, stated: object) -> bool:
    """Whether a published row is the computed one, up to the last digits."""
    if not isinstance(stated, dict):
        return False
    for name in row.__dataclass_fields__:  # type: ignore[attr-defined]
        value, said = getattr(row, name), stated.get(name)
        if isinstance(value, float):
            said = math.nan if said is None else said
            if not isinstance(said, int | float):
                return False
            if not (
                math.isclose(value, said, rel_tol=_ALIKE, abs_tol=_ALIKE) or (value != value and said != said)
            ):
                return False
        elif value != said:
            return False
    return True
