"""The SSH server with a paramiko client: who gets in, which command lines run, how many at a time."""

from __future__ import annotations

import asyncio
import json
import shlex

import paramiko
import pytest

from cyberlab.simulator.node import SimulatedCluster
from cyberlab.simulator.options import Options
from cyberlab.simulator.pvesh import Outcome
from tests.simulator.clients import connect_ssh, execute
from tests.simulator.conftest import MakeCluster

VERSION = "pvesh get /version --output-format json"


async def _run(cluster: SimulatedCluster, *lines: str) -> list[Outcome]:
    def run() -> list[Outcome]:
        with connect_ssh(cluster) as client:
            return [execute(client, line) for line in lines]

    return await asyncio.to_thread(run)


@pytest.mark.gen_test
async def test_streams_and_exit_codes_are_kept_apart(cluster: SimulatedCluster) -> None:
    good, bad = await _run(cluster, VERSION, "pvesh get /no/such/path --output-format json")
    assert (good.exit, good.stderr) == (0, "")
    assert json.loads(good.stdout)["version"] == "9.1.9"
    assert bad == Outcome(1, "", "No 'get' handler defined for '/no/such/path'\n")


@pytest.mark.gen_test
async def test_quoted_arguments_arrive_whole(cluster: SimulatedCluster) -> None:
    hostile = 'a\'b "c" $(reboot) `x` ; & | < > \\ \n é'
    line = f"pvesh create /nodes/pve1/qemu/103/snapshot --snapname s1 --description {shlex.quote(hostile)}"
    (got,) = await _run(cluster, line + " --output-format json")
    assert got.exit == 0, got.stderr
    assert cluster.state.vms[103].snapshots["s1"].description == hostile


@pytest.mark.parametrize(
    "line",
    [
        "pvesh get /version; reboot",
        "pvesh get $HOME",
        "pvesh get `id`",
        'pvesh get "$HOME"',
        'pvesh get "`id`"',
        "pvesh get /version && true",
        "pvesh get /version | cat",
        "pvesh get /version > /tmp/x",
        "pvesh get /version >/dev/null 2>&1",
        "pvesh get (x)",
        "true\nreboot",
        "pvesh get 'unbalanced",
        "pvesh get /nodes/*",
    ],
)
@pytest.mark.gen_test
async def test_a_quoting_mistake_is_refused(cluster: SimulatedCluster, line: str) -> None:
    (got,) = await _run(cluster, line)
    assert (got.exit, got.stdout) == (2, "")
    assert "syntax error" in got.stderr


@pytest.mark.gen_test
async def test_a_detached_task_runs_behind_the_answer(cluster: SimulatedCluster) -> None:
    cluster.options.task_duration = 0.2
    line = "setsid -f pvesh create /nodes/pve1/qemu/101/status/start --output-format json </dev/null >/dev/null 2>&1"
    assert await _run(cluster, line) == [Outcome(0, "", "")]
    assert not cluster.state.vms[101].running
    await cluster.commands.settle()
    assert cluster.guests[101].running
    (task,) = cluster.tasks.finished("pve1")
    assert task.status == "OK", "nobody's leaving broke a pipe"


@pytest.mark.gen_test
async def test_tickets_are_minted_as_perl_would(cluster: SimulatedCluster) -> None:
    setup = "PVE::RPCEnvironment->setup_default_cli_env(); print PVE::AccessControl::"
    perl = "perl -MPVE::RPCEnvironment -e "
    root, low, vnc, other = await _run(
        cluster,
        perl + shlex.quote(setup + "assemble_ticket(q(root@pam))"),
        perl + shlex.quote(setup + "assemble_ticket(q(low@pve))"),
        perl + shlex.quote(setup + "assemble_vnc_ticket(q(low@pve), q(/vms/100), 5900)"),
        perl + shlex.quote("system(q(reboot))"),
    )
    assert cluster.tickets.cookie_user(root.stdout) == "root@pam"
    assert cluster.tickets.cookie_user(low.stdout) == "low@pve"
    assert cluster.tickets.vnc_holds(vnc.stdout, "low@pve", "/vms/100", 5900)
    assert (other.exit, other.stdout) == (127, "")


