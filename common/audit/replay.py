"""The study once more, from the archive: every sum and every model is computed again from what the sites sent.

Site noise: the archived updates are combined by the protocol's rule and weights. Joint noise: the archived masked
uploads are added modulo 2^32, which cancels the masks, and the opened sum is one step of the server's optimiser. Each
result must have the digest that the log gives it, bit for bit, and the last one must be the released model.

A first round of statistics solves a linear system, whose last bits differ between machines. Where they do, the archived
model of that round is taken if it is the same within rounding.

Assumes the rule of `common.learning.study`: an error there would be repeated here.
"""

from collections.abc import Generator, Iterator
from dataclasses import replace
from typing import Final

import numpy as np

from wardround.common.audit.archived import archived_reply, archived_sum, is_archived
from wardround.common.audit.case import Case
from wardround.common.audit.evidence import ARCHIVE, MODEL, RESULTS
from wardround.common.audit.lines import Attempt
from wardround.common.audit.modelcheck import released_parameters
from wardround.common.audit.verdicts import Finding, confirmed, not_checkable, refuted
from wardround.common.errors import StudyError, TrustError, WardroundError
from wardround.common.formats import digest
from wardround.common.learning.firstmodel import initial
from wardround.common.learning.parameters import (
    Parameters,
    check_like,
    check_update,
    from_bytes,
    parameters_digest,
    to_vector,
)
from wardround.common.learning.study import Progress, Study, summed_values
from wardround.common.privacy.jointnoise import opened_sum

_FIRST: Final = "the first round started from the public first model"
_RESULTS: Final = "the model of each round is recomputed from what the sites sent"
_RELEASED: Final = "the released model is the one that the study ended with"
_MONITORED: Final = "the model that was evaluated is the released one that the protocol names"

_ALIKE: Final = 1e-3  # relative; the same solution on another machine's linear algebra


def check_models(case: Case) -> Iterator[Finding]:
    """First model, every round, and the released one.

    Raises:
        TrustError: A line says something else than its kind.
        StorageError: A file cannot be read.
    """
    if MODEL not in case.evidence.files:
        yield from _no_model(case)
        return
    try:
        released = released_parameters(case)
    except WardroundError as error:
        yield refuted(_RELEASED, expected="a model of this study", found=str(error), where=MODEL)
        return
    if case.protocol.monitoring is not None:
        yield _monitored(case, released, case.protocol.monitoring.model)
        return
    if not case.attempts:
        yield not_checkable(_RESULTS, why="no round")
        return
    first = initial(case.protocol, int(next(iter(released.values())).shape[-1]))
    yield _first(case, first)
    ended = yield from _rounds(case, Progress(parameters=first))
    yield _released(case, released, ended)


def _monitored(case: Case, released: Parameters, named: str) -> Finding:
    """Nothing is trained: every attempt and the end are about one model, known before the study began."""
    found = {parameters_digest(released)} | {one.base_model for one in case.evaluations}
    found |= {str(entry.data.get("model")) for kind in ("result", "finish") for entry in case.of_kind(kind)}
    if others := sorted(found - {named}):
        return refuted(_MONITORED, expected=f"model {named[:16]}", found=f"model {others[0][:16]}")
    return confirmed(_MONITORED, found=f"model {named[:16]}")


def _no_model(case: Case) -> Iterator[Finding]:
    """Without the model's file its width is unknown, and so is where the first round began."""
    why = f"there is no {MODEL}"
    if case.of_kind("finish") and (RESULTS in case.evidence.files or case.evidence.below(ARCHIVE)):
        yield refuted(_RELEASED, expected=f"{MODEL}, as the study is finished", found="none", where=MODEL)
    else:
        yield not_checkable(_RELEASED, why=why)
    yield not_checkable(_FIRST, why=why)
    yield not_checkable(_RESULTS, why=why)


def _first(case: Case, first: Parameters) -> Finding:
    found, expected = case.attempts[0].base_model, parameters_digest(first)
    if found == expected:
        return confirmed(_FIRST, found=f"model {found[:16]}")
    return refuted(
        _FIRST, expected=f"model {expected[:16]}", found=f"model {found[:16]}", where=case.attempts[0].where
    )


