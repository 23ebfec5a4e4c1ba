"""The watch sees each kind of leak, and does not cry over what has ended."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading

from tests import leaks

SLEEP = [sys.executable, "-c", "input()"]


def test_nothing_new_is_no_leak() -> None:
    assert leaks.leaked(leaks.snapshot()) == []


def test_a_thread_is_seen_until_it_ends() -> None:
    before = leaks.snapshot()
    end = threading.Event()
    thread = threading.Thread(target=end.wait, name="forgotten", daemon=True)
    thread.start()
    assert leaks.leaked(before, grace=0) == ["thread forgotten"]
    end.set()
    assert leaks.leaked(before) == []


def test_an_open_socket_is_seen_with_its_address() -> None:
    before = leaks.snapshot()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        (line,) = leaks.leaked(before, grace=0)
        assert str(listener.getsockname()) in line
    assert leaks.leaked(before) == []


def test_a_child_is_seen_while_it_runs_and_until_it_is_waited_for() -> None:
    before = leaks.snapshot()
    with subprocess.Popen(SLEEP, stdin=subprocess.PIPE) as child:
        (line,) = leaks.leaked(before, grace=0)
        assert line.startswith(f"child process {child.pid}: ")
        assert child.stdin is not None
        child.stdin.close()
    assert leaks.leaked(before) == []


def test_what_was_there_before_is_no_leak() -> None:
    with socket.create_server(("127.0.0.1", 0)):
        assert leaks.leaked(leaks.snapshot()) == []
