"""Small studies, keys and sites for the tests: the real objects, only small."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from wardround.client.site import Site
from wardround.common.learning.data import PatientRows
from wardround.common.learning.models import initial
from wardround.common.privacy.terms import PrivacyTerms
from wardround.common.study.outcomes import BinaryOutcome, Targets
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.schema import Feature
from wardround.common.study.terms import CohortTerms, FederationTerms, ModelTerms, StudyTerms
from wardround.common.trust.identity import Roster, SigningKey
from wardround.server.archive import Archiving
from wardround.server.coordinator import Coordinator
from wardround.simulations.federation import COORDINATOR, Federation, coordinator_key, opened
from wardround.simulations.hospitals import Hospital, imagine

WIDTH = 3
PUBLIC = "a public reference"
RUN = "0123456789abcdef" * 2


def small_protocol(**federation: object) -> StudyProtocol:
    """A binary study with three features, mechanism `none`, a seed, two rounds."""
    terms = FederationTerms(**{"rounds": 2, "attempts": 2, "learning_rate": 0.5, **federation})  # type: ignore[arg-type]
    return StudyProtocol(
        study=StudyTerms(name="small", question="Who responds?", purpose="testing"),
        outcome=BinaryOutcome(column="y", positive=("1",), negative=("0",), source=PUBLIC),
        features=tuple(
            Feature(name=f"x{i}", kind="continuous", low=-50, high=50, source=PUBLIC) for i in range(WIDTH)
        ),
        cohort=CohortTerms(patient_column="patient"),
        privacy=PrivacyTerms(mechanism="none", source=PUBLIC),
        model=ModelTerms(),
        federation=terms,
        seed=3,
    )


def private_protocol(**federation: object) -> StudyProtocol:
    """The same study under `site-noise`."""
    noise = PrivacyTerms(mechanism="site-noise", noise_multiplier=2.0, reference_patients=20, source=PUBLIC)
    return small_protocol(**federation).with_privacy(noise)


def joint_protocol(*, honest: int = 2, noise: float = 2.0, **federation: object) -> StudyProtocol:
    """The same study under `joint-noise`."""
    terms = PrivacyTerms(
        mechanism="joint-noise",
        noise_multiplier=noise,
        honest_sites=honest,
        reference_patients=20,
        source=PUBLIC,
    )
    return small_protocol(**federation).with_privacy(terms)


def patients(seed: int, n: int = 24) -> PatientRows:
    """Patients whose outcome depends on their first feature."""
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((n, WIDTH)).astype(np.float32)
    value = (inputs[:, 0] + 0.3 * rng.standard_normal(n) > 0).astype(np.float64)
    return PatientRows(inputs=inputs, patient=np.arange(n), targets=Targets(value=value))


def hospital(root: Path, name: str, *, seed: int, cohort: str = "synthetic", **policy: float) -> Hospital:
    """A prepared site with its folder, policy and identity under `root`; held-out patients are the last six."""
    rows = patients(seed)
    n = rows.n_patients
    return Hospital(
        name=name,
        folder=imagine(root, name, table=Path("none.csv"), cohort=cohort, delta=1e-5, **policy),
        rows=rows,
        groups={"sex": np.array(["f", "m"] * (n // 2), dtype=object)},
        train=np.arange(n - 6),
        test=np.arange(n - 6, n),
        ids=tuple(f"{name}-{i}" for i in range(n)),
    )


def small_federation(
    root: Path,
    protocol: StudyProtocol,
    *,
    names: tuple[str, ...] = ("north", "south"),
    cohort: str = "synthetic",
    archiving: Archiving = "keep",
) -> Federation:
    """A federation with its folders under `root`; called twice, it finds the same folders again."""
    return Federation(
        protocol=protocol,
        hospitals=[hospital(root / "sites", name, seed=i, cohort=cohort) for i, name in enumerate(names)],
        folder=root / "federation",
        archiving=archiving,
    )


def keys_and_roster(*names: str) -> tuple[Mapping[str, SigningKey], Roster]:
    """Fresh keys of a coordinator and some sites."""
    keys = {name: SigningKey.generate() for name in ("coordinator", *names)}
    return keys, Roster(
        coordinator="coordinator",
        coordinator_key=keys["coordinator"].public,
        sites={name: keys[name].public for name in names},
    )


def small_coordinator(folder: Path, protocol: StudyProtocol, key: SigningKey, roster: Roster) -> Coordinator:
    """A coordinator that has written its first lines."""
    coordinator = Coordinator(
        folder, key=key, roster=roster, protocol=protocol, initial=initial(protocol, WIDTH)
    )
    coordinator.begin()
    return coordinator


def renamed(protocol: StudyProtocol, name: str) -> StudyProtocol:
    """The same terms under another name: another study."""
    return replace(protocol, study=replace(protocol.study, name=name))


def roster_of(federation: Federation) -> Roster:
    """The roster of a federation's own keys."""
    return Roster(
        coordinator=COORDINATOR,
        coordinator_key=coordinator_key(federation.folder).public,
        sites={hospital.name: hospital.office().key.public for hospital in federation.hospitals},
    )


@contextlib.contextmanager
def open_sites(federation: Federation, roster: Roster) -> Iterator[Mapping[str, Site]]:
    """All sites of a federation, open at once, each holding its ledger's lock."""
    with opened(federation) as premises:
        yield {one.hospital.name: one.site(federation.protocol, roster) for one in premises}
