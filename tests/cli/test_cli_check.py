"""`check` against a simulated node in a process of its own: green, and each way in which a set-up is broken."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from cyberlab import cli_check, cli_demo, settings
from cyberlab.cli_common import CommandError
from cyberlab.settings import SettingsError
from tests import services
from tests.cli.checks import STEPS, check, checked
from tests.cli.conftest import SERVER, Shell, environment

ROOT = Path(SERVER).parent


@dataclass
class Node:
    """A simulator that runs: the settings for it, and its state directory."""

    settings: dict[str, str]
    folder: Path


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    folder = tmp_path_factory.mktemp("node")
    argv = [sys.executable, "-m", "cyberlab.simulator", "--state", str(folder), "--with-parent", "--no-qemu"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        yield Node(json.loads(process.stdout.readline())["environment"], folder)
        process.communicate(timeout=20)


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that refuses: bound by us, and not listening."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock.getsockname()[1]


def test_green(unmigrated: Shell, node: Node) -> None:
    result = checked(unmigrated, node.settings)
    assert result.status == 0
    assert set(result.marks.values()) == {"✓"}
    expected = {
        "settings": rf"complete: cluster demo at {node.settings['PROXMOX_HOST']}",
        "SSH": rf"root@127\.0\.0\.1:{node.settings['PROXMOX_SSH_PORT']}; host key known, our key accepted",
        "sshd": r"MaxSessions 10, MaxStartups from 10 on",
        "ports": r"\d of the 100 console ports \(5900-5999\) in use",
        "rights": r"everything: root@pam asks",
        "pvesh": r"Proxmox VE 9\.1\.9; kept loaded on the node",
        "inventory": r"7 VMs \(3 running\), 1 container, 3 nodes warning: offline: pve3; no console opens there",
        "auth cookie": r"made over SSH for root@pam",
        "VM": r"demo/100 kali-07 runs on pve1 \(chosen here\)",
        "ticket": r"new format; pvesh ran on pve1 and opened port 59\d\d",
        "TLS": r"signed by Proxmox Virtual Environment \(the cluster's own CA\), "
        r"valid until \d{4}-\d\d-\d\d: 7\d\d days left SHA-256: [0-9a-f]{64}",
        "websocket": r"open at /nodes/pve1/qemu/100/vncwebsocket",
        "VNC sign-in": r"the ticket's VNC password accepted",
        "screen": r"640 × 400, “QEMU \(kali-07\)”",
        "first pixels": r"1024000 bytes in \d+ rectangles, not black",
    }
    for step, words in expected.items():
        assert re.fullmatch(words, result.said[step]), (step, result.said[step])
    assert re.fullmatch(r"All 15 steps held, in \d+ ms: consoles open\.", result.closing)


@pytest.mark.parametrize("arguments", [["demo/102"], ["--vm", "demo/102"]])
def test_a_vm_can_be_named(unmigrated: Shell, node: Node, arguments: list[str]) -> None:
    result = checked(unmigrated, node.settings, *arguments)
    assert result.status == 0
    assert result.said["VM"] == "demo/102 web-02 runs on pve2"
    assert result.said["websocket"] == "open at /nodes/pve2/qemu/102/vncwebsocket"


def test_it_needs_no_secret_key_and_no_database(unmigrated: Shell, node: Node) -> None:
    assert checked(unmigrated, node.settings | {"SECRET_KEY": ""}).status == 0
    assert not unmigrated.file.exists()


def test_ssh_port_refused(unmigrated: Shell, node: Node, closed_port: int, tmp_path: Path) -> None:
    known = (node.folder / "known_hosts").read_text().replace(node.settings["PROXMOX_SSH_PORT"], str(closed_port))
    (tmp_path / "known_hosts").write_text(known)
    changed = {"PROXMOX_SSH_PORT": str(closed_port), "PROXMOX_SSH_KNOWN_HOSTS": str(tmp_path / "known_hosts")}
    result = checked(unmigrated, node.settings | changed)
    result.explains("SSH", "ssh-refused", "No SSH connection to PROXMOX_SSH_HOST", "is sshd running there")
    assert f"detail: 127.0.0.1:{closed_port}: Connection refused" in result.said["SSH"]
    assert [result.marks[step] for step in STEPS[2:]] == ["–"] * 13
    assert result.closing == "Failed: SSH. Not tried, as they need what failed: 13 steps."


def test_another_client_key(unmigrated: Shell, node: Node, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    result = checked(unmigrated, node.settings | {"PROXMOX_SSH_KEY_PATH": str(key)})
    result.explains("SSH", "ssh-auth", "sshd refused the key of PROXMOX_SSH_KEY_PATH", "ssh-copy-id", "root@127.0.0.1")


def test_another_host_key(unmigrated: Shell, node: Node, tmp_path: Path) -> None:
    public = Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{node.settings['PROXMOX_SSH_PORT']} {public}\n")
    result = checked(unmigrated, node.settings | {"PROXMOX_SSH_KNOWN_HOSTS": str(known)})
    result.explains("SSH", "ssh-host-key", "something else answers in its place", "Compare the fingerprint", "SHA256:")


def test_a_host_that_nobody_compared(unmigrated: Shell, node: Node, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    known.write_text("")
    result = checked(unmigrated, node.settings | {"PROXMOX_SSH_KNOWN_HOSTS": str(known)})
    result.explains("SSH", "ssh-host-key", "has no line for this host", "ssh-keyscan", "does not know [127.0.0.1]:")


def test_another_fingerprint(unmigrated: Shell, node: Node) -> None:
    shown = checked(unmigrated, node.settings).said["TLS"].rpartition(" ")[2]
    assert checked(unmigrated, node.settings | {"PROXMOX_TLS_FINGERPRINT": shown}).status == 0
    wrong = ("1" if shown[0] == "0" else "0") + shown[1:]
    result = checked(unmigrated, {"PROXMOX_TLS_FINGERPRINT": wrong})
    result.explains("TLS", "tls-mismatch", "is not the one of PROXMOX_TLS_FINGERPRINT", "openssl s_client", shown)


def test_another_ca(unmigrated: Shell, node: Node) -> None:
    """The node's own certificate is no CA of the certificate that it shows."""
    result = checked(unmigrated, node.settings | {"PROXMOX_TLS_CA_FILE": str(node.folder / "pve-ssl.pem")})
    result.explains("TLS", "tls-mismatch", "not signed by the cluster's CA", "issuer certificate")


