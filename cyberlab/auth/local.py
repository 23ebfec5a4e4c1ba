"""Sign-in with a password that the portal keeps itself."""

from __future__ import annotations

from cyberlab.auth import passwords
from cyberlab.auth.base import Identity
from cyberlab.db import users
from cyberlab.db.engine import Database


class LocalBackend:
    """A PasswordBackend over the users table; blocking, runs on the auth pool."""

    name = users.LOCAL

    def __init__(self, database: Database, cost: int) -> None:
        """``cost``: bcrypt's, for the hashes made from now on; older ones are renewed at sign-in."""
        self._database = database
        self._cost = cost

    def authenticate(self, username: str, password: str) -> Identity | None:
        """Check the password; a name that is unknown, disabled or has no password here takes the same time."""
        user = self._database.call(users.by_name, username)
        if user is None or not user.active or passwords.cost_of(user.password_hash or "") is None:
            passwords.verify(password, passwords.dummy_hash(self._cost))
            return None
        old = user.password_hash or ""
        if not passwords.verify(password, old):
            return None
        if passwords.cost_of(old) != self._cost:
            self._database.call(users.replace_hash, user.id, old, passwords.hash_password(password, self._cost))
        return Identity(self.name, str(user.id), user.username, user.display_name, user.email)
