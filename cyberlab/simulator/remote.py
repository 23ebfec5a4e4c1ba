"""The simulated node's programs behind a real sshd: small executables that ask this process over a unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from pathlib import Path

from cyberlab.simulator.commands import MARK, MODULES, PERL, Commands

MAX_REQUEST = 256 * 1024
# -S -E: no site packages, no PYTHON* variables: quick, and deaf to whatever the caller's environment holds.
_SHIM = """#!{python} -SE
import json, socket, sys

link = socket.socket(socket.AF_UNIX)
link.connect({socket!r})
link.sendall(json.dumps([{program!r}, *sys.argv[1:]]).encode() + b"\\n")
answer = json.loads(b"".join(iter(lambda: link.recv(65536), b"")))
sys.stdout.write(answer["stdout"])
sys.stdout.flush()
sys.stderr.write(answer["stderr"])
sys.exit(answer["exit"])
"""
_SETSID = """#!{python} -SE
import os, sys

args = sys.argv[1:]
fork = args[:1] == ["-f"]
if fork:
    args.pop(0)
    if os.fork():
        os._exit(0)
os.setsid()
os.execvp(args[0], args)
"""
# A program that runs pvesh is run by the real perl, with modules of Proxmox's names that ask this process, too.
_PERL = _SHIM.replace(
    "import json, socket, sys\n",
    """import json, os, socket, sys

if sys.argv[1:2] == ["-e"] and {mark!r} in "".join(sys.argv[2:3]):
    os.environ.update(PERL5LIB={modules!r}, CYBERLAB_NODE={socket!r})
    os.execvp({perl!r}, ["perl", *sys.argv[1:]])
""",
)
_PROGRAMS = {"pvesh": _SHIM, "perl": _PERL, "setsid": _SETSID}


class Remote:
    """Serves the executables that it writes into ``bin_folder``; only our own user can reach it."""

    def __init__(self, path: Path, bin_folder: Path, commands: Commands) -> None:
        """``path``: where the unix socket goes, short enough for one."""
        self._path = path
        self._bin = bin_folder
        self._commands = commands
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen, write the executables."""
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._connected, str(self._path), limit=MAX_REQUEST)
        self._path.chmod(0o600)
        self._bin.mkdir(exist_ok=True)
        for program, source in _PROGRAMS.items():
            scratch = self._bin / f".{program}.new"
            names = {"python": sys.executable, "socket": str(self._path), "program": program}
            scratch.write_text(source.format(**names, modules=str(MODULES), perl=PERL, mark=MARK))
            scratch.chmod(0o755)
            scratch.replace(self._bin / program)

    async def close(self) -> None:
        """Stop listening, end what runs."""
        if self._server is not None:
            self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()
        self._path.unlink(missing_ok=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            with contextlib.suppress(ConnectionError, ValueError):
                asked = json.loads(await reader.readline())
                if isinstance(asked, dict):
                    outcome = await self._commands.run_warm([str(word) for word in asked["warm"]], reader.at_eof)
                    out, err = outcome.stdout.encode(), outcome.stderr.encode()
                    writer.write(b"%d %d %d\n" % (outcome.exit, len(out), len(err)) + out + err)
                else:
                    outcome = await self._commands.run([str(word) for word in asked], reader.at_eof)
                    writer.write(json.dumps(outcome._asdict()).encode())
                await writer.drain()
        except asyncio.CancelledError:
            return  # close() has asked for it; asyncio's streams would log a cancelled handler as an error
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