def test_web_port_refused(unmigrated: Shell, node: Node, closed_port: int) -> None:
    result = checked(unmigrated, node.settings | {"PROXMOX_HOST": f"https://127.0.0.1:{closed_port}"})
    result.explains("TLS", "api-unreachable", "PROXMOX_HOST", "systemctl status pveproxy", ": Connection refused")
    assert result.marks["ticket"] == "✓"


def test_web_port_silent(unmigrated: Shell, node: Node, silent_port: int) -> None:
    changed = {"PROXMOX_HOST": f"https://127.0.0.1:{silent_port}", "CONSOLE_HANDSHAKE_TIMEOUT": "0.5"}
    result = checked(unmigrated, node.settings | changed)
    result.explains("TLS", "api-unreachable", "systemctl status pveproxy", "no answer within 0.5 s")


@pytest.mark.parametrize(
    ("vm", "code", "words"),
    [
        ("demo/101", "vm-stopped", ["The VM is stopped", "Start it in Proxmox", "demo/101 is stopped"]),
        ("demo/104", "vm-locked", ["carries a lock", "qm unlock VMID", "demo/104 is stopped and locked (backup)"]),
        ("demo/200", "node-offline", ["holds the VM is offline", "pvecm status", "pve3 is offline"]),
        ("demo/999", "vm-gone", ["knows no such VMID", "Correct cluster and VMID", "demo/999 is not in the inventory"]),
    ],
)
def test_a_vm_that_has_no_console(unmigrated: Shell, node: Node, vm: str, code: str, words: list[str]) -> None:
    result = checked(unmigrated, node.settings, vm)
    result.explains("VM", code, *words)
    assert result.marks["auth cookie"] == "✓"


def test_a_container(unmigrated: Shell, node: Node) -> None:
    """The same way, to a terminal."""
    result = checked(unmigrated, node.settings, "demo/300")
    assert result.status == 0
    assert set(result.marks.values()) == {"✓"}
    assert "termproxy accepted the ticket" in " ".join(result.said.values())
    assert "old format" not in " ".join(result.said.values())


def test_a_cluster_that_is_not_configured(unmigrated: Shell, node: Node) -> None:
    for name, value in node.settings.items():
        unmigrated.monkeypatch.setenv(name, value)
    assert unmigrated.refused("check", "west/100") == "no cluster “west” is configured; there is demo"
    assert unmigrated.run("check", "100") == 2
    assert "is not CLUSTER/VMID" in unmigrated.err


