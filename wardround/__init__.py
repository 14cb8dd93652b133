"""Wardround: one model across hospitals, while every patient's data stays at home.

The public API is loaded on first use, so that `import wardround` and the command's help stay fast.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wardround.api import Run, load, simulate

__all__ = ["Run", "load", "simulate"]


def __getattr__(name: str) -> object:
    if name in __all__:
        from wardround import api

        return getattr(api, name)
    raise AttributeError(f"module 'wardround' has no attribute {name!r}")
