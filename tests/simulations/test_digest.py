"""The terminal's summary of a run says what was gained, and never calls private what is not."""

import math
from dataclasses import replace

from tests.runs import TAKING_PART, joint_run, open_run, private_run, survival_run

from wardround.simulations.digest import in_words
from wardround.simulations.observers import EVERYBODY_ELSE
from wardround.simulations.results import Results


def test_every_hospital_has_a_line_with_the_numbers_of_the_file() -> None:
    results = Results.load(survival_run() / "results.json")
    text = in_words(results)
    for row in results.gains:
        assert (
            f"{row.site}: {row.federated:.3f}, alone {row.local:.3f}, difference {row.difference:+.3f}"
            in text
        )
    assert [row.site for row in results.gains] == [*TAKING_PART]


def test_epsilon_never_stands_without_delta_unit_and_relation() -> None:
    results = Results.load(private_run() / "results.json")
    first = in_words(results).splitlines()[1]
    largest = max(row.value for row in results.epsilon)
    assert first == f"small (epsilon {largest:g} at delta 1e-05 per patient, add or remove one)"


def test_joint_noise_names_whom_it_counts_on_and_what_holds_if_they_fail() -> None:
    results = Results.load(joint_run() / "results.json")
    assert in_words(results).splitlines()[1] == (
        f"small (epsilon {results.largest():g} at delta 1e-05 per patient, add or remove one, while at least 2 of 3 "
        f"hospitals are honest; {results.largest(EVERYBODY_ELSE):g} if all others collude)"
    )


def test_no_privacy_is_said() -> None:
    assert "(no privacy)" in in_words(Results.load(open_run() / "results.json"))


def test_drafted_constants_are_named_not_private() -> None:
    results = Results.load(private_run() / "results.json")
    assert "NOT private" in in_words(replace(results, training_private=False, drafted=True))


def test_what_was_not_measured_is_not_shown_as_a_number() -> None:
    results = Results.load(open_run() / "results.json")
    rows = tuple(replace(row, value=math.nan) if row.on == "all" else row for row in results.evaluation)
    assert "nan" not in in_words(replace(results, evaluation=rows))


def test_left_out_sites_are_counted() -> None:
    results = Results.load(open_run() / "results.json")
    assert "1 site was left out" in in_words(results)
    assert "3 sites were left out" in in_words(replace(results, left_out_sites=3))
    assert "left out" not in in_words(replace(results, left_out_sites=0))
