"""A coordinator and hospitals as real processes with real TLS and keys, to break things in; ends all of them.

Every study of one ward is published and approved by the functions behind the commands. A hospital reaches the
coordinator through a `Cable` of its own, which a test can cut. The supervisors are those of `server up` and `site up`.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from tests.deployment.cable import Cable
from tests.deployment.killing import kill, listens
from tests.flowerline import ROOT, end, free_port, until
from tests.runs import SIZES, simulate, table, write

from wardround.client.approving import approve
from wardround.client.joining import join
from wardround.common.errors import TrustError
from wardround.common.flower.nodes import Node, registered
from wardround.common.flower.places import environment, superlink_command
from wardround.common.learning.parameters import to_bytes
from wardround.common.learning.released import ReleasedModel
from wardround.common.processfile import Standing, running
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.identity import SigningKey
from wardround.common.trust.join import Invite, open_invite, open_request, seal_invite
from wardround.common.trust.studylog import read_own_log
from wardround.common.trust.words import spoken
from wardround.server.coordinator import LOG
from wardround.server.enrolment import enrol
from wardround.server.publishing import publish
from wardround.server.serverfile import ServerFile, create_server
from wardround.simulations.party import command as party
from wardround.simulations.planning import consortium_of, load_study
from wardround.simulations.rehearsalsites import RehearsedSite, furnish

MODEL = "model.safetensors"
PAIR = {name: SIZES[name] for name in ("north", "south")}


class Ward:
    """One coordinator and its hospitals.

    Args:
        root: Everything stands below it.
        protocol: Any study of the table: the hospitals' policies allow all of its kind.
        frame: All hospitals' rows; a small table where it is not given.
    """

    def __init__(self, root: Path, protocol: StudyProtocol, frame: pd.DataFrame | None = None) -> None:
        self.root, self.frame = root, table(PAIR) if frame is None else frame
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._simulated: dict[str, bytes] = {}
        self.server = ServerFile(
            folder=root / "hub", name="hub", host="127.0.0.1", port=free_port(), listen="127.0.0.1"
        )
        create_server(self.server, now=datetime.now(UTC))
        self.sites: dict[str, RehearsedSite] = {}
        self.cables: dict[str, Cable] = {}
        paths = write(root / "first", protocol, self.frame)
        loaded, folder = load_study(paths[0], seed=0)
        consortium = consortium_of(
            loaded,
            folder,
            sites=None,
            table=paths[1],
            site_column="hospital",
            out=root,
            cohort="synthetic",
            seed=0,
        )
        for site in furnish(
            loaded, consortium, consortium.hospitals, root / "hospitals", site_column="hospital", seed=0
        ):
            self._meet(site)

    def _meet(self, site: RehearsedSite) -> None:
        """Enrol and join; the invite names this hospital's end of its cable."""
        key = self.server.key()
        words = spoken(open_request(site.request).key.fingerprint)
        invite = open_invite(enrol(self.server.folder, site.request, words=words).invite)
        cable = self.cables[site.name] = Cable(self.server.port)
        readdressed = seal_invite(key, _at(invite, cable.port))
        join(site.folder, readdressed, words=spoken(key.public.fingerprint), now=datetime.now(UTC))
        self.sites[site.name] = site

    def folder(self, name: str) -> Path:
        """A hospital's folder."""
        return self.sites[name].folder

    def publish(self, protocol: StudyProtocol) -> Path:
        """The bundle of a study; its table lies beside it for a simulation."""
        where = self.root / "asked" / protocol.study.name
        paths = write(where, protocol, self.frame)
        return publish(self.server.folder, paths[0])

    def agree(self, protocol: StudyProtocol) -> str:
        """Publish a study and approve it everywhere; its name."""
        bundle = self.publish(protocol).read_bytes()
        for site in self.sites.values():
            approve(site.folder, bundle)
        return protocol.study.name

    def up(self, *names: str, environ: Mapping[str, str] | None = None, within: Sequence[str] = ()) -> None:
        """Start the supervisors of the coordinator (`hub`) and of hospitals, and wait until all are ready."""
        for name in names or ("hub", *self.sites):
            self.launch(name, environ=environ, within=within)
            if name == "hub":
                until(lambda: self.ready("hub"), self.processes["hub"])
        for name in names or self.sites:
            until(lambda name=name: self.ready(name), self.processes[name])  # type: ignore[misc]

    def launch(
        self, name: str, *, environ: Mapping[str, str] | None = None, within: Sequence[str] = ()
    ) -> subprocess.Popen[bytes]:
        """Start one supervisor, by itself or by a command that ends in becoming it (`within`)."""
        role = "server" if name == "hub" else "site"
        folder = self.server.folder if name == "hub" else self.folder(name)
        return self.spawn(name, [*within, *party(role, folder)], environ=environ)

    def spawn(
        self, name: str, command: list[str], *, environ: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a process whose output goes into a file."""
        with self.log(name).open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**environment(parent=os.getpid()), **(environ or {})},
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.processes[name] = process
        return process

    def log(self, name: str) -> Path:
        """The output of a process."""
        return self.root / f"{name}.log"

    def said(self, name: str) -> str:
        """What a process has written by now."""
        return self.log(name).read_text(encoding="utf-8", errors="replace")

    def standing(self, name: str) -> Standing | None:
        """What a supervisor says of its processes."""
        home = self.server.flower if name == "hub" else self.folder(name) / "flower"
        return running(home)

    def ready(self, name: str) -> bool:
        """Whether all processes of a party do their work."""
        found = self.standing(name)
        return found is not None and found.ready

    def pid(self, party_name: str, process: str) -> int:
        """The number of a supervised process; 0 while it does not run."""
        found = self.standing(party_name)
        return next((one.pid for one in found.processes if one.name == process), 0) if found else 0

    def start(self, study: str, *, wait: float = 60.0, limit: float = 60.0) -> subprocess.Popen[bytes]:
        """`wardround server start`."""
        words = ["server", "start", str(self.server.folder), study]
        limits = ["--wait", str(wait), "--round-limit", str(limit)]
        return self.spawn(f"start-{study}", [sys.executable, "-m", "wardround", *words, *limits])

    def finish(self, study: str, process: subprocess.Popen[bytes], *, limit: float = 240.0) -> None:
        """Wait for the orderly end of a study."""
        try:
            code = process.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            code = -99
        assert code == 0, f"{code}: {self.said(f'start-{study}')[-2000:]}"

    def rounds(self, study: str) -> int:
        """Completed rounds by now."""
        log = self.server.studies / study / "federation" / LOG
        if not log.exists():
            return 0
        try:
            found = read_own_log(log, self.server.key().public)
        except TrustError:  # its last line is being written
            return 0
        return sum(entry.kind == "round" for entry in found)

    def released(self, study: str, site: str) -> list[tuple[object, object]]:
        """(round, attempt) of every update of a site that the coordinator's log names."""
        log = read_own_log(self.server.studies / study / "federation" / LOG, self.server.key().public)
        asked = [entry.data for entry in log if entry.kind in ("round", "void")]
        return [
            (data["round"], data["attempt"])
            for data in asked
            if "update" in data["sites"].get(site, {})  # type: ignore[attr-defined]
        ]

    @contextlib.contextmanager
    def link(self) -> Iterator[None]:
        """The SuperLink without the command around it."""
        place = self.server.link_place()
        place.prepare()
        process = self.spawn("superlink", superlink_command(place))
        try:
            until(lambda: listens(place.port), process)
            yield
        finally:
            self.down("superlink")

    def at_round(self, study: str, number: int) -> None:
        """Wait until so many rounds are over."""
        until(lambda: self.rounds(study) >= number, self.processes[f"start-{study}"])

    def model(self, study: str) -> bytes:
        """The finished model's parameters, exactly."""
        return to_bytes(ReleasedModel.load(self.server.studies / study / "run" / MODEL).parameters)

    def uninterrupted(self, study: str) -> bytes:
        """The model of a simulation of the same study on the same tables, which nothing interrupts.

        Studies that differ in their name alone are simulated once: it decides nothing.
        """
        where = self.root / "asked" / study
        protocol, _ = load_study(where / "study.toml", seed=0)
        same = replace(protocol, study=replace(protocol.study, name="same")).digest
        if same not in self._simulated:
            said = simulate(where / "study.toml", where / "patients.csv", where / "simulated")
            assert said.code == 0, said.err
            model = ReleasedModel.load(where / "simulated" / MODEL)
            self._simulated[same] = to_bytes(model.parameters)
        return self._simulated[same]

    def refusals(self, name: str) -> list[str]:
        """The reasons that a hospital wrote into its own file."""
        path = self.folder(name) / "refusals.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [str(json.loads(line)["reason"]) for line in lines]

    def nodes(self) -> list[Node]:
        """The nodes that may connect, as the running SuperLink lists them."""
        return registered(self.server.link_place())

    def key(self, name: str) -> SigningKey:
        """A hospital's identity."""
        return SigningKey.load(self.folder(name) / "identity.pem")

    def last_error(self, party_name: str, process: str) -> str:
        """What a supervisor says was wrong with a process."""
        found = self.standing(party_name)
        return next((one.last_error for one in found.processes if one.name == process), "") if found else ""

    def copy(self, name: str) -> str:
        """Copy a hospital's folder, keys and ledger and all, as a copied machine would have it; its new name here."""
        twin = f"{name}-copy"
        folder = self.folder(name).with_name(twin)
        shutil.copytree(self.folder(name), folder, ignore=shutil.ignore_patterns("flower", "logs"))
        self.sites[twin] = replace(self.sites[name], name=twin, folder=folder)
        return twin

    def pull_the_plug(self, name: str) -> None:
        """Kill a supervisor and all of its processes at once."""
        found = self.standing(name)
        assert found is not None
        for pid in (found.pid, *(one.pid for one in found.processes if one.pid)):
            kill(pid)
        self.processes.pop(name).wait(timeout=30)

    def down(self, *names: str) -> None:
        """End supervisors in an orderly way."""
        for name in names:
            end(self.processes.pop(name))

    def stop(self) -> None:
        """End all, the last one first."""
        for process in reversed(self.processes.values()):
            with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
                end(process)
        for cable in self.cables.values():
            cable.close()


@contextlib.contextmanager
def ward(root: Path, protocol: StudyProtocol, frame: pd.DataFrame | None = None) -> Iterator[Ward]:
    """A ward without processes yet; nothing runs afterwards."""
    made = Ward(root, protocol, frame)
    try:
        yield made
    finally:
        made.stop()


def _at(invite: Invite, port: int) -> Invite:
    return replace(invite, port=port)
