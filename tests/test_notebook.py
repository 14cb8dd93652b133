"""The notebook runs from top to bottom, and what is saved in it is what it gives.

Its cells are run in one interpreter of their own, without a kernel and its sockets. `make notebook` runs it in a
kernel and saves the outputs.
"""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "docs" / "notebooks" / "first-study.ipynb"
LONGEST_S = 300
LARGEST_BYTES = 100_000

# Runs each cell as IPython would: what the last line gives, if it gives something, is the cell's result.
RUN = """
import ast, json, sys
shared, results = {}, []
for source in json.load(sys.stdin):
    body = ast.parse(source).body
    last = body.pop() if isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), "cell", "exec"), shared)
    value = eval(compile(ast.Expression(last.value), "cell", "eval"), shared) if last else None
    results.append(None if value is None else repr(value))
print("\\n" + json.dumps(results))
"""


def code_cells() -> list[dict[str, Any]]:
    cells: list[dict[str, Any]] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def saved(cell: dict[str, Any]) -> str | None:
    """The result that is saved in a cell, as text."""
    found = [output["data"]["text/plain"] for output in cell["outputs"] if "data" in output]
    return "".join(found[0]) if found else None


@cache
def given() -> list[str | None]:
    """The result of every cell, run now."""
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        input=json.dumps(["".join(cell["source"]) for cell in code_cells()]),
        capture_output=True,
        text=True,
        check=False,
        timeout=LONGEST_S,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    results: list[str | None] = json.loads(done.stdout.splitlines()[-1])
    return results


@pytest.mark.long
def test_every_cell_runs_and_gives_a_result_where_one_is_saved() -> None:
    assert len(given()) == len(code_cells()) > 5
    assert [result is None for result in given()] == [saved(cell) is None for cell in code_cells()]


def test_what_has_no_noise_is_saved_exactly() -> None:
    patients, question = given()[:2]
    assert (patients, question) == tuple(saved(cell) for cell in code_cells()[:2])
    assert question == "'Who responds to treatment?'"


def test_noisy_tables_are_saved_with_the_same_rows_and_columns() -> None:
    for cell, now in zip(code_cells()[2:], given()[2:], strict=True):
        before = saved(cell)
        assert [line.split()[:1] for line in str(before).splitlines()] == [
            line.split()[:1] for line in str(now).splitlines()
        ]


def test_the_saved_notebook_was_run_from_top_to_bottom_without_an_error() -> None:
    assert [cell["execution_count"] for cell in code_cells()] == list(range(1, len(code_cells()) + 1))
    kinds = {output["output_type"] for cell in code_cells() for output in cell["outputs"]}
    assert kinds <= {"execute_result", "stream"}
    assert NOTEBOOK.stat().st_size < LARGEST_BYTES
