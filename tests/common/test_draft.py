"""A first protocol from a table: kinds, ranges, what is left out and why, and that it is marked as drafted."""

import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest

from wardround.common.errors import ProtocolError, UsageError
from wardround.common.privacy.accounting import epsilon
from wardround.common.study.draft import draft
from wardround.common.study.draft_features import modalities
from wardround.common.study.draft_outcome import guess_outcome, guess_survival
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.reader import dumps, loads
from wardround.common.study.schema import DRAFTED

N = 300
RNG = np.random.default_rng(3)
SITE_OF = np.repeat(["01", "02", "03"], [60, 90, 150])
RESPONSE = RNG.integers(0, 2, N)


def columns() -> dict[str, Any]:
    """A table with one column of each kind of trouble."""
    age = np.round(RNG.normal(60, 10, N), 1)
    genes = {f"expr_G{number}": np.round(RNG.normal(5, 2, N), 2) for number in range(4)}
    mutations = {f"mut_M{number}": (RNG.random(N) < 0.2).astype(int) for number in range(3)}
    lacking = SITE_OF == "02"
    return {
        "patient": [f"P{number:04d}" for number in range(N)],
        "hospital": SITE_OF,
        "response": np.where(RESPONSE == 1, "yes", "no"),
        "age": age,
        "sex": RNG.choice(["female", "male"], N),
        "smoker": RNG.choice(["no", "yes"], N, p=[0.7, 0.3]),
        "stage": RNG.choice(["I", "II", "III", "IV"], N),
        "nodes": np.round(RNG.lognormal(1, 1.2, N)).astype(int),
        "grade": RNG.integers(1, 4, N),
        "marker": np.where(RNG.random(N) < 0.2, np.nan, np.round(RNG.normal(size=N), 3)),
        "chemotherapy": RNG.choice(["no", "yes"], N),
        "response_code": RESPONSE + 4,
        "best_change": RESPONSE * 50 + np.round(RNG.normal(0, 3, N), 2),
        "region": np.array(["N", "S", "W"])[np.unique(SITE_OF, return_inverse=True)[1]],
        "scanner": np.array(["x", "y", "z"])[np.unique(SITE_OF, return_inverse=True)[1]],
        "sample_id": [f"S{number}" for number in range(N)],
        "row": np.arange(N),
        "visit": [f"2021-03-{1 + number % 28:02d}" for number in range(N)],
        "vital_status": RNG.choice(["alive", "dead"], N),
        "fold": RNG.choice(["train", "test"], N),
        "remark": [f"seen by {number % 97}" for number in range(N)],
        "constant": ["same"] * N,
        "empty": [np.nan] * N,
        **genes,
        **{name: np.where(lacking, np.nan, values) for name, values in mutations.items()},
    }


def as_read(raw: dict[str, Any]) -> pd.DataFrame:
    """The table as a CSV reader gives it: text, NaN where missing."""
    frame = pd.DataFrame(raw)
    return frame.astype(str).where(frame.notna(), np.nan)


TABLE = as_read(columns())


def drafted(frame: pd.DataFrame = TABLE, **change: Any) -> StudyProtocol:
    """A draft of the table's response study."""
    terms: dict[str, Any] = {
        "name": "trial",
        "outcome": guess_outcome(frame, "response"),
        "patient_column": "patient",
        "site_column": "hospital",
    }
    return draft(frame, **{**terms, **change})


PROTOCOL = drafted()
FEATURES = {feature.name: feature for feature in PROTOCOL.features}


def test_what_can_be_a_feature_is_one_in_the_order_of_the_table() -> None:
    clinical = ["age", "sex", "smoker", "stage", "nodes", "grade", "marker", "chemotherapy"]
    genes = [f"expr_G{number}" for number in range(4)]
    mutations = [f"mut_M{number}" for number in range(3)]
    assert list(FEATURES) == [*clinical, *genes, *mutations]


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        ("response_code", "nearly tells the outcome"),
        ("best_change", "nearly tells the outcome"),
        ("region", "names a place"),
        ("scanner", "names the site"),
        ("sample_id", "looks like an identifier"),
        ("row", "looks like an identifier"),
        ("visit", "holds dates"),
        ("vital_status", "looks like follow-up, which is known only afterwards"),
        ("fold", "names a train and test split"),
        ("remark", "too many spellings: free text or an identifier"),
        ("constant", "the same value everywhere, or none"),
        ("empty", "the same value everywhere, or none"),
    ],
)
def test_a_column_is_left_out_with_its_reason(column: str, reason: str) -> None:
    notes = [note for note in PROTOCOL.study.notes if note.startswith(f"left out, {reason}: ")]
    assert len(notes) == 1
    assert column in notes[0].partition(f"{reason}: ")[2].split(", ")


