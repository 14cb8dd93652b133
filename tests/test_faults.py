"""The planted faults have not rotted: each still fits the code, and its test still exists.

Whether each turns its test red is for `make faults`, which takes minutes.
"""

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted((ROOT / "tests/faults").glob("*.toml"))
FAULTS: list[dict[str, str]] = [fault for path in FILES for fault in tomllib.loads(path.read_text())["fault"]]


def test_there_are_faults_and_each_has_its_own_name() -> None:
    names = [fault["name"] for fault in FAULTS]
    assert len(set(names)) == len(names) >= 25


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault["name"])
def test_a_fault_still_fits_the_code(fault: dict[str, str]) -> None:
    assert set(fault) == {"name", "file", "old", "new", "test", "why"}
    text = (ROOT / fault["file"]).read_text(encoding="utf-8")
    assert text.count(fault["old"]) == 1
    assert fault["new"] != fault["old"]
    ast.parse(text.replace(fault["old"], fault["new"]))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault["name"])
def test_the_test_of_a_fault_still_exists(fault: dict[str, str]) -> None:
    file, _, name = fault["test"].partition("::")
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert name.partition("[")[0] in {
        node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)
    }
