"""Each site's own word: what it signed is what counts, whatever the coordinator writes beside it."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from tests.auditing import Record, finished, refuted
from tests.studies import private_protocol

from wardround.common.formats import digest
from wardround.common.learning.exchange import pack_update, unpack_update
from wardround.common.privacy.events import GaussianSteps
from wardround.common.trust.envelope import head_of, open_envelope, seal
from wardround.common.trust.identity import Roster
from wardround.common.trust.signed import text_of

OWN = "each site signed what the log says of its updates and charges"
TERMS = "what was executed is what the protocol says: mechanism, noise, rate and steps"
GREW = "each site's ledger only grew from receipt to receipt"


@cache
def record() -> Record:
    """An honest record, made once per process."""
    return finished(Path(mkdtemp(prefix="audit-words-")), private_protocol(rounds=2))


def said(**receipt: object) -> Record:
    """The record with another receipt of one site in round 2, which the site signed."""
    place = record().at("round", 1)
    data = record().lines[place][1]
    word = data["sites"]["north"]  # type: ignore[index]
    name = f"archive/2-1/{word['reply']}.envelope"
    roster = Roster.from_dict(record().lines[record().at("roster")][1])
    envelope = open_envelope(record().files[name], roster)
    honest, update = unpack_update(envelope.body)
    told = replace(honest, **receipt)  # type: ignore[arg-type]
    body = pack_update(told, update)
    fields = replace(envelope.header, receipt=told.digest)
    reply = seal(record().keys["north"], fields, body)
    changed = record().with_word(
        place,
        "north",
        update=digest(body),
        head=text_of(head_of(reply)),
        reply=digest(reply),
        **told.to_dict(),
    )
    return changed.with_file(name, None).with_file(f"archive/2-1/{digest(reply)}.envelope", reply)


def test_a_site_that_used_less_noise_and_says_so_is_found(tmp_path: Path) -> None:
    less = GaussianSteps(noise_multiplier=1.0, sample_rate=1.0, steps=1)
    found = refuted(said(event=less).hand_over(tmp_path / "bundle"))
    assert "noise_multiplier 1.0" in found[TERMS]
    assert OWN not in found


def test_a_site_whose_ledger_went_back_is_found_without_the_ledger(tmp_path: Path) -> None:
    back = said(ledger_seq=1)
    for name in [name for name in back.files if name.startswith("ledgers/")]:
        back = back.with_file(name, None)
    assert "the ledger was rolled back" in refuted(back.hand_over(tmp_path / "bundle"))[GREW]


def test_a_charge_that_the_coordinator_invents_is_found(tmp_path: Path) -> None:
    place = record().at("round", 1)
    event = {**record().lines[place][1]["sites"]["south"]["event"], "steps": 5}  # type: ignore[index]
    found = refuted(record().with_word(place, "south", event=event).hand_over(tmp_path / "bundle"))
    assert "another receipt than the log shows" in found[OWN]


def test_a_head_that_names_another_round_is_found(tmp_path: Path) -> None:
    first, second = record().at("round"), record().at("round", 1)
    head = record().lines[first][1]["sites"]["north"]["head"]  # type: ignore[index]
    found = refuted(record().with_word(second, "north", head=head).hand_over(tmp_path / "bundle"))
    assert "expected round 2" in found[OWN]
