"""`wardround audit secagg`: a coordinator that keeps no rule, with its genuine key, in front of the installed hospital.

Every trial is a message that a secure sum must not follow. It holds if the hospital declines, charges nothing and sends
nothing masked. Then one honest attempt shows that masked bytes look uniform, that the sum is recomputed from what was
sent, that no altered upload passes, and that an answered attempt is never masked again.

The hospital is production code in folders of its own; the two other members and the coordinator are the auditor's.
What it cannot show: that hospitals do not collude, or that a member's own numbers are honest.

Sources: Bonawitz et al. (2017) for the protocol; Pasquini et al. (2022), "Eluding secure aggregation", for inconsistent
models; `common.trust.securesum` states what is promised.
"""

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from wardround.common.errors import StudyError, TrustError, WardroundError
from wardround.common.trust.securesum import SumSession
from wardround.common.trust.sumround import recompute_sum
from wardround.common.trust.sumwire import Masked
from wardround.simulations.conformance import memory_folder
from wardround.simulations.conformancepatients import WITHOUT, tables
from wardround.simulations.conformancesite import Grounds
from wardround.simulations.conformancestats import ALPHA
from wardround.simulations.run import Step
from wardround.simulations.secsumlies import HONEST, LIES, Liar, Lie, all_ready, another_run


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One thing that was tried.

    Attributes:
        name: Short and stable.
        tried: In words.
        holds: Whether the hospital did what it must.
        said: Its own reason, which never left it, or what was seen.
    """

    name: str
    tried: str
    holds: bool
    said: str


def tried(name: str, lie: Lie, liar: Liar, round_: int) -> Trial:
    """Try one lie; it holds if the hospital declines and charges nothing."""
    before, words = liar.charged(), (lie.__doc__ or "").strip()
    try:
        lie(liar, round_)
    except StudyError as refusal:
        held = liar.charged() == before
        return Trial(
            name=name, tried=words, holds=held, said=str(refusal) if held else "declined, but charged"
        )
    return Trial(name=name, tried=words, holds=False, said="the hospital went along")


def honest(liar: Liar) -> Iterator[Trial]:
    """One attempt as it should be, and what may be done with it afterwards."""
    own, (first, second) = all_ready(liar, HONEST)
    readies = [own, first.ready, second.ready]
    agreements = [liar.propose(readies, HONEST), first.agree(readies), second.agree(readies)]
    before = liar.charged()
    reply = liar.order(agreements, HONEST)
    length = sum(array.size for array in liar.base.values())
    upload = Masked.unpack(reply.envelope.body, length).values
    yield Trial(
        name="one charge",
        tried="an honest attempt is charged once",
        holds=liar.charged() == before + 1,
        said=f"{liar.charged() - before} charges",
    )
    p = float(stats.chisquare(np.bincount(np.frombuffer(upload.tobytes(), np.uint8), minlength=256)).pvalue)
    yield Trial(
        name="uniform bytes",
        tried="masked bytes look uniform",
        holds=p >= ALPHA,
        said=f"chi-square p {p:.3g}",
    )
    again = liar.order([], HONEST).data
    same = again == reply.data and liar.charged() == before + 1
    yield Trial(
        name="never masked again",
        tried="an answered attempt gets the same bytes, whatever the roster",
        holds=same,
        said="the same bytes, no second charge" if same else "other bytes, or a second charge",
    )
    yield tried("another run", another_run, liar, HONEST + 1)
    uploads = [(WITHOUT, reply.data)]
    for session in (first, second):
        session.confirm(agreements)
        uploads.append((session.name, session.upload(np.zeros(length, np.uint32), receipt=b"")))
    yield from _recomputed(liar, readies, agreements, uploads, first, length)


def _recomputed(
    liar: Liar,
    readies: Sequence[bytes],
    agreements: Sequence[bytes],
    uploads: Sequence[tuple[str, bytes]],
    member: SumSession,
    length: int,
) -> Iterator[Trial]:
    def total(sent: Sequence[tuple[str, bytes]]) -> object:
        return recompute_sum(
            member.context,
            keys=liar.grounds.roster,
            length=length,
            readies=readies,
            agreements=agreements,
            uploads=sent,
        )

    first = total(uploads)
    same = np.array_equal(np.asarray(first), np.asarray(total(uploads[::-1])))
    yield Trial(
        name="transcript",
        tried="the sum is recomputed from what was sent, in any order",
        holds=same,
        said=f"{length} values",
    )
    site, data = uploads[0]
    changed = data[:-1] + bytes([data[-1] ^ 1])
    for name, sent, what in (
        (
            "altered upload",
            [(site, changed), *uploads[1:]],
            "an upload with one bit changed makes the sum void",
        ),
        ("missing upload", uploads[1:], "a missing upload makes the sum void"),
    ):
        try:
            total(sent)
            yield Trial(name=name, tried=what, holds=False, said="a sum came out")
        except TrustError as error:
            yield Trial(name=name, tried=what, holds=True, said=str(error))


def secagg(*, step: Step = lambda *_: None) -> list[Trial]:
    """All trials on this installation."""
    found: list[Trial] = []
    total = len(LIES) + 1
    with tempfile.TemporaryDirectory(prefix="wardround-secagg-", dir=memory_folder()) as folder:
        liar = Liar(Grounds(Path(folder), {WITHOUT: tables()[WITHOUT]}))
        for number, (name, lie) in enumerate(LIES.items(), start=1):
            step(name, number, total)
            found.append(tried(name, lie, liar, number + 1))
        step("honest attempt", total, total)
        try:
            found.extend(honest(liar))
        except WardroundError as error:
            words = "an honest attempt is answered"
            found.append(Trial(name="honest attempt", tried=words, holds=False, said=str(error)))
    return found


def as_json(trials: Sequence[Trial]) -> str:
    """For machines."""
    return json.dumps(
        {"holds": all(t.holds for t in trials), "trials": [asdict(t) for t in trials]}, indent=1
    )


def in_words(trials: Sequence[Trial]) -> str:
    """For a terminal."""
    lines = [f"{'holds' if one.holds else 'FAILS'}  {one.name:28}{one.tried}" for one in trials]
    lines += [f"\nFAILED {one.name}: {one.said}" for one in trials if not one.holds]
    held = sum(one.holds for one in trials)
    return "\n".join([*lines, "", f"{held} of {len(trials)} trials hold on this installation."])
