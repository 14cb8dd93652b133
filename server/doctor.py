"""`wardround doctor` at the coordinator: its folder and keys, certificate, ports, members and processes."""

import errno
import socket
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

from wardround.common.dialling import Answer, addresses, dial
from wardround.common.doctor import Check, Finding, examine, fault, fine, warning
from wardround.common.errors import StudyError
from wardround.common.flower.health import shows_certificate
from wardround.common.flower.places import LOOPBACK
from wardround.common.machinechecks import (
    authority,
    certificate,
    clock_is_kept,
    disk,
    earlier_start,
    private,
    versions,
)
from wardround.common.processfile import running
from wardround.server.members import Members
from wardround.server.processes import UP
from wardround.server.serverfile import NO_LOG, ServerFile

PACKAGES: Final = ("wardround", "flwr", "torch", "uvicorn")


def findings(folder: Path, *, now: Callable[[], datetime]) -> tuple[Finding, ...]:
    """Everything there is to say about a coordinator's installation.

    Args:
        folder: The coordinator's folder.
        now: This computer's clock.

    Raises:
        ProtocolError: `server.toml` cannot be read; nothing else can be looked at without it.
        StorageError: There is none, or it is of a newer release.
    """
    server = ServerFile.load(folder)
    return examine(
        (
            Check(name="versions", look=lambda: versions(PACKAGES)),
            Check(name="time", look=clock_is_kept),
            Check(name="disk", look=lambda: disk((folder, server.flower, server.studies, server.logs))),
            Check(name="private files", look=lambda: private(_private_files(server))),
            Check(name="members", look=lambda: _members(server)),
            Check(name="authority", look=lambda: authority(server.ca.read_text(encoding="utf-8"), now=now())),
            Check(name="certificate", look=lambda: _certificate(server, now)),
            Check(name="name", look=lambda: _name(server)),
            Check(name="port", look=lambda: _port(server)),
            Check(name="log port", look=lambda: _log_port(server)),
            Check(name="processes", look=lambda: earlier_start(server.flower, UP)),
        )
    )


def _private_files(server: ServerFile) -> tuple[Path, ...]:
    state = (server.flower, server.flower / "superexec.secret")
    return (server.identity, server.ca_key, server.certificate_key, *state)


def _members(server: ServerFile) -> Iterator[Finding]:
    members = Members.load(server.folder)
    if members.sites:
        yield fine("members", f"version {members.version} of the roster: {', '.join(members.sites)}")
    else:
        yield warning("members", "no hospital is enrolled", "wardround server enrol DIR REQUEST")


def _certificate(server: ServerFile, now: Callable[[], datetime]) -> Iterator[Finding]:
    yield from certificate(server.certificate.read_bytes(), server.ca.read_bytes(), server.host, now=now())


def _name(server: ServerFile) -> Iterator[Finding]:
    try:
        yield fine("name", f"{server.host} is {', '.join(addresses(server.host))}")
    except StudyError:
        yield warning(
            "name",
            f"{server.host}, which hospitals dial, is not known on this computer (DNS)",
            "fine if hospitals know it; try there: wardround doctor DIR",
        )


def _port(server: ServerFile) -> Iterator[Finding]:
    if running(server.flower) is None:
        yield _free(server.listen, server.port, "SuperLink", check="port")
        return
    answer = dial(LOOPBACK, server.port, proxy=None)
    yield fine("port", f"the SuperLink answers at port {server.port}")
    if not _same(answer, server):
        yield fault(
            "port",
            "the SuperLink still shows another certificate than the one in tls/",
            "restart it: wardround server down DIR, then up",
        )


def _log_port(server: ServerFile) -> Iterator[Finding]:
    if not server.log_port:
        yield warning("log port", "no log service: nobody outside can follow the studies' logs", NO_LOG)
    elif running(server.flower) is None:
        yield _free(server.listen, server.log_port, "log service", check="log port")
    elif shows_certificate(f"{LOOPBACK}:{server.log_port}", server.ca):
        yield fine("log port", f"the log service answers at port {server.log_port}")
    else:
        yield fault(
            "log port",
            f"nothing answers at port {server.log_port} with a certificate of the authority in tls/",
            "restart it: wardround server down DIR, then up; logs/logservice.log says what it said",
        )


def _same(answer: Answer, server: ServerFile) -> bool:
    return "".join(answer.certificate.split()) == "".join(
        server.certificate.read_text(encoding="ascii").split()
    )


def _free(listen: str, port: int, who: str, *, check: str) -> Finding:
    """Whether it could listen."""
    family = socket.AF_INET6 if ":" in listen else socket.AF_INET
    try:
        socket.create_server((listen, port), family=family).close()
    except OSError as error:
        return fault(check, f"{listen}:{port}: {error.strerror}", _PORT_ADVICE.get(error.errno or 0, ""))
    return fine(check, f"{port} is free for the {who}")


_PORT_ADVICE: Final = {
    errno.EADDRINUSE: "another program listens there (`ss -ltnp` shows it); stop it, or choose another port",
    errno.EADDRNOTAVAIL: "`listen` in server.toml is no address of this computer",
    errno.EACCES: "ports below 1024 need a privilege; choose one above, such as 8443",
}
