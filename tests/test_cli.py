"""The root command: what it imports, what it prints when something goes wrong, and its exit codes."""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from types import ModuleType

import pytest

from wardround import cli
from wardround.common.errors import TrustError

FAKE = "wardround_test_group"


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[argparse.Namespace], int]], None]:
    """Adds a command `act` to the table, which runs the given function."""

    def add(action: Callable[[argparse.Namespace], int]) -> None:
        module = ModuleType(FAKE)

        def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
            subparsers.add_parser("act", help="act").set_defaults(run=action)

        module.register = register  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, FAKE, module)
        monkeypatch.setitem(cli.GROUPS, "act", (FAKE, "act"))

    return add


Group = Callable[[Callable[[argparse.Namespace], int]], None]


def raising(error: BaseException) -> Callable[[argparse.Namespace], int]:
    """A command that fails."""

    def action(_: argparse.Namespace) -> int:
        raise error

    return action


def run(*words: str) -> "subprocess.CompletedProcess[str]":
    """`python -m wardround` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "wardround", *words], capture_output=True, text=True, check=False
    )


def test_help_names_every_group_and_exits_with_0() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert all(f"    {name}" in done.stdout for name in cli.GROUPS)


def test_help_imports_no_command_and_no_library() -> None:
    code = (
        "import sys\nfrom wardround.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = ('numpy', 'torch', 'pandas', 'flwr', 'wardround.simulations', 'wardround.client')\n"
        "sys.exit(any(name in sys.modules for name in heavy))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_version_is_the_installed_one() -> None:
    assert run("--version").stdout == f"wardround {version('wardround')}\n"


@pytest.mark.parametrize("words", [[], ["stdy"], ["--nothing"]])
def test_wrong_usage_exits_with_2(words: list[str]) -> None:
    done = run(*words)
    assert done.returncode == 2
    assert done.stdout == ""


def test_a_command_gets_its_exit_code_back(group: Group) -> None:
    group(lambda _: 0)
    assert cli.main(["act"]) == 0
    group(lambda _: 17)
    assert cli.main(["act"]) == 17


def test_an_error_on_purpose_prints_diagnostics_and_its_own_code(
    group: Group, capsys: pytest.CaptureFixture[str]
) -> None:
    group(raising(TrustError("the digest differs", advice="ask the sender")))
    assert cli.main(["act"]) == 6
    shown = capsys.readouterr()
    assert shown.err == "TrustError: the digest differs\nWhat to do: ask the sender\n"
    assert shown.out == ""


def test_control_c_exits_with_130_and_no_traceback(group: Group, capsys: pytest.CaptureFixture[str]) -> None:
    group(raising(KeyboardInterrupt()))
    assert cli.main(["act"]) == 130
    assert "Interrupted" in capsys.readouterr().err


def test_a_bug_is_not_hidden(group: Group) -> None:
    group(raising(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        cli.main(["act"])


def test_a_missing_library_names_the_extra_to_install(
    group: Group, capsys: pytest.CaptureFixture[str]
) -> None:
    group(raising(ModuleNotFoundError("No module named 'torch'", name="torch")))
    assert cli.main(["act"]) == 2
    shown = capsys.readouterr().err
    assert "needs the package torch" in shown
    assert "pip install 'wardround[simulation]'" in shown


def test_a_module_of_our_own_that_is_missing_is_a_bug(group: Group) -> None:
    group(raising(ModuleNotFoundError("No module named 'wardround.x'", name="wardround.x")))
    with pytest.raises(ModuleNotFoundError):
        cli.main(["act"])


def test_a_reader_that_stopped_reading_gets_141_and_no_traceback() -> None:
    read, write = os.pipe()
    os.close(read)
    words = [sys.executable, "-m", "wardround", "study", "explain"]
    # Buffered, as it is for whoever did not ask for anything else: the first write happens at the end.
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(words, stdout=write, stderr=subprocess.PIPE, text=True, env=buffered, check=False)
    os.close(write)
    assert done.returncode == 141
    assert done.stderr == ""


def test_no_installed_package_can_add_a_command() -> None:
    modules = {module for module, _ in cli.GROUPS.values()}
    assert all(module.startswith("wardround.") for module in modules)
