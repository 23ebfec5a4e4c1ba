"""New passwords, wherever they are set: the same check, the same hash."""

from __future__ import annotations

import pytest

from cyberlab.auth import passwords
from cyberlab.handlers import new_passwords
from tests.web import World


@pytest.mark.gen_test
async def test_what_others_know_of_its_owner_is_no_password(world: World) -> None:
    assert await new_passwords.problem(world.portal, "walnut-kettle-orbit") is None
    assert await new_passwords.problem(world.portal, "sabrina", "sabrina") is not None
    assert await new_passwords.problem(world.portal, "sabrina-9", "sabrina") is not None


@pytest.mark.gen_test
async def test_the_hash_is_of_the_configured_cost(world: World) -> None:
    hashed = await new_passwords.hashed(world.portal, "walnut-kettle-orbit")
    assert hashed.startswith(f"$2b${world.config.bcrypt_cost:02d}$")
    assert passwords.verify("walnut-kettle-orbit", hashed)
