"""Folders, secrets, keys and commands of Flower's processes, without any of them running."""

import io
import os
import signal
import stat
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization as pem
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given
from hypothesis import strategies as st
from tests.flowerline import ROOT, alive, until

from wardround.common.errors import StorageError, TrustError, UsageError
from wardround.common.flower import superlink, supernode, version
from wardround.common.flower.bundle import check_thin, thin_bundle
from wardround.common.flower.nodekeys import check_node_key, new_node_key, node_key_line, node_key_pem
from wardround.common.flower.places import (
    Desk,
    LinkPlace,
    NodePlace,
    environment,
    settle,
    superlink_command,
    supernode_command,
)
from wardround.common.flower.replacing import replace_in


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def link_place(root: Path) -> LinkPlace:
    return LinkPlace(
        host="127.0.0.1",
        port=8443,
        ca=root / "ca.crt",
        certificate=root / "server.crt",
        key=root / "server.key",
        home=root / "flower",
    )


def test_what_a_role_keeps_is_its_owners_alone_and_made_once(tmp_path: Path) -> None:
    link, desk = link_place(tmp_path / "link"), Desk(home=tmp_path / "site" / "flower")
    for _ in range(2):
        link.prepare()
        desk.prepare()
        kept = link.secret.read_bytes(), desk.secret.read_bytes(), desk.certificate.read_bytes()
    assert kept == (link.secret.read_bytes(), desk.secret.read_bytes(), desk.certificate.read_bytes())
    assert [mode(path) for path in (link.home, desk.home)] == [0o700, 0o700]
    assert [mode(path) for path in (link.secret, desk.secret, desk.key)] == [0o600] * 3
    assert len(bytes.fromhex(link.secret.read_text())) == 32
    assert link.secret.read_bytes() != desk.secret.read_bytes()


def test_the_executor_finds_the_port_that_the_supernode_took(tmp_path: Path) -> None:
    desk = Desk(home=tmp_path)
    with pytest.raises(StorageError, match="port of a running SuperNode"):
        desk.address()
    desk.announce(4711)
    assert desk.address() == "127.0.0.1:4711"


def test_the_commands_name_every_file_and_show_no_secret(tmp_path: Path) -> None:
    link = link_place(tmp_path)
    node = NodePlace(superlink="h:1", ca=tmp_path / "ca", key=tmp_path / "key", home=tmp_path / "flower")
    link.prepare()
    node.desk.prepare()
    for command, place in ((superlink_command(link), link), (supernode_command(node), node)):
        module = __import__(command[2], fromlist=["main"])
        assert module._place(command[3:]) == place
        for secret in (link.secret, node.desk.secret):
            assert secret.read_text() not in " ".join(command)


def test_nothing_of_flowers_environment_is_inherited(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FLWR_INTERNAL_GRPC_FLEET_API", "1")
    monkeypatch.setenv("FLWR_OIDC_ENABLED", "1")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    given = environment(parent=7)
    assert [name for name in given if name.startswith("FLWR_")] == []
    assert (given["WARDROUND_PARENT"], given["HTTPS_PROXY"]) == ("7", "http://proxy:3128")
    script = (
        "import os, pathlib\nfrom wardround.common.flower.places import settle\n"
        f"settle(pathlib.Path({str(tmp_path)!r}))\n"
        "print(sorted((k, v) for k, v in os.environ.items() if k.startswith('FLWR_')))\n"
        "import flwr.supercore.utils as u, flwr.common.constant as c\n"
        "print(u.get_flwr_home(), c.RUNTIME_DEPENDENCY_INSTALL)"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "GRPC" not in said
    assert "OIDC" not in said
    assert "('FLWR_TELEMETRY_ENABLED', '0')" in said
    assert "('FLWR_DISABLE_UPDATE_CHECK', '1')" in said
    assert said.endswith(f"{tmp_path} False\n")
    assert callable(settle)


def test_a_node_key_is_what_openssh_and_flower_expect(tmp_path: Path) -> None:
    line = new_node_key(tmp_path / "node.key")
    assert (tmp_path / "node.pub").read_text() == f"{line}\n"
    assert mode(tmp_path / "node.key") == 0o600
    shown = subprocess.run(
        ["ssh-keygen", "-y", "-f", str(tmp_path / "node.key")], capture_output=True, text=True, check=True
    )
    assert shown.stdout.split() == line.split()
    assert node_key_line(node_key_pem(f"{line} comment with spaces")) == check_node_key(line) == line


@pytest.mark.parametrize("line", ["", "ecdsa-sha2-nistp384 AAAA", "\N{SNOWMAN}", "x" * 10_000])
def test_what_is_no_node_key_is_refused(line: str) -> None:
    with pytest.raises(TrustError, match="node key"):
        check_node_key(line)


def test_keys_of_other_kinds_are_refused() -> None:
    for key in (ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1())):
        public = key.public_key()
        line = public.public_bytes(pem.Encoding.OpenSSH, pem.PublicFormat.OpenSSH).decode()
        with pytest.raises(TrustError, match="node key"):
            check_node_key(line)
        with pytest.raises(TrustError, match="node key"):
            node_key_line(public.public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo))


