"""How long `wardround predict` takes for a wide table, beside reading the same file and a plain forward pass.

`python -m wardround.simulations.bench_predict 3` prints one JSON line. Ours reads the Parquet file in parts, checks
every cell, finds reasons and distances, and predicts; the floor reads the same file at once and runs the same model.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import numpy as np

PATIENTS: Final = 20_000
FEATURES: Final = 1_000


def measure(*, repeats: int) -> list[tuple[float, float]]:
    """Seconds of ours and of the floor, in pairs, after one that is not counted."""
    with tempfile.TemporaryDirectory() as folder:
        file = _table(Path(folder) / "patients.parquet")
        return [(_ours(file), _floor(file)) for _ in range(repeats + 1)][1:]


def _table(file: Path) -> Path:
    import pandas as pd

    values = np.random.default_rng(1).normal(size=(PATIENTS, FEATURES))
    frame = pd.DataFrame(values, columns=_names())
    frame.insert(0, "patient", [f"p{number:06d}" for number in range(PATIENTS)])
    frame.to_parquet(file, index=False)
    return file


def _names() -> list[str]:
    return [f"g{number}" for number in range(FEATURES)]


def _ours(file: Path) -> float:
    from wardround.client.predicting import predict_table
    from wardround.client.tablestream import read_parts
    from wardround.common.learning.features import FeaturePath
    from wardround.common.learning.models import initial
    from wardround.common.learning.released import ReleasedModel
    from wardround.simulations.bench_exchange import protocol_of

    protocol = protocol_of(1)
    path = FeaturePath.from_protocol(protocol, None)
    model = ReleasedModel(protocol=protocol, parameters=initial(protocol, FEATURES), path=path)
    begin = time.perf_counter()
    predict_table(model, read_parts(file, verbatim=("patient",)), name=file.name)
    return time.perf_counter() - begin


def _floor(file: Path) -> float:
    import pandas as pd
    import torch

    from wardround.common.learning.models import initial
    from wardround.common.learning.predictions import scoring_module
    from wardround.simulations.bench_exchange import protocol_of

    protocol = protocol_of(1)
    module = scoring_module(protocol, initial(protocol, FEATURES), FEATURES)
    begin = time.perf_counter()
    values = pd.read_parquet(file, columns=_names()).to_numpy(np.float32)
    with torch.inference_mode():
        torch.softmax(module(torch.from_numpy(values)), dim=1).numpy()
    return time.perf_counter() - begin


def main() -> None:
    """Print the pairs as JSON."""
    import torch

    torch.set_num_threads(1)
    print(json.dumps({"pairs": measure(repeats=int(sys.argv[1]))}))


if __name__ == "__main__":
    main()
