"""What a coordinator takes for a site's table, and the digest that names a released one."""

import numpy as np
import pytest
from tests.evaluating import evaluated
from tests.studies import private_protocol

from wardround.common.errors import TrustError
from wardround.common.learning.evaluated import MOST_COUNTED, TABLE, Evaluated, check_table

STUDY = evaluated(private_protocol(), epsilon=1.0)
FINE = np.zeros(48, np.float32)


def with_cell(value: float) -> np.ndarray:
    table = FINE.copy()
    table[7] = value
    return table


@pytest.mark.parametrize("value", [0.0, -3.5, 20_000.0, MOST_COUNTED])
def test_a_table_of_the_declared_shape_counts_however_many_patients_it_has(value: float) -> None:
    assert check_table(STUDY, {TABLE: with_cell(value)})[TABLE][7] == np.float32(value)


@pytest.mark.parametrize(
    "reply",
    [
        {},
        {"output.weight": FINE},
        {TABLE: FINE, "more": FINE},
        {TABLE: FINE[:47]},
        {TABLE: FINE.reshape(8, 6)},
        {TABLE: FINE.astype(np.float64)},
        {TABLE: with_cell(float("nan"))},
        {TABLE: with_cell(float("inf"))},
        {TABLE: with_cell(2 * MOST_COUNTED)},
    ],
)
def test_anything_else_is_refused_without_a_value(reply: dict[str, np.ndarray]) -> None:
    with pytest.raises(TrustError, match=r"of the table|cells and nothing else") as refused:
        check_table(STUDY, reply)
    assert "nan" not in str(refused.value).split()


def test_the_digest_is_that_of_the_cells_whatever_their_order_in_memory() -> None:
    table = np.arange(48.0)
    other = np.asfortranarray(table.reshape(6, 8)).ravel(order="C")
    names = {Evaluated(table=each, sites=("a",)).digest for each in (table, other)}
    assert len(names) == 1
    assert Evaluated(table=table + 1, sites=("a",)).digest not in names
