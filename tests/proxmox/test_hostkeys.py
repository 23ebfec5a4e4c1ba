"""known_hosts as ssh writes it, and pins."""

from __future__ import annotations

import base64
import hmac
from pathlib import Path

import paramiko
import pytest

from cyberlab import problems
from cyberlab.problems import Problem
from cyberlab.proxmox.hostkeys import HostKeys, name_of
from cyberlab.settings import ClusterSettings
from tests.sshd import make_key, public_line


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("keys")
    kinds = {"a": "ed25519", "b": "ed25519", "rsa": "rsa"}
    return {name: public_line(make_key(folder / name, kind)) for name, kind in kinds.items()}


def key(line: str) -> paramiko.PKey:
    kind, blob = line.split()[:2]
    found: paramiko.PKey = paramiko.PKey.from_type_string(kind, base64.b64decode(blob))
    return found


def hashed(name: str) -> str:
    salt = b"twenty bytes of salt"
    parts = (base64.b64encode(part).decode() for part in (salt, hmac.digest(salt, name.encode(), "sha1")))
    return "|1|" + "|".join(parts)


def host_keys(
    tmp_path: Path, text: str = "", host: str = "pve1.example.edu", port: int = 22, pin: str = ""
) -> HostKeys:
    path = tmp_path / "known_hosts"
    path.write_text(text)
    return HostKeys(
        ClusterSettings(_env_file=None, ssh_host=host, ssh_port=port, ssh_known_hosts=path, ssh_host_key=pin)
    )


def accepts(keys: HostKeys, line: str) -> bool:
    problem = None
    try:
        keys.check(key(line))
    except Problem as error:
        problem = error
    if problem is not None:
        assert problem.code == problems.SSH_HOST_KEY
        assert key(line).fingerprint in problem.detail, "what to compare at the host"
    return problem is None


@pytest.mark.parametrize(
    ("host", "port", "name"),
    [
        ("pve1", 22, "pve1"),
        ("PVE1.Example.edu", 22, "pve1.example.edu"),
        ("pve1", 2222, "[pve1]:2222"),
        ("fd00::1", 2222, "[fd00::1]:2222"),
    ],
)
def test_name(host: str, port: int, name: str) -> None:
    assert name_of(host, port) == name


@pytest.mark.parametrize(
    ("names", "host", "port"),
    [
        ("pve1.example.edu", "pve1.example.edu", 22),
        ("pve9,pve1.example.edu,10.0.0.1", "PVE1.example.edu", 22),
        ("[10.0.0.1]:2222", "10.0.0.1", 2222),
        (hashed("pve1"), "pve1", 22),
        (hashed("[pve1]:2222"), "pve1", 2222),
        ("*.example.edu", "pve1.example.edu", 22),
        ("pve?", "pve1", 22),
    ],
)
def test_lines_that_are_for_the_host(
    tmp_path: Path, lines: dict[str, str], names: str, host: str, port: int
) -> None:  # fmt: skip
    keys = host_keys(tmp_path, f"# comment\n\n{names} {lines['a']} comment\n", host, port)
    assert accepts(keys, lines["a"])
    assert not accepts(keys, lines["b"])


@pytest.mark.parametrize(
    "line",
    [
        "pve2.example.edu {a}",
        "[pve1.example.edu]:2222 {a}",
        "pve1.example.edu.evil.example {a}",
        "*.example.edu,!pve1.example.edu {a}",
        "@cert-authority pve1.example.edu {a}",
        "# pve1.example.edu {a}",
        "pve1.example.edu",
        "pve1.example.edu ssh-ed25519",
        "pve1.example.edu ssh-ed25519 !!!notbase64",
        "pve1.example.edu ssh-ed25519 AAAA",
        "pve1.example.edu ssh-future AAAAC3NzaC1lZDI1NTE5",
        "|1|broken {a}",
        "|1|!|! {a}",
        "|1|| {a}",
        "pve1xexample.edu {a}",
        "\x00\xff",
    ],
)
def test_lines_that_are_not(tmp_path: Path, lines: dict[str, str], line: str) -> None:
    with pytest.raises(Problem) as caught:
        host_keys(tmp_path, line.format(**lines) + "\n")
    assert caught.value.code == problems.SSH_HOST_KEY
    assert "does not know pve1.example.edu" in caught.value.detail


def test_several_keys_are_all_good(tmp_path: Path, lines: dict[str, str]) -> None:
    """A name that moves between nodes has one line for each."""
    keys = host_keys(tmp_path, "".join(f"pve1.example.edu {line}\n" for line in lines.values()))
    assert all(accepts(keys, line) for line in lines.values())


def test_a_revoked_key_is_none(tmp_path: Path, lines: dict[str, str]) -> None:
    text = f"pve1.example.edu {lines['a']}\npve1.example.edu {lines['b']}\n@revoked pve1.example.edu {lines['a']}\n"
    keys = host_keys(tmp_path, text)
    assert not accepts(keys, lines["a"])
    assert accepts(keys, lines["b"])


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(Problem) as caught:
        HostKeys(ClusterSettings(_env_file=None, ssh_host="pve1", ssh_known_hosts=tmp_path / "none"))
    assert caught.value.code == problems.SSH_HOST_KEY
    with pytest.raises(Problem):
        HostKeys(ClusterSettings(_env_file=None, ssh_host="pve1"))


def test_pins(tmp_path: Path, lines: dict[str, str]) -> None:
    for pin in (key(lines["a"]).fingerprint, key(lines["a"]).fingerprint + "=", lines["a"], lines["a"] + " comment"):
        keys = host_keys(tmp_path, pin=pin)
        assert accepts(keys, lines["a"])
        assert not accepts(keys, lines["b"])


@pytest.mark.parametrize("pin", ["SHA256:", "MD5:00:11", "ssh-ed25519", "ssh-ed25519 AAAA", "anything"])
def test_a_pin_that_is_none_pins_nothing(tmp_path: Path, lines: dict[str, str], pin: str) -> None:
    with pytest.raises(Problem) as caught:
        host_keys(tmp_path, f"pve1.example.edu {lines['a']}\n", pin=pin).check(key(lines["a"]))
    assert caught.value.code == problems.SSH_HOST_KEY
