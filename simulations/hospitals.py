"""The hospitals of a simulation: from one table, or from one folder per hospital, to prepared sites.

With `--sites` every hospital is real in what matters: its own folder, policy, identity and a ledger that lives as
long as its patients. With `--table` hospitals are imagined from a column; their folders and throw-away ledgers stand
in the run folder, and repeated runs on one table compose although no ledger sees it.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from wardround.client.evaluation import Examiner
from wardround.client.heldout import folds, split
from wardround.client.office import Office
from wardround.client.policy import FORMAT, VERSION, SitePolicy
from wardround.client.release import ReleaseDoor
from wardround.client.site import Site
from wardround.client.trainer import CohortTrainer
from wardround.common.durable import write_passing
from wardround.common.errors import PolicyRefusal
from wardround.common.formats import digest
from wardround.common.learning.data import PatientRows
from wardround.common.learning.tabulating import group_codes
from wardround.common.privacy.events import DpEvent, encode
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.writer import quoted
from wardround.common.trust.identity import Roster, SigningKey
from wardround.common.trust.ledger import Ledger
from wardround.simulations.names import folder_names

if TYPE_CHECKING:
    from wardround.client.cohort import Cohort

Indices = NDArray[np.int64]
Groups = Mapping[str, NDArray[np.object_]]

UNLIMITED: Final = 1e9
"""The cap of an imagined hospital: its ledger is thrown away with the run folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hospital:
    """One prepared site of a simulation. Everything computed from patients is hidden from its text.

    Attributes:
        name: As in the roster.
        folder: Holds `site.toml`, the identity and, unless the policy says otherwise, the ledger.
        rows: All usable patients.
        groups: Subgroup columns, one value per patient, None where not known.
        train, test: Which patients train and which are held out.
    """

    name: str
    folder: Path
    rows: PatientRows = field(repr=False)
    groups: Groups = field(repr=False)
    train: Indices = field(repr=False)
    test: Indices = field(repr=False)
    ids: tuple[str, ...] = field(repr=False)

    @property
    def width(self) -> int:
        """Inputs of the model; public."""
        return int(self.rows.inputs.shape[1])

    def training(self) -> PatientRows:
        """The patients that train."""
        return self.rows.take(self.train)

    def held_out(self) -> PatientRows:
        """The patients that are held out."""
        return self.rows.take(self.test)

    def held_out_groups(self) -> Groups:
        """Subgroups of the held-out patients, in the order of `held_out`."""
        return {name: values[self.test] for name, values in self.groups.items()}

    def all_held_out(self) -> "Hospital":
        """The same hospital with every patient held out: the whole of a cross-validation."""
        return replace(self, test=np.arange(self.rows.n_patients))

    def office(self) -> "Office":
        """The site's own limits and identity, read from its folder; the identity is made at first use."""
        policy = SitePolicy.load(self.folder / "site.toml")
        if not policy.identity.exists():
            SigningKey.generate().save(policy.identity)
        return Office(folder=self.folder, policy=policy, key=SigningKey.load(policy.identity))


@dataclass(frozen=True, slots=True, kw_only=True)
class Imagined:
    """How hospitals were read off one table: everything their first policies need; see `imagine`."""

    root: Path
    table: Path
    cohort: str
    delta: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Consortium:
    """The sites of one simulation.

    Attributes:
        hospitals: Sorted by name.
        data_digest: Names the tables that were read.
        left_out: Sites below the protocol's minimum, or otherwise unfit; counted, not named.
        imagined: How the hospitals were read off a column of one table; None where they have folders of their own.
        notes: Warnings that the report must show.
    """

    hospitals: tuple[Hospital, ...]
    data_digest: str
    left_out: int
    imagined: Imagined | None
    notes: tuple[str, ...] = ()

    def move_in(self) -> None:
        """Make the folders of imagined hospitals; those of real ones are there."""
        if (how := self.imagined) is None:
            return
        for hospital in self.hospitals:
            imagine(how.root, hospital.name, table=how.table, cohort=how.cohort, delta=how.delta)


def imagine(root: Path, name: str, *, table: Path, cohort: str, delta: float, **limits: float) -> Path:
    """Make the folder of an imagined hospital, with a policy that allows what the researcher asks.

    Args:
        root: Below which the folder stands, if it is not there yet, with the ledger's witness beside it.
        name: Of the site.
        table: Where its patients came from.
        cohort: `private`, `public` or `synthetic`.
        delta: The lifetime delta.
        limits: `epsilon_cap` if there is to be one.

    Returns:
        The folder.
    """
    folder = imagined_folder(root, name)
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        f'format = "{FORMAT}"',
        f"version = {VERSION}",
        f"site = {quoted(name)}",
        f"table = {quoted(str(table.absolute()))}",
        f"cohort = {quoted(cohort)}",
        f"pool = {quoted(name)}",
        f"epsilon_cap = {limits.get('epsilon_cap', UNLIMITED)!r}",
        f"delta = {delta!r}",
        "smallest_cohort = 1",
        'mechanisms = ["none", "site-noise", "joint-noise"]',
        'key_agreement = "any"',  # nobody records what never leaves this machine
        f"head = {quoted(str(root.absolute() / 'heads' / (folder.name + '.json')))}",
        "",
    ]
    policy = folder / "site.toml"
    if not (policy.exists() and policy.stat().st_size):  # it may be empty after a power cut
        write_passing(policy, "\n".join(lines).encode())
    return folder


