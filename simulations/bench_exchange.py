"""How long one exchange takes beyond training: a rehearsal's real processes, TLS, keys and files, against the floor.

`python -m wardround.simulations.bench_exchange 9` rehearses a study of a million parameters at two hospitals and prints
one JSON line. An exchange runs from the end of one round to the end of the next: the task, its way, what a site does to
answer it, the reply's way, the mean, the checkpoint and the log. What the same training costs in a plain process is
taken off, as if the hospitals trained one after the other. The first rounds are not counted. The floor is what nobody
can avoid: a forked process per site, a signature each way, and the bytes over a plain connection of loopback.
"""

import itertools
import json
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from wardround.common.checks import positive
from wardround.common.errors import StudyError
from wardround.common.trust.identity import SigningKey

if TYPE_CHECKING:
    import pandas as pd

    from wardround.common.study.protocol import StudyProtocol

BUDGET_S: Final = 1.5
"""Seconds that an exchange may take beyond training, on two idle cores."""

FEATURES: Final = 1000
HIDDEN: Final = 1000
PATIENTS: Final = 30
SITES: Final = ("north", "south")
WARM: Final = 2
SEED: Final = 1
_DOMAIN: Final = "benchmark"
_SIGNATURE: Final = 64  # bytes of Ed25519
_COLUMNS: Final = tuple(f"g{number}" for number in range(FEATURES))


def protocol_of(rounds: int) -> "StudyProtocol":
    """MLP 1000-1000-2 with one step of ten patients per round, no privacy, a public cohort."""
    from wardround.common.privacy.terms import PrivacyTerms
    from wardround.common.study.outcomes import ClassOutcome
    from wardround.common.study.protocol import StudyProtocol
    from wardround.common.study.schema import Feature
    from wardround.common.study.terms import CohortTerms, FederationTerms, ModelTerms, StudyTerms

    source = "benchmark"
    return StudyProtocol(
        study=StudyTerms(name="exchange", question="-", purpose="benchmark on random numbers"),
        outcome=ClassOutcome(column="y", classes=("a", "b"), source=source),
        features=tuple(
            Feature(name=name, kind="continuous", low=-9, high=9, source=source) for name in _COLUMNS
        ),
        cohort=CohortTerms(patient_column="patient"),
        privacy=PrivacyTerms(mechanism="none"),
        model=ModelTerms(kind="mlp", hidden=(HIDDEN,)),
        federation=FederationTerms(rounds=rounds, local_steps=1, batch_size=10, learning_rate=0.05),
        seed=SEED,
    )


def measure(*, exchanges: int) -> dict[str, float]:
    """Rehearse the study, then run the floor.

    Args:
        exchanges: How many are timed.

    Returns:
        `exchange_s` beyond training, `training_s`, `floor_s`, each a median in seconds, and `megabytes` of a message.
    """
    positive(exchanges=exchanges)
    protocol = protocol_of(exchanges + WARM + 1)
    with tempfile.TemporaryDirectory() as folder:
        ends = _rehearse(protocol, Path(folder))
    whole = [later - earlier for earlier, later in itertools.pairwise(ends)][WARM:]
    model, training = _training(protocol, repeats=exchanges)
    return {
        "exchange_s": statistics.median(whole) - training,
        "training_s": training,
        "floor_s": statistics.median(floor(model) for _ in range(exchanges)),
        "megabytes": len(model) / 1e6,
    }


def _rehearse(protocol: "StudyProtocol", folder: Path) -> Sequence[float]:
    """When each round ended, in seconds."""
    from wardround.common.study.writer import dumps
    from wardround.simulations.planning import consortium_of, load_study
    from wardround.simulations.rehearsal import Rehearsal, rehearse

    study, table, out = folder / "study.toml", folder / "patients.csv", folder / "run"
    study.write_text(dumps(protocol), encoding="utf-8")
    _table().to_csv(table, index=False)
    loaded, source = load_study(study, seed=SEED)
    consortium = consortium_of(
        loaded, source, sites=None, table=table, site_column="site", out=folder, cohort="public", seed=SEED
    )
    ends: list[float] = []

    def step(what: str, done: int, of: int) -> None:
        if what.startswith("round "):
            ends.append(time.monotonic())

    chosen = consortium.hospitals
    rehearse(
        Rehearsal(
            protocol=loaded,
            source=source,
            consortium=consortium,
            chosen=chosen,
            site_column="site",
            seed=SEED,
        ),
        out,
        step=step,
    )
    if len(ends) != protocol.federation.rounds:
        raise StudyError(f"expected {protocol.federation.rounds} rounds, saw {len(ends)}")
    return ends


def _table() -> "pd.DataFrame":
    import pandas as pd

    rng = np.random.default_rng(SEED)
    number = PATIENTS * len(SITES)
    frame = pd.DataFrame(rng.standard_normal((number, FEATURES)).round(3), columns=list(_COLUMNS))
    frame.insert(0, "patient", [f"p{one}" for one in range(number)])
    frame.insert(1, "site", np.repeat(SITES, PATIENTS))
    frame.insert(2, "y", rng.choice(["a", "b"], number))
    return frame


def _training(protocol: "StudyProtocol", *, repeats: int) -> tuple[bytes, float]:
    """The model in bytes, and the seconds that all sites' training of one round takes in this process."""
    import torch
    from torch.nn.functional import cross_entropy

    from wardround.common.learning.models import build, export, initial, load_into
    from wardround.common.learning.parameters import to_bytes

    torch.set_num_threads(1)
    base, module = initial(protocol, FEATURES), build(protocol, FEATURES)
    inputs, classes = torch.randn(10, FEATURES), torch.zeros(10).long()

    def once() -> None:
        load_into(module, base)
        gradients = torch.autograd.grad(cross_entropy(module(inputs), classes), list(module.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(module.parameters(), gradients, strict=True):
                parameter.add_(gradient, alpha=-0.05)
        export(module)

    once()
    taken = statistics.median(_seconds(once) for _ in range(repeats))
    return to_bytes(base), len(SITES) * taken


def _seconds(run: Callable[[], None]) -> float:
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def floor(body: bytes) -> float:
    """Seconds of one exchange without a framework: to each site and back, signed, one after the other.

    Args:
        body: What is sent each way, not empty.
    """
    coordinator, site = SigningKey.generate(), SigningKey.generate()
    begin = time.perf_counter()
    for _ in SITES:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            if (child := os.fork()) == 0:
                _answer(listener.getsockname()[1], len(body), site, coordinator)
                os._exit(0)
            near, _ = listener.accept()
        with near:
            near.sendall(coordinator.sign(_DOMAIN, body) + body)
            site.public.verify(_DOMAIN, *_received(near, len(body)))
        os.waitpid(child, 0)
    return time.perf_counter() - begin


def _answer(port: int, size: int, site: SigningKey, coordinator: SigningKey) -> None:
    with socket.create_connection(("127.0.0.1", port)) as far:
        task, signature = _received(far, size)
        coordinator.public.verify(_DOMAIN, task, signature)
        far.sendall(site.sign(_DOMAIN, task) + task)


def _received(source: socket.socket, size: int) -> tuple[bytes, bytes]:
    """What was sent, and its signature."""
    with source.makefile("rb") as stream:
        signature = stream.read(_SIGNATURE)
        return stream.read(size), signature


if __name__ == "__main__":
    print(json.dumps(measure(exchanges=int(sys.argv[1]))))
