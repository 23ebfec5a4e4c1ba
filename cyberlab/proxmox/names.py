"""Host names to addresses, with a deadline: the system's resolver has one of its own, of up to a minute."""

from __future__ import annotations

import socket
import threading

_lookups: dict[tuple[str, int], _Lookup] = {}  # those on their way
_guard = threading.Lock()


class _Lookup(threading.Thread):
    """One question to the resolver. A daemon: nothing can end it before its time, not even our own end may wait."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(name=f"lookup-{host}", daemon=True)
        self.question = host, port
        self.answer: list[tuple[int, tuple[object, ...]]] = []
        self.error: OSError | None = None
        self.ended = threading.Event()

    def run(self) -> None:
        try:
            self.answer = _ask(*self.question)
        except OSError as error:
            self.error = error
        finally:
            with _guard:
                _lookups.pop(self.question, None)
            self.ended.set()


def resolve(host: str, port: int, timeout: float) -> list[tuple[int, tuple[object, ...]]]:
    """The (family, address) pairs to connect to, in the resolver's order (blocking, ``timeout`` seconds).

    Raises OSError, TimeoutError. A question that is not answered yet is not asked again, so that a name server that
    hangs costs one thread, however often somebody tries.
    """
    try:
        return _ask(host, port, socket.AI_NUMERICHOST)
    except socket.gaierror:
        pass  # a name
    with _guard:
        lookup = _lookups.get((host, port))
        if lookup is None:
            lookup = _lookups[host, port] = _Lookup(host, port)
            lookup.start()
    if not lookup.ended.wait(timeout):
        raise TimeoutError(f"no answer about {host} from the name server")
    if lookup.error is not None:
        raise lookup.error
    return lookup.answer


def _ask(host: str, port: int, flags: int = 0) -> list[tuple[int, tuple[object, ...]]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    except ValueError as error:  # a label of more than 63 characters, a NUL
        raise OSError(f"{host!r} is no name of a host: {error}") from None
    return [(family, address) for family, _, _, _, address in found]
