"""What leaves a hospital, captured before encryption over a whole private study with errors, on neighbouring cohorts.

Two hospitals hold the same patients but two, one who trains and one who is held out, and get the same messages. All
that SuperNode and executor say is written down (`tapped`). It may differ in the noised numbers and in what `wire` lists
as random or as the hospital's name, and in nothing else; and no value of the patients who are at one of them alone is
ever in it (`markers`).
"""

import difflib
import json
import shutil
import sys
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from tests.deployment.markers import marks
from tests.deployment.promises import counted, moments
from tests.deployment.scripted import Script
from tests.deployment.wards import Ward, ward
from tests.deployment.wire import Request, comparable, read_tape
from tests.evaluating import evaluated
from tests.flowerline import until
from tests.runs import table

from wardround.client.heldout import SPLIT_KEY
from wardround.client.joining import node_place
from wardround.client.policy import SitePolicy
from wardround.common.flower.places import supernode_command
from wardround.common.learning.exchange import EVERYONE, FINISH, NO_MODEL, ROLL_CALL, TASK
from wardround.common.learning.parameters import parameters_digest, to_bytes
from wardround.common.study.protocol import StudyProtocol

SITES = ("north", "south")
PATIENT = {
    "patient": "918273645",
    "age": "77.123",
    "gene0": "2.7183",
    "gene1": "-3.1416",
    "gene2": "1.6181",
    "months": "57.7216",
}
HELD_OUT = {
    **PATIENT,
    "patient": "918273648",
    "age": "66.421",
    "gene0": "1.4142",
    "gene1": "-2.2361",
    "gene2": "2.6458",
    "months": "69.3147",
}
"""By the split of `north` this one is held out and evaluates."""
PROGRAMS = ("supernode", "executor")
SCRIPT = 16  # messages
UPDATES = 6  # of the answers


def neighbours() -> pd.DataFrame:
    """Two hospitals with the same rows; the second has two patients more, with values of their own."""
    rows = table({"north": 60})
    more = [rows.iloc[[0]].assign(**one) for one in (PATIENT, HELD_OUT)]
    both = [rows, pd.concat([rows, *more]).assign(hospital="south")]
    return pd.concat(both, ignore_index=True)


def study() -> StudyProtocol:
    """Three rounds, then the evaluation."""
    return evaluated(counted("egress", rounds=3), epsilon=3.0)


def script(one: Script) -> Iterator[bytes]:
    """The messages of a study, honest and not."""
    coordinator, model, name = one.coordinator, to_bytes(one.base), parameters_digest(one.base)
    broken = {key: np.full_like(value, np.nan) for key, value in one.base.items()}
    yield coordinator.seal(EVERYONE, ROLL_CALL, b"", 0, 0, NO_MODEL)
    yield one.task(1)
    yield one.task(1)  # asked twice
    yield b"garbage"
    yield one.task(1, 2, base=broken)
    yield one.task(99)
    yield one.task(2)
    yield one.task(1)  # replayed
    yield coordinator.seal("elsewhere", TASK, model, 2, 1, name)
    yield one.task(3)
    yield one.task(4)  # the evaluation
    yield one.task(4)
    yield one.task(4, 3)  # beyond its attempts
    yield one.task(5)
    yield coordinator.seal(one.site, FINISH, b"", 3, 0, NO_MODEL)
    yield one.task(3, 2)


def line(made: Ward, site: str) -> None:
    """A SuperNode and an executor, both tapped."""
    folder = made.folder(site)
    node = supernode_command(node_place(folder))[2:]
    for program, words in (("supernode", node), ("executor", ["wardround.client.executor", str(folder)])):
        tape = made.root / f"{site}-{program}.tape"
        made.spawn(f"{site}-{program}", [sys.executable, "-m", "tests.deployment.tapped", str(tape), *words])
    until(lambda: any(one.name == site and one.status == "online" for one in made.nodes()))


def told(made: Ward, site: str, program: str) -> tuple[list[Request], set[int]]:
    """All requests of a program, and the ports that it dialled."""
    return read_tape(made.root / f"{site}-{program}.tape")


def difference(first: list[object], second: list[object]) -> str:
    """The first lines that differ, for whoever reads a red test."""
    left, right = ([json.dumps(one, default=repr) for one in told] for told in (first, second))
    return "\n".join(list(difflib.unified_diff(left, right, lineterm="", n=0))[:6])


