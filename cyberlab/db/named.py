"""Users and machines as somebody typed or pasted them: by name, by mail address, by what tells two of them apart."""

from __future__ import annotations

import re
from collections.abc import Collection

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from cyberlab.db.bulk import chunks
from cyberlab.db.models import User
from cyberlab.db.read_only import reads
from cyberlab.db.text import clean, normalise_username
from cyberlab.phrases import Phrase

_BETWEEN = re.compile(r"[\s,;]+")
UNKNOWN = Phrase("nobody here has that name")


def split(text: str) -> list[str]:
    """The names in a pasted list, once each, in order; lines, blanks, commas and semicolons divide them."""
    return list(dict.fromkeys(name.strip("<>\"'") for name in _BETWEEN.split(text) if name.strip("<>\"'")))


@reads
def people(s: Session, names: Collection[str]) -> tuple[list[User], dict[str, Phrase]]:
    """The users whom the names mean, and why some mean nobody.

    A name is a user name that one backend has (``backend/name`` where several do), or else a mail address.
    """
    wanted = {name: normalise_username(clean(name)) for name in names}
    parted = {name: wanted[name].partition("/") for name in names if "/" in name}
    spelled = {*wanted.values(), *(part[2] for part in parted.values())}
    by_name: dict[str, list[User]] = {}
    for some in chunks(spelled):
        for user in s.scalars(select(User).where(User.username.in_(some))):
            by_name.setdefault(user.username, []).append(user)
    by_mail: dict[str, list[User]] = {}
    for some in chunks({name.lower() for name in names if "@" in name}):
        for user in s.scalars(select(User).where(func.lower(User.email).in_(some))):
            by_mail.setdefault((user.email or "").lower(), []).append(user)
    found: list[User] = []
    problems: dict[str, Phrase] = {}
    for name, spelling in wanted.items():
        users = by_name.get(spelling, [])
        if not users and name in parted:
            backend, _, rest = parted[name]
            users = [user for user in by_name.get(rest, []) if user.backend == backend]
        users = users or by_mail.get(name.lower(), [])
        if len(users) == 1:
            found.append(users[0])
        elif users:
            ways = ", ".join(sorted(f"{user.backend}/{user.username}" for user in users))
            problems[name] = Phrase("several are meant by that; write one of %(ways)s", ways=ways)
        else:
            problems[name] = UNKNOWN
    return list({user.id: user for user in found}.values()), problems
