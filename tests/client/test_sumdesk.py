"""The desk of secure sums: one attempt at a time, in a file that is gone before anything is masked."""

import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.studies import RUN, joint_protocol, keys_and_roster

from wardround.client.sumdesk import SumDesk
from wardround.common.errors import StorageError, TrustError
from wardround.common.formats import digest
from wardround.common.trust.envelope import Envelope, Header, open_envelope, seal
from wardround.common.trust.identity import PublicKey, Roster, SigningKey
from wardround.common.trust.sumroster import OPEN, ROSTER
from wardround.common.trust.sumwire import pack_messages

NAMES = ("east", "north", "south")
PROTOCOL = joint_protocol()
MODEL = b"a model"


@dataclass(frozen=True, kw_only=True)
class Desks:
    """Three desks, and a coordinator that asks them."""

    keys: Mapping[str, SigningKey]
    roster: Roster
    desks: Mapping[str, SumDesk]

    def header(self, kind: str = OPEN, *, attempt: int = 1, base: str = digest(MODEL)) -> Header:
        return Header(
            kind=kind,
            study=PROTOCOL.study.name,
            protocol_digest=PROTOCOL.digest,
            run=RUN,
            round=1,
            attempt=attempt,
            sender="coordinator",
            receiver="north",
            base_model=base,
        )

    def asked(self, kind: str, body: bytes, **header: object) -> Envelope:
        fields = self.header(kind, **header)  # type: ignore[arg-type]
        return open_envelope(seal(self.keys["coordinator"], fields, body), self.roster)

    def proposed(self, **header: object) -> Envelope:
        readies = [desk.open(self.header(**header)) for desk in self.desks.values()]  # type: ignore[arg-type]
        return self.asked(ROSTER, pack_messages(readies), **header)

    def task(self, model: bytes = MODEL) -> Envelope:
        proposed = self.proposed()
        agreed = [desk.agree(proposed) for desk in self.desks.values()]
        return self.asked("task", pack_messages(agreed) + model)

    @property
    def north(self) -> SumDesk:
        return self.desks["north"]


def desk(folder: Path, name: str, key: SigningKey, peers: Mapping[str, PublicKey]) -> SumDesk:
    folder.mkdir(exist_ok=True)
    return SumDesk(folder=folder, name=name, key=key, protocol=PROTOCOL, peers=peers, tolerated=1)


@pytest.fixture
def desks(tmp_path: Path) -> Desks:
    keys, roster = keys_and_roster(*NAMES)
    made = {name: desk(tmp_path / name, name, keys[name], roster.sites) for name in NAMES}
    return Desks(keys=keys, roster=roster, desks=made)


def files(one: SumDesk) -> list[Path]:
    return sorted(one.folder.iterdir())


def test_a_roster_must_have_the_honest_sites_and_those_that_may_collude(desks: Desks) -> None:
    assert desks.north.least == PROTOCOL.privacy.honest_sites + 1 == 3
    assert replace(desks.north, tolerated=2).least == 4
    assert replace(desks.north, protocol=joint_protocol(honest=5)).least == 6


def test_the_keys_of_an_attempt_stand_in_one_file_for_the_owner(desks: Desks) -> None:
    desks.north.open(desks.header())
    (path,) = files(desks.north)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.name == f"{PROTOCOL.digest[:16]}.session"


def test_opening_again_gives_the_same_message_and_another_attempt_other_keys(desks: Desks) -> None:
    first = desks.north.open(desks.header())
    assert desks.north.open(desks.header()) == first
    assert desks.north.open(desks.header(attempt=2)) != first
    again = desks.north.open(desks.header())
    assert again != first  # the keys of an attempt that was left are gone for good
    assert len(files(desks.north)) == 1


def test_one_model_more_is_another_attempt(desks: Desks) -> None:
    first = desks.north.open(desks.header())
    assert desks.north.open(desks.header(base=digest(b"another"))) != first


