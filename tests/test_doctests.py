"""Every example in a docstring gives what it shows.

Run here and not through `pytest --doctest-modules`, which would import a second copy of each module by its
path in the checkout.
"""

import doctest
import importlib
import pkgutil
from pathlib import Path
from types import ModuleType

import pytest

import wardround

OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
ROLES = ("common", "client", "server", "simulations")


def modules() -> list[str]:
    """The dotted name of every module, the front door and its roles."""
    names = ["wardround", *(f"wardround.{item.name}" for item in pkgutil.iter_modules(wardround.__path__))]
    for role in ROLES:
        package = importlib.import_module(f"wardround.{role}")
        names.append(package.__name__)
        names += [item.name for item in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    return sorted(set(names) - {"wardround.__main__"})


def examples(module: ModuleType) -> list[doctest.DocTest]:
    """The docstrings of a module that hold at least one example."""
    return [test for test in doctest.DocTestFinder().find(module) if test.examples]


@pytest.mark.parametrize("name", modules())
def test_the_examples_of_a_module_hold(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=OPTIONS)
    assert result.failed == 0
    assert result.attempted == sum(len(test.examples) for test in examples(module))


def test_there_are_examples_to_run() -> None:
    count = sum(len(test.examples) for name in modules() for test in examples(importlib.import_module(name)))
    assert count >= 10


def test_a_wrong_example_is_found() -> None:
    planted = ModuleType("planted")
    planted.__doc__ = ">>> 1 + 1\n3\n"
    assert doctest.testmod(planted, optionflags=OPTIONS).failed == 1
