"""contained.py SECONDS COMMAND…: run a command with a time limit, and leave none of its processes behind.

Every process the command starts, however far it detaches itself (a new session, a double fork), comes
back to this one when its parent ends (Linux: PR_SET_CHILD_SUBREAPER), and is ended with the command.
The exit status is the command's; 124 when the limit was reached, 128 + N when signal N ended this.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
GRACE = 5.0  # seconds between SIGTERM and SIGKILL


class Ended(Exception):
    """A signal asked this process to end."""


def _on_signal(number: int, _frame: FrameType | None) -> None:
    raise Ended(number)


def descendants(pid: int) -> list[int]:
    """All processes below ``pid``, from /proc; those that vanish meanwhile are left out."""
    found: list[int] = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            direct = [int(child) for child in children.read_text().split()]
        except OSError:
            continue
        for child in direct:
            found += [child, *descendants(child)]
    return found


def _send(number: int) -> int:
    """Signal everything below this process; return how many there were."""
    pids = descendants(os.getpid())
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
    return len(pids)


def _reap() -> bool:
    """Collect what has ended; whether anything is left."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def clean_up() -> int:
    """End everything that is left; return how many processes that were."""
    _reap()
    left = _send(signal.SIGTERM)
    deadline = time.monotonic() + GRACE
    while _reap():
        if time.monotonic() > deadline:
            _send(signal.SIGKILL)
        time.sleep(0.05)
    return left


def main(limit: float, command: list[str]) -> int:
    """Run ``command`` for at most ``limit`` seconds, then end all that is left of it."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _on_signal)
    try:
        # Within: the signal may come before this call has returned, when the command runs already.
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
        status = process.wait(limit)
    except subprocess.TimeoutExpired:
        print(f"✗ {command[0]}: ended after {limit:g} s", file=sys.stderr, flush=True)
        status = 124
    except Ended as ended:
        status = 128 + int(ended.args[0])
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    left = clean_up()
    if left and status == 0:
        print(f"- ended {left} process(es) that were left behind", file=sys.stderr, flush=True)
    return 128 - status if status < 0 else status


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
