"""All screens of a class at once: who is where, and what they see, without a keyboard."""

from __future__ import annotations

from dataclasses import dataclass, field

from cyberlab.auth.access import Action
from cyberlab.db.models import Assignment, Vm
from cyberlab.handlers.base import requires
from cyberlab.handlers.machines import version
from cyberlab.handlers.teacher.one_class import ClassHandler
from cyberlab.handlers.vm_source import has_terminal

# Screens at once: as many as a wide window shows in sizes that one can still make out. Each costs a call to a node when
# it opens and a connection to pveproxy while it lasts; and with CONSOLE_MAX_PER_USER's 20, four more stay free.
SCREENS = 16


@dataclass(slots=True)
class Tile:
    """One machine of the wall; ``who``: whose it is, nobody for the whole class's."""

    vm: Vm
    who: list[str] = field(default_factory=list)

    @property
    def terminal(self) -> bool:
        """Whether it has no picture."""
        return has_terminal(self.vm)


def tiles_of(rows: list[Assignment]) -> list[Tile]:
    """A tile for each machine, in the order of the class's page, however many share it."""
    found: dict[int, Tile] = {}
    for row in rows:
        tile = found.setdefault(row.vm_id, Tile(row.vm))
        if row.user is not None:
            tile.who.append(row.user.display_name or row.user.username)
    return list(found.values())


@requires(Action.RUN_CLASS, on_class=True)
class WallHandler(ClassHandler):
    """The page; states come as on the class's page, each screen over its own websocket (static/wall.js)."""

    async def get(self, group_id: str) -> None:
        """Draw it at once; states and screens follow."""
        rows = await self.rows()
        self.render(
            "teacher/wall.html",
            group=self.group,
            tiles=tiles_of(rows),
            most=max(1, min(SCREENS, self.portal.registry.wall_limit)),
            version=version((row.id, row.vm.reset_snapshot) for row in rows),
        )
