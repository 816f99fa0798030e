"""Write docs/config.md from the dataclasses and comments of yolojax/config.py.

python docs/make_config_reference.py
"""

import ast
import io
import tokenize
from pathlib import Path

DOCS = Path(__file__).parent
SOURCE = DOCS.parent / "yolojax" / "config.py"
INTRODUCTION = """# Config fields

Look up what a config can set. A config is a Python file whose function `get_config` returns a
`Config` ([configs/](../configs)). The command line overrides any field:
`--config.optimizer.batch_size=32`. Written by `python docs/make_config_reference.py`; do not edit.
"""


def reference(source: str) -> str:
    """Return the page for the dataclasses in `source`, the outermost first."""
    comments = {
        token.start[0]: (token.string.lstrip("# ").rstrip(), token.line.lstrip().startswith("#"))
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    classes = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}
    return INTRODUCTION + "".join(_section(classes, comments, "Config", ""))


def _section(classes, comments, name, prefix):
    """Yield the Markdown of a dataclass and of the dataclasses in its fields."""
    node = classes[name]
    fields = [item for item in node.body if isinstance(item, ast.AnnAssign)]
    yield f"\n## {prefix.rstrip('.') or 'Config'}\n{ast.get_docstring(node)}\n\n"
    yield "| field | type | default | meaning |\n|---|---|---|---|\n"
    for field in fields:
        kind = ast.unparse(field.annotation)
        if kind not in classes:
            row = (
                f"`{prefix}{field.target.id}`",
                f"`{kind}`",
                f"`{ast.unparse(field.value)}`",
                _comment(comments, field),
            )
            yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n"
    for field in fields:
        kind = ast.unparse(field.annotation)
        if kind in classes:
            yield from _section(classes, comments, kind, f"{prefix}{field.target.id}.")


def _comment(comments, field):
    """Return the comment of a field: on its lines and the comment lines below, or else above."""

    def whole_lines(line, step):
        while line in comments and comments[line][1]:
            yield comments[line][0]
            line += step

    own = [comments[i][0] for i in range(field.lineno, field.end_lineno + 1) if i in comments]
    if own:
        return " ".join([*own, *whole_lines(field.end_lineno + 1, 1)])
    return " ".join([*whole_lines(field.lineno - 1, -1)][::-1])


if __name__ == "__main__":
    page = DOCS / "config.md"
    page.write_text(reference(SOURCE.read_text()))
    print(f"wrote {page}")
