"""One plain form for the log lines of Flower's processes: no colours, no line per request, nothing of a message."""

import logging
from typing import Final

_FORM: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_TALKATIVE: Final = ("httpx", "httpcore", "uvicorn.access")


def plain_log() -> None:
    """Write to standard error from `INFO` on; call it after Flower was imported."""
    logging.basicConfig(level=logging.INFO, format=_FORM, force=True)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    flower = logging.getLogger("flwr")
    flower.handlers.clear()
    flower.setLevel(logging.INFO)
    flower.propagate = True
