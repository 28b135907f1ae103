"""The README's table of what ships says what the shipped runs say, row by row."""

import re
from pathlib import Path

from llmft_core import events, runs, tasks, words
from llmft_core.run import Run

README = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `([\w-]+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.M)


def said(run: Run) -> list[str]:
    """The cells of the row of one run, as the README should have them."""
    found, headline = run.metrics(), tasks.find(run.config.task).headline
    learnt = max(event.examples for event in run.history() if isinstance(event, events.Step))
    change = found["delta"][headline]
    before, after = (f"{100 * found[side][headline]:.1f}" for side in ("zero_shot", "fine_tuned"))
    counts = [f"{learnt:,} {'phrases' if run.config.task == 'sst2' else 'questions'}", f"{found['n']:,}"]
    return [*counts, before, after, f"{words.points(change['value'])} {words.interval(change['low'], change['high'])}"]


def test_table_of_what_ships_is_true():
    rows = {name: [cell.strip() for cell in cells] for name, *cells in ROW.findall(README)}
    shipped = {run.name: run for run in runs.all() if run.shipped}
    assert set(rows) == set(shipped) and rows
    for name, run in shipped.items():
        learnt, n, _, before, after, change = rows[name]
        assert [learnt, n, before, after, change] == said(run), name
