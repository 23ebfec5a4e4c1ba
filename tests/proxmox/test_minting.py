"""Cookies and tickets that the node signs, over a real sshd."""

from __future__ import annotations

import pytest

from cyberlab import problems
from cyberlab.problems import Problem
from cyberlab.proxmox.cookies import checked
from cyberlab.proxmox.minting import cookie_command, mint_cookie, mint_ticket, ticket_command
from cyberlab.proxmox.ssh import SshPool
from cyberlab.proxmox.warm import WarmPvesh
from tests.sshd import Sshd


@pytest.mark.gen_test
async def test_minted_by_the_node(pool: SshPool, sshd: Sshd) -> None:
    assert await mint_cookie(WarmPvesh(pool, 0), "root@pam") == "PVE:root@pam:6B02E097::signature1"
    arguments = (sshd.folder / "perl.log").read_text()
    assert arguments.startswith("-MPVE::RPCEnvironment -e PVE::RPCEnvironment->setup_default_cli_env();")
    assert "assemble_ticket(q(root@pam))" in arguments, "the shell has left it alone"


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ('echo "Can\'t locate PVE/RPCEnvironment.pm in @INC" >&2; exit 2', problems.PVESH_MISSING),
        (
            "echo \"unable to open '/etc/pve/priv/authkey.key' - Permission denied\" >&2; exit 13",
            problems.PVESH_MISSING,
        ),
        ("exit 0", problems.COOKIE_REFUSED),
        ("echo 'PVE:root@pam:1::x;Path=/'", problems.COOKIE_REFUSED),
        ("echo welcome", problems.COOKIE_REFUSED),
    ],
)
@pytest.mark.gen_test
async def test_a_node_that_mints_nothing(pool: SshPool, sshd: Sshd, script: str, code: str) -> None:
    (sshd.folder / "bin" / "perl").write_text(f"#!/bin/sh\n{script}\n")
    with pytest.raises(Problem) as caught:
        checked(await mint_cookie(WarmPvesh(pool, 0), "root@pam"))
    assert caught.value.code == code


@pytest.mark.gen_test
async def test_a_ticket_for_somebody_else(pool: SshPool, sshd: Sshd) -> None:
    perl = sshd.folder / "bin" / "perl"
    perl.write_text(f'#!/bin/sh\necho "$*" > {sshd.folder}/perl.log\nprintf PVEVNC:6B02E097::c2ln+/==\n')
    for port, end in ((5907, ", 5907)"), (None, "q(/vms/100))")):
        assert await mint_ticket(WarmPvesh(pool, 0), "console@pve", 100, port) == "PVEVNC:6B02E097::c2ln+/=="
        assert (sshd.folder / "perl.log").read_text().strip().endswith(end)
    perl.write_text("#!/bin/sh\necho 'PVE:root@pam:6B02E097::x'\n")
    with pytest.raises(Problem) as caught:
        await mint_ticket(WarmPvesh(pool, 0), "console@pve", 100, 5907)
    assert caught.value.code == problems.TICKET_REFUSED


@pytest.mark.parametrize("user", ["root", "x)@pam", "a@pve); system(q(reboot", "a b@pve", "'@pve", "a@pve\n", ""])
def test_no_name_becomes_a_program(user: str) -> None:
    for command in (lambda: cookie_command(user), lambda: ticket_command(user, 100, 5900)):
        with pytest.raises(ValueError, match="no name of a user"):
            command()