@pytest.mark.gen_test
async def test_unknown_programs(cluster: SimulatedCluster) -> None:
    assert await _run(cluster, "rm -rf /", "") == [
        Outcome(127, "", "bash: line 1: rm: command not found\n"),
        Outcome(127, "", "bash: line 1: : command not found\n"),
    ]


@pytest.mark.gen_test
async def test_only_root_with_the_key_gets_in(cluster: SimulatedCluster) -> None:
    def attempt(user: str, **secret: object) -> None:
        client = paramiko.SSHClient()
        client.load_host_keys(str(cluster.known_hosts))
        with client:
            client.connect(
                "127.0.0.1", cluster.sshd.port, user, allow_agent=False, look_for_keys=False, **secret
            )  # fmt: skip

    other = paramiko.Ed25519Key(filename=str(cluster.folder / "ssh_host_ed25519_key"))
    ours = {"key_filename": str(cluster.key_path)}
    for user, secret in (("root", {"pkey": other}), ("root", {"password": "x"}), ("nobody", ours)):
        with pytest.raises(paramiko.AuthenticationException):
            await asyncio.to_thread(attempt, user, **secret)


@pytest.mark.gen_test
async def test_no_shell_and_no_terminal(cluster: SimulatedCluster) -> None:
    def attempt() -> None:
        with connect_ssh(cluster) as client:
            transport = client.get_transport()
            assert transport is not None
            for ask in (paramiko.Channel.invoke_shell, paramiko.Channel.get_pty):
                with pytest.raises(paramiko.SSHException):
                    ask(transport.open_session(timeout=5))
            with pytest.raises(paramiko.ChannelException):
                transport.open_channel("direct-tcpip", ("127.0.0.1", 22), ("127.0.0.1", 1), timeout=5)

    await asyncio.to_thread(attempt)


@pytest.mark.gen_test
async def test_a_session_that_ran_nothing_frees_its_place(cluster: SimulatedCluster) -> None:
    def attempt() -> None:
        with connect_ssh(cluster) as client:
            transport = client.get_transport()
            assert transport is not None
            for _ in range(25):
                transport.open_session(timeout=5).close()

    await asyncio.to_thread(attempt)


@pytest.mark.gen_test
async def test_the_eleventh_session_of_a_connection(make_cluster: MakeCluster) -> None:
    """A session counts until its process has ended, also when the client has closed the channel (as OpenSSH 9.2)."""
    cluster = await make_cluster(options=Options(offline_hang=1.0))

    def attempt() -> list[Outcome]:
        with connect_ssh(cluster) as client, connect_ssh(cluster) as second:
            transport = client.get_transport()
            assert transport is not None
            hanging = []
            for _ in range(10):
                channel = transport.open_session(timeout=5)
                channel.exec_command("pvesh get /nodes/pve3/tasks --output-format json")
                hanging.append(channel)
            with pytest.raises(paramiko.ChannelException) as refused:
                transport.open_session(timeout=5)
            assert refused.value.code == 2
            hanging[0].close()
            with pytest.raises(paramiko.ChannelException):
                transport.open_session(timeout=5)
            ours = execute(second, VERSION)
            assert [channel.recv_exit_status() for channel in hanging[1:]] == [255] * 9
            return [ours, execute(client, VERSION)]

    assert [got.exit for got in await asyncio.to_thread(attempt)] == [0, 0]


@pytest.mark.gen_test
async def test_long_output_and_two_hundred_commands(cluster: SimulatedCluster) -> None:
    cluster.state.vms[103].tags = "x" * 3_000_000
    outcomes = await _run(cluster, "pvesh get /cluster/resources --output-format json", *["true"] * 200)
    assert len(outcomes[0].stdout) > 3_000_000
    assert {got.exit for got in outcomes} == {0}


@pytest.mark.gen_test
async def test_connections_that_are_cut(cluster: SimulatedCluster) -> None:
    def attempt() -> bool:
        with connect_ssh(cluster) as client:
            execute(client, "true")
            cluster.sshd.drop_connections()
            transport = client.get_transport()
            assert transport is not None
            transport.join(5)
            return transport.is_active()

    assert not await asyncio.to_thread(attempt)
    assert (await _run(cluster, "true"))[0].exit == 0
