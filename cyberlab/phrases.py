"""Words for people that are written down before it is known who reads them, and in which language."""

from __future__ import annotations


class Phrase(str):
    """An English text that can still be translated where it is shown; everywhere else it is that text.

    ``plural``: the text where ``values["count"]`` is not one. Placeholders are Python's named ones: ``%(name)s``.
    The literal is the key in ``locale/*.csv``; tests/test_locale.py finds it by the call of this class.
    """

    __slots__ = ("key", "plural", "values")

    key: str
    plural: str | None
    values: dict[str, object]

    def __new__(cls, text: str, plural: str | None = None, /, **values: object) -> Phrase:
        """``values``: for the placeholders; without any, a percent sign is just one."""
        template = text if plural is None or values["count"] == 1 else plural
        self = super().__new__(cls, template % values if values else template)
        self.key = text
        self.plural = plural
        self.values = values
        return self