def test_every_bad_setting_is_listed_by_name(unmigrated: Shell) -> None:
    result = checked(unmigrated, {"PROXMOX_TLS_FINGERPRINT": "12:34", "BCRYPT_COST": "99"})
    assert result.status == 2
    assert result.failed() == ["settings"]
    assert result.said["settings"].startswith("2 problems BCRYPT_COST: ")
    assert " PROXMOX_TLS_FINGERPRINT: must be a SHA-256 fingerprint" in result.said["settings"]
    assert result.said["settings"].endswith("more: docs/settings.md")
    assert set(result.said) - {step for step, mark in result.marks.items() if mark == "–"} == {"settings"}


def test_json(unmigrated: Shell, node: Node) -> None:
    status, out = check(unmigrated, node.settings, "--json")
    steps = json.loads(out)
    assert status == 0
    assert [step["step"] for step in steps] == STEPS
    assert {(step["cluster"], step["state"], step["problem"], step["more"]) for step in steps} == {
        ("demo", "held", None, "")
    }
    assert steps[4]["said"] == ["7 VMs (3 running), 1 container, 3 nodes"]
    assert steps[4]["warnings"] == ["offline: pve3; no console opens there"]
    assert all(isinstance(step["milliseconds"], int) for step in steps)


def test_json_of_a_failure(unmigrated: Shell, node: Node) -> None:
    status, out = check(unmigrated, node.settings, "--json", "demo/101")
    steps = {step["step"]: step for step in json.loads(out)}
    assert status == 1
    assert steps["VM"]["state"] == "failed"
    assert steps["VM"]["problem"] == {
        "code": "vm-stopped",
        "cause": "The VM is stopped. Proxmox gives even a stopped VM a ticket and a 101, then closes without a word.",
        "mend": "Start it in Proxmox.",
        "detail": "demo/101 is stopped",
    }
    assert steps["VM"]["more"] == "docs/troubleshooting.md#vm-stopped"
    assert {step["state"] for step in list(steps.values())[9:]} == {"not tried"}


def test_json_of_bad_settings(unmigrated: Shell) -> None:
    status, out = check(unmigrated, {"BCRYPT_COST": "99"}, "--json")
    assert status == 2
    assert [step["state"] for step in json.loads(out)] == ["failed"] + ["not tried"] * 14


@pytest.mark.parametrize(
    ("found", "runs", "demo"),
    [
        (["PROXMOX_HOST: missing; …", "PROXMOX_SSH_HOST: missing; …", "PROXMOX_SSH_KEY_PATH: missing; …"], True, True),
        (["PROXMOX_HOST: missing; …", "PROXMOX_SSH_HOST: missing; …"], False, False),
        (["PROXMOX_HOST: missing; …", "PROXMOX_SSH_HOST: missing; …", "BCRYPT_COST: too high"], True, False),
        (["PROXMOX_SSH_HOST: missing; …"], True, False),
    ],
    ids=["none", "no demo", "another problem", "half of one"],
)
def test_without_any_cluster_it_is_that_of_a_demo(
    unmigrated: Shell, monkeypatch: pytest.MonkeyPatch, found: list[str], runs: bool, demo: bool
) -> None:
    monkeypatch.setattr(settings, "load_for_check", mock.Mock(side_effect=SettingsError(found)))
    monkeypatch.setattr(cli_demo, "runs", lambda: runs)
    monkeypatch.setattr(cli_demo, "load_for_check", mock.Mock(side_effect=CommandError("the demo's")))
    assert unmigrated.run("check") == (1 if demo else 2)
    said = "No cluster is configured: this is the demo's, which runs.\nthe demo's\n"
    assert unmigrated.err == (said if demo else "")


def test_without_a_demo_there_is_nothing_to_check(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="no demo runs here; start it with make run"):
        cli_demo.load_for_check(tmp_path)


def test_the_demos_cluster_with_its_real_guests(unmigrated: Shell, tmp_path: Path) -> None:
    """The way that `check --demo` goes, while the demo's own node runs; then as a command, from elsewhere."""
    services.require("qemu")
    with cli_demo._simulator(tmp_path) as ready, mock.patch.dict("os.environ"):
        assert cli_check.run(lambda: cli_demo.load_for_check(tmp_path)) == 0
        assert re.search(r"\d+ × \d+, “QEMU \(cyberlab-100\)”", unmigrated.capsys.readouterr().out)
        argv = [sys.executable, "-W", "error", SERVER, "check", "demo/105"]
        done = subprocess.run(
            argv, capture_output=True, text=True, env=environment() | ready["environment"], cwd="/", check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert "demo/105 win-client runs on pve1\n" in done.stdout
    with pytest.raises(CommandError):
        cli_demo.load_for_check(tmp_path)
