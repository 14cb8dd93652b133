"""Processes that end with the one that started them, even where that one is killed without a word.

A child of `fork` asks the kernel (Linux, `prctl(PR_SET_PDEATHSIG)`); a program that was started by a supervisor looks
once a second who its parent is, because a supervisor may start it from a thread that ends.
"""

import ctypes
import os
import signal
import sys
import threading
import time

from wardround.common.flower.places import PARENT

_PR_SET_PDEATHSIG = 1
_LOOK = 1.0  # seconds


def die_with_parent(parent: int) -> None:
    """In a child of `fork`: be killed the moment the parent is gone, whatever the child is doing.

    Args:
        parent: The parent as the child knew it before the fork; it may be gone already.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    else:
        threading.Thread(target=_watch, args=(parent, signal.SIGKILL), daemon=True).start()
    if os.getppid() != parent:
        os._exit(1)


def orphaned() -> bool:
    """Whether a supervisor is named in the environment and is not this process's parent any more."""
    named = os.environ.get(PARENT, "")
    return named.isdigit() and int(named) != os.getppid()


def end_with_supervisor() -> None:
    """In a started program: end as by SIGTERM once the supervisor named in the environment is gone."""
    named = os.environ.get(PARENT, "")
    if named.isdigit():
        threading.Thread(target=_watch, args=(int(named), signal.SIGTERM), daemon=True).start()


def _watch(parent: int, how: signal.Signals) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK)
    os.kill(os.getpid(), how)