def archive(*names: str, size: int = 10) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as made:
        for name in names:
            made.writestr(name, b"0" * size)
    return data.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        archive("pyproject.toml", "app.py"),
        archive("app.py"),
        archive(),
        archive("../pyproject.toml"),
        archive("pyproject.toml", size=20_000),
        archive("pyproject.toml", "torch/__init__.py"),
        b"",
        thin_bundle()[:-5],
    ],
)
def test_a_bundle_with_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(TrustError, match="Flower bundle"):
        check_thin(data)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_second_file_of_the_same_name_is_refused() -> None:
    with pytest.raises(TrustError):
        check_thin(archive("pyproject.toml", "pyproject.toml"))


@given(st.binary(max_size=300))
def test_no_bytes_bring_anything_but_our_refusal(data: bytes) -> None:
    with pytest.raises(TrustError):
        check_thin(data)


@pytest.mark.parametrize(
    ("found", "fits"), [("1.41.0", True), ("1.41.7", True), ("1.42.0", False), ("1.4", False)]
)
def test_another_flower_is_refused_by_its_version(
    found: str, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(version, "version", lambda name: found)
    if fits:
        version.require_supported()
    else:
        with pytest.raises(UsageError, match=rf"expected Flower \(flwr\) 1\.41, found {found}"):
            version.require_supported()


@pytest.mark.parametrize("program", [superlink, supernode])
def test_each_program_says_so_before_it_touches_anything(
    program: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(version, "version", lambda name: "1.42.0")
    node = NodePlace(superlink="h:1", ca=tmp_path / "ca", key=tmp_path / "key", home=tmp_path / "flower")
    command = superlink_command(link_place(tmp_path)) if program is superlink else supernode_command(node)
    assert program.main(command[3:]) == 2  # type: ignore[attr-defined]
    assert "pip install 'flwr==1.41.*'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_flower_dropped_is_not_replaced_in_silence() -> None:
    class Owner:
        kept = 1

    replace_in(Owner, "kept", 2)
    assert Owner.kept == 2
    with pytest.raises(AttributeError):
        replace_in(Owner, "dropped", 2)


FORKED = """
import os, sys, time
from wardround.common.flower.lifeline import die_with_parent
parent = os.getpid()
child = os.fork()
if child == 0:
    die_with_parent(parent)
    while True:
        sum(range(10**6))
print(child, flush=True)
time.sleep(60)
"""
SUPERVISED = """
import os, subprocess, sys, time
from wardround.common.flower.places import environment
code = "import time; from wardround.common.flower.lifeline import *; end_with_supervisor(); time.sleep(60)"
print(subprocess.Popen([sys.executable, "-c", code], env=environment(parent=os.getpid())).pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("script", [FORKED, SUPERVISED], ids=["forked", "supervised"])
def test_nobody_outlives_a_parent_that_is_killed_without_a_word(script: str) -> None:
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    time.sleep(0.3)
    assert alive(child)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    until(lambda: not alive(child))
