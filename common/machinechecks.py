"""Checks that both roles need: versions, disk, private files, clock, proxies, and what an earlier start left behind."""

import ctypes
import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from wardround.common.dialling import addresses, dial, proxy_for
from wardround.common.doctor import Check, Finding, examine, fault, fine, warning
from wardround.common.flower.version import require_supported
from wardround.common.processfile import left_behind
from wardround.common.trust.certcheck import check_authority, check_server_certificate

OLDEST_PYTHON: Final = (3, 11)
NEEDED, WANTED = (
    100 * 2**20,
    2**30,
)  # bytes free: without the first nothing works, without the second not for long
NOTICE: Final = timedelta(days=30)  # before something expires
AHEAD, BEHIND = 5.0, 300.0  # seconds: Flower's SuperLink refuses signatures of a clock that is further off
_SLACK: Final = 2.0  # seconds of a measurement over the network
_UNSYNCHRONISED: Final = 5  # what adjtimex(2) returns: TIME_ERROR
_TIMEX: Final = 512  # bytes, more than struct timex has anywhere


def versions(packages: Iterable[str]) -> Iterator[Finding]:
    """Python, Flower and the packages of a role."""
    here = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < OLDEST_PYTHON:
        yield fault("versions", f"Python {here}", "install Python 3.11 or newer and this package into it")
    require_supported()
    found = []
    for package in packages:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            yield fault(
                "versions", f"the package {package} is missing", "pip install 'wardround[site]' or '[server]'"
            )
    yield fine("versions", ", ".join((f"Python {here}", *found)))


def disk(folders: Iterable[Path]) -> Iterator[Finding]:
    """Free space and free file entries where something must be written."""
    disks = {(there := _existing(folder)).stat().st_dev: there for folder in reversed(list(folders))}
    for folder in disks.values():
        free = shutil.disk_usage(folder).free
        entries = os.statvfs(folder)
        if free < NEEDED or (entries.f_files and entries.f_favail < 1000):
            yield fault(
                "disk",
                f"{_megabytes(free)} and {entries.f_favail} file entries free for {folder}",
                "make room: no privacy is spent that cannot be written down, so nothing is answered",
            )
        elif free < WANTED:
            yield warning("disk", f"{_megabytes(free)} free for {folder}", "make room before a study starts")
        else:
            yield fine("disk", f"{_megabytes(free)} free for {folder}")
        if not os.access(folder, os.W_OK):
            yield fault("disk", f"{folder} cannot be written by this user", "run as the owner of the folder")


def private(files: Iterable[Path]) -> Iterator[Finding]:
    """Only their owner may read these files, and their owner is who asks. Absent ones do not count."""
    count = 0
    for path in files:
        try:
            found = path.stat()
        except FileNotFoundError:
            continue
        count += 1
        mode = stat.S_IMODE(found.st_mode)
        if mode & 0o077:
            yield fault(
                "private files",
                f"{path} has mode {mode:03o}",
                f"chmod {'700' if path.is_dir() else '600'} {path}",
            )
        if found.st_uid != os.geteuid():
            yield fault(
                "private files",
                f"{path} belongs to another user",
                "run every command as the one user that owns the folder",
            )
    yield fine("private files", f"{count} looked at")


def clock_is_kept() -> Iterator[Finding]:
    """Whether the kernel says that something keeps this computer's clock right."""
    if sys.platform != "linux":
        return
    state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX))
    if state == _UNSYNCHRONISED:
        yield warning(
            "time",
            "nothing keeps this computer's clock right",
            "switch on time synchronisation: timedatectl set-ntp true",
        )
    elif state >= 0:
        yield fine("time", "the clock is synchronised")


