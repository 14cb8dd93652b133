"""What stands in `deploy` and in its page: ports, rights, and commands that exist."""

import argparse
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped, unused-ignore]

from wardround import cli

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
PAGE = ROOT / "docs" / "deployment.md"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
EXPOSED = 2.5  # of 10, as `systemd-analyze security` counts


def service(name: str) -> dict[str, Any]:
    """The one service of a Compose file."""
    (found,) = yaml.safe_load((DEPLOY / "compose" / name).read_text(encoding="utf-8"))["services"].values()
    assert isinstance(found, dict)
    return found


def blocks() -> list[str]:
    """The lines of the page's blocks for a shell."""
    text = PAGE.read_text(encoding="utf-8")
    found = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [line for block in found for line in block.splitlines()]


def ours(line: str) -> list[str]:
    """The arguments of `wardround` in a line of the page; none if it is another command."""
    words = shlex.split(line)
    for start in ("/opt/wardround/bin/wardround", "wardround"):
        if start in words:
            return words[words.index(start) + 1 :]
    if "run" in words and "--rm" in words:
        return words[words.index("--rm") + 2 :]
    return []


def parsed(words: list[str]) -> argparse.Namespace:
    """As the tool would understand them."""
    return cli._parser(words[0]).parse_args(words)


def test_hospitals_publish_nothing_and_the_coordinator_one_port() -> None:
    assert "ports" not in service("hospital.yaml")
    assert service("coordinator.yaml")["ports"] == ["${WARDROUND_PORT:-8443}:8443"]
    for name in ("hospital.yaml", "coordinator.yaml"):
        assert not {"network_mode", "privileged", "cap_add", "expose"} & service(name).keys()


@pytest.mark.parametrize("name", ["hospital.yaml", "coordinator.yaml"])
def test_a_container_has_no_rights_it_does_not_need(name: str) -> None:
    found = service(name)
    assert found["read_only"] is True
    assert found["cap_drop"] == ["ALL"]
    assert found["security_opt"] == ["no-new-privileges:true"]
    assert found["user"].startswith("${WARDROUND_USER:?")
    tables = [volume for volume in found["volumes"] if volume["target"] == "/data"]
    assert all(volume["read_only"] for volume in tables)
    parsed(found["command"])


def test_the_witness_of_the_ledger_is_not_in_the_folder_that_is_backed_up() -> None:
    found = service("hospital.yaml")
    targets = {volume["target"]: volume["source"] for volume in found["volumes"]}
    assert found["environment"]["XDG_STATE_HOME"] in targets
    assert targets["/witness"] != targets["/folder"]


def test_no_image_holds_a_key_and_none_runs_as_root() -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    assert re.findall(r"^USER (\d+):", text, re.MULTILINE) == ["10001"]
    torch = re.findall(r"torch==([\d.]+)", text)
    assert torch == re.findall(r"^torch==([\d.]+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_starts_our_command_and_stops_it_in_order(unit: Path) -> None:
    text = unit.read_text(encoding="utf-8")
    (command,) = re.findall(r"^ExecStart=(.+)$", text, re.MULTILINE)
    parsed(ours(command.replace("%i", "cedar")))
    for line in (
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "KillMode=mixed",
        "UMask=0077",
        "User=wardround",
    ):
        assert f"\n{line}\n" in text


COMPOSE = ["docker", "compose"]


def has_compose() -> bool:
    """Whether `docker compose` (version 2) is here. It needs no daemon to read a file; version 1 cannot read ours."""
    return (
        shutil.which("docker") is not None
        and not subprocess.run([*COMPOSE, "version"], capture_output=True, check=False).returncode
    )


@pytest.mark.skipif(not has_compose(), reason="`docker compose` (version 2) is not installed")
@pytest.mark.parametrize("name", ["hospital.yaml", "coordinator.yaml"])
def test_compose_accepts_a_file_and_names_what_is_not_set(name: str, tmp_path: Path) -> None:
    folders = {f"WARDROUND_{what}": str(tmp_path / what) for what in ("FOLDER", "DATA", "WITNESS")}
    command = [*COMPOSE, "--file", str(DEPLOY / "compose" / name), "config"]
    bare = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    said = subprocess.run(
        command,
        env={**bare, **folders, "WARDROUND_USER": "10:20"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    (found,) = yaml.safe_load(said.stdout)["services"].values()
    assert found["user"] == "10:20"
    assert found["read_only"] is True
    refused = subprocess.run(command, env=bare, capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "WARDROUND_" in refused.stderr


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_accepts_a_unit_and_finds_it_hardened(unit: Path, tmp_path: Path) -> None:
    # The program is not installed on this computer, and systemd looks whether it is there.
    text = re.sub(
        r"^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    copy = tmp_path / unit.name.replace("@.", "@cedar.")
    copy.write_text(text, encoding="utf-8")
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, text=True, check=False
    )
    assert (verified.returncode, verified.stderr.strip()) == (0, "")
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", str(copy)],
        capture_output=True,
        text=True,
        check=False,
    )
    (exposure,) = re.findall(r"exposure level for \S+: ([\d.]+)", judged.stdout)
    assert float(exposure) < EXPOSED


def test_every_command_of_the_page_exists_with_these_options() -> None:
    found = [words for line in blocks() if (words := ours(line))]
    assert len(found) > 20
    for words in found:
        parsed(words)


def test_a_command_that_does_not_exist_is_found() -> None:
    with pytest.raises(SystemExit):
        parsed(ours("wardround site up ~/wardround --background"))


def test_a_hospital_needs_six_commands() -> None:
    text = PAGE.read_text(encoding="utf-8")
    part = text[text.index("## A hospital, in six commands") : text.index("If a study uses joint noise")]
    commands = re.findall(r"^```sh\n(.*?)^```$", part, re.MULTILINE | re.DOTALL)
    assert len("".join(commands).splitlines()) == len(commands) == 6


def test_files_that_the_page_names_are_there() -> None:
    for path in re.findall(r"deploy/[\w./@-]+\w", PAGE.read_text(encoding="utf-8")):
        assert (ROOT / path).exists(), path
