"""The public feature path: known answers, missing values, and its guarantees on any table."""

import math
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.common.errors import CohortError, ProtocolError
from wardround.common.formats import digest
from wardround.common.learning.features import FeaturePath
from wardround.common.learning.loadings import Loadings
from wardround.common.privacy.terms import PrivacyTerms
from wardround.common.study.outcomes import BinaryOutcome
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.schema import Feature
from wardround.common.study.terms import CohortTerms, InputTerms, StudyTerms

AGE = Feature(name="age", kind="continuous", low=0, high=120, mean=60, sd=10, missing="indicator", source="s")
TMB = Feature(name="tmb", kind="continuous", low=0, high=1e4, transform="log1p", mean=1, sd=2, source="s")
SEX = Feature(name="sex", kind="binary", categories=("F", "M"), source="s")
MUTATED = Feature(name="TP53", kind="binary", modality="mutation", source="s")
GRADE = Feature(name="grade", kind="categorical", categories=("1", "2"), missing="indicator", source="s")
GENE = Feature(name="ESR1", kind="continuous", modality="rna", low=0, high=20, mean=8, sd=4, source="s")
GENE2 = Feature(
    name="ERBB2",
    kind="continuous",
    modality="rna",
    low=0,
    high=20,
    mean=8,
    sd=4,
    missing="indicator",
    source="s",
)
ALL = (AGE, TMB, SEX, MUTATED, GRADE, GENE, GENE2)


def path(
    features: tuple[Feature, ...],
    optional: tuple[str, ...] = (),
    inputs: InputTerms | None = None,
    loadings: Loadings | None = None,
) -> FeaturePath:
    return FeaturePath(
        features=features, optional_modalities=optional, inputs=inputs or InputTerms(), loadings=loadings
    )


def column(feature: Feature, *cells: object) -> list[list[float]]:
    frame = pd.DataFrame({feature.name: pd.Series(cells, dtype=object)})
    found: list[list[float]] = path((feature,)).transform(frame).tolist()
    return found


def test_a_number_is_standardised_by_the_public_moments_and_clamped() -> None:
    assert column(AGE, "75", 45.0, "120", 0) == [[1.5, 0], [-1.5, 0], [5, 0], [-5, 0]]


def test_a_missing_or_unreadable_number_is_the_reference_and_sets_its_indicator() -> None:
    assert column(AGE, "", None, "sixty", np.nan, "60") == [[0, 1]] * 4 + [[0, 0]]


def test_a_value_beyond_the_plausible_range_is_cut_to_it() -> None:
    wide = InputTerms(clamp=100.0)
    found = path((AGE,), inputs=wide).transform(pd.DataFrame({"age": [1e30, -1e30]}))
    assert found.tolist() == [[6, 0], [-6, 0]]


def test_the_transform_comes_before_standardisation() -> None:
    found = column(TMB, str(math.e**3 - 1), "0", "-4")
    assert np.allclose(found, [[1.0], [-0.5], [-0.5]])


def test_a_binary_feature_reads_its_two_spellings() -> None:
    assert column(SEX, "F", "M", " M ", "m", "") == [[0], [1], [1], [0], [0]]


def test_a_binary_feature_without_spellings_reads_zero_and_one_only() -> None:
    assert column(MUTATED, "0", "1", 1.0, "2", "0.5", "") == [[0], [1], [1], [0], [0], [0]]


def test_a_binary_feature_is_standardised_too() -> None:
    feature = Feature(name="x", kind="binary", mean=0.25, sd=0.5, source="s")
    spelled = Feature(name="x", kind="binary", categories=("n", "y"), mean=0.25, sd=0.5, source="s")
    assert column(feature, "1", "0", "") == [[1.5], [-0.5], [0]]
    assert column(spelled, "y", "n", "") == [[1.5], [-0.5], [0]]


def test_a_categorical_feature_gives_one_input_per_category() -> None:
    assert column(GRADE, "1", "2", 2.0, "3", None) == [[1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]]
    assert path((GRADE,)).names == ("grade=1", "grade=2", "missing:grade")


def test_a_site_without_an_optional_modality_gets_zeros_and_says_so() -> None:
    both = path((AGE, GENE, GENE2), optional=("rna",))
    assert both.names == ("age", "missing:age", "ESR1", "ERBB2", "missing:ERBB2", "present:rna")
    assert both.transform(pd.DataFrame({"age": ["70"]})).tolist() == [[1, 0, 0, 0, 0, 0]]


def test_a_patient_without_an_optional_modality_gets_zeros_and_a_part_of_it_counts_as_present() -> None:
    frame = pd.DataFrame({"age": ["60"] * 3, "ESR1": ["12", "", "12"], "ERBB2": ["4", "", ""]})
    found = path((AGE, GENE, GENE2), optional=("rna",)).transform(frame)
    assert found[:, 2:].tolist() == [[1, -1, 0, 1], [0, 0, 0, 0], [1, 0, 1, 1]]


def test_an_absent_column_is_refused_by_name() -> None:
    with pytest.raises(CohortError, match="absent: age"):
        path((AGE,)).transform(pd.DataFrame({"Age": [1]}))


def test_a_modality_with_some_columns_only_is_refused() -> None:
    with pytest.raises(CohortError, match="absent: ERBB2"):
        path((GENE, GENE2), optional=("rna",)).transform(pd.DataFrame({"ESR1": ["3"]}))


