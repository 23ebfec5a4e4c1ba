"""The toy shell: what a person types into it, and what it draws."""

from __future__ import annotations

from cyberlab.simulator.shell import MAX_LINE, Shell


class Tty:
    """A shell whose output is collected."""

    def __init__(self) -> None:
        self.drawn = b""
        self.shell = Shell("box", self.draw)
        self.shell.attach()

    def draw(self, data: bytes) -> None:
        self.drawn += data

    def type(self, text: str | bytes) -> str:
        """What typing this draws."""
        self.drawn = b""
        self.shell.type(text.encode() if isinstance(text, str) else text)
        return self.drawn.decode()


PROMPT = "\x1b[1;32mroot@box\x1b[0m:\x1b[1;34m~\x1b[0m# "


def test_a_greeting_once_and_a_prompt_for_everybody() -> None:
    tty = Tty()
    assert tty.drawn.startswith(b"Debian GNU/Linux 12 box tty1\r\n")
    assert tty.drawn.endswith(PROMPT.encode())
    tty.type("ec")
    tty.drawn = b""
    tty.shell.attach()
    assert tty.drawn.decode() == f"\r\x1b[K{PROMPT}ec", "the line as it stands"


def test_echo() -> None:
    assert Tty().type("echo héllo wörld\r") == f"echo héllo wörld\r\nhéllo wörld\r\n{PROMPT}"


def test_a_letter_in_two_pieces() -> None:
    tty = Tty()
    first, second = "ü".encode()[:1], "ü".encode()[1:]
    assert tty.type(first) + tty.type(second) == "ü"


def test_editing() -> None:
    tty = Tty()
    assert tty.type("lx\x7f") == "lx\b \b"
    assert "exercises" in tty.type("s\r")
    assert tty.type("\x7f") == "", "there is nothing to take away"
    assert tty.type("rm -rf\x03") == f"rm -rf^C\r\n{PROMPT}"
    assert tty.type("\x1b[A") == f"\r\x1b[K{PROMPT}ls", "the line before"
    assert tty.type("\x1bOB") == f"\r\x1b[K{PROMPT}"
    assert tty.type("abc\x15") == f"abc\r\x1b[K{PROMPT}"
    assert tty.type("\x1b[1;5C\x1b[3~") == "", "sequences that mean nothing here are not typed"
    assert tty.type("\x0c").startswith("\x1b[H\x1b[2J")


def test_the_size() -> None:
    tty = Tty()
    assert tty.type("stty size\r").startswith("stty size\r\n20 80\r\n")
    tty.shell.resize(132, 43)
    assert "43 132" in tty.type("stty size\r")


def test_nothing_of_the_host_is_known() -> None:
    tty = Tty()
    assert "command not found" in tty.type("python3 -c 1\r")
    assert "No such file" in tty.type("cat /etc/passwd\r")
    assert "command not found" in tty.type("__init__\r")


def test_the_rest() -> None:
    tty = Tty()
    assert "\x1b[31mred" in tty.type("colours\r")
    assert tty.type("clear\r").endswith(f"\x1b[H\x1b[2J\x1b[3J{PROMPT}")
    assert "\r\n999\r\n1000\r\n" in tty.type("seq 1000\r")
    for word in ("help", "pwd", "whoami", "hostname", "date", "uname"):
        assert "not found" not in tty.type(f"{word}\r")
    assert "logout" in tty.type("exit\r")
    assert "logout" in tty.type("\x04")
    assert len(tty.type("x" * 2 * MAX_LINE)) == MAX_LINE
