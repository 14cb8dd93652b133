"""What stands around a hospital's processes is wrong: its clock, its disk, the server's certificate. All is named."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from tests.deployment.promises import asked, counted, ends_as_uninterrupted, ledger
from tests.deployment.surroundings import HOUR, Clock, SmallDisk
from tests.deployment.wards import Ward, ward
from tests.flowerline import until
from tests.runs import command

from wardround.client.policy import SitePolicy
from wardround.common.trust.ledger import LEDGER, read_ledger
from wardround.server.certificates import SERVER_LIFE, Pair, issue

pytestmark = pytest.mark.slow


@pytest.fixture
def new_ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    with ward(tmp_path_factory.mktemp("ward"), asked("first")) as made:
        yield made


@pytest.mark.failure(
    "a hospital's clock off by an hour", "not let in, named with the seconds; let in once right"
)
@pytest.mark.parametrize(("offset", "named"), [(HOUR, "ahead of"), (-HOUR, "behind")])
def test_a_clock_that_is_off_by_an_hour_is_named(new_ward: Ward, offset: int, named: str) -> None:
    clock = Clock(new_ward.root, offset)
    name = new_ward.agree(asked("clock", rounds=2))
    new_ward.up("hub")
    new_ward.launch("north", environ=clock.environ)
    new_ward.up("south")
    process = new_ward.start(name)
    until(lambda: "s " + named in new_ward.last_error("north", "supernode"), process)
    assert "this computer's clock is 36" in new_ward.last_error("north", "supernode").replace(" 35", " 36")
    assert new_ward.rounds(name) == 0
    clock.set(0)
    ends_as_uninterrupted(new_ward, name, process, rounds=2)


@pytest.mark.failure("a clock jumps by an hour in a round", "named; one attempt more; uninterrupted model")
def test_a_clock_that_jumps_in_a_round_is_named(new_ward: Ward) -> None:
    clock = Clock(new_ward.root)
    name = new_ward.agree(asked("jump"))
    new_ward.up("hub")
    new_ward.up("north", environ=clock.environ)
    new_ward.up("south")
    process = new_ward.start(name)
    new_ward.at_round(name, 1)
    clock.set(HOUR)
    until(lambda: "s ahead of" in new_ward.last_error("north", "supernode"), process)
    clock.set(0)
    ends_as_uninterrupted(new_ward, name, process)
    assert new_ward.said(f"start-{name}").count(", attempt") <= 1


@pytest.mark.failure("disk full at the ledger", "declines, nothing leaves uncharged; goes on with space")
def test_a_full_disk_at_the_ledger_declines_until_there_is_space(new_ward: Ward) -> None:
    name = new_ward.agree(counted("disk", rounds=60))
    disk = SmallDisk(SitePolicy.load(new_ward.folder("north") / "site.toml").ledger)
    new_ward.up("hub")
    new_ward.up("north", within=disk.within)
    new_ward.up("south")
    process = new_ward.start(name, wait=60)
    new_ward.at_round(name, 2)
    filler = disk.fill(new_ward.pid("north", "executor"))
    until(lambda: "No space left on device" in "".join(new_ward.refusals("north")), process)
    declined = new_ward.rounds(name)
    new_ward.at_round(name, declined + 2)
    filler.unlink()
    new_ward.finish(name, process)
    book = read_ledger(disk.seen_by(new_ward.pid("north", "executor")) / LEDGER, new_ward.key("north").public)
    charged = {(e.payload["round"], e.payload["attempt"]) for e in book if e.kind == "spend"}
    released = new_ward.released(name, "north")
    assert set(released) <= charged
    assert (declined + 1, 1) not in released
    assert (60, 1) in released
    assert len(charged) <= 60
    assert len(ledger(new_ward, "south")) > len(book)


@pytest.mark.failure(
    "certificate expired", "server up refuses, hospitals refuse, both name it; renewed, it goes on"
)
def test_an_expired_certificate_is_named_at_both_ends_and_renewed(new_ward: Ward) -> None:
    name = new_ward.agree(asked("expired", rounds=2))
    new_ward.up()
    server = new_ward.server
    new_ward.down("hub")
    authority = Pair(certificate=server.ca.read_bytes(), key=server.ca_key.read_bytes())
    old = issue(authority, [server.host], datetime.now(UTC) - SERVER_LIFE - timedelta(days=3))
    server.certificate.write_bytes(old.certificate)
    server.certificate_key.write_bytes(old.key)
    assert new_ward.launch("hub").wait(timeout=60) == 6
    assert "expired at" in new_ward.said("hub")
    assert "--renew-certificate" in new_ward.said("hub")
    with new_ward.link():  # as it would be had it expired while the server ran
        new_ward.pull_the_plug("north")
        new_ward.launch("north")
        until(lambda: "expired at" in new_ward.last_error("north", "supernode"), new_ward.processes["north"])
    assert command("server", "init", server.folder, "--renew-certificate").code == 0
    new_ward.up("hub")
    ends_as_uninterrupted(new_ward, name, new_ward.start(name), rounds=2)
