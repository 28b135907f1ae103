"""The `bench` command: our speed, measured on this machine, beside that of public tools."""

from typing import Annotated

import typer

from llmft_core.cli import printing
from llmft_core.cli.options import AsJson, DataDir


def bench(
    name: Annotated[str, typer.Argument(help="What to measure.", metavar="NAME")],
    *,
    model: Annotated[
        str | None,
        typer.Option("--model", help="A key of `models`, a Hub id, a folder, or a shape with random weights."),
    ] = None,
    task: Annotated[str | None, typer.Option("--task", help="A name from `tasks` (packing).")] = None,
    data_dir: DataDir = None,
    examples: Annotated[int | None, typer.Option("--examples", min=1, help="How many examples.")] = None,
    rounds: Annotated[int | None, typer.Option("--rounds", min=1, help="Times that each side is timed.")] = None,
    shots: Annotated[
        int | None, typer.Option("--shots", min=0, max=16, help="Examples shown in the prompt (evaluate-sst2).")
    ] = None,
    keep: Annotated[bool | None, typer.Option("--keep", help="Leave the checkpoints made for it (weights).")] = None,
    seeds: Annotated[
        int | None, typer.Option("--seeds", min=2, help="What is learnt too, trained so many times (train-*).")
    ] = None,
    json: AsJson = False,
) -> None:
    """Speed, measured on this machine: ours and a public tool in turn, on the same work."""
    from llmft_core import bench as benches
    from llmft_core import checks
    from llmft_core.bench import shapes

    module = benches.find(name)
    given = {"model": model, "task": task, "examples": examples, "rounds": rounds}
    given |= {"shots": shots, "seeds": seeds, "keep": keep}
    unknown = [f"--{key}" for key, value in given.items() if value is not None and key not in module.DEFAULTS]
    if unknown:
        raise ValueError(f"The bench '{name}' has no {' and no '.join(unknown)}.")
    options = module.DEFAULTS | {key: value for key, value in given.items() if value is not None}
    if "model" in options:
        is_shape = options["model"] in shapes.NAMES
        options["model"] = shapes.source(options["model"]) if is_shape else checks.model(options["model"]).source
    if "task" in options:
        from llmft_core import tasks  # pulls pandas in: a second, and the model's trouble is told before

        options["task"] = tasks.find(options["task"]).name
    options |= {"data_dir": checks.absolute({"data_dir": data_dir})["data_dir"]}
    report = module.run(options, printing.note)
    if json:
        printing.emit(report)
        return
    print(module.TITLE)
    printing.table(*module.table(report))
