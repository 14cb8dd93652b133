"""Parameters as bytes and vectors, and what a received model is refused for."""

import json
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors import SafetensorError
from safetensors.numpy import load, save

from wardround.common.errors import TrustError, UsageError
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


shapes = st.lists(st.integers(0, 3), max_size=3).map(tuple)


@given(st.dictionaries(st.text(max_size=4).filter(lambda name: name != "__metadata__"), shapes, max_size=4))
def test_the_bytes_are_those_of_the_safetensors_library(layers: dict[str, tuple[int, ...]]) -> None:
    rng = np.random.default_rng(0)
    parameters = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in layers.items()}
    data = to_bytes(parameters)
    assert data == save(parameters)
    read = from_bytes(data)
    assert {name: array.shape for name, array in read.items()} == layers
    assert all(np.array_equal(read[name], parameters[name]) for name in parameters)


def verdict(read: Callable[[bytes], Parameters], data: bytes) -> dict[str, object] | None:
    try:
        return {name: array.tolist() for name, array in read(data).items()}
    except (TrustError, SafetensorError):
        return None


@given(st.data())
def test_changed_bytes_are_read_or_refused_as_the_safetensors_library_does(data: st.DataObject) -> None:
    honest = to_bytes(model())
    size = len(honest) - 20  # all but the five values
    place = data.draw(st.integers(0, size - 1))
    stop = data.draw(st.integers(place, size))
    text = st.text('0123456789[]{},:"ab_dtypeshF32 -e.', max_size=6).map(str.encode)
    changed = honest[:place] + data.draw(st.one_of(st.binary(max_size=6), text)) + honest[stop:]
    fixed = (len(changed) - 28).to_bytes(8, "little") + changed[8:] if len(changed) >= 28 else changed
    for crafted in (changed, fixed):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert verdict(from_bytes, crafted) == verdict(load_float32, crafted)


def load_float32(data: bytes) -> Parameters:
    try:
        found = load(data)
    except KeyError:
        raise TrustError("a type that numpy has not") from None
    if any(array.dtype != np.float32 for array in found.values()):
        raise TrustError("another type")
    return found


@pytest.mark.parametrize(
    "places",
    [[(0, 8), (4, 12)], [(0, 8), (12, 20)], [(0, 8), (0, 8)], [(0, 8), (8, 20)], [(8, 16), (-8, 0)]],
    ids=["overlap", "hole", "twice", "too long", "negative"],
)
def test_layers_that_do_not_lie_side_by_side_are_refused(places: list[tuple[int, int]]) -> None:
    layers = {
        name: {"dtype": "F32", "shape": [2], "data_offsets": place}
        for name, place in zip("ab", places, strict=True)
    }
    head = json.dumps(layers).encode()
    with pytest.raises(TrustError, match="safetensors"):
        from_bytes(len(head).to_bytes(8, "little") + head + bytes(max(stop for _, stop in places)))


def test_the_same_head_before_fewer_or_more_values_is_refused() -> None:
    data = to_bytes(model())
    assert from_bytes(data)
    for other in (data[:-4], data + bytes(4)):
        with pytest.raises(TrustError, match="safetensors"):
            from_bytes(other)


def test_a_head_that_no_model_needs_is_refused() -> None:
    head = (json.dumps({"__metadata__": {"a": "x" * 70_000}})).encode()
    data = len(head).to_bytes(8, "little") + head
    assert load(data) == {}
    with pytest.raises(TrustError, match="safetensors"):
        from_bytes(data)


def test_parameters_that_are_not_float32_are_not_written() -> None:
    with pytest.raises(UsageError, match="float32"):
        to_bytes({"a": np.zeros(1)})  # type: ignore[dict-item]


def test_what_was_read_cannot_be_written_to() -> None:
    with pytest.raises(ValueError, match="read-only"):
        from_bytes(to_bytes(model()))["a"][0] = 1


def test_bytes_that_are_no_float32_tensors_are_refused() -> None:
    for data in (b"", b"junk", to_bytes(model())[:-1]):
        with pytest.raises(TrustError, match="safetensors"):
            from_bytes(data)
    with pytest.raises(TrustError, match="float32"):
        from_bytes(save({"a": np.zeros(1, np.float64)}))


def test_an_empty_layer_of_impossible_size_is_refused() -> None:
    layer = {"dtype": "F32", "shape": [2**40, 0, 2**40], "data_offsets": [0, 0]}
    head = json.dumps({"a": layer}).encode()
    with pytest.raises(TrustError, match="shapes of a model"):
        from_bytes(len(head).to_bytes(8, "little") + head)


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