def test_a_sum_of_another_run_is_another_attempt(desks: Desks) -> None:
    proposed = desks.proposed()
    desks.north.open(replace(desks.header(), run=RUN[::-1]))
    with pytest.raises(TrustError, match="no secure sum is open"):
        desks.north.agree(proposed)


def test_a_roster_is_agreed_to_once_and_the_answer_is_kept(desks: Desks) -> None:
    proposed = desks.proposed()
    first = desks.north.agree(proposed)
    restarted = replace(desks.north)
    assert restarted.agree(proposed) == first


def test_all_steps_lead_to_a_session_that_masks(desks: Desks) -> None:
    session, model = desks.north.confirm(desks.task())
    assert model == MODEL
    assert session.members == NAMES


def test_without_a_session_there_is_nothing_to_agree_to(desks: Desks) -> None:
    proposed = desks.proposed()
    desks.north.forget()
    for step in (desks.north.agree, desks.north.confirm):
        with pytest.raises(TrustError):
            step(proposed)


def test_bytes_after_a_roster_are_refused(desks: Desks) -> None:
    body = desks.proposed().body
    with pytest.raises(TrustError, match="expected nothing after"):
        desks.north.agree(desks.asked(ROSTER, body + b"!"))


def test_another_model_than_the_envelopes_is_refused(desks: Desks) -> None:
    with pytest.raises(TrustError, match="not the one that the envelope names"):
        desks.north.confirm(desks.task(b"another model"))


def test_a_peer_that_is_not_approved_any_more_is_refused(desks: Desks) -> None:
    task = desks.task()
    fewer = {name: key for name, key in desks.roster.sites.items() if name != "south"}
    with pytest.raises(TrustError, match="'south' is not among"):
        replace(desks.north, peers=fewer).confirm(task)
    renewed = {**desks.roster.sites, "south": SigningKey.generate().public}
    with pytest.raises(TrustError, match="signature"):
        replace(desks.north, peers=renewed).confirm(task)
    with pytest.raises(TrustError, match="at least 4 members"):
        replace(desks.north, tolerated=2).confirm(task)
    desks.north.confirm(task)


@pytest.mark.parametrize(
    "damage", [b"", b"{}", b"\x00" * 40, b'{"format":"wardround-sum-session","version":1}']
)
def test_a_damaged_session_is_refused_and_the_next_attempt_begins_afresh(desks: Desks, damage: bytes) -> None:
    task = desks.task()
    (path,) = files(desks.north)
    path.write_bytes(damage)
    with pytest.raises(TrustError, match="cannot be used"):
        desks.north.confirm(task)
    assert open_envelope(desks.north.open(desks.header(attempt=2)), desks.roster).header.attempt == 2


def test_a_session_of_another_key_is_refused(desks: Desks) -> None:
    task = desks.task()
    with pytest.raises(TrustError, match="cannot be used"):
        replace(desks.north, key=SigningKey.generate(), peers={}).confirm(task)


def test_forgetting_leaves_nothing_not_even_a_draft_of_a_crash(desks: Desks) -> None:
    desks.north.open(desks.header())
    (path,) = files(desks.north)
    (path.parent / f".{path.name}.draft").write_bytes(path.read_bytes()[:100])
    (path.parent / "0123456789abcdef-1-1.reply").write_bytes(b"another's")
    desks.north.forget()
    desks.north.forget()
    assert [path.name for path in files(desks.north)] == ["0123456789abcdef-1-1.reply"]


def test_keys_that_cannot_be_kept_are_not_announced(desks: Desks) -> None:
    desks.north.folder.rmdir()
    with pytest.raises(StorageError):
        desks.north.open(desks.header())


def test_a_desk_shows_no_key(desks: Desks) -> None:
    assert "key=" not in repr(desks.north)
    assert desks.keys["north"].public.encode() not in repr(desks.north)
