"""How the command line prints: aligned tables, strict JSON, one sentence for an error."""

import sys

from llmft_core import files, words


def emit(value: object) -> None:
    """JSON on stdout, and nothing else there."""
    print(files.to_json(value, indent=2))


def note(text: str) -> None:
    """A line on stderr: progress, warnings, errors."""
    print(text, file=sys.stderr, flush=True)


def table(heads: tuple[str, ...], rows: list[tuple], numbers: tuple[int, ...] = ()) -> None:
    """Aligned columns; those in `numbers` stand to the right."""
    lines = [[str(cell) for cell in line] for line in (heads, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    for line in lines:
        cells = [
            cell.rjust(w) if i in numbers else cell.ljust(w)
            for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())


def metrics(found: dict[str, float], intervals: dict[str, list[float]]) -> None:
    """One line per metric, in per cent, with its 95 % interval."""
    rows = [
        (words.metric(name).title, words.percent(value, unit=False), words.interval(*intervals.get(name, (None, None))))
        for name, value in found.items()
    ]
    table(("metric", "%", "95 %"), rows, (1, 2))
