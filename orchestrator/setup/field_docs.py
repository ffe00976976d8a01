"""The docstrings under a struct's fields, and the annotations as they are written.

Python drops the first and resolves the second, so both are read from the source.
"""

import ast
import inspect
import itertools
import textwrap

import msgspec


def field_meanings(struct: type[msgspec.Struct]) -> dict[str, str]:
    meanings = {}
    for field, follower in itertools.pairwise(_body(struct)):
        match field, follower:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                meanings[name] = inspect.cleandoc(text)
    return meanings


def field_annotations(struct: type[msgspec.Struct]) -> dict[str, str]:
    return {
        field.target.id: ast.unparse(field.annotation)
        for field in _body(struct)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
    }


def purpose(struct: type[msgspec.Struct]) -> str:
    """The struct's own docstring; one that it inherited says nothing about it."""
    return inspect.cleandoc(struct.__doc__ or "") if "__doc__" in vars(struct) else ""


def cell(text: str) -> str:
    """As one cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")


def _body(struct: type[msgspec.Struct]) -> list[ast.stmt]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(struct)))
    return next(node for node in tree.body if isinstance(node, ast.ClassDef)).body
