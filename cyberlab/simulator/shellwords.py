"""What the login shell of root does to a command line, as far as the portal may rely on it."""

from __future__ import annotations

import re
import shlex

# Everything that a shell gives a meaning to. Unquoted, any of it is a quoting mistake of the caller.
_UNQUOTED = re.compile(r"""(?:[^'"\\$`;&|<>()*?\[\]{}~#!\n]|\\[^\n]|'[^']*'|"(?:[^"\\$`]|\\.)*")*""", re.DOTALL)
_REDIRECTION = re.compile(r"(</dev/null|>/dev/null|2>&1)[ \t]*$")
DETACH = ["setsid", "-f", "pvesh"]


class ShellRefused(Exception):
    """A command line with something in it that only a shell would understand."""


def split(line: str) -> tuple[list[str], bool]:
    """The words, and whether the output goes to /dev/null (``setsid -f pvesh … </dev/null >/dev/null 2>&1`` only)."""
    rest, redirections = line.strip(" \t"), []
    while match := _REDIRECTION.search(rest):
        redirections.append(match[1])
        rest = rest[: match.start()].rstrip(" \t")
    if not _UNQUOTED.fullmatch(rest):
        raise ShellRefused("unquoted or unbalanced shell syntax")
    words = shlex.split(rest)
    if sorted(redirections) == ["2>&1", "</dev/null", ">/dev/null"] and words[:3] == DETACH:
        return words, True
    if redirections:
        raise ShellRefused("a redirection of anything but a detached pvesh")
    return words, False