@pytest.fixture(scope="module")
def conducted(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Ward, dict[str, list[bytes | str]]]]:
    """The whole study at both hospitals, its processes ended, and what was answered."""
    protocol = study()
    with ward(tmp_path_factory.mktemp("ward"), protocol, neighbours()) as made:
        shutil.copy(made.folder("north") / SPLIT_KEY, made.folder("south") / SPLIT_KEY)
        made.agree(protocol)
        made.up("hub")
        answers = {}
        for site in SITES:
            line(made, site)
            one = Script(made, protocol, site)
            answers[site] = one.say(script(one))
            made.down(f"{site}-executor", f"{site}-supernode")
        yield made, answers


Conducted = tuple[Ward, dict[str, list[bytes | str]]]


@pytest.mark.slow
def test_neighbouring_cohorts_send_the_same_bytes_but_for_the_noised_numbers(conducted: Conducted) -> None:
    made, answers = conducted
    assert len(answers["north"]) == SCRIPT
    assert sum(isinstance(one, bytes) and b'"kind":"update"' in one for one in answers["north"]) == UPDATES
    assert answers["north"].count("SiteFailed") == answers["south"].count("SiteFailed") >= 2
    for program in PROGRAMS:
        said, listening = zip(*(comparable(told(made, site, program)[0]) for site in SITES), strict=True)
        assert said[0] == said[1], difference(*said)
        assert listening[0] == listening[1]
        assert sum("push-messages" in str(one)[:60] for one in said[0]) == SCRIPT
    spent = [moments(made, site, "egress", "spend") for site in SITES]
    assert spent[0] == spent[1] == [(1, 1), (2, 1), (3, 1), (4, 1)]


@pytest.mark.slow
def test_errors_leave_as_one_constant_and_refusals_as_one_code(conducted: Conducted) -> None:
    made, answers = conducted
    for site in SITES:
        for answer in answers[site]:
            if isinstance(answer, str):
                assert answer == "SiteFailed"
        bodies = b"".join(request.body for request in told(made, site, "supernode")[0])
        # Flower says an error twice: in the message, and in the object that stands for it.
        assert bodies.count(b"SiteFailed") == 2 * answers[site].count("SiteFailed")


@pytest.mark.slow
def test_no_connection_goes_anywhere_but_to_the_coordinator_and_to_the_other_process(
    conducted: Conducted,
) -> None:
    made, _ = conducted
    for site in SITES:
        assert told(made, site, "supernode")[1] == {made.cables[site].port}
        (door,) = told(made, site, "executor")[1]
        assert door == int((made.folder(site) / "flower" / "runtime.port").read_text(encoding="ascii"))


@pytest.mark.slow
def test_no_value_of_the_patient_is_in_anything_that_left(conducted: Conducted) -> None:
    made, _ = conducted
    planted = SitePolicy.load(made.folder("south") / "site.toml").table
    wanted = {
        f"{one['patient']} {name}": data
        for one in (PATIENT, HELD_OUT)
        for name, data in marks(study(), planted, one["patient"], "south").items()
    }
    assert len(wanted) > 1000
    whole = {data for site in SITES for program in PROGRAMS for data in pieces(*told(made, site, program))}
    assert any(b"ledger_seq" in data for data in whole)  # the tape holds what leaves
    text = b"\0".join(sorted(whole))
    assert not [name for name, data in wanted.items() if data in text]


def pieces(requests: list[Request], ports: set[int]) -> Iterator[bytes]:
    """Paths, headers and bodies, each once: chance must not write four bytes among a thousand alike polls."""
    for request in requests:
        yield request.path.encode()
        yield request.body
        yield from (value.encode() for _, value in request.headers)


@pytest.mark.slow
def test_the_marks_are_found_where_they_are(conducted: Conducted) -> None:
    made, _ = conducted
    south = SitePolicy.load(made.folder("south") / "site.toml").table
    wanted = marks(study(), south, PATIENT["patient"], "south")
    table_of = {site: SitePolicy.load(made.folder(site) / "site.toml").table.read_bytes() for site in SITES}
    assert sum(data in table_of["south"] for data in wanted.values()) >= len(PATIENT)
    assert not any(data in table_of["north"] for data in wanted.values())
    held_out, training = sorted(made.folder("south").glob("approvals/*/cohort-*.npz"))
    assert wanted["all inputs"] in training.read_bytes()
    other = marks(study(), south, HELD_OUT["patient"], "south")
    assert other["all inputs"] in held_out.read_bytes()
    assert other["all inputs"] not in training.read_bytes()