def earlier_start(home: Path, up: str) -> Iterator[Finding]:
    """What runs now, or what an earlier start left behind.

    Args:
        home: The private folder of the role's processes.
        up: The command that starts them.
    """
    there = left_behind(home)
    if there is None:
        yield fine("processes", f"nothing runs; start it: {up} DIR")
    elif not there.alive:
        yield warning(
            "processes",
            f"up.json names process {there.pid}, which does not run: it was killed, or the computer was switched off",
            f"nothing is lost; start it again: {up} DIR",
        )
    for process in there.processes if there is not None and there.alive else ():
        if process.ready:
            yield fine("processes", f"{process.name} is ready, restarts: {process.restarts}")
        else:
            why = process.last_error or "see its log"
            yield warning(
                "processes", f"{process.name} is {process.state}: {why}", "wait a minute and look again"
            )


def authority(ca: str, *, now: datetime) -> Iterator[Finding]:
    """The pinned certificate authority of the consortium."""
    yield _expiry(
        "authority", check_authority(ca, now=now), now, "ask the coordinator for its plan before that day"
    )


def certificate(pem: str | bytes, ca: str | bytes, host: str, *, now: datetime) -> Iterator[Finding]:
    """The server's certificate, as a hospital would judge it."""
    end = check_server_certificate(pem, ca, host=host, now=now)
    yield _expiry(
        "certificate",
        end,
        now,
        "on the coordinator: wardround server init DIR --renew-certificate, then restart it",
    )


def server_reached(host: str, port: int, ca: str, *, now: Callable[[], datetime]) -> Iterator[Check]:
    """The way to the coordinator's server, step by step: name, connection or proxy, certificate, clock.

    Args:
        host: What hospitals dial.
        port: Its port.
        ca: The pinned authority, PEM.
        now: This computer's clock.
    """
    yield Check(name="name", look=lambda: _name(host))
    yield Check(name="coordinator", look=lambda: _server(host, port, ca, now))


def _name(host: str) -> Iterator[Finding]:
    proxy = proxy_for(host)
    if proxy is not None:
        yield warning(
            "proxy",
            f"HTTPS_PROXY sends connections to {host} through {proxy.address}",
            f"fine if that is meant; for a direct connection set NO_PROXY={host} for the service",
        )
        return
    yield fine("name", f"{host} is {', '.join(addresses(host))}")


def _server(host: str, port: int, ca: str, now: Callable[[], datetime]) -> Iterator[Finding]:
    answer = dial(host, port, proxy=proxy_for(host), clock=lambda: now().timestamp())
    yield fine("coordinator", f"{host}:{port} answers")
    # By whichever clock: the skew is a finding of its own.
    yield from _made_here(lambda: certificate(answer.certificate, ca, host, now=now()))
    if not answer.well:
        yield fault(
            "coordinator",
            f"{host}:{port} is no Wardround server, or it is not well",
            "on the coordinator: wardround server status DIR",
        )
    if answer.ahead is not None:
        yield _skew(answer.ahead)


def _made_here(look: Callable[[], Iterable[Finding]]) -> tuple[Finding, ...]:
    return examine([Check(name="certificate", look=look)])


def _skew(ahead: float) -> Finding:
    words = f"this computer's clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the coordinator's"
    advice = "synchronise both clocks (NTP): timedatectl set-ntp true"
    if ahead > AHEAD or ahead < -BEHIND:
        return fault(
            "clock",
            f"{words}; it refuses what differs by more than {AHEAD:g} s ahead or {BEHIND:g} s behind",
            advice,
        )
    if ahead > AHEAD - _SLACK or ahead < -BEHIND / 2:
        return warning("clock", words, advice)
    return fine("clock", "as the coordinator's, within seconds")


def _expiry(check: str, end: datetime, now: datetime, advice: str) -> Finding:
    if end - now < NOTICE:
        return warning(check, f"valid until {end:%Y-%m-%d}, {(end - now).days} days more", advice)
    return fine(check, f"valid until {end:%Y-%m-%d}")


def _existing(folder: Path) -> Path:
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())


def _megabytes(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB"
