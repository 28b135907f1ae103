"""What both sides of an evaluation are asked: the same examples in file order, in the same words."""

from collections.abc import Sequence

from llmft_core.tasks.base import Example, Prompt, Task


def examples(task: Task, request: dict) -> tuple[list[Example], list[Example]]:
    """The first `examples` to test on, and `shots` of the training part that stand before each question."""
    from llmft_core.engine import data

    where = {"data_dir": request["data_dir"]}
    if shots := request.get("shots"):
        found = data.load(task, train_examples=shots, **where)
    else:
        found = data.load_test(task, **where)
    return found.test[: request["examples"]], found.train


def prompts(task: Task, asked: Sequence[Example], shots: Sequence[Example] = ()) -> list[Prompt]:
    """Instruction, then the shots with their answers, then the question: all but the last is shared."""
    shown = "".join(f"{task.prompt(shot).question} {shot.answers[0]}\n" for shot in shots)
    found = [task.prompt(example) for example in asked]
    return [Prompt(prompt.prefix + shown, prompt.question) for prompt in found]


def refuse_cut(encoded: Sequence) -> None:
    """Raises ValueError if a prompt did not fit as a whole: the two sides would cut it at different ends."""
    if number := sum(prompt.truncated for prompt in encoded):
        raise ValueError(
            f"{number} prompts are longer than the model can read: choose another model, or fewer --shots."
        )
