"""Tables as plain text and as Markdown."""

from collections.abc import Iterable, Sequence


def text_table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    align: str = "<>",
    *,
    markdown: bool = False,
) -> str:
    """Lay out `header` and `rows` in columns, each as wide as its widest cell.

    Args:
        header: the cell above each column; empty for a table without a header.
        rows: cells, already formatted as text.
        align: `<` (left) or `>` (right) for each column. The last one repeats.
        markdown: separate columns by `|` and the header by a rule, instead of by two spaces.
    """
    cells = [*([header] if header else []), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    align = align.ljust(len(widths), align[-1])[: len(widths)]
    lines = [
        [f"{cell:{side}{width}}" for cell, side, width in zip(row, align, widths, strict=True)]
        for row in cells
    ]
    if not markdown:
        return "\n".join("  ".join(line).rstrip() for line in lines)
    rule = ["-" * (w - 1) + {"<": "-", ">": ":"}[a] for a, w in zip(align, widths, strict=True)]
    return "\n".join(f"| {' | '.join(line)} |" for line in [lines[0], rule, *lines[1:]])
