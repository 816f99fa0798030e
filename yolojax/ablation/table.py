"""Write the numbers of the rows as a table, a plot and JSON."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from yolojax.ablation.runs import Run, is_complete
from yolojax.files import write_text
from yolojax.json_files import parse_json, to_json
from yolojax.text_table import text_table
from yolojax.visual.ablation_plot import plot_ablation

NOTHING = "–"


class About(NamedTuple):
    """Description of an ablation, for the head of its page."""

    overlays: str  # FOLDER[:arg]
    train: str  # SOURCE
    test: str  # SOURCE
    seeds: int
    command: str  # that reproduces the table


def write_table(workdir: Path, about: About, entries: list[dict], runs: Sequence[Run]) -> str:
    """Write ablation.md, ablation.json and, if there are scores, ablation.png to `workdir`.

    Args:
        workdir: the folder of the ablation.
        about: its description.
        entries: from `results.read_results`.
        runs: all runs of the ablation; their environments are listed.

    Returns:
        The table in Markdown.
    """
    scored = [entry for entry in entries if "scores" in entry]
    if scored:
        rows = [(entry["label"], entry["scores"]) for entry in scored]
        plot_ablation(rows, scored[0]["metric"], workdir / "ablation.png")
    where = environments(runs)
    content = about._asdict() | {"environments": where, "rows": entries}
    write_text(workdir / "ablation.json", to_json(content, indent=2) + "\n")
    table = format_table(entries, about.seeds)
    write_text(workdir / "ablation.md", format_page(table, about, scored, where))
    return table


def environments(runs: Sequence[Run]) -> list[str]:
    """List the distinct versions and machines of the finished runs, from their env.json."""
    found = {}
    for run in filter(is_complete, runs):
        file = run.workdir / "env.json"
        about = parse_json(file.read_bytes(), file)
        versions = ", ".join(f"{name} {version}" for name, version in about["packages"].items())
        devices = ", ".join(about["devices"])
        found[f"{versions}; Python {about['python']}, {about['machine']}, {devices}"] = None
    return list(found)


def format_table(entries: list[dict], seeds: int) -> str:
    """Format the rows of an ablation with `seeds` seeds in Markdown."""
    metric = next((entry["metric"] for entry in entries if "metric" in entry), "score")
    head = [
        "row", f"{metric}, %", "seeds", "difference to the previous row [95 %]", "images/s",
        "parameters", "BFLOPs", "training, s",
    ]  # fmt: skip
    return text_table(head, (_cells(entry, seeds) for entry in entries), markdown=True)


def _cells(entry: dict, seeds: int) -> list[str]:
    label = entry["label"].replace("|", r"\|")
    costs = [f"{entry['parameters']:,}", f"{entry['bflops']:.3f}"]
    if entry["missing"]:
        return [label, entry["missing"], "0", NOTHING, NOTHING, *costs, NOTHING]
    done, seconds = len(entry["scores"]), entry["train_seconds"]
    return [
        label,
        f"{100 * entry['mean']:.1f}" + (f" ± {100 * entry['std']:.1f}" if done > 1 else ""),
        str(done) if done == seeds else f"{done} of {seeds}",
        _difference(entry["difference"]),
        f"{entry['images_per_second']:.1f}",
        *costs,
        NOTHING if seconds is None else f"{seconds:.0f}",
    ]


def _difference(found: dict | None) -> str:
    if found is None:
        return NOTHING
    text = f"{100 * found['value']:+.1f}"
    if not found["interval"]:
        return text
    low, high = found["interval"]
    return f"{text} [{100 * low:+.1f}, {100 * high:+.1f}]"


def format_page(table: str, about: About, scored: list[dict], where: list[str]) -> str:
    """Format the page: `table`, notes, command and environments, in Markdown."""
    picture = ["![the scores of each row](ablation.png)", ""] if scored else []
    parts = [
        f"# Ablation {about.overlays}",
        "",
        f"Trained on {about.train}, evaluated on {about.test}; seeds 0 to {about.seeds - 1}.",
        "",
        table,
        "",
        *picture,
        *(f"* {note}" for note in _notes(scored)),
        "",
        "Command:",
        "",
        f"    {about.command}",
        "",
        "with a run of `yolojax train --workdir=ROW/seedN` for each row and seed, from the "
        "config.json there. The runs were made with",
        "",
        *(f"* {line}" for line in where or ["nothing yet: no run has finished"]),
    ]
    return "\n".join(parts) + "\n"


def _notes(scored: list[dict]) -> list[str]:
    covers = sorted({e["difference"]["covers"] for e in scored if e["difference"]})
    difference = (
        "Difference: in points, over the seeds that both rows have, to the nearest row above that "
        f"has a result. The 95 % interval is a paired bootstrap that covers {', or '.join(covers)}."
    )
    return [
        "Score: mean ± standard deviation (n - 1) over seeds, evaluated at the end of each run.",
        *([difference] if covers else []),
        "Images/s: network and non-maximum suppression, in the evaluation.",
        "BFLOPs: two for each multiplication, as Darknet counts, of every layer.",
        "Training: the steps of a run, without compilation and evaluation.",
    ]
