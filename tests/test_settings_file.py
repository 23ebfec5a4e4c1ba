"""The file of several clusters: every problem at once, by its name there, and no secret in any of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cyberlab import settings, settings_file
from cyberlab.settings import SettingsError

ROOT = Path(__file__).resolve().parent.parent
SECRET = "a-secret-of-more-than-thirty-two-characters"
GOOD = """
[[cluster]]
name = "one"
host = "https://pve1.example.edu:8006"
ssh_host = "pve1.example.edu"
ssh_key_path = "key"
ssh_known_hosts = "known_hosts"
"""


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing from the shell that runs the tests."""
    for name in settings.ClusterSettings.model_fields:
        monkeypatch.delenv(f"PROXMOX_{name}".upper(), raising=False)
    monkeypatch.delenv("CLUSTERS_CONFIG", raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("key", "known_hosts"):
        (tmp_path / name).write_text("")
    return tmp_path


def read(folder: Path, text: str) -> tuple[settings.ClusterSettings, ...]:
    (folder / "clusters.toml").write_text(text)
    return settings_file.read(folder / "clusters.toml")


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        read(folder, text)
    assert all(line.startswith("CLUSTERS_CONFIG: ") and "\n" not in line for line in caught.value.problems)
    return [line.removeprefix("CLUSTERS_CONFIG: ") for line in caught.value.problems]


def test_the_documented_example_works(folder: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "settings.md").read_text(), re.DOTALL)
    (folder / "id_ed25519").write_text("")
    (folder / "annex.token").write_text("the-tokens-secret\n")
    campus, annex = read(folder, example)
    assert (campus.cluster, annex.cluster) == ("campus", "annex")
    assert [(node.name, node.settings.host) for node in campus.nodes] == [
        ("pve1", "https://pve1.example.edu:8006"), ("pve2", "https://pve2.example.edu:8006"),
    ]  # fmt: skip
    assert {node.settings.cluster for node in campus.nodes} == {"campus"}
    assert campus.nodes[1].settings.ssh_key_path == folder / "id_ed25519"
    assert annex.by_token
    assert not annex.needs_ssh
    assert annex.token_value.get_secret_value() == "the-tokens-secret"
    assert "the-tokens-secret" not in repr((campus, annex)) + repr(annex.nodes)
    assert [(node.name, node.settings.host) for node in annex.nodes] == [("", "https://annex.example.edu:8006")]


def test_a_path_may_begin_at_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    (cluster,) = read(folder, GOOD.replace('"key"', '"~/key"'))
    assert cluster.ssh_key_path == folder / "key"


def test_nothing_comes_from_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROXMOX_PASSWORD", "another-clusters")
    monkeypatch.setenv("PROXMOX_SSH_PORT", "2222")
    (cluster,) = read(folder, GOOD)
    assert (cluster.password.get_secret_value(), cluster.ssh_port) == ("", 22)


def test_everything_that_is_wrong_is_said_at_once(folder: Path) -> None:
    found = problems(
        folder,
        """
        extra = 1
        [[cluster]]
        name = "one"
        host = "http://pve1"
        passwort = "s3cret"
        [[cluster]]
        name = "one"
        ssh_port = 70000
        [[cluster]]
        host = "https://pve1:8006"
        ssh_host = "pve1"
        ssh_key_path = "nowhere"
        ssh_known_hosts = "known_hosts"
        [[cluster]]
        name = "nodes"
        host = "https://pve1:8006"
        ssh_key_path = "key"
        ssh_known_hosts = "known_hosts"
        console_user = "root"
        [[cluster.node]]
        name = "pve 1"
        host = "https://pve1:8006"
        ssh_host = "pve1"
        [[cluster.node]]
        name = "pve2"
        ssh_host = "pve2"
        user = "root@pam"
        tls_fingerprint = "s3cret"
        """,
    )
    for wanted in (
        "extra: unknown",
        "cluster one: host: must begin with https://",
        "cluster one: passwort: unknown",
        "cluster one: name: stands there twice",
        "cluster one: ssh_port: ",
        "cluster 3: name: missing",
        "cluster 3: ssh_key_path: no file at",
        "cluster nodes: host: stand in each [[cluster.node]]",
        "cluster nodes: node pve 1: name: must be",
        "cluster nodes: node pve2: user: unknown",
        "cluster nodes: node pve2: tls_fingerprint: must be",
        "cluster nodes: node pve2: host: missing",
        "cluster nodes: console_user: must be name@realm",
    ):
        assert any(line.startswith(wanted) for line in found), (wanted, found)
    assert "s3cret" not in "\n".join(found)


@pytest.mark.parametrize("text", ["", "cluster = 5", "cluster = []", "[cluster]\nname = 'x'", "x = ["])
def test_what_is_no_list_of_clusters(folder: Path, text: str) -> None:
    assert problems(folder, text)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        settings_file.read(tmp_path / "none.toml")


def test_secrets_by_reference(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMPUS_PASSWORD", "s3cret")
    (cluster,) = read(folder, GOOD + 'password_env = "CAMPUS_PASSWORD"\n')
    assert cluster.password.get_secret_value() == "s3cret"
    (folder / "secret").write_text("s3cret\n")
    (cluster,) = read(folder, GOOD + 'password_file = "secret"\n')
    assert cluster.password.get_secret_value() == "s3cret"
    (cluster,) = read(folder, GOOD + 'password = "s3cret"\n')
    assert "s3cret" not in repr(cluster)
    assert problems(folder, GOOD + 'password_env = "NO_SUCH"\n') == [
        "cluster one: password_env: the environment has no NO_SUCH"
    ]
    assert "none cannot be read" in problems(folder, GOOD + 'password_file = "none"\n')[0]
    both = problems(folder, GOOD + 'password = "s3cret"\npassword_env = "CAMPUS_PASSWORD"\n')
    assert both == ["cluster one: password and password_env: one of them is enough"]


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ('token_name = "a@pve!b"', "token_value: missing"),
        ('token_value = "s3cret"', "token_name: missing"),
        ('token_name = "a@pve"\ntoken_value = "s3cret"', "token_name: must be user@realm!name"),
        ('token_name = "a@pve!b"\ntoken_value = "s3cret"\npassword = "s3cret"', "password: leave it out"),
        ('console_user = "c@pve"\npassword = "s3cret"', "console_user: is for source=pvesh"),
        ("", "ssh_host: missing"),
    ],
)
def test_who_asks_over_https(folder: Path, lines: str, problem: str) -> None:
    text = f'[[cluster]]\nname = "one"\nsource = "https"\nhost = "https://pve1:8006"\n{lines}\n'
    found = problems(folder, text)
    assert any(line.startswith(f"cluster one: {problem}") for line in found)
    assert "s3cret" not in "\n".join(found)


def test_the_setting_names_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "clusters.toml").write_text(GOOD + GOOD.replace('"one"', '"two"'))
    monkeypatch.setenv("SECRET_KEY", SECRET)
    monkeypatch.setenv("CLUSTERS_CONFIG", str(folder / "clusters.toml"))
    loaded = settings.load(production=True, env_file=None)
    assert [cluster.cluster for cluster in loaded.clusters] == ["one", "two"]
    assert len(settings.load_clusters(env_file=None)) == 2
    monkeypatch.setenv("PROXMOX_HOST", "https://pve1.example.edu:8006")
    monkeypatch.setenv("LISTEN_PORT", "70000")
    with pytest.raises(SettingsError) as caught:
        settings.load(production=True, env_file=None)
    assert [line.partition(":")[0] for line in caught.value.problems] == ["LISTEN_PORT", "PROXMOX_HOST"]