def _rounds(case: Case, progress: Progress) -> Generator[Finding, None, Progress | None]:
    """Replay all rounds; where that leads, or None where it cannot be known."""
    if not case.protocol.private:
        yield not_checkable(_RESULTS, why="nothing is archived without a privacy mechanism")
        return None
    counted = [one for one in case.attempts if one.counted]
    missing = [one for one in counted if not is_archived(case, one)]
    if len(missing) == len(counted):
        yield not_checkable(_RESULTS, why="there is no archive of what the sites sent")
        return None
    if missing:
        found = f"nothing of {len(missing)} of {len(counted)} rounds"
        yield refuted(_RESULTS, expected="an archive of every round", found=found, where=missing[0].where)
        return None
    for one in counted:
        try:
            progress = _step(case, progress, one)
        except (TrustError, StudyError) as error:
            yield refuted(_RESULTS, expected="the result in the log", found=str(error), where=one.where)
            return None
    how = "sums of masked uploads" if case.protocol.joint else "updates"
    yield confirmed(_RESULTS, found=f"{len(counted)} rounds, from the archived {how}")
    return progress


def _step(case: Case, progress: Progress, one: Attempt) -> Progress:
    """Replay one round.

    Raises:
        TrustError, StudyError: A message is missing or not what the log says, or the result is another.
    """
    study = Study(case.protocol, case.roster_at(one.line).site_names, progress)
    if case.protocol.joint:
        total = opened_sum(
            case.protocol.privacy,
            archived_sum(case, one, summed_values(case.protocol, progress.parameters, one.round)),
            sites=len(one.members),
        )
        study.advance_by_sum(total, one.members)
    else:
        left = case.left_at(one.line)
        present = [site for site in one.contributors if site not in left]
        study.close(
            {site: check_update(archived_reply(case, one, site), progress.parameters) for site in present}
        )
    found = parameters_digest(study.progress.parameters)
    if found != one.result_model:
        return _archived_model(case, study.progress, one, found)
    return study.progress


def _archived_model(case: Case, computed: Progress, one: Attempt, found: str) -> Progress:
    """Go on from an archived model that differs from the computed one in rounding only.

    Raises:
        TrustError: There is none, or it differs in more.
    """
    differs = TrustError(f"the result is model {found[:16]}, the log says {one.result_model[:16]}")
    data = case.evidence.read(f"{ARCHIVE}/models/{one.result_model}.safetensors")
    if not case.protocol.sums_statistics(one.round) or data is None or digest(data) != one.result_model:
        raise differs
    archived = check_like(from_bytes(data), computed.parameters)
    vector = to_vector(archived)
    if not np.allclose(vector, to_vector(computed.parameters), rtol=_ALIKE, atol=_ALIKE):
        raise differs
    tail = None if computed.state.tail is None else vector.astype(np.float64)
    return replace(computed, parameters=archived, state=replace(computed.state, tail=tail))


def _released(case: Case, released: Parameters, ended: Progress | None) -> Finding:
    name = parameters_digest(released)
    said = {str(entry.data.get("model")) for kind in ("result", "finish") for entry in case.of_kind(kind)}
    if said != {name}:
        shown = ", ".join(sorted(one[:16] for one in said)) or "no final model"
        return refuted(_RELEASED, expected=f"model {shown}", found=f"model {name[:16]} in model.safetensors")
    last = _last(case)
    if ended is not None:
        last = parameters_digest(Study(case.protocol, case.roster.site_names, ended).model)
    if not last:
        return not_checkable(_RELEASED, why="a mean of several rounds' models, which nothing here shows")
    if last != name:
        return refuted(_RELEASED, expected=f"model {last[:16]}", found=f"model {name[:16]}")
    return confirmed(_RELEASED, found=f"model {name[:16]}")


def _last(case: Case) -> str:
    """The last round's model, where that is what is released."""
    counted = [one.result_model for one in case.attempts if one.counted]
    return counted[-1] if counted and case.protocol.federation.average_last == 1 else ""
