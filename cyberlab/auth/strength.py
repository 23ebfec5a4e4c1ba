"""Whether a new password would be guessed: zxcvbn, which knows common passwords, names, keyboards and dates."""

from __future__ import annotations

import threading
from collections.abc import Iterable

import zxcvbn

from cyberlab.auth import passwords

ENOUGH = 3  # of 4: some 10^8 guesses at least, so that a stolen bcrypt hash resists too
_LONGEST = 72  # characters; zxcvbn reads no further
_one_at_a_time = threading.Lock()  # zxcvbn keeps the words that are known of the user in a dictionary of the module


def problem(password: str, known: Iterable[str | None] = ()) -> str | None:
    """Why a new password is refused, in words for who chose it; None if it is fine. Takes up to 0.1 s of CPU.

    ``known``: what others know of that user, and would try first: names, the mail address.
    """
    found = passwords.problem(password)
    if found is not None:
        return found
    with _one_at_a_time:
        result = zxcvbn.zxcvbn(password[:_LONGEST], user_inputs=[word for word in known if word])
    if result["score"] >= ENOUGH:
        return None
    feedback = result["feedback"]
    reason = feedback["warning"] or "It would be guessed too soon"
    advice = next(iter(feedback["suggestions"]), "Add another word or two. Uncommon words are better.")
    return f"this password is too easy to guess. {reason.rstrip('.')}. {advice}"
