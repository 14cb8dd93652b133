"""The live view agrees with the account that is audited, and may be looked at while the site works."""

import os
import time
from pathlib import Path

import pytest
from tests.consortia import Consortium, asked
from tests.hospital import gives_away, hospital, only

from wardround.client.account import read_account
from wardround.client.liveview import lines, live_view
from wardround.client.policy import SitePolicy
from wardround.common.errors import TrustError, UsageError
from wardround.common.trust.ledger import LEDGER

STUDY = asked()


@pytest.fixture
def made(tmp_path: Path) -> Consortium:
    return Consortium(tmp_path, names=("north",))


def test_a_site_without_studies_has_spent_nothing(made: Consortium) -> None:
    view = live_view(made.site("north"))
    assert view.studies == ()
    assert {budget.exposure for budget in view.budgets.values()} == {0.0}


def test_rounds_budget_bytes_and_the_last_release_are_those_of_ledger_and_outbox(made: Consortium) -> None:
    made.approve("north", STUDY)
    made.spend("north", STUDY, 2)
    view = live_view(made.site("north"))
    (one,) = view.studies
    assert (one.name, one.state, one.round, one.rounds) == ("asked", "open", 2, 3)
    assert (one.charged, one.reserved, one.bytes_out) == (2, 6, 2 * len(b"reply"))
    account = read_account(SitePolicy.load(made.site("north") / "site.toml"))
    assert dict(view.budgets) == dict(account.accounts)
    (line,) = (text for text in lines(view) if text.startswith("asked"))
    assert line.startswith(
        "asked (open): round 2 of 3, 2 of 6 releases used, about 10 bytes out; last release 20"
    )
    (reply,) = (made.site("north") / "outbox").glob("*.reply")
    os.utime(reply, (written := time.time() // 86_400 * 86_400 + 3_661, written))
    assert live_view(made.site("north")).studies[0].last_release.endswith("T01:01:01Z")
    made.finish("north", STUDY)
    assert live_view(made.site("north")).studies[0].state == "finished"
    reply.unlink()
    assert live_view(made.site("north")).studies[0].last_release.endswith("T00:00:00Z")


def test_it_is_seen_while_the_ledger_is_locked_and_a_line_is_being_written(made: Consortium) -> None:
    made.approve("north", STUDY)
    made.spend("north", STUDY, 1)
    with made.ledger("north"):
        before = live_view(made.site("north"))
        with (made.site("north") / "ledger" / LEDGER).open("ab") as ledger:
            ledger.write(b'{"seq": 99, "half')
        assert live_view(made.site("north")) == before


def test_a_changed_ledger_is_not_shown(made: Consortium) -> None:
    made.approve("north", STUDY)
    path = made.site("north") / "ledger" / LEDGER
    path.write_bytes(path.read_bytes().replace(b'"releases":6', b'"releases":7'))
    with pytest.raises(TrustError, match="unbroken chain"):
        live_view(made.site("north"))


def test_a_site_that_has_not_joined_is_told_to(tmp_path: Path, made: Consortium) -> None:
    (made.site("north") / "consortium.json").unlink()
    with pytest.raises(UsageError, match="has not joined"):
        live_view(made.site("north"))


def test_no_patient_is_in_it(made: Consortium) -> None:
    made.approve("north", STUDY)
    text = "\n".join(lines(live_view(made.site("north"))))
    assert gives_away(text, only(hospital(seed=0))) == []
    assert "60" not in text  # patients


def test_a_second_look_is_quick(made: Consortium) -> None:
    made.approve("north", STUDY)
    live_view(made.site("north"))
    began = time.perf_counter()
    live_view(made.site("north"))
    assert time.perf_counter() - began < 5