def imagined_folder(root: Path, name: str) -> Path:
    """Where the folder of an imagined hospital stands: readable, and distinct for every name."""
    return root / f"{folder_names([name])[0]}-{digest(name.encode())[:6]}"


def refused_by(site: str, refusal: PolicyRefusal) -> PolicyRefusal:
    """The refusal with the site's name in front: in a simulation one person speaks for many sites."""
    return PolicyRefusal(f"{site}: {refusal}", advice=refusal.advice)


def prepare_hospital(cohort: "Cohort", folder: Path, *, test_fraction: float, key: bytes) -> Hospital:
    """A hospital with its held-out patients chosen by a keyed hash, the same in every run with the same key."""
    train, test = split(cohort.patients, test_fraction, key)
    return Hospital(
        name=cohort.site,
        folder=folder,
        rows=cohort.rows,
        groups={
            str(name): np.array([value if isinstance(value, str) else None for value in column], dtype=object)
            for name, column in cohort.groups.items()
        },
        train=train,
        test=test,
        ids=cohort.patients,
    )


def fold_of(hospital: Hospital, number: int, total: int, *, seed: int) -> Hospital:
    """The hospital with one fold of its patients held out."""
    fold = folds(hospital.ids, total, split_key(seed, hospital.name))
    return replace(hospital, train=np.flatnonzero(fold != number), test=np.flatnonzero(fold == number))


def split_key(seed: int, site: str) -> bytes:
    """The key of an imagined hospital's split: public, so that runs and mechanisms compare on the same patients."""
    return f"wardround-split {seed} {site}".encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Premises:
    """A hospital at work: its ledger is open and locked, whatever leaves goes through its door."""

    hospital: Hospital
    office: Office
    door: ReleaseDoor

    def site(self, protocol: StudyProtocol, roster: Roster) -> Site:
        """The state machine that answers for this hospital in one study."""
        hospital = self.hospital
        external, trains = hospital.name in protocol.external_sites, protocol.trains(hospital.name)
        return Site(
            hospital.folder,
            name=hospital.name,
            key=self.office.key,
            roster=roster,
            protocol=protocol,
            door=self.door,
            trainer=CohortTrainer(protocol, hospital.training(), site=hospital.name) if trains else None,
            examiner=_examiner(hospital.all_held_out() if external else hospital, protocol),
            desk=self.office.desk(protocol) if protocol.joint else None,
        )


def _examiner(hospital: Hospital, protocol: StudyProtocol) -> Examiner | None:
    """The held-out patients of a hospital, where the study evaluates on them."""
    if protocol.evaluation is None:
        return None
    rows = hospital.held_out()
    codes = group_codes(protocol.evaluation, hospital.held_out_groups(), rows.n_patients)
    return Examiner(protocol, rows, codes)


@contextlib.contextmanager
def enter(hospital: Hospital) -> Iterator[Premises]:
    """A hospital with its ledger open and locked.

    Raises:
        StorageError: Another process has the ledger.
        TrustError: The ledger was rolled back or changed.
    """
    office = hospital.office()
    with open_ledger(office) as ledger:
        yield Premises(hospital=hospital, office=office, door=office.door(ledger))


@contextlib.contextmanager
def open_ledger(office: Office) -> Iterator[Ledger]:
    """The ledger of a hospital's patient pool."""
    with office.ledger(patience=0.0) as ledger:
        yield ledger


def exposures(hospital: Hospital) -> list[DpEvent]:
    """Everything that was charged to the hospital's patients who train, over their lifetime."""
    with open_ledger(hospital.office()) as ledger:
        return ledger.spent()


def held_out_exposures(hospital: Hospital) -> list[DpEvent]:
    """Everything that was charged to the hospital's held-out patients, over their lifetime."""
    with open_ledger(hospital.office()) as ledger:
        return ledger.held_out.spent()


def spends(hospital: Hospital) -> dict[str, object]:
    """What a ledger extract says: the charged events and the head that anybody can compare later."""
    with open_ledger(hospital.office()) as ledger:
        sequence, head = ledger.head
        held_out = [encode(event) for event in ledger.held_out.spent()]
        said = {"spent": [encode(event) for event in ledger.spent()], "seq": sequence, "head": head}
        return said | ({"held_out": held_out} if held_out else {})
