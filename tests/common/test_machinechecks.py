"""Each usual fault, made on purpose, is named, and says what to do."""

import ctypes
import os
import shutil
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.flowerline import certificates, free_port
from tests.pretenders import healthy_at, listening, plain, proxy, silent

from wardround.common.doctor import Check, Finding, examine, exit_code, lines
from wardround.common.machinechecks import (
    clock_is_kept,
    disk,
    earlier_start,
    private,
    server_reached,
    versions,
)
from wardround.common.processfile import Standing, born, write_standing

HOST = "127.0.0.1"
Pems = tuple[Path, Path, Path]


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Pems:
    """An authority, and a server's certificate and key for 127.0.0.1."""
    return certificates(tmp_path_factory.mktemp("tls"))


def now() -> datetime:
    return datetime.now(UTC)


def way(port: int, ca: Path, *, host: str = HOST, later: timedelta = timedelta(0)) -> tuple[Finding, ...]:
    """What the checks of the way to a server say."""
    return examine(server_reached(host, port, ca.read_text(encoding="ascii"), now=lambda: now() + later))


def faults(found: tuple[Finding, ...]) -> dict[str, str]:
    """Check -> what was found, of faults; each has advice."""
    assert all(finding.advice for finding in found if finding.state != "fine")
    return {finding.check: finding.found for finding in found if finding.state == "fault"}


def warnings(found: tuple[Finding, ...]) -> dict[str, str]:
    return {finding.check: finding.found for finding in found if finding.state == "warning"}


def test_a_server_that_is_well_has_no_fault(pems: Pems) -> None:
    with listening(healthy_at(now(), *pems[1:])) as port:
        found = way(port, pems[0])
    assert faults(found) == {}
    assert [finding.check for finding in found] == ["name", "coordinator", "certificate", "clock"]


@pytest.mark.parametrize(
    ("seconds", "state"), [(3600, "fault"), (8, "fault"), (-3600, "fault"), (-60, "fine"), (0, "fine")]
)
def test_a_clock_that_flower_would_refuse_is_a_fault(pems: Pems, seconds: int, state: str) -> None:
    with listening(healthy_at(now() - timedelta(seconds=seconds), *pems[1:])) as port:
        (clock,) = (finding for finding in way(port, pems[0]) if finding.check == "clock")
    assert clock.state == state
    if state == "fault":
        assert f"{'ahead of' if seconds > 0 else 'behind'} the coordinator's" in clock.found
        assert "NTP" in clock.advice


def test_the_certificate_of_another_authority_is_named(pems: Pems, tmp_path: Path) -> None:
    other = certificates(tmp_path / "other")
    with listening(healthy_at(now(), *other[1:])) as port:
        found = way(port, pems[0])
    assert "not issued by the authority" in faults(found)["certificate"]


def test_a_certificate_for_another_name_is_named(tmp_path: Path) -> None:
    ca, *server = certificates(tmp_path / "other", names=("10.0.0.7",))
    with listening(healthy_at(now(), *server)) as port:
        found = way(port, ca)
    assert "is for 10.0.0.7; hospitals dial 127.0.0.1" in faults(found)["certificate"]


@pytest.mark.parametrize(("days", "words"), [(3, "expired at"), (-3, "is valid from")])
def test_a_certificate_out_of_its_time_is_named(pems: Pems, days: int, words: str) -> None:
    with listening(healthy_at(now() + timedelta(days=days), *pems[1:])) as port:
        found = way(port, pems[0], later=timedelta(days=days))
    assert words in faults(found)["certificate"]
    assert "clock" not in faults(found)


def test_a_certificate_that_ends_soon_is_a_warning(pems: Pems) -> None:
    with listening(healthy_at(now(), *pems[1:])) as port:
        assert "1 days more" in warnings(way(port, pems[0]))["certificate"]


def test_a_closed_port_is_named(pems: Pems) -> None:
    assert "nobody listens" in faults(way(free_port(), pems[0]))["coordinator"]


def test_a_port_that_drops_everything_is_named(pems: Pems, monkeypatch: pytest.MonkeyPatch) -> None:
    def dropped(*given: object, **named: object) -> socket.socket:
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", dropped)
    (finding,) = (finding for finding in way(8443, pems[0]) if finding.check == "coordinator")
    assert "no answer" in finding.found
    assert "allow outgoing TCP from this computer to 127.0.0.1 port 8443" in finding.advice


def test_a_name_that_is_not_known_is_named(pems: Pems) -> None:
    assert "not known here (DNS)" in faults(way(8443, pems[0], host="coordinator.invalid"))["name"]


