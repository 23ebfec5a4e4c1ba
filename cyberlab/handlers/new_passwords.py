"""New passwords of local accounts, whoever sets them: checked and hashed on the auth pool, never on the loop."""

from __future__ import annotations

from cyberlab.auth import passwords, strength
from cyberlab.handlers.portal import Portal

_SECONDS = 20.0  # the auth pool may be busy with a lesson's sign-ins


async def problem(portal: Portal, password: str, *known: str | None) -> str | None:
    """Why it is refused, in words; ``known``: what others know of its owner. Raises PoolBusy, TimeoutError."""
    return await portal.auth_pool.run(_SECONDS, strength.problem, password, known)


async def hashed(portal: Portal, password: str) -> str:
    """Its hash. Raises PoolBusy, TimeoutError."""
    return await portal.auth_pool.run(_SECONDS, passwords.hash_password, password, portal.config.bcrypt_cost)
