"""The imagined consortium has the faults it claims, and the outcomes follow the effects it was given."""

import io

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter
from sklearn.linear_model import LogisticRegression

from wardround.common.errors import UsageError
from wardround.simulations.consortium import (
    GENES,
    MUTATIONS,
    NOT_SEQUENCING,
    SIZES,
    Biology,
    draw_biology,
    draw_outcomes,
    draw_patients,
    effect,
    generate,
    measured,
)
from wardround.simulations.reference import public_reference


@pytest.fixture(scope="module")
def biology() -> Biology:
    return draw_biology(np.random.default_rng(3))


@pytest.fixture(scope="module")
def table(biology: Biology) -> pd.DataFrame:
    return generate(np.random.default_rng(4), biology=biology)


def test_every_hospital_has_exactly_the_patients_it_was_given(table: pd.DataFrame) -> None:
    assert table.groupby("hospital")["patient"].nunique().to_dict() == dict(SIZES)


def test_equal_generators_give_equal_tables_and_others_do_not(biology: Biology) -> None:
    first, again, other = (
        generate(np.random.default_rng(seed), biology=biology, sizes={"A": 5, "Birch": 4})
        for seed in (1, 1, 2)
    )
    pd.testing.assert_frame_equal(first, again)
    assert not first.equals(other)


def test_patient_codes_are_text_whose_leading_zeros_survive_a_csv_file(table: pd.DataFrame) -> None:
    text = table[["patient"]].to_csv(index=False)
    back = pd.read_csv(io.StringIO(text), dtype=str)["patient"]
    assert back.tolist() == table["patient"].tolist()
    assert (back.str.len() == 6).all()
    assert back.str.startswith("0").all()


def test_a_patient_belongs_to_one_hospital_and_has_one_outcome(table: pd.DataFrame) -> None:
    constant = ["hospital", "response", "time", "event", "age", "sex", "ancestry"]
    assert (table.groupby("patient")[constant].nunique() == 1).all(axis=None)


def test_some_patients_have_two_or_three_samples_that_differ(table: pd.DataFrame) -> None:
    samples = table.groupby("patient").size()
    assert set(samples) == {1, 2, 3}
    assert 0.10 < (samples > 1).mean() < 0.20
    repeated = table[table["patient"].isin(samples.index[samples > 1])]
    assert (repeated.groupby("patient")[GENES[0]].nunique() > 1).mean() > 0.9


def test_one_hospital_has_no_mutation_value_and_the_others_have_all(table: pd.DataFrame) -> None:
    empty = table[list(MUTATIONS)].isna().groupby(table["hospital"]).agg(["min", "max"])
    assert empty.loc[NOT_SEQUENCING].all()
    assert not empty.drop(index=NOT_SEQUENCING).any(axis=None)


def test_mutations_are_written_as_whole_numbers(table: pd.DataFrame) -> None:
    text = table.loc[table["hospital"] == "Alder", [MUTATIONS[0]]].to_csv(index=False)
    assert set(text.split()[1:]) == {"0", "1"}


def test_a_rare_group_exists_and_is_rare(table: pd.DataFrame) -> None:
    shares = table.drop_duplicates("patient")["ancestry"].value_counts(normalize=True)
    assert 0.02 < shares["C"] < 0.07


def test_both_outcomes_occur_in_every_hospital_and_times_are_positive_months(table: pd.DataFrame) -> None:
    patients = table.drop_duplicates("patient")
    assert (patients.groupby("hospital")["response"].nunique() == 2).all()
    assert (patients.groupby("hospital")["event"].nunique() == 2).all()
    assert patients["time"].between(0.1, 84).all()
    assert 0.2 < (patients["event"] == "alive").mean() < 0.7


def test_the_share_of_responders_differs_between_hospitals(biology: Biology) -> None:
    patients = draw_patients(biology, 4000, np.random.default_rng(5))
    shares = [
        (
            draw_outcomes(biology, patients, np.random.default_rng(6), mix=mix)["response"] == "responder"
        ).mean()
        for mix in (-0.6, 0.6)
    ]
    assert shares[1] - shares[0] > 0.1


def test_a_perfect_laboratory_reads_what_is_there(biology: Biology) -> None:
    genes = np.zeros((2, len(GENES)))
    genes[1] = 1.0
    read = measured(biology, genes, np.random.default_rng(0), batch=0.0)
    np.testing.assert_allclose(read[0], biology.baseline)
    np.testing.assert_allclose(read[1] - read[0], biology.spread)


def test_hospitals_differ_in_genes_by_more_than_their_sampling_error(table: pd.DataFrame) -> None:
    genes = table[list(GENES)]
    by_site = genes.groupby(table["hospital"])
    expected = by_site.sem() ** 2
    # Without batch effects the variance of the site means would be about the mean squared standard error.
    assert (by_site.mean().var() / expected.mean()).median() > 5


def test_response_follows_the_log_odds_it_was_drawn_from(biology: Biology) -> None:
    rng = np.random.default_rng(7)
    patients = draw_patients(biology, 20_000, rng)
    odds = effect(biology, patients, biology.response)
    drawn = draw_outcomes(biology, patients, rng, mix=0.5)["response"] == "responder"
    fitted = LogisticRegression(C=np.inf).fit(odds[:, None], drawn)
    assert fitted.coef_[0, 0] == pytest.approx(1, abs=0.06)
    assert fitted.intercept_[0] == pytest.approx(0.5, abs=0.08)


def test_survival_follows_the_proportional_hazard_it_was_drawn_from(biology: Biology) -> None:
    rng = np.random.default_rng(8)
    patients = draw_patients(biology, 8000, rng)
    drawn = draw_outcomes(biology, patients, rng, mix=0.0)
    frame = pd.DataFrame(
        {
            "risk": effect(biology, patients, biology.hazard),
            "time": drawn["time"],
            "event": drawn["event"] == "death",
        }
    )
    assert CoxPHFitter().fit(frame, "time", "event").params_["risk"] == pytest.approx(1, abs=0.06)


def test_an_empty_hospital_is_refused(biology: Biology) -> None:
    with pytest.raises(UsageError, match="n > 0"):
        generate(np.random.default_rng(0), biology=biology, sizes={"Alder": 0})


def test_public_components_are_uncorrelated_with_variance_one_on_new_patients(biology: Biology) -> None:
    public = public_reference(np.random.default_rng(9), biology=biology)
    fresh = draw_patients(biology, 4000, np.random.default_rng(10))
    read = measured(biology, fresh.genes, np.random.default_rng(11), batch=0.0)
    components = public.loadings.filter(like="PC").to_numpy()[:, :10]
    scores = (read - public.mean) / public.sd @ components
    covariance = np.cov(scores.T)
    np.testing.assert_allclose(np.diag(covariance), 1, atol=0.2)
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 0.15


def test_the_panel_passes_single_genes_on_unchanged(biology: Biology) -> None:
    loadings = public_reference(np.random.default_rng(9), biology=biology, panel=6).loadings
    panel = loadings.filter(like="panel_")
    assert panel.shape == (len(GENES), 6)
    for name in panel:
        gene = "expr_" + str(name).removeprefix("panel_")
        assert panel[name].sum() == 1
        assert panel.index[panel[name] == 1].tolist() == [gene]