def test_something_else_at_the_port_is_named(pems: Pems) -> None:
    with listening(plain) as port:
        assert "no Wardround server" in faults(way(port, pems[0]))["coordinator"]
    with listening(silent) as port:
        assert "breaks off" in faults(way(port, pems[0]))["coordinator"]
    with listening(healthy_at(now(), *pems[1:], status="404 Not Found")) as port:
        assert "no Wardround server" in faults(way(port, pems[0]))["coordinator"]


def test_a_proxy_that_lets_through_is_a_warning_without_its_password(
    pems: Pems, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bytes] = []
    with (
        listening(healthy_at(now(), *pems[1:])) as port,
        listening(proxy("200 OK", seen, through=True)) as there,
    ):
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:secret@127.0.0.1:{there}")
        found = way(port, pems[0])
    assert faults(found) == {}
    assert f"through 127.0.0.1:{there}" in warnings(found)["proxy"]
    assert b"Proxy-Authorization: Basic dXNlcjpzZWNyZXQ=" in seen[0]
    assert "secret" not in "".join(lines(found))


def test_a_proxy_that_refuses_is_named(pems: Pems, monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(proxy("403 Forbidden", [], through=False)) as there:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:secret@127.0.0.1:{there}")
        found = way(8443, pems[0])
    assert "does not let through to 127.0.0.1:8443 (it answered 403)" in faults(found)["coordinator"]
    assert "secret" not in "".join(lines(found))


def test_an_exception_from_the_proxy_goes_directly(pems: Pems, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", HOST)
    with listening(healthy_at(now(), *pems[1:])) as port:
        assert faults(way(port, pems[0])) == {}


@pytest.mark.parametrize("url", ["socks5://127.0.0.1:1", "http://", "http://127.0.0.1:port"])
def test_a_proxy_that_cannot_be_meant_is_named(pems: Pems, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", url)
    assert "none that can be used" in faults(way(8443, pems[0]))["name"]


def test_a_full_disk_is_a_fault_and_a_nearly_full_one_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for free, state in ((10 * 2**20, "fault"), (500 * 2**20, "warning"), (5 * 2**30, "fine")):
        used = shutil.disk_usage(tmp_path)._replace(free=free)
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "disk_usage", lambda _, used=used: used)
            assert [finding.state for finding in disk([tmp_path / "not" / "there", tmp_path])] == [state]


def test_a_key_that_others_may_read_is_a_fault(tmp_path: Path) -> None:
    key = tmp_path / "identity.pem"
    key.touch(mode=0o600)
    assert [finding.state for finding in private([key, tmp_path / "absent"])] == ["fine"]
    key.chmod(0o640)
    (found, _) = private([key])
    assert (found.state, found.advice) == ("fault", f"chmod 600 {key}")
    assert "mode 640" in found.found


def test_what_a_killed_supervisor_left_behind_is_a_warning(tmp_path: Path) -> None:
    mine = Standing(pid=os.getpid(), born=born(os.getpid()) - 1, since=0.0, processes=())
    write_standing(tmp_path, mine)
    (found,) = earlier_start(tmp_path, "wardround site up")
    assert found.state == "warning"
    assert f"process {os.getpid()}, which does not run" in found.found


def test_a_package_that_is_missing_and_another_flower_are_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no-such-package is missing" in faults(tuple(versions(["flwr", "no-such-package"])))["versions"]
    monkeypatch.setattr("wardround.common.flower.version.SUPPORTED", "1.0")
    found = examine([Check(name="versions", look=lambda: versions([]))])
    assert "expected Flower (flwr) 1.0" in faults(found)["versions"]


def test_a_clock_that_nobody_keeps_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    class Kernel:
        """Answers adjtimex(2) as ordered."""

        def __init__(self, state: int) -> None:
            self.adjtimex = lambda buffer: state

    for state, expected in ((5, ["warning"]), (0, ["fine"]), (-1, [])):
        monkeypatch.setattr(ctypes, "CDLL", lambda name, state=state: Kernel(state))
        assert [finding.state for finding in clock_is_kept()] == expected


def test_one_broken_check_does_not_hide_the_others() -> None:
    def broken() -> Iterator[Finding]:
        raise PermissionError(13, "Permission denied", "/x/tls/ca.key")

    found = examine(
        [
            Check(name="first", look=broken),
            Check(name="second", look=lambda: [Finding(check="second", state="fine", found="well")]),
        ]
    )
    assert [finding.state for finding in found] == ["fault", "fine"]
    assert "/x/tls/ca.key: Permission denied" in found[0].found
    assert exit_code(found) == 1
    assert exit_code(found[1:]) == 0
    assert lines(found)[-1] == "Faults: 1, warnings: 0, in order: 1."
