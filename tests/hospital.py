"""A small hospital for tests: a protocol, its table, and the question whether a message gives a patient away."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from wardround.client.checkup import check
from wardround.client.findings import CheckReport, Finding
from wardround.common.errors import CohortError
from wardround.common.privacy.terms import PrivacyTerms
from wardround.common.study.outcomes import BinaryOutcome, ClassOutcome, Outcome, SurvivalOutcome
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.schema import Feature
from wardround.common.study.terms import CohortTerms, StudyTerms

SOURCE = "invented for a test"

AGE = Feature(name="age", kind="continuous", unit="years", low=18, high=105, mean=60, sd=12, source=SOURCE)
GLUCOSE = Feature(
    name="glucose", kind="continuous", unit="mg/dL", low=40, high=600, mean=100, sd=20, source=SOURCE
)
SEX = Feature(name="sex", kind="binary", categories=("male", "female"), source=SOURCE)
SMOKER = Feature(name="smoker", kind="binary", source=SOURCE)
STAGE = Feature(name="stage", kind="categorical", categories=("I", "II", "III"), source=SOURCE)
GENES = tuple(
    Feature(name=f"gene{n}", kind="continuous", modality="expression", low=-20, high=20, source=SOURCE)
    for n in range(4)
)
FEATURES = (AGE, GLUCOSE, SEX, SMOKER, STAGE, *GENES)

RESPONSE = BinaryOutcome(column="response", positive=("yes",), negative=("no",), source=SOURCE)
SUBTYPE = ClassOutcome(column="subtype", classes=("basal", "luminal", "her2"), source=SOURCE)
SURVIVAL = SurvivalOutcome(
    time_column="months",
    event_column="status",
    event_values=("dead",),
    censored_values=("alive",),
    unit="months",
    high=400.0,
    cut_points=(6.0, 12.0, 24.0, 48.0, 96.0),
    source=SOURCE,
)


def study(
    outcome: Outcome = RESPONSE,
    features: tuple[Feature, ...] = FEATURES,
    *,
    minimum_patients: int = 20,
    minimum_per_class: int = 1,
    optional_modalities: tuple[str, ...] = (),
    subgroups: tuple[str, ...] = (),
    privacy: PrivacyTerms | None = None,
) -> StudyProtocol:
    """A protocol whose patients are in column `patient`."""
    return StudyProtocol(
        study=StudyTerms(name="test-study", question="who responds?", purpose="research on response"),
        outcome=outcome,
        features=features,
        cohort=CohortTerms(
            patient_column="patient",
            minimum_patients=minimum_patients,
            minimum_per_class=minimum_per_class,
            optional_modalities=optional_modalities,
            subgroups=subgroups,
        ),
        privacy=privacy or PrivacyTerms(mechanism="none"),
    )


def hospital(n: int = 60, seed: int = 1) -> pd.DataFrame:
    """A table that fits `study()` for every outcome above; text cells, as `read_table` gives them."""
    rng = np.random.default_rng(seed)
    columns: dict[str, list[str]] = {
        "patient": [f"MRN-{number:06d}" for number in rng.choice(900_000, n, replace=False)],
        "age": [f"{value:.3f}" for value in np.clip(rng.normal(60, 12, n), 20, 100)],
        "glucose": [f"{value:.3f}" for value in np.clip(rng.normal(100, 20, n), 50, 300)],
        "sex": rng.choice(["male", "female"], n).tolist(),
        "smoker": rng.choice(["0", "1"], n).tolist(),
        "stage": rng.choice(["I", "II", "III"], n).tolist(),
        **{gene.name: [f"{value:.4f}" for value in rng.normal(0, 3, n)] for gene in GENES},
        "response": rng.choice(["yes", "no"], n).tolist(),
        "subtype": rng.choice(["basal", "luminal", "her2"], n).tolist(),
        "months": [f"{value:.3f}" for value in np.clip(rng.exponential(30, n), 0.1, 300)],
        "status": rng.choice(["dead", "alive"], n).tolist(),
    }
    return pd.DataFrame(columns, dtype=object)


def only(frame: pd.DataFrame, outcome: Outcome = RESPONSE) -> pd.DataFrame:
    """The table without the columns of other outcomes."""
    own = study(outcome).outcome_columns
    others = {"response", "subtype", "months", "status"} - set(own)
    return frame.drop(columns=sorted(others))


def changed(column: str, change: Callable[[float], float], frame: pd.DataFrame | None = None) -> pd.DataFrame:
    """The table with a changed column of numbers."""
    table = hospital() if frame is None else frame
    return table.assign(**{column: [f"{change(float(cell)):.5f}" for cell in table[column]]})


def found(report: CheckReport, code: str) -> Finding:
    """The one finding of a code."""
    matching = [finding for finding in report.findings if finding.code == code]
    assert len(matching) == 1, [finding.line() for finding in report.findings]
    return matching[0]


def text_of(report: CheckReport) -> str:
    """Everything a report says."""
    return repr(report) + repr(report.as_dict())


def gives_away(text: str, frame: pd.DataFrame) -> list[str]:
    """Identifiers and measured values of the table that a text contains; short cells say nothing by themselves."""
    cells = {str(cell) for name in frame for cell in frame[name] if len(str(cell)) >= 5}
    declared = {"female", "basal", "luminal", "alive"}
    return sorted(cell for cell in cells - declared if cell in text)


def checked(protocol: StudyProtocol, frame: pd.DataFrame) -> CheckReport:
    """Check a table, and that neither report nor error gives a patient away."""
    report = check(protocol, frame)
    assert gives_away(text_of(report), frame) == []
    if not report.fits:
        with pytest.raises(CohortError) as caught:
            report.raise_if_refused("North")
        assert gives_away(caught.value.diagnostics(), frame) == []
        assert caught.value.exit_code == 4
    return report
