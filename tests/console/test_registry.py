"""Who looks at what, and whose right to it has ended."""

from __future__ import annotations

from contextlib import ExitStack, suppress

import pytest

from cyberlab import problems
from cyberlab.console.registry import ConsoleRequest, Full, Registry


def request(user_id: int = 1, vm_id: int = 1, login: int = 1) -> ConsoleRequest:
    return ConsoleRequest(user_id, f"user{user_id}", login, vm_id, f"lab/{vm_id}")


def nothing(code: str) -> None:
    """A console that takes no notice."""


def test_a_console_is_known_as_long_as_it_lives() -> None:
    registry = Registry()
    with registry.entry(request(), nothing) as live:
        assert list(registry) == [live]
        assert (len(registry), live.open) == (1, False)
        with suppress(RuntimeError), registry.entry(request(), nothing) as other:
            assert other.id != live.id
            assert len(registry) == 2
            raise RuntimeError("failed in the middle")
        assert list(registry) == [live]
    assert len(registry) == 0


def test_the_limits() -> None:
    registry = Registry(limit=3, limit_per_user=2)
    with ExitStack() as stack:
        for user in (1, 1, 2):
            if user == 1 and len(registry) == 1:
                stack.enter_context(registry.entry(request(user), nothing))
                with pytest.raises(Full), registry.entry(request(user), nothing):
                    pass
            else:
                stack.enter_context(registry.entry(request(user), nothing))
        with pytest.raises(Full), registry.entry(request(3), nothing):
            pass
        assert len(registry) == 3
    with registry.entry(request(3), nothing):
        assert len(registry) == 1


def test_a_wall_leaves_room_for_who_works() -> None:
    tile = ConsoleRequest(1, "user1", 1, 1, "lab/1", view_only=True, wall=True)
    registry = Registry(limit=100, limit_per_user=5)
    with ExitStack() as stack:
        for _ in range(registry.wall_limit):
            stack.enter_context(registry.entry(tile, nothing))
        with pytest.raises(Full), registry.entry(tile, nothing):
            pass
        stack.enter_context(registry.entry(request(1), nothing))
        assert len(registry) == 5
    registry = Registry(limit=5, limit_per_user=100)
    with ExitStack() as stack:
        for user in range(4):
            stack.enter_context(registry.entry(request(user + 2), nothing))
        with pytest.raises(Full), registry.entry(tile, nothing):
            pass
        stack.enter_context(registry.entry(request(9), nothing))


@pytest.mark.parametrize(
    ("which", "ended"),
    [
        (lambda wanted: wanted.user_id == 1, {0, 1}),
        (lambda wanted: wanted.vm_id == 2, {1, 2}),
        (lambda wanted: wanted.login_session_id == 9, {2}),
        (lambda wanted: wanted.user_id == 5, set()),
        (lambda wanted: True, {0, 1, 2}),
    ],
)
def test_those_end_for_whom_it_holds(which: object, ended: set[int]) -> None:
    registry, told = Registry(), dict[int, str]()
    requests = [request(1, 1), request(1, 2), request(2, 2, 9)]
    with ExitStack() as stack:
        for index, wanted in enumerate(requests):
            stack.enter_context(registry.entry(wanted, lambda code, index=index: told.update({index: code})))
        assert registry.end(problems.UNASSIGNED, which) == len(ended)  # type: ignore[arg-type]
        assert told == dict.fromkeys(ended, problems.UNASSIGNED)
        assert len(registry) == 3, "each leaves by itself"


def test_a_console_may_leave_while_the_others_are_told() -> None:
    registry, stack = Registry(), ExitStack()
    told = []

    def leave(code: str) -> None:
        told.append(code)
        stack.close()

    stack.enter_context(registry.entry(request(), leave))
    with registry.entry(request(2), told.append):
        assert registry.end("signed-out", lambda wanted: True) == 2
    assert told == ["signed-out", "signed-out"]


def test_a_request_holds_nothing_that_lets_anybody_in() -> None:
    assert not {"cookie", "ticket", "password", "token"} & set(ConsoleRequest.__slots__)
