"""A toy shell on one terminal: enough to type, read, see colours and the size; nothing of the host runs or shows."""

from __future__ import annotations

import codecs
import time
from collections.abc import Callable

MAX_LINE = 1000  # characters
_FILES = {
    "motd": "Welcome. Nothing here can break: this container is drawn by the simulated cluster.",
    "proxy.conf": "listen 3128\nupstream web-02:80\nlog /var/log/proxy.log",
    "proxy.log": "GET http://web-02/ 200 1432\nGET http://web-02/login 401 318",
}
_FOLDERS = ("exercises",)
_COLOURS = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")
_HELP = "cat clear colours date echo exit help hostname ls pwd seq stty uname whoami"
_ESCAPE, _BRACKET, _PARAMETERS = "\x1b", "[", "0123456789;?"


class Shell:
    """One container's terminal, shared by all who look at it, as dtach shares it; ``output`` gets what it draws."""

    def __init__(self, name: str, output: Callable[[bytes], None]) -> None:
        """``name``: the container's host name."""
        self._name = name
        self._output = output
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._line = ""
        self._history: list[str] = []
        self._recalled = 0
        self._sequence = ""  # an escape sequence that has begun
        self.columns, self.rows = 80, 20
        self.started = False

    @property
    def _prompt(self) -> str:
        return f"\x1b[1;32mroot@{self._name}\x1b[0m:\x1b[1;34m~\x1b[0m# "

    def attach(self) -> None:
        """Somebody looks: the first sees a greeting, everybody the line redrawn (dtach -r winch)."""
        if not self.started:
            self.started = True
            self._write(f"Debian GNU/Linux 12 {self._name} tty1\n\n{_FILES['motd']}\nType \x1b[1mhelp\x1b[0m.\n\n")
        self._redraw()

    def resize(self, columns: int, rows: int) -> None:
        """The terminal has another size: the program that runs is told (SIGWINCH), and draws its line anew."""
        changed = (columns, rows) != (self.columns, self.rows)
        self.columns, self.rows = columns, rows
        if changed:
            self._redraw()

    def type(self, data: bytes) -> None:
        """Bytes from any keyboard."""
        for letter in self._decoder.decode(data):
            self._key(letter)

    def _key(self, letter: str) -> None:
        if self._sequence:
            self._escaped(letter)
        elif letter == _ESCAPE:
            self._sequence = letter
        elif letter in "\r\n":
            self._enter()
        elif letter in "\x7f\b":
            if self._line:
                self._line = self._line[:-1]
                self._write("\b \b")
        elif letter == "\x03":
            self._line = ""
            self._write(f"^C\n{self._prompt}")
        elif letter == "\x04":
            if not self._line:
                self._run("exit")
        elif letter == "\x0c":
            self._write("\x1b[H\x1b[2J")
            self._redraw()
        elif letter == "\x15":
            self._recall("")
        elif letter.isprintable() and len(self._line) < MAX_LINE:
            self._line += letter
            self._write(letter)

    def _escaped(self, letter: str) -> None:
        """Of the cursor keys, up and down; whatever else begins with an escape is passed over."""
        self._sequence += letter
        if letter in _PARAMETERS or self._sequence in ("\x1b[", "\x1bO"):
            if len(self._sequence) > 32:
                self._sequence = ""
            return
        sequence, self._sequence = self._sequence, ""
        if sequence in ("\x1b[A", "\x1bOA", "\x1b[B", "\x1bOB"):
            step = 1 if sequence[-1] == "A" else -1
            self._recalled = min(max(self._recalled + step, 0), len(self._history))
            self._recall(self._history[-self._recalled] if self._recalled else "")

    def _recall(self, line: str) -> None:
        self._line = line
        self._redraw()

    def _enter(self) -> None:
        line, self._line = self._line.strip(), ""
        self._recalled = 0
        self._write("\n")
        if line:
            self._history = [*self._history[-99:], line]
            self._run(line)
        else:
            self._write(self._prompt)

    def _run(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        if word == "exit":
            self._write("\x1b[H\x1b[2Jlogout\n\n")
            self.started = False
            self.attach()
            return
        command = getattr(self, f"_do_{word}", None) if word.isalpha() else None
        answer = f"-bash: {word}: command not found\n" if command is None else command(rest.strip())
        self._write(answer + self._prompt)

    # --- the commands: what they print

    def _do_cat(self, rest: str) -> str:
        if rest in _FILES:
            return _FILES[rest] + "\n"
        return f"cat: {rest or '-'}: No such file or directory\n"

    def _do_clear(self, _: str) -> str:
        return "\x1b[H\x1b[2J\x1b[3J"

    def _do_colours(self, _: str) -> str:
        plain = "".join(f"\x1b[{30 + number}m{name} " for number, name in enumerate(_COLOURS))
        bright = "".join(f"\x1b[{90 + number}m{name} " for number, name in enumerate(_COLOURS))
        steps = "".join(f"\x1b[48;2;{shade};{120 - shade // 3};{255 - shade}m " for shade in range(0, 256, 8))
        return f"{plain}\x1b[0m\n{bright}\x1b[0m\n{steps}\x1b[0m\n"

    _do_colors = _do_colours

    def _do_date(self, _: str) -> str:
        return time.strftime("%a %d %b %Y %H:%M:%S UTC\n", time.gmtime())

    def _do_echo(self, rest: str) -> str:
        return rest.replace('"', "").replace("'", "") + "\n"

    def _do_help(self, _: str) -> str:
        return f"{_HELP}\n"

    def _do_hostname(self, _: str) -> str:
        return f"{self._name}\n"

    def _do_ls(self, _: str) -> str:
        return "  ".join([*(f"\x1b[1;34m{name}\x1b[0m" for name in _FOLDERS), *sorted(_FILES)]) + "\n"

    def _do_pwd(self, _: str) -> str:
        return "/root\n"

    def _do_seq(self, rest: str) -> str:
        last = min(int(rest), 100_000) if rest.isdecimal() and len(rest) < 10 else 0
        return "".join(f"{number}\n" for number in range(1, last + 1))

    def _do_stty(self, rest: str) -> str:
        return f"{self.rows} {self.columns}\n" if rest == "size" else "stty: only 'stty size' is known here\n"

    def _do_uname(self, _: str) -> str:
        return "Linux\n"

    def _do_whoami(self, _: str) -> str:
        return "root\n"

    def _redraw(self) -> None:
        self._write(f"\r\x1b[K{self._prompt}{self._line}")

    def _write(self, text: str) -> None:
        """As a terminal's line discipline: a line feed goes to the line's start, too (ONLCR)."""
        self._output(text.replace("\n", "\r\n").encode())
