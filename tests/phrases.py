"""Finds the texts for people: in templates, in Python, in the page's scripts."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path

from tornado.template import Template

ROOT = Path(__file__).resolve().parent.parent
TEMPLATES = ROOT / "templates"
TAGS = re.compile(r"\{%.*?%\}|\{\{.*?\}\}|\{#.*?#\}", re.DOTALL)
OTHER_FILES = re.compile(r"\{%\s*(?:extends|include)\b.*?%\}")
READ_ALOUD = ("alt", "aria-label", "aria-description", "placeholder", "title")  # attributes that people read or hear
NAMES = re.compile(r"\bCyberLab\b")  # in no language different
# Calls whose arguments at these places are keys of locale/*.csv.
PYTHON: Mapping[str, tuple[int, ...]] = {"translate": (0, 1), "Phrase": (0, 1)}
TEMPLATE: Mapping[str, tuple[int, ...]] = {"_": (0, 1)}
# Modules of templates, and which of their arguments are shown: those must be translated before.
SHOWN: Mapping[str, tuple[int | str, ...]] = {"Field": (2, "hint"), "Flag": (2, 3, "hint")}

Key = tuple[str, str]  # English, "singular", "plural" or ""


def _name(call: ast.Call) -> str:
    function = call.func
    return (
        function.id if isinstance(function, ast.Name) else function.attr if isinstance(function, ast.Attribute) else ""
    )


def _literal(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def keys(tree: ast.AST, calls: Mapping[str, tuple[int, ...]]) -> Iterator[Key]:
    """The keys that a module's or a template's calls name."""
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        places = calls.get(_name(call), ())
        found = [_literal(call.args[place]) if place < len(call.args) else None for place in places]
        if len(found) == 2 and found[0] is not None and found[1] is not None:
            yield found[0], "singular"
            yield found[1], "plural"
        else:
            yield from ((text, "") for text in found if text is not None)


def python_keys(path: Path) -> set[Key]:
    """The keys in a Python file."""
    return set(keys(ast.parse(path.read_text()), PYTHON))


def compiled(path: Path) -> ast.Module:
    """The Python that Tornado makes of one template, without those that it extends or includes."""
    return ast.parse(Template(OTHER_FILES.sub("", path.read_text()), name=path.name).code)


def template_keys(path: Path) -> set[Key]:
    """The keys in a template."""
    return set(keys(compiled(path), TEMPLATE))


class _Visible(HTMLParser):
    """Collects what a reader of the page sees or hears."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in READ_ALOUD and value]

    def handle_data(self, data: str) -> None:
        self.found.append(data)


def _worded(text: str) -> bool:
    return any(letter.isalpha() for letter in NAMES.sub("", text))


def _bare(node: ast.expr) -> Iterator[str]:
    """The literals that an expression may evaluate to; what a call makes of its arguments is not looked at."""
    if isinstance(node, ast.IfExp):
        yield from (*_bare(node.body), *_bare(node.orelse))
    elif isinstance(node, ast.BoolOp):
        yield from (text for value in node.values for text in _bare(value))
    elif isinstance(node, ast.BinOp):
        yield from (*_bare(node.left), *_bare(node.right))
    elif (text := _literal(node)) is not None:
        yield text
    elif isinstance(node, ast.JoinedStr):
        yield from (text for value in node.values for text in _bare(value))


def untranslated(path: Path) -> list[str]:
    """Words of a template that would be shown in English to everybody."""
    parser = _Visible()
    parser.feed(TAGS.sub("", path.read_text()))
    parser.close()
    found = parser.found
    for node in ast.walk(compiled(path)):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_tt_tmp":
            found += _bare(node.value)
        elif isinstance(node, ast.Call) and (places := SHOWN.get(_name(node))):
            given = dict(enumerate(node.args)) | {item.arg: item.value for item in node.keywords if item.arg}
            found += [text for place in places if place in given for text in _bare(given[place])]
    return sorted({" ".join(text.split()) for text in found if _worded(text)})
