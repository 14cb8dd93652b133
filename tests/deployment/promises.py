"""What a deployment promises whatever fails: the uninterrupted model, and no release that was not charged."""

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tests.deployment.wards import Ward
from tests.runs import private_study, study

from wardround.client.policy import SitePolicy
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.ledger import LEDGER, read_ledger
from wardround.common.trust.ledgerline import Entry


def named(name: str, protocol: StudyProtocol) -> StudyProtocol:
    """The same study under another name."""
    return replace(protocol, study=replace(protocol.study, name=name))


def asked(name: str, *, rounds: int = 4, **terms: object) -> StudyProtocol:
    """A study without privacy that wants every site in every round, and has attempts for the failures."""
    given: dict[str, Any] = {"attempts": 6, "local_steps": 400, **terms}
    return named(name, study(rounds=rounds, **given))


def counted(name: str, *, rounds: int = 6, **terms: object) -> StudyProtocol:
    """A private study in which one site is enough."""
    given: dict[str, Any] = {"attempts": 3, "local_steps": 1, "quorum": 1, **terms}
    return named(name, private_study(rounds=rounds, **given))


def ends_as_uninterrupted(made: Ward, name: str, process: "subprocess.Popen[bytes]", rounds: int = 4) -> None:
    """The study completes, and its model is that of a simulation which nothing interrupts."""
    made.finish(name, process)
    assert made.rounds(name) == rounds
    assert made.model(name) == made.uninterrupted(name)


def ledger(made: Ward, site: str) -> tuple[Entry, ...]:
    """A site's ledger, verified."""
    policy = SitePolicy.load(made.folder(site) / "site.toml")
    return read_ledger(policy.ledger / LEDGER, made.key(site).public)


def moments(made: Ward, site: str, study_name: str, kind: str) -> list[tuple[object, object]]:
    """(round, attempt) of a site's entries of a kind in one study, in their order."""
    return list(_moments(ledger(made, site), study_name, kind))


def _moments(entries: tuple[Entry, ...], study_name: str, kind: str) -> Iterator[tuple[object, object]]:
    for entry in entries:
        if entry.kind == kind and entry.payload.get("study") == study_name:
            yield entry.payload["round"], entry.payload["attempt"]
