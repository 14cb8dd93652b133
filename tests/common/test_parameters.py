"""Parameters as bytes and vectors, and what a received model is refused for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.numpy import save

from wardround.common.errors import TrustError
from wardround.common.learning.parameters import (
    LARGEST,
    Parameters,
    check_like,
    from_bytes,
    from_vector,
    parameters_digest,
    to_bytes,
    to_vector,
)

finite = st.floats(-1e4, 1e4, width=32)


def model() -> Parameters:
    return {"b": np.array([[1, 2], [3, 4]], np.float32), "a": np.array([5], np.float32)}


@given(arrays(np.float32, (2, 3), elements=finite), arrays(np.float32, (4,), elements=finite))
def test_bytes_and_vectors_give_back_the_same_values(first: np.ndarray, second: np.ndarray) -> None:
    parameters: Parameters = {"z": first, "a": second}
    read = from_bytes(to_bytes(parameters))
    assert all(np.array_equal(read[name], parameters[name]) for name in parameters)
    again = from_vector(to_vector(parameters), parameters)
    assert list(again) == ["z", "a"]
    assert all(np.array_equal(again[name], parameters[name]) for name in parameters)


def test_a_vector_follows_the_order_of_names() -> None:
    assert to_vector(model()).tolist() == [1, 2, 3, 4, 5]
    assert to_vector({}).shape == (0,)


def test_equal_parameters_have_one_digest_whatever_their_order_and_memory_layout() -> None:
    parameters = model()
    turned = {"a": parameters["a"], "b": np.asfortranarray(parameters["b"])}
    assert parameters_digest(parameters) == parameters_digest(turned)
    changed = {**parameters, "a": np.nextafter(parameters["a"], np.float32(9))}
    assert parameters_digest(parameters) != parameters_digest(changed)


def test_bytes_that_are_no_float32_tensors_are_refused() -> None:
    for data in (b"", b"junk", to_bytes(model())[:-1]):
        with pytest.raises(TrustError, match="safetensors"):
            from_bytes(data)
    with pytest.raises(TrustError, match="float32"):
        from_bytes(save({"a": np.zeros(1, np.float64)}))


@pytest.mark.parametrize(
    "crafted", [np.nan, np.inf, -np.inf, 3e38, np.nextafter(np.float32(LARGEST), np.float32(9e9))]
)
def test_a_value_that_is_not_an_ordinary_number_is_refused_without_showing_it(crafted: float) -> None:
    found = model()
    found["b"][1, 0] = crafted
    with pytest.raises(TrustError, match=r"layer 'b': a value is not finite or exceeds 10000$"):
        check_like(found, model())


def test_other_names_and_shapes_are_refused() -> None:
    with pytest.raises(TrustError, match="expected layers"):
        check_like({"b": model()["b"]}, model())
    with pytest.raises(TrustError, match="expected layers"):
        check_like({**model(), "c": np.zeros(1, np.float32)}, model())
    with pytest.raises(TrustError, match="expected shape"):
        check_like({**model(), "a": np.zeros((1, 1), np.float32)}, model())


def test_the_largest_honest_value_is_accepted_and_the_order_is_the_expected_one() -> None:
    found = {"a": np.array([LARGEST], np.float32), "b": model()["b"]}
    assert list(check_like(found, model())) == ["b", "a"]
