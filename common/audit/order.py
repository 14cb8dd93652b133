"""Completeness and order: is the log about this protocol, from its first round to its end, without a gap?

A log without its end is refuted, whatever the reason: lines that are missing and a study that still runs look alike.
"""

from collections.abc import Iterator

from wardround.common.audit.case import Case
from wardround.common.audit.evidence import ROSTER
from wardround.common.audit.keys import read_keys
from wardround.common.audit.lines import Attempt, text_in
from wardround.common.audit.verdicts import Finding, confirmed, refuted
from wardround.common.learning.study import quorum_of, training_sites

_PROTOCOL = "the log is about the protocol in the bundle"
_ROSTER = "the roster in the bundle is that of the log"
_ATTEMPTS = "rounds and attempts are complete and in order"
_CHAIN = "each round starts from the model that the round before it ended with"
_QUORUM = "every round that counts had its quorum, and only sites of the roster"
_EVERYBODY = "every attempt says of every site what became of it"
_END = "the study ran to its end"

_KINDS = ("protocol", "roster", "approval", "members", "round", "evaluation", "void", "result", "finish")
_STATEMENTS = ("conformance", "audit")


def check_order(case: Case) -> Iterator[Finding]:
    """Protocol, rounds, attempts, models, quorum and end.

    Raises:
        TrustError: A line says something else than its kind.
    """
    yield _protocol(case)
    yield from _roster(case)
    yield from _kinds(case)
    yield _attempts(case)
    yield _chain(case)
    yield _everybody(case)
    yield _quorum(case)
    yield _end(case)


def _protocol(case: Case) -> Finding:
    lines = case.of_kind("protocol")
    found = [text_in(entry, "digest") for entry in lines]
    name = [entry.data.get("name") for entry in lines]
    if found == [case.protocol.digest] and lines[0].seq == 0 and name == [case.protocol.study.name]:
        return confirmed(_PROTOCOL, found=f"digest {case.protocol.digest[:16]}", where="line 1")
    shown = f"{', '.join(one[:16] for one in found) or 'no protocol line'}, name {name}"
    expected = f"digest {case.protocol.digest[:16]}, name {case.protocol.study.name!r}, in line 1"
    return refuted(_PROTOCOL, expected=expected, found=shown)


def _roster(case: Case) -> Iterator[Finding]:
    """The roster beside the log, which is there for information only, must not mislead."""
    data = case.evidence.read(ROSTER)
    if data is None:
        return
    own = read_keys((case.evidence.files[ROSTER],)).newest
    last = case.said
    if own != {last.coordinator: last.coordinator_key, **last.sites}:
        yield refuted(_ROSTER, expected="the parties of the log", found="others", where=ROSTER)
    else:
        yield confirmed(_ROSTER, found=f"{len(last.sites)} sites", where=ROSTER)


def _kinds(case: Case) -> Iterator[Finding]:
    for entry in case.entries:
        if entry.kind not in (*_KINDS, *_STATEMENTS):
            yield refuted(
                "the log holds lines of known kinds only",
                expected=", ".join(_KINDS),
                found=repr(entry.kind)[:60],
                where=f"line {entry.seq + 1}",
                severity="serious",
            )


def _attempts(case: Case) -> Finding:
    allowed = case.protocol.federation.attempts
    round_, attempt = 1, 1
    for one in case.attempts:
        if (one.round, one.attempt) != (round_, attempt) or one.attempt > allowed:
            expected = f"round {round_} attempt {attempt} of at most {allowed}"
            return refuted(_ATTEMPTS, expected=expected, found=one.where, where=f"line {one.line}")
        round_, attempt = (round_ + 1, 1) if one.counted else (round_, attempt + 1)
    if not case.attempts and case.protocol.federation.rounds:
        return refuted(_ATTEMPTS, expected="at least one round", found="none")
    return confirmed(_ATTEMPTS, found=f"{round_ - 1} rounds in {len(case.attempts)} attempts")


def _chain(case: Case) -> Finding:
    before: Attempt | None = None
    for one in case.attempts:
        if before is not None and one.base_model != before.result_model:
            expected = f"model {before.result_model[:16]}"
            return refuted(_CHAIN, expected=expected, found=f"model {one.base_model[:16]}", where=one.where)
        if not one.counted and one.result_model != one.base_model:
            return refuted(
                _CHAIN, expected="a void attempt leaves the model as it was", found="another", where=one.where
            )
        before = one
    return confirmed(_CHAIN, found=f"{len(case.attempts)} steps")


def _everybody(case: Case) -> Finding:
    """A site of which an attempt says nothing may have been asked in it."""
    for one in case.releases:
        expected = set(sites_at(case, one)) - case.left_at(one.line)
        if missing := expected - one.sites.keys():
            found = f"nothing of {', '.join(sorted(missing))}"
            return refuted(_EVERYBODY, expected="asked, refused or missing", found=found, where=one.where)
    return confirmed(_EVERYBODY, found=f"{len(case.releases)} attempts")


def sites_at(case: Case, one: Attempt) -> tuple[str, ...]:
    """The sites that an attempt is about: without the external ones, but in the evaluation."""
    names = case.roster_at(one.line).site_names
    return names if case.protocol.evaluates(one.round) else training_sites(case.protocol, names)


def _quorum(case: Case) -> Finding:
    for one in case.releases:
        names = sites_at(case, one)
        quorum = quorum_of(case.protocol, len(names))
        if strange := one.sites.keys() - set(names):
            return refuted(
                _QUORUM, expected="sites of the roster that train", found=min(strange), where=one.where
            )
        part = one.members or one.contributors
        part = tuple(site for site in part if site not in case.left_at(one.line))
        if one.counted and len(part) < quorum:
            return refuted(
                _QUORUM, expected=f"{quorum} sites", found=f"{len(part)}: {', '.join(part)}", where=one.where
            )
        if one.counted and one.members and set(one.members) != set(one.contributors):
            found = f"receipts of {', '.join(one.contributors) or 'nobody'}"
            return refuted(_QUORUM, expected="a receipt of each member", found=found, where=one.where)
    training = training_sites(case.protocol, case.roster.site_names)
    return confirmed(_QUORUM, found=f"quorum {quorum_of(case.protocol, len(training))}")


def _end(case: Case) -> Finding:
    wanted = case.protocol.federation.rounds
    rounds = sum(one.counted for one in case.attempts)
    ends = case.of_kind("result") + case.of_kind("finish")
    after = [one.where for one in case.releases if ends and one.line > ends[0].seq + 1]
    if (
        rounds != wanted
        or not case.of_kind("finish")
        or case.entries[-1].kind not in ("finish", *_STATEMENTS)
    ):
        found = f"{rounds} rounds, last line {case.entries[-1].kind!r:.40}"
        return refuted(_END, expected=f"{wanted} rounds and a line `finish`", found=found)
    if after:
        return refuted(_END, expected="nothing after the end", found=after[0])
    models = {text_in(entry, "model") for entry in ends}
    if len(models) > 1:
        return refuted(_END, expected="one final model", found=f"{len(models)} different ones")
    return confirmed(_END, found=f"{rounds} rounds, model {models.pop()[:16]}")
