"""One reservation pays for one run: what a site does when the same study is run again, or an old run is replayed."""

import json
from pathlib import Path

import pytest
from tests.studies import RUN
from tests.wards import KEYS, STUDY, Ward, declined, message, opened

from wardround.common.errors import TrustError
from wardround.common.learning.exchange import DECLINED, FINISH, FINISHED, NO_MODEL, UPDATE
from wardround.common.trust.ledger import read_ledger

LATER = RUN[::-1]
KEY = STUDY.study.name, STUDY.digest


def allowed_again(ward: Ward) -> None:
    """What a person at the site does before the same study is run once more."""
    with ward.open(approved=False):
        ward.ledger.allow_again(*KEY)


def finished(ward: Ward, run: str = RUN) -> None:
    with ward.open() as site:
        opened(site.answer(message(FINISH, b"", run=run, round=0, attempt=0, base_model=NO_MODEL)), FINISHED)


def test_an_invented_run_gets_neither_an_update_nor_a_charge(tmp_path: Path) -> None:
    ward = Ward(tmp_path)
    with ward.open() as site:
        site.answer(message())
        for number in range(3):
            for moment in ((1, 1), (1, 2), (2, 1)):
                task = message(run=f"{number:032x}", round=moment[0], attempt=moment[1])
                assert f"is in run {RUN}" in declined(ward, site.answer(task))
        assert ward.charges() == 1
    assert ward.trainer.calls == 1


def test_the_kept_reply_of_one_run_is_not_sent_into_another(tmp_path: Path) -> None:
    ward = Ward(tmp_path)
    with ward.open() as site:
        sent = site.answer(message())
        opened(site.answer(message(run=LATER)), DECLINED)
        assert site.answer(message()) == sent


def test_a_study_run_again_by_a_person_answers_its_new_run_afresh_and_the_old_one_never(
    tmp_path: Path,
) -> None:
    ward = Ward(tmp_path)
    with ward.open() as site:
        before = site.answer(message())
    finished(ward)
    allowed_again(ward)
    with ward.open() as site:
        assert f"run {RUN}" in declined(ward, site.answer(message()))
        assert "ended" in declined(ward, site.answer(message(round=2)))
        after = site.answer(message(run=LATER))
        assert opened(after, UPDATE).header.run == LATER
        assert after != before
        assert ward.charges() == 2  # both runs count
        opened(site.answer(message()), DECLINED)


def test_a_finish_of_an_earlier_run_ends_no_later_one(tmp_path: Path) -> None:
    ward = Ward(tmp_path)
    finished(ward)  # this site was never asked in it
    allowed_again(ward)
    with ward.open() as site:
        opened(site.answer(message(FINISH, b"")), DECLINED)
        assert ward.ledger.has_open(*KEY)
        opened(site.answer(message(run=LATER)), UPDATE)
        opened(site.answer(message(FINISH, b"", run="e" * 32)), DECLINED)
        assert ward.ledger.has_open(*KEY)


def test_a_run_that_a_person_left_goes_on_with_newer_attempts_only(tmp_path: Path) -> None:
    ward = Ward(tmp_path)
    with ward.open() as site:
        site.answer(message(round=2))
        ward.ledger.close_study(*KEY)  # revoked
    allowed_again(ward)
    with ward.open() as site:
        for old in ((1, 1), (2, 1)):
            assert "newer" in declined(ward, site.answer(message(round=old[0], attempt=old[1])))
        opened(site.answer(message(round=2, attempt=2)), UPDATE)
        assert ward.charges() == 2


def test_the_ledger_names_the_run_of_every_charge_and_is_read_back_with_it(tmp_path: Path) -> None:
    ward = Ward(tmp_path)
    with ward.open() as site:
        site.answer(message())
    finished(ward)
    entries = read_ledger(ward.policy.ledger / "ledger.jsonl", KEYS["north"].public)
    runs = {entry.kind: entry.payload.get("run") for entry in entries}
    assert (runs["spend"], runs["close"]) == (RUN, RUN)
    with ward.open(approved=False), pytest.raises(TrustError, match="is in run"):
        ward.ledger.check_run(*KEY, LATER)
    assert json.loads(entries[-1].line)["payload"]["run"] == RUN
