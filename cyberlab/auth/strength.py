"""Whether a new password would be guessed: zxcvbn, which knows common passwords, names, keyboards and dates."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping

import zxcvbn

from cyberlab.auth import passwords
from cyberlab.phrases import Phrase

ENOUGH = 3  # of 4: some 10^8 guesses at least, so that a stolen bcrypt hash resists too
_LONGEST = 72  # characters; zxcvbn reads no further
_one_at_a_time = threading.Lock()  # zxcvbn keeps the words that are known of the user in a dictionary of the module

PORTAL = "cyberlab"  # everybody knows that, too
# What zxcvbn warns of (its feedback.py), to be translated; its first suggestion is always the same.
WARNINGS: Mapping[str, Phrase] = {
    str(warning): warning
    for warning in (
        Phrase("Straight rows of keys are easy to guess."),
        Phrase("Short keyboard patterns are easy to guess."),
        Phrase('Repeats like "aaa" are easy to guess.'),
        Phrase('Repeats like "abcabcabc" are only slightly harder to guess than "abc".'),
        Phrase('Sequences like "abc" or "6543" are easy to guess.'),
        Phrase("Recent years are easy to guess."),
        Phrase("Dates are often easy to guess."),
        Phrase("This is a top-10 common password."),
        Phrase("This is a top-100 common password."),
        Phrase("This is a very common password."),
        Phrase("This is similar to a commonly used password."),
        Phrase("A word by itself is easy to guess."),
        Phrase("Names and surnames by themselves are easy to guess."),
        Phrase("Common names and surnames are easy to guess."),
    )
}


def problem(password: str, known: Iterable[str | None] = ()) -> str | None:
    """Why a new password is refused, in words for who chose it; None if it is fine. Takes up to 0.1 s of CPU.

    ``known``: what others know of that user, and would try first: names, the mail address.
    """
    found = passwords.problem(password)
    if found is not None:
        return found
    with _one_at_a_time:
        result = zxcvbn.zxcvbn(password[:_LONGEST], user_inputs=[PORTAL, *(word for word in known if word)])
    if result["score"] >= ENOUGH:
        return None
    feedback = result["feedback"]
    return Phrase(
        "this password is too easy to guess. %(reason)s %(advice)s",
        reason=WARNINGS.get(feedback["warning"], Phrase("It would be guessed too soon.")),
        advice=Phrase("Add another word or two. Uncommon words are better."),
    )