def test_treatment_and_codes_are_kept_with_a_remark() -> None:
    remarks = [note for note in PROTOCOL.study.notes if not note.startswith("left out")]
    assert remarks == [
        "looks like treatment: keep only what is known at the index date: chemotherapy",
        "few whole numbers, read as a number: make it categorical if they are codes: grade",
    ]


def test_kinds_come_from_the_cells() -> None:
    kinds = {name: feature.kind for name, feature in FEATURES.items()}
    assert (kinds["age"], kinds["sex"], kinds["stage"]) == ("continuous", "binary", "categorical")
    assert (kinds["grade"], kinds["expr_G0"], kinds["mut_M0"]) == ("continuous", "continuous", "binary")
    assert FEATURES["sex"].categories == ("female", "male")
    assert FEATURES["smoker"].categories == ("no", "yes")
    assert FEATURES["stage"].categories == ("I", "II", "III", "IV")
    assert FEATURES["mut_M0"].categories == ()


def test_a_word_for_yes_counts_as_one_wherever_it_is_in_the_alphabet() -> None:
    cells = np.where(RNG.random(N) < 0.25, "+", "-")
    marker = {each.name: each for each in drafted(TABLE.assign(her2=cells)).features}["her2"]
    assert marker.categories == ("-", "+")
    assert marker.mean == float(f"{(cells == '+').mean():.3g}")


def test_moments_are_those_of_the_table_to_three_digits() -> None:
    age = TABLE["age"].astype(float)
    assert FEATURES["age"].mean == float(f"{age.mean():.3g}")
    assert FEATURES["age"].sd == float(f"{age.std(ddof=0):.3g}")
    share = (TABLE["sex"] == "male").mean()
    assert FEATURES["sex"].mean == float(f"{share:.3g}")
    assert FEATURES["sex"].sd == float(f"{np.sqrt(share * (1 - share)):.3g}")


def test_skewed_counts_are_logged_and_their_moments_are_of_the_log() -> None:
    nodes = FEATURES["nodes"]
    assert nodes.transform == "log1p"
    assert nodes.mean == float(f"{np.log1p(TABLE['nodes'].astype(float)).mean():.3g}")
    assert FEATURES["age"].transform == "none"


def test_ranges_hold_every_value_and_name_none() -> None:
    for feature in PROTOCOL.features:
        if feature.kind == "continuous":
            values = TABLE[feature.name].astype(float)
            assert feature.low < values.min() or feature.low == 0.0
            assert values.max() < feature.high


def test_often_missing_clinical_columns_get_an_indicator_and_assays_a_modality() -> None:
    assert FEATURES["marker"].missing == "indicator"
    assert FEATURES["age"].missing == "reference"
    assert FEATURES["mut_M0"].missing == "reference"
    assert PROTOCOL.cohort.optional_modalities == ("mutation",)
    assert {FEATURES["expr_G1"].modality, FEATURES["mut_M1"].modality} == {"expression", "mutation"}


@pytest.mark.parametrize(
    ("prefix", "modality"),
    [("mrna", "expression"), ("EXPR", "expression"), ("meth", "methylation"), ("arm", "copy-number")],
)
def test_prefixes_name_assays_where_three_columns_share_one(prefix: str, modality: str) -> None:
    names = [f"{prefix}_{number}" for number in range(3)]
    assert modalities(names) == [modality] * 3
    assert modalities(names[:2]) == ["clinical"] * 2


def test_everything_is_marked_as_drafted() -> None:
    assert PROTOCOL.drafted
    assert {feature.source for feature in PROTOCOL.features} == {DRAFTED}
    assert (PROTOCOL.outcome.source, PROTOCOL.privacy.source) == (DRAFTED, DRAFTED)


def test_the_default_noise_claims_epsilon_3_over_all_rounds() -> None:
    events = [PROTOCOL.event()] * PROTOCOL.federation.rounds
    assert 2.99 < epsilon(events, 1e-5) <= 3.0


