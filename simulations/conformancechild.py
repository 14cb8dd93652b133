"""Work in a forked child, as the executor does it: this process keeps no threads and trains nothing."""

import os
from collections.abc import Callable

from wardround.common.errors import StudyError, WardroundError


def in_a_child(work: Callable[[], bytes]) -> bytes:
    """What a function returns in a forked child, which ends with it.

    Raises:
        StudyError: The child failed; its first words.
    """
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(read)
            with os.fdopen(write, "wb") as pipe:
                try:
                    pipe.write(work())
                    code = 0
                except WardroundError as error:
                    pipe.write(error.diagnostics().encode())
                except Exception as error:
                    pipe.write(repr(error).encode())
        finally:
            os._exit(code)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        found = pipe.read()
    _, status = os.waitpid(child, 0)
    if status:
        raise StudyError(f"a child of the conformance run failed: {found.decode(errors='replace')[:600]}")
    return found
