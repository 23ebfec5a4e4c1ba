"""Programs for an sshd's commands: a `pvesh` that says what the real one has said, a `perl` that mints cookies."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.sshd import write_script

RECORDED = Path(__file__).resolve().parent.parent / "data" / "pvesh-transcripts.json"

# -SE: quick, and deaf to whatever the environment holds.
_PVESH = """#!{python} -SE
import json, sys
argv = sys.argv[1:]
with open({folder!r} + "/pvesh.log", "a") as log:
    log.write(json.dumps(argv) + "\\n")
def plain(words):
    return [part for word in words for part in (word.split("=", 1) if word.startswith("--") else [word])]
try:
    overrides = json.load(open({folder!r} + "/answers.json"))
except FileNotFoundError:
    overrides = []
for answer in overrides + json.load(open({transcripts!r})):
    if plain(answer["pvesh"]) == plain(argv):
        sys.stdout.write(answer["stdout"])
        sys.stderr.write(answer["stderr"])
        sys.exit(answer["exit"])
sys.stderr.write("no transcript of " + repr(argv) + "\\n")
sys.exit(1)
"""
_PERL = """#!/bin/sh
echo "$*" >> {folder}/perl.log
printf 'PVE:root@pam:6B02E097::%s' "signature$(wc -l < {folder}/perl.log)"
"""


def write_programs(folder: Path) -> Path:
    """Put them into ``folder``/bin, which is returned.

    They log their arguments in ``folder``/pvesh.log (a JSON list a line) and perl.log; answers.json there, in the
    transcripts' format, goes before the transcripts.
    """
    names = {"python": sys.executable, "folder": str(folder), "transcripts": str(RECORDED)}
    programs = folder / "bin"
    programs.mkdir(parents=True, exist_ok=True)
    write_script(programs / "pvesh", _PVESH.format(**names))
    write_script(programs / "perl", _PERL.format(**names))
    return programs
