"""The help texts are what was agreed, and asking for help loads nothing heavy.

The agreed texts are in `golden/help`, one file per command. After a change on purpose: `make help-texts`, then
read the difference.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from wardround import cli

GOLDEN = Path(__file__).parent / "golden" / "help"
HEAVY = {
    "torch",
    "opacus",
    "captum",
    "flwr",
    "pandas",
    "numpy",
    "scipy",
    "ray",
    "matplotlib",
    "sklearn",
    "pyarrow",
}

# In an interpreter of its own: ask for help, then say which modules that loaded.
ASK = """
import json, sys
before = set(sys.modules)
from wardround.cli import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
print("\\n" + json.dumps(sorted(set(sys.modules) - before)))
"""


def choices(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The commands below a parser."""
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found |= action.choices
    return found


def texts(name: str, parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    """File name and help text of a command and of all below it."""
    yield f"{name}.txt", parser.format_help()
    for word, below in choices(parser).items():
        yield from texts(f"{name}-{word}", below)


def help_texts() -> dict[str, str]:
    """Every help text of `wardround`."""
    found = {"wardround.txt": cli._parser("").format_help()}
    for group in cli.GROUPS:
        found |= dict(texts(f"wardround-{group}", choices(cli._parser(group))[group]))
    return found


def loaded(*arguments: str, ask: str = ASK) -> list[str]:
    """The modules that one call of `wardround` loads."""
    done = subprocess.run([sys.executable, "-c", ask, *arguments], capture_output=True, text=True, check=True)
    names: list[str] = json.loads(done.stdout.splitlines()[-1])
    return names


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="argparse lays help out differently elsewhere")
def test_every_help_text_is_the_agreed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    found = help_texts()
    if os.environ.get("WARDROUND_UPDATE_HELP"):
        for old in GOLDEN.glob("*.txt"):
            old.unlink()
        GOLDEN.mkdir(parents=True, exist_ok=True)
        for name, text in found.items():
            (GOLDEN / name).write_text(text, encoding="utf-8")
    assert found == {path.name: path.read_text(encoding="utf-8") for path in GOLDEN.glob("*.txt")}


def test_every_command_and_every_option_says_what_it_is_for() -> None:
    for group in cli.GROUPS:
        parsers = [choices(cli._parser(group))[group]]
        while parsers:
            parser = parsers.pop()
            parsers += choices(parser).values()
            assert parser.description, parser.prog
            silent = [action.dest for action in parser._actions if not (action.help or choices(parser))]
            assert silent == [], parser.prog


def test_asking_for_help_loads_no_framework_and_few_modules() -> None:
    found = loaded("--help")
    assert {name.split(".")[0] for name in found} & HEAVY == set()
    assert [name for name in found if name.startswith("wardround.")] == [
        "wardround.cli",
        "wardround.common",
        "wardround.common.errors",
    ]
    assert len(found) < 120


@pytest.mark.parametrize("group", cli.GROUPS)
def test_the_help_of_a_command_loads_no_framework(group: str) -> None:
    assert {name.split(".")[0] for name in loaded(group, "--help")} & (HEAVY - {"numpy"}) == set()


def test_the_check_for_loaded_modules_sees_a_heavy_one() -> None:
    assert "numpy" in loaded("--help", ask=ASK.replace("try:", "import numpy\ntry:"))
