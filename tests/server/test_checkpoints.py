"""The coordinator's checkpoint: whole or refused, never a mixture."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file
from tests.studies import small_protocol

from wardround.common.errors import StorageError
from wardround.common.learning.optimisers import ServerState
from wardround.common.learning.study import Progress
from wardround.server import checkpoints
from wardround.server.checkpoints import Checkpoint

PROTOCOL = small_protocol().digest
RECORD = {"round": 3, "attempt": 1, "sites": {"north": {"refused": "no reply"}}}


def example() -> Checkpoint:
    """A checkpoint of an adaptive study in its fourth round."""
    rng = np.random.default_rng(1)
    return Checkpoint(
        run="0f" * 16,
        progress=Progress(
            rounds=3,
            attempts=1,
            parameters={
                "output.weight": rng.standard_normal((1, 3)).astype(np.float32),
                "output.bias": np.array([np.float32(1e-30)]),
            },
            state=ServerState(step=3, first=rng.standard_normal(4), second=rng.random(4) * 1e-300),
        ),
        kind="void",
        record=RECORD,
    )


def written(folder: Path) -> Path:
    path = folder / "checkpoint.safetensors"
    checkpoints.write(path, example(), PROTOCOL)
    return path


def rewritten(path: Path, **facts: object) -> Path:
    """The same tensors under changed facts; a fact that is None is left out."""
    with safe_open(str(path), framework="numpy") as found:
        old = json.loads(found.metadata()["wardround"])
        arrays = {name: found.get_tensor(name) for name in found.keys()}  # noqa: SIM118
    new = {name: value for name, value in {**old, **facts}.items() if value is not None}
    save_file(arrays, str(path), metadata={"wardround": json.dumps(new)})
    return path


def test_everything_comes_back_bit_for_bit(tmp_path: Path) -> None:
    found = checkpoints.read(written(tmp_path), PROTOCOL)
    expected = example()
    assert found is not None
    assert (found.run, found.kind, found.record) == ("0f" * 16, "void", RECORD)
    assert (found.progress.rounds, found.progress.attempts, found.progress.state.step) == (3, 1, 3)
    assert list(found.progress.parameters) == ["output.weight", "output.bias"]  # the order of layers counts
    for name, array in expected.progress.parameters.items():
        assert found.progress.parameters[name].dtype == np.float32
        assert found.progress.parameters[name].tobytes() == array.tobytes()
    for moment in ("first", "second"):
        kept, was = getattr(found.progress.state, moment), getattr(expected.progress.state, moment)
        assert kept.dtype == np.float64
        assert kept.tobytes() == was.tobytes()


def test_a_study_without_moments_comes_back_without_moments(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    start = Checkpoint(run="0f" * 16, progress=Progress(parameters=example().progress.parameters))
    checkpoints.write(path, start, PROTOCOL)
    found = checkpoints.read(path, PROTOCOL)
    assert found is not None
    assert found.progress.state == ServerState()
    assert found.kind == ""


def test_where_none_was_written_there_is_none(tmp_path: Path) -> None:
    assert checkpoints.read(tmp_path / "checkpoint.safetensors", PROTOCOL) is None


def test_a_shortened_file_is_refused_wherever_it_was_cut(tmp_path: Path) -> None:
    path = written(tmp_path)
    whole = path.read_bytes()
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        with pytest.raises(StorageError, match="is damaged"):
            checkpoints.read(path, PROTOCOL)


def test_a_flipped_bit_in_model_or_optimiser_is_noticed(tmp_path: Path) -> None:
    path = written(tmp_path)
    whole = path.read_bytes()
    numbers = 8 + int.from_bytes(whole[:8], "little")  # safetensors: length, header, then the numbers
    assert len(whole) - numbers == 4 * 4 + 2 * 4 * 8 + 8
    for place in range(numbers, len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        with pytest.raises(StorageError, match="is damaged"):
            checkpoints.read(path, PROTOCOL)


@pytest.mark.parametrize("missing", ["protocol", "run", "rounds", "attempts", "layers", "record", "crc32"])
def test_a_file_without_one_of_its_facts_is_refused(tmp_path: Path, missing: str) -> None:
    with pytest.raises(StorageError, match="is damaged"):
        checkpoints.read(rewritten(written(tmp_path), **{missing: None}), PROTOCOL)


def test_a_newer_version_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="version 2; this release reads up to version 1"):
        checkpoints.read(rewritten(written(tmp_path), version=2), PROTOCOL)


def test_safetensors_of_another_kind_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"x": np.zeros(1)}, str(path))
    with pytest.raises(StorageError, match="expected a wardround-checkpoint file"):
        checkpoints.read(path, PROTOCOL)


def test_another_protocols_checkpoint_is_refused_and_stays(tmp_path: Path) -> None:
    path = written(tmp_path)
    before = path.read_bytes()
    with pytest.raises(StorageError, match="belongs to another protocol"):
        checkpoints.read(path, small_protocol(rounds=9).digest)
    assert path.read_bytes() == before


def test_a_full_disk_keeps_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path)
    before = path.read_bytes()

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(StorageError, match="No space left"):
            checkpoints.write(path, Checkpoint(run="0f" * 16, progress=Progress(parameters={})), PROTOCOL)
    assert path.read_bytes() == before
