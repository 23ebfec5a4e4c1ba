"""What a file's rows name, looked up for all of them at once: users, classes, machines."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from cyberlab.db import bulk
from cyberlab.db.exchange_cells import BadCell
from cyberlab.db.models import Group, User, Vm
from cyberlab.phrases import Phrase

_REFERENCE = re.compile(r"([a-z0-9][a-z0-9-]{0,31})/([1-9][0-9]{2,8})", re.ASCII)


class Person(NamedTuple):
    """A user, as far as a file needs to know them."""

    id: int
    backend: str
    username: str


class People:
    """Users by name, and by backend where several have it."""

    def __init__(self, s: Session, names: Iterable[str]) -> None:
        """``names``: all that will be asked for."""
        self._found: dict[str, list[Person]] = defaultdict(list)
        for some in bulk.chunks({name for name in names if name}):
            for values in s.execute(select(User.id, User.backend, User.username).where(User.username.in_(some))):
                person = Person(*values)
                self._found[person.username].append(person)

    def find(self, username: str, backend: str | None) -> Person:
        """The user that is meant; raise BadCell."""
        found = [person for person in self._found.get(username, ()) if backend is None or person.backend == backend]
        if not found:
            raise BadCell("user", Phrase("there is no such user; import users first"))
        if len(found) > 1:
            names = ", ".join(sorted(person.backend for person in found))
            raise BadCell(
                "backend", Phrase("several users are called that: say which backend, of %(names)s", names=names)
            )
        return found[0]


class Classes:
    """Classes by name."""

    def __init__(self, s: Session, names: Iterable[str]) -> None:
        """``names``: all that will be asked for."""
        self._found: dict[str, tuple[int, bool]] = {}
        for some in bulk.chunks({name for name in names if name}):
            rows = select(Group.id, Group.name, Group.archived_at).where(Group.name.in_(some))
            self._found |= {name: (group_id, archived is not None) for group_id, name, archived in s.execute(rows)}

    def find(self, name: str) -> int | None:
        """Its id, or None where there is none; raise BadCell for one that is archived."""
        group_id, archived = self._found.get(name, (None, False))
        if archived:
            raise BadCell("class", Phrase("this class is archived; bring it back first"))
        return group_id


class Machine(NamedTuple):
    """A machine, as far as a file needs to know it."""

    id: int
    label: str


class Machines:
    """Machines by cluster/VMID, or by a name that only one has."""

    def __init__(self, s: Session, texts: Iterable[str]) -> None:
        """``texts``: all that will be asked for."""
        self._by_reference: dict[str, Machine] = {}
        self._by_name: dict[str, list[Machine]] = defaultdict(list)
        columns = (Vm.id, Vm.cluster, Vm.vmid, Vm.name)
        wanted = set(texts)
        matches = [match for text in wanted if (match := _REFERENCE.fullmatch(text.casefold()))]
        for numbers in bulk.chunks({int(match[2]) for match in matches}):
            self._note(s.execute(select(*columns).where(Vm.vmid.in_(numbers))))
        for names in bulk.chunks(wanted):
            self._note(s.execute(select(*columns).where(Vm.name.in_(names))))

    def _note(self, rows: Iterable[tuple[int, str, int, str]]) -> None:
        for vm_id, cluster, vmid, name in rows:
            machine = Machine(vm_id, f"{cluster}/{vmid} {name}".rstrip())
            self._by_reference[f"{cluster}/{vmid}"] = machine
            if machine not in self._by_name[name]:
                self._by_name[name].append(machine)

    def find(self, text: str) -> Machine:
        """The machine that is meant; raise BadCell."""
        machine = self._by_reference.get(text.casefold())
        if machine is not None:
            return machine
        named = self._by_name.get(text, [])
        if len(named) > 1:
            raise BadCell("machine", Phrase("several machines are called that; write it as cluster/VMID"))
        if not named:
            raise BadCell("machine", Phrase("there is no such machine in the portal"))
        return named[0]
