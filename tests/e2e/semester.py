"""The lab of test_semester.py, and who is in it."""

from __future__ import annotations

from cyberlab.auth.passwords import hash_password
from cyberlab.db import users, vms
from cyberlab.db.audit import Actor
from cyberlab.db.engine import Database
from cyberlab.db.models import Role
from tests.e2e.lab import PASSWORD, Lab

CLASS = "Network security · WS 26"
LOCAL = (
    ("ann", Role.ADMIN, "Ann Admin"),
    ("bea", Role.ADMIN, "Bea Admin"),
    ("tom", Role.TEACHER, "Tom Teacher"),
    ("ada", Role.STUDENT, "Ada Lovelace"),
    ("ben", Role.STUDENT, "Ben Ångström"),
)
NEW = (
    ("carl", "Carl <script>alert(1)</script>"),
    ("dora", "Nguyễn Thị Minh"),
    ("emil", "Émile Baudot"),
    ("fati", "فاطمة الزهراء"),
    ("gina", "Gina Müller"),
    ("hana", "田中 美咲"),
    ("ivan", "Иван Петров"),
    ("jose", "José García"),
    ("kuba", "Łukasz Nowak"),
    ("lena", "Lena O'Neill"),
)
STUDENTS = ["ada", "ben", *(name for name, _ in NEW)]


class Semester(Lab):
    """Nobody but those with a password of their own; no class, nothing assigned. lab-01, lab-03 and so on run."""

    def _fill(self) -> None:
        self.command("migrate")
        self.database = Database(self.environment["DATABASE_URL"], workers=1)
        with self.database.transaction() as s:
            for name, role, display_name in LOCAL:
                users.create(
                    s, Actor(None, "test"), username=name, role=role, display_name=display_name,
                    password_hash=hash_password(PASSWORD, 4),
                )  # fmt: skip

    def vm(self, vmid: int) -> int:
        """The portal's id of a machine."""
        with self.database.transaction() as s:
            row = vms.by_ref(s, "demo", vmid)
            assert row is not None
            return row.id

    def close(self) -> None:
        """End everything."""
        if hasattr(self, "database"):
            self.database.close()
        super().close()
