"""What a secure sum costs a site, and its masks beside those of Flower's SecAgg+, both in turn in one process.

SecAgg+ expands seeds of 32 bits with a statistical generator into 64-bit words; ours are AES-256 keystreams in
32-bit words. Both sides are timed over the whole masking of one site: for Flower one private mask and one per peer.
Seconds are the processor's, not the clock's, so that other work on the machine does not count.
"""

import time
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardround.common.checks import positive
from wardround.common.flower.internals import secagg_masked
from wardround.common.formats import digest
from wardround.common.trust.identity import SigningKey
from wardround.common.trust.masking import KEY_SIZE, add_masks
from wardround.common.trust.securesum import SumSession
from wardround.common.trust.sumroster import SumContext

BUDGET_S: Final = 1.2
"""Seconds of one processor that a site may spend on a sum of 10 million values among 20 sites."""


def measure(*, sites: int = 20, values: int = 10_000_000, repeats: int = 5) -> dict[str, float]:
    """Time one site's part.

    Args:
        sites: Members of the sum, >= 2.
        values: Length of the vectors.
        repeats: Timed runs of each kind; the median counts.

    Returns:
        `site_s`: checking the roster and the agreements, agreeing on keys, masking, hashing and signing the upload.
        `masks_ms`, `flower_ms` and `ratio`: the masking alone. `upload_mib` and `float32_mib`: sizes.
    """
    positive(sites=sites, values=values, repeats=repeats)
    vector = np.full(values, 2**31, np.uint32)
    words = vector.astype(np.int64)
    keys = [bytes([number]) * KEY_SIZE for number in range(sites)]
    pairs = [
        (
            _seconds(lambda: add_masks(vector, plus=keys[1:], minus=[])),
            _seconds(lambda: secagg_masked(words, keys)),
        )
        for _ in range(repeats + 1)
    ][1:]
    uploads = [_site(sites, vector) for _ in range(repeats)]
    masks, flower = (float(np.median(column)) for column in zip(*pairs, strict=True))
    return {
        "site_s": float(np.median([seconds for seconds, _ in uploads])),
        "masks_ms": 1e3 * masks,
        "flower_ms": 1e3 * flower,
        "ratio": float(np.median([a / b for a, b in pairs])),
        "upload_mib": uploads[0][1] / 2**20,
        "float32_mib": vector.astype(np.float32).nbytes / 2**20,
    }


def _site(sites: int, vector: NDArray[np.uint32]) -> tuple[float, int]:
    """Seconds of the processor for one member, and the size of its upload in bytes."""
    keys = {f"site-{number:02d}": SigningKey.generate() for number in range(sites)}
    approved = {name: key.public for name, key in keys.items()}
    nothing = digest(b"")
    context = SumContext(
        study="bench",
        protocol_digest=nothing,
        run=nothing[:32],
        round=1,
        attempt=1,
        base_model=nothing,
        coordinator="coordinator",
    )
    first, *others = [
        SumSession.open(key, name, context, approved=approved, least=sites) for name, key in keys.items()
    ]
    readies = [session.ready for session in (first, *others)]
    agreements = [session.agree(readies) for session in others]
    upload = b""

    def work() -> None:
        nonlocal upload
        first.confirm([first.agree(readies), *agreements])
        upload = first.upload(vector)

    return _seconds(work), len(upload)


def _seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start
