"""The page of published results on a handful of invented values."""

import pandas as pd
import pytest

from wardround.simulations.published_privacy import Spent
from wardround.simulations.published_table import better_summary, page, summary, table

COLUMNS = ["data set", "method", "test", "seed", "published", "ours", "equal"]


@pytest.fixture
def compared() -> pd.DataFrame:
    rows = [
        ("D", "FedAvg", "client_test_0", 42, 0.5, 0.5, True),
        ("D", "FedAvg", "Pooled Test", 42, 0.6, 0.6, True),
        ("D", "FedAvg", "client_test_0", 43, 0.7, 0.75, False),
        ("D", "FedAvg", "Pooled Test", 43, 0.8, 0.8, True),
        ("D", "FedAdam", "client_test_0", 42, 0.9, 0.9, True),
        ("D", "FedAdam", "Pooled Test", 42, 0.1, 0.1, True),
        ("D", "FedAdam", "client_test_0", 43, 0.9, 0.9, True),
        ("D", "FedAdam", "Pooled Test", 43, 0.3, 0.3, True),
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


@pytest.fixture
def better() -> pd.DataFrame:
    rows = [("D", "ridge", "client_test_0", 0.95), ("D", "ridge", "Pooled Test", 0.85)]
    return pd.DataFrame(rows, columns=["data set", "method", "test", "value"])


def test_a_method_is_summed_up_by_mean_and_spread_over_seeds(compared: pd.DataFrame) -> None:
    row = summary(compared).iloc[0]
    assert row.to_dict() == {
        "data set": "D",
        "method": "FedAvg",
        "published": "0.7000 ± 0.1414",
        "ours": "0.7000 ± 0.1414",
        "published, clients": "0.6000",
        "ours, clients": "0.6250",
        "equal": "3 of 4",
    }


def test_a_recipe_stands_beside_the_best_published_method_of_each_test(
    compared: pd.DataFrame, better: pd.DataFrame
) -> None:
    assert better_summary(better, compared).iloc[0].to_dict() == {
        "data set": "D",
        "recipe": "ridge",
        "pooled test": "0.8500",
        "pooled test, best published": "0.7000 (FedAvg)",
        "clients": "0.9500",
        "clients, best published": "0.9000 (FedAdam)",
    }


def test_a_table_is_markdown_without_an_index() -> None:
    assert table(pd.DataFrame({"a": [1], "b": ["x"]})) == "| a | b |\n| --- | --- |\n| 1 | x |\n"


def test_the_page_names_what_it_was_made_from(compared: pd.DataFrame, better: pd.DataFrame) -> None:
    private = {"va": Spent(batches=22, noise_multiplier=2.306, stated=1.0, spent=2.4294)}
    text = page(compared, better, private, {"code": "abc"})
    assert "| va | 1.0 | 2.306 | 2.4294 |" in text
    assert text.endswith("- code: `abc`\n")
    assert "Nothing here is private" in text