def test_a_column_that_is_there_twice_is_refused() -> None:
    with pytest.raises(CohortError, match="twice"):
        path((AGE,)).transform(pd.DataFrame([[1, 2]], columns=["age", "age"]))


def test_loadings_replace_their_features_by_components() -> None:
    matrix = np.array([[0.6, 1.0], [0.8, 0.0]], np.float32)
    loadings = Loadings(features=("ERBB2", "ESR1"), components=("PC1", "PC2"), matrix=matrix)
    both = path((GENE, AGE, GENE2), optional=("rna",), loadings=loadings)
    frame = pd.DataFrame({"age": ["70"], "ESR1": ["16"], "ERBB2": ["12"]})
    assert both.names == ("age", "missing:age", "missing:ERBB2", "PC1", "PC2", "present:rna")
    assert both.width == 6
    assert np.allclose(both.transform(frame), [[1, 0, 0, 0.6 * 1 + 0.8 * 2, 1, 1]])


def test_loadings_of_an_unknown_or_categorical_feature_are_refused() -> None:
    for name in ("grade", "BRCA1"):
        loadings = Loadings(features=(name,), components=("PC1",), matrix=np.ones((1, 1), np.float32))
        with pytest.raises(ProtocolError, match=name):
            path(ALL, loadings=loadings)


def test_an_optional_modality_of_no_feature_is_refused() -> None:
    with pytest.raises(ProtocolError, match="proteome"):
        path(ALL, optional=("proteome",))


def test_unit_norm_scales_rows_and_leaves_an_empty_row_empty() -> None:
    unit = path((GENE, MUTATED), inputs=InputTerms(norm="unit"))
    found = unit.transform(pd.DataFrame({"ESR1": ["20", "8", ""], "TP53": ["1", "1", "0"]}))
    root = math.sqrt(10)
    assert np.allclose(found, np.array([[3 / root, 1 / root], [0, 1], [0, 0]]))


def test_rows_of_no_patients_give_no_rows() -> None:
    frame = pd.DataFrame({feature.name: pd.Series([], dtype=object) for feature in ALL})
    both = path(ALL, optional=("rna",))
    assert both.transform(frame).shape == (0, both.width)


def test_the_path_of_a_protocol_reads_its_loadings(tmp_path: Path) -> None:
    data = b"feature,PC1\nESR1,0.5\n"
    (tmp_path / "pca.csv").write_bytes(data)
    protocol = StudyProtocol(
        study=StudyTerms(name="demo", question="q", purpose="p"),
        outcome=BinaryOutcome(column="y", positive=("1",), negative=("0",), source="s"),
        features=(GENE, AGE),
        cohort=CohortTerms(patient_column="id", optional_modalities=("rna",)),
        privacy=PrivacyTerms(mechanism="none"),
        inputs=InputTerms(loadings="pca.csv", loadings_sha256=digest(data)),
    )
    assert FeaturePath.from_protocol(protocol, tmp_path).names == ("age", "missing:age", "PC1", "present:rna")


cells = st.one_of(
    st.none(),
    st.floats(allow_nan=True, allow_infinity=True),
    st.integers(-(10**30), 10**30),
    st.booleans(),
    st.text(max_size=6),
    st.sampled_from(["F", "M", "1", "2", "0", "1e308", "-1e308", "inf", "1e-320"]),
)


@given(
    st.lists(st.tuples(*[cells] * len(ALL)), min_size=1, max_size=5),
    st.sampled_from([0.25, 5.0, 50.0]),
    st.sampled_from(["unit", "none"]),
)
def test_whatever_the_table_holds_outputs_are_finite_and_bounded(
    table: list[tuple[object, ...]], clamp: float, norm: str
) -> None:
    inputs = InputTerms(clamp=clamp, norm="unit" if norm == "unit" else "none")
    frame = pd.DataFrame(table, columns=[feature.name for feature in ALL], dtype=object)
    found = path(ALL, optional=("rna",), inputs=inputs).transform(frame)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    assert np.abs(found).max() <= clamp or norm == "unit"
    if norm == "unit":
        lengths = np.linalg.norm(found.astype(np.float64), axis=1)
        assert np.all((np.abs(lengths - 1) < 1e-6) | (lengths == 0))


@given(st.lists(st.tuples(*[cells] * len(ALL)), min_size=2, max_size=5))
def test_one_patients_row_does_not_depend_on_the_others(table: list[tuple[object, ...]]) -> None:
    frame = pd.DataFrame(table, columns=[feature.name for feature in ALL], dtype=object)
    both = path(ALL, optional=("rna",), inputs=InputTerms(norm="unit"))
    assert np.array_equal(both.transform(frame)[:1], both.transform(frame.iloc[:1]))


def test_a_wide_panel_is_converted_in_one_pass() -> None:
    genes = tuple(
        Feature(name=f"g{i}", kind="continuous", modality="rna", low=0, high=20, mean=8, sd=2, source="s")
        for i in range(20_000)
    )
    rng = np.random.default_rng(0)
    values = rng.uniform(0, 20, (200, len(genes)))
    wide = path(genes, optional=("rna",))
    frame = pd.DataFrame(values, columns=[gene.name for gene in genes])
    started = time.process_time()
    found = wide.transform(frame)
    assert time.process_time() - started < 5  # a loop over columns takes longer
    assert np.allclose(found[:, :-1], np.clip((values - 8) / 2, -5, 5), atol=1e-6)
