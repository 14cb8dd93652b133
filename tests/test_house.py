"""The house style that no linter knows: sizes, docstrings, and no trace of the machine it was written on."""

import ast
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ("wardround", "common", "client", "server", "simulations")
LONGEST_FILE = 300
LONGEST_FUNCTION = 45
# Joined from pieces, so that this file does not mention them itself.
LOCAL = tuple("/" + place + "/" for place in ("work", "tmp/v", "root"))
TEXT = {".py", ".md", ".toml", ".txt", ".html", ".css", ".ipynb", ".json", ".cfg", ""}
Function = ast.FunctionDef | ast.AsyncFunctionDef
Rule = Callable[[str, ast.Module], Iterator[str]]


def python_files(*tops: str) -> list[Path]:
    """The Python files below some folders of the checkout."""
    return [path for top in tops for path in sorted((ROOT / top).rglob("*.py"))]


def committed() -> list[Path]:
    """What git would carry; in an export without git, every file."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    names = listed.stdout.splitlines() if listed.returncode == 0 else [str(p) for p in python_files(*SHIPPED)]
    files = (ROOT / name for name in names)
    return [path for path in files if path.is_file() and path.suffix in TEXT]


def functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, Function]]:
    """Functions and methods of a module, not those nested in functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            yield from functions(node, f"{prefix}{node.name}.")
        elif isinstance(node, Function):
            yield f"{prefix}{node.name}", node


def public(name: str) -> bool:
    """Whether no part of a dotted name starts with an underscore."""
    return not any(part.startswith("_") for part in name.split("."))


def unexplained(where: str, tree: ast.Module) -> Iterator[str]:
    """Public functions and classes without a docstring, and modules without one."""
    if not ast.get_docstring(tree):
        yield f"{where}: no module docstring"
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and public(node.name) and not ast.get_docstring(node):
            yield f"{where}:{node.lineno} class {node.name} without a docstring"
    for name, function in functions(tree):
        overload = any(ast.unparse(item).endswith("overload") for item in function.decorator_list)
        if public(name) and not overload and not ast.get_docstring(function):
            yield f"{where}:{function.lineno} {name} without a docstring"


def untyped(where: str, tree: ast.Module) -> Iterator[str]:
    """Functions with an argument or a result that is not typed."""
    for name, function in functions(tree):
        takes = function.args
        arguments = [*takes.posonlyargs, *takes.args, *takes.kwonlyargs]
        missing = [a.arg for a in arguments if a.annotation is None and a.arg not in ("self", "cls")]
        if missing or function.returns is None:
            yield f"{where}:{function.lineno} {name} is not fully typed {missing}"


def too_long(where: str, tree: ast.Module) -> Iterator[str]:
    """Functions longer than the limit, docstring not counted."""
    for name, function in functions(tree):
        first = function.body[0]
        explained = ast.get_docstring(function) is not None and first.end_lineno
        text = first.end_lineno - first.lineno + 1 if explained and first.end_lineno else 0
        lines = (function.end_lineno or function.lineno) - function.lineno + 1 - text
        if lines > LONGEST_FUNCTION:
            yield f"{where}:{function.lineno} {name} has {lines} lines"


RULES = (unexplained, untyped, too_long)

PLANTED = (
    (unexplained, "x = 1"),
    (unexplained, '"""M."""\ndef f() -> None:\n    pass'),
    (unexplained, '"""M."""\nclass A:\n    """A."""\n    def f(self) -> None:\n        pass'),
    (unexplained, '"""M."""\nclass A:\n    x = 1'),
    (untyped, "def f(x) -> int:\n    return x"),
    (untyped, "def f(*, x) -> int:\n    return x"),
    (untyped, "class A:\n    def _f(self, x: int):\n        return x"),
    (too_long, "def f() -> None:\n" + "    x = 1\n" * (LONGEST_FUNCTION + 1)),
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_shipped_module_keeps_the_rule(rule: Rule) -> None:
    files = python_files(*SHIPPED)
    assert len(files) > 20
    found = [
        why
        for path in files
        for why in rule(path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert found == []


@pytest.mark.parametrize(("rule", "text"), PLANTED)
def test_a_planted_breach_is_found(rule: Rule, text: str) -> None:
    assert list(rule("planted", ast.parse(text)))


def test_no_file_is_longer_than_a_reader_can_hold() -> None:
    lengths = {
        path: len(path.read_text(encoding="utf-8").splitlines()) for path in python_files(*SHIPPED, "tests")
    }
    long = {path.relative_to(ROOT).as_posix(): n for path, n in lengths.items() if n > LONGEST_FILE}
    assert long == {}


def test_no_file_mentions_the_machine_it_was_written_on() -> None:
    files = committed()
    assert len(files) > 20
    texts = {path: path.read_text(encoding="utf-8", errors="replace") for path in files}
    found = [
        f"{path.relative_to(ROOT)} mentions {place}"
        for path, text in texts.items()
        for place in LOCAL
        if place in text
    ]
    assert found == []