def test_joint_noise_counts_on_all_hospitals_that_can_take_part_but_one() -> None:
    """Tiny ones are left out of the study, so nobody may count on their noise."""
    protocol = drafted(mechanism="joint-noise")
    assert (protocol.privacy.mechanism, protocol.privacy.honest_sites) == ("joint-noise", 2)
    assert 2.99 < epsilon([protocol.event()] * protocol.federation.rounds, 1e-5) <= 3.0
    assert protocol.drafted
    # 45 patients of the first hospital go to nine tiny ones: what is left of it is tiny too.
    tiny = TABLE.assign(hospital=np.where(np.arange(N) < 45, [f"t{i % 9}" for i in range(N)], SITE_OF))
    with pytest.raises(UsageError, match="at least 3 hospitals with 20 patients, found 2"):
        drafted(tiny, mechanism="joint-noise")


def test_a_draft_without_privacy_has_no_noise() -> None:
    privacy = drafted(mechanism="none").privacy
    assert (privacy.mechanism, privacy.noise_multiplier, privacy.source) == ("none", 0.0, DRAFTED)


def test_site_sizes_are_not_written_but_for_one_rounded_mean() -> None:
    assert PROTOCOL.federation.sites == ()
    assert PROTOCOL.privacy.reference_patients == 75
    assert "60" not in str(PROTOCOL.study.notes)


def test_small_sites_and_rows_without_a_site_do_not_count_for_the_reference() -> None:
    frame = TABLE.assign(hospital=np.where(np.arange(N) < 45, [f"t{i % 9}" for i in range(N)], SITE_OF))
    assert drafted(frame).privacy.reference_patients == round(0.75 * (90 + 150) / 2)
    gone = TABLE.assign(hospital=pd.Series(SITE_OF).where(SITE_OF != "01", np.nan))
    assert drafted(gone).privacy.reference_patients == round(0.75 * (90 + 150) / 2)


def test_several_rows_of_a_patient_count_once() -> None:
    assert drafted(pd.concat([TABLE, TABLE], ignore_index=True)).privacy.reference_patients == 75


def test_subgroups_are_the_usual_columns() -> None:
    assert PROTOCOL.cohort.subgroups == ("sex",)


def test_a_draft_reads_back_equal() -> None:
    assert loads(dumps(PROTOCOL), "draft") == PROTOCOL


def test_numbers_and_text_give_the_same_draft() -> None:
    numbers = TABLE.assign(
        **{
            name: TABLE[name].astype(float)
            for name in ("age", "nodes", "grade", "marker", "expr_G0", "mut_M0")
        }
    )
    assert drafted(numbers).digest == PROTOCOL.digest


def test_excluded_columns_are_neither_features_nor_notes() -> None:
    protocol = drafted(exclude=["age", "sample_id"])
    assert "age" not in {feature.name for feature in protocol.features}
    assert "sample_id" not in str(protocol.study.notes)


def test_survival_is_guarded_against_its_own_time_in_another_unit() -> None:
    months = RNG.exponential(30, N) + 0.1
    died = RNG.random(N) < 0.5
    frame = TABLE.assign(
        months=months.astype(str),
        died=np.where(died, "1", "0"),
        days=(months * 30.4375).round().astype(int).astype(str),
        cause=pd.Series("cancer", index=TABLE.index).where(died),
    )
    outcome = guess_survival(frame, time="months", event="died", unit="months")
    protocol = drafted(frame, outcome=outcome)
    names = {feature.name for feature in protocol.features}
    assert not names & {"days", "cause", "months", "died"}
    assert "response" in names


def test_a_table_without_a_named_column_is_refused() -> None:
    for change in ({"patient_column": "pid"}, {"site_column": "clinic"}, {"exclude": ["agee"]}):
        with pytest.raises(UsageError, match="no column '"):
            drafted(**change)


def test_a_table_without_a_feature_is_refused() -> None:
    with pytest.raises(UsageError, match="no column of the table is left"):
        drafted(TABLE[["patient", "hospital", "response", "constant"]])


def test_a_name_that_cannot_name_a_file_is_refused() -> None:
    with pytest.raises(ProtocolError, match="letters, digits and hyphens"):
        drafted(name="../x")


def test_the_study_layer_is_imported_without_pandas() -> None:
    code = (
        "import sys; sys.modules['pandas'] = None\n"
        "from wardround.common.study import draft, draft_outcome, explain, reader\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
