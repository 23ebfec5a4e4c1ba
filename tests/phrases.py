"""Finds the texts for people: in templates, in Python, in the page's scripts."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path

from tornado.template import Template

from cyberlab.handlers.assets import Assets

ROOT = Path(__file__).resolve().parent.parent
TEMPLATES = ROOT / "templates"
MODULES = sorted(path for path in (ROOT / "cyberlab").rglob("*.py") if not path.name.startswith("cli"))
PAGES = sorted(TEMPLATES.rglob("*.html"))
SCRIPTS = sorted(path for path in (ROOT / "static").rglob("*.js") if "vendor" not in path.parts)
TAGS = re.compile(r"\{%.*?%\}|\{\{.*?\}\}|\{#.*?#\}", re.DOTALL)
OTHER_FILES = re.compile(r"\{%\s*(?:extends|include)\b.*?%\}")
# Attributes that people read or hear.
READ_ALOUD = ("alt", "aria-label", "aria-description", "data-label", "placeholder", "title")
NAMES = re.compile(r"\b(?:CyberLab|Proxmox VE|SSH)\b|\bCtrl(?:\+\w+)+")  # in no language different
# Calls whose arguments at these places are keys of locale/*.csv.
Places = Mapping[str, tuple[int | str, ...]]
PYTHON: Places = {
    "translate": (0,),
    "Phrase": (0,),
    "Conflict": (1,),
    "Explanation": (0, 1, 2),
    "Rejected": (0,),
    "_advice": (1, 2, 3, 4),
    "_step": (1,),
    "added": (1,),
    "Question": (0, 1, 2),
    "confirm": ("title", "text", "button", "problem"),
    "done": (0, 1),
    "fail": (1,),
    "notify": (0,),
    "report": (3,),
}
TEMPLATE: Places = {"_": (0,)}
PLURAL = ("translate", "Phrase", "_")  # their second argument is the text for more than one
# Modules of templates, and which of their arguments are shown: those must be translated before.
SHOWN: Places = {"Field": (2, "hint"), "TextArea": (2, "hint"), "Flag": (2, 3, "hint")}

Key = tuple[str, str]  # English, "singular", "plural" or ""


def _name(call: ast.Call) -> str:
    function = call.func
    return getattr(function, "id", "") or getattr(function, "attr", "")


def _literal(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


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


def _given(call: ast.Call, places: Places) -> Iterator[ast.expr]:
    """The arguments at the places that the table names for this call."""
    given = dict(enumerate(call.args)) | {item.arg: item.value for item in call.keywords if item.arg}
    yield from (given[place] for place in places.get(_name(call), ()) if place in given)


def keys(tree: ast.Module, places: Places) -> Iterator[Key]:
    """The keys that a module's or a template's calls name: literals, and names of constants that are one."""
    constants = {
        target.id: text
        for node in tree.body
        if isinstance(node, ast.Assign) and (text := _literal(node.value)) is not None
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        if _name(call) in PLURAL and len(call.args) > 1:
            singular, plural = _literal(call.args[0]), _literal(call.args[1])
            if singular is not None and plural is not None:
                yield from ((singular, "singular"), (plural, "plural"))
            continue
        for argument in _given(call, places):
            named = [constants[argument.id]] if isinstance(argument, ast.Name) and argument.id in constants else []
            yield from ((text, "") for text in (*named, *_bare(argument)) if _worded(text) and text[0] != "/")


def glued(path: Path) -> list[str]:
    """Texts for people that are put together, so that no row of a file can be their translation."""
    tree = ast.parse(path.read_text())
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    pieces = [node for call in calls for node in _given(call, PYTHON) if isinstance(node, ast.JoinedStr)]
    return [ast.unparse(node) for node in pieces if any(" " in (_literal(part) or "") for part in node.values)]


def sent_bare(path: Path) -> list[str]:
    """Sentences that a handler gives to a template or to a script as they are, in English for everybody."""
    if "api" in path.parts:  # scripts of other people are spoken to in English
        return []
    found: list[str] = []
    for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
        if _name(call) in ("render", "send_json"):
            given = [*call.args, *(item.value for item in call.keywords)]
            values = [value for node in given for value in (node.values if isinstance(node, ast.Dict) else [node])]
            found += [text for value in values for text in _bare(value) if _worded(text) and " " in text.strip()]
    return found


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


def untranslated(path: Path) -> list[str]:
    """Words of a template that would be shown in English to everybody."""
    parser = _Visible()
    parser.feed(TAGS.sub("", path.read_text()))
    parser.close()
    found = parser.found
    for node in ast.walk(compiled(path)):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_tt_tmp":
            found += _bare(node.value)
        elif isinstance(node, ast.Call):
            found += [text for argument in _given(node, SHOWN) for text in _bare(argument)]
    return sorted({" ".join(text.split()) for text in found if _worded(text)})


def script_keys() -> set[Key]:
    """The keys in the pages' scripts."""
    assets = Assets(ROOT / "static")
    return {(text, "") for path in SCRIPTS for text in assets.texts(path.relative_to(assets.folder).as_posix())}


def unspoken(path: Path) -> list[str]:
    """Words of a script that would be shown in English to everybody: sentences outside of t(); what is set as text."""
    source = re.sub(r"^\s*//.*$| // .*$", "", path.read_text(), flags=re.MULTILINE)
    rest = re.sub(r'\bt\(\s*"(?:[^"\\]|\\.)*"', "", source)
    found = re.findall(r"""'(?:[^'\\\n]|\\.)*'|"((?:[^"\\\n]|\\.)*)"|`([^`]*)`""", rest)
    said = [text for pair in found for text in pair if re.search(r"(?<![-.#\[(:])\b[A-Za-z]{2,} [A-Za-z]{2,}", text)]
    return said + re.findall(r'(?:textContent|ariaLabel)\s*\+?=\s*"([^"]*[A-Za-z][^"]*)"', rest)


def needed() -> set[Key]:
    """All keys that there are."""
    return set().union(*map(python_keys, MODULES), *map(template_keys, PAGES), script_keys())
