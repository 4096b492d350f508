"""Writes Python 3.12's type parameters in the older way, so that a package for 3.12 is imported by 3.11: `FOLDER`.

`class Box[T](Base)` becomes `class Box(Base, Generic[T])`, `def first[T: int](...)` becomes `def first(...)`, and
`type Name = ...` becomes `Name = ...`. What runs is the same: types are for readers and checkers. Files that this
Python reads as they are stay as they are.
"""

import ast
import io
import itertools
import sys
import tokenize
from collections.abc import Iterator, Sequence
from pathlib import Path

_OPEN, _CLOSE = "([{", ")]}"
_BEFORE_NAME = {"class", "def", "type"}


def rewritten(source: str) -> str:
    """The source without type parameters, their names declared as type variables at its top."""
    tokens = [token for token in tokenize.generate_tokens(io.StringIO(source).readline) if token.string != "\\\n"]
    lines, names = source.splitlines(keepends=True), set()
    for start, end, text, found in sorted(_edits(tokens), reverse=True):
        names |= set(found)
        (first, left), (last, right) = start, end
        lines[first - 1 : last] = [lines[first - 1][:left] + text + lines[last - 1][right:]]
    return _declared("".join(lines), sorted(names))


def _edits(tokens: Sequence[tokenize.TokenInfo]) -> Iterator[tuple[tuple[int, int], tuple[int, int], str, list[str]]]:
    """Spans to replace: from, to, by what, and the type parameters that they had."""
    for index, (keyword, name) in enumerate(itertools.pairwise(tokens)):
        if keyword.string not in _BEFORE_NAME or name.type != tokenize.NAME or keyword.type != tokenize.NAME:
            continue
        behind = index + 2
        if keyword.string == "type":
            if _begins_line(tokens, index) and tokens[behind].string == "=":
                yield keyword.start, name.start, "", []
        elif tokens[behind].string == "[":
            last = _closing(tokens, behind)
            found = _parameters(tokens[behind + 1 : last])
            yield tokens[behind].start, tokens[last].end, "", found
            if keyword.string == "class":
                yield _generic(tokens, last + 1, found)


def _begins_line(tokens: Sequence[tokenize.TokenInfo], index: int) -> bool:
    kinds = (tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.COMMENT)
    return index == 0 or tokens[index - 1].type in kinds


def _closing(tokens: Sequence[tokenize.TokenInfo], index: int) -> int:
    depth = 0
    while True:
        depth += (tokens[index].string in _OPEN) - (tokens[index].string in _CLOSE)
        if depth == 0:
            return index
        index += 1


def _parameters(tokens: Sequence[tokenize.TokenInfo]) -> list[str]:
    """Names in front of a comma or of the end, whatever bounds them."""
    found, depth, expects = [], 0, True
    for token in tokens:
        if expects and token.type == tokenize.NAME:
            found.append(token.string)
            expects = False
        depth += (token.string in _OPEN) - (token.string in _CLOSE)
        expects = expects or (depth == 0 and token.string == ",")
    return found


def _generic(
    tokens: Sequence[tokenize.TokenInfo], index: int, names: Sequence[str]
) -> tuple[tuple[int, int], tuple[int, int], str, list[str]]:
    """The base class that takes the parameters, behind the others."""
    base = f"_typing.Generic[{', '.join(names)}]"
    if tokens[index].string != "(":
        return tokens[index].start, tokens[index].start, f"({base})", []
    last = _closing(tokens, index)
    written = [token.string for token in tokens[index:last] if token.type not in (tokenize.NL, tokenize.COMMENT)]
    separator = "" if written[-1] in "(," else ", "
    return tokens[last].start, tokens[last].start, f"{separator}{base}", []


def _declared(source: str, names: Sequence[str]) -> str:
    """The variables, behind the module's docstring and its imports from the future."""
    at = 0
    for node in ast.parse(source).body:
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if not is_docstring and not (isinstance(node, ast.ImportFrom) and node.module == "__future__"):
            break
        at = node.end_lineno or at
    lines = source.splitlines(keepends=True)
    said = ["import typing as _typing\n", *(f'{name} = _typing.TypeVar("{name}")\n' for name in names)]
    return "".join([*lines[:at], *said, *lines[at:]])


def main(folder: Path) -> None:
    """Rewrites what does not compile here, and says what it was."""
    for path in sorted(folder.rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        try:
            compile(source, str(path), "exec")
        except SyntaxError:
            text = rewritten(source)
            compile(text, str(path), "exec")
            path.write_text(text, encoding="utf-8")
            print(f"type variables: {path.relative_to(folder)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
