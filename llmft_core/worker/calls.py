"""Single jobs that need torch: `python -m llmft_core.worker.calls NAME` reads a JSON request, prints a JSON answer.

The answer is the last line of stdout: {"result": …}, or {"reason": …, "message": "one sentence"}. Progress goes
to stderr. A new job is a function from a request to something that JSON can hold, and its name in CALLS.
"""

import json
import os
import sys
import traceback
from pathlib import Path

from llmft_core import files
from llmft_core.worker.reasons import explain


def evaluate(request: dict) -> dict:
    """A model on a task: what `evaluate --json` prints."""
    from llmft_core.worker import recipe

    return recipe.evaluate_only(request)


def weights(request: dict) -> list[dict]:
    """How far each tensor of `tuned` (a model or an adapter folder) is from that of `base`: one dict per tensor."""
    from llmft_core.engine import weights

    base, tuned = Path(request["base"]), Path(request["tuned"])
    changes = weights.lora_changes if (tuned / "adapter_config.json").exists() else weights.full_changes
    return changes(base, tuned).to_dict(orient="records")


def pretrain(request: dict) -> dict:
    """A small model from text; `settings` are fields of `engine.pretrain.Recipe`."""
    from llmft_core.engine import pretrain
    from llmft_core.engine.pretraining import corpus

    text = [Path(path) for path in request["text"]]
    chats, start_from = (Path(request[name]) if request[name] else None for name in ("chats", "start_from"))
    held_out = corpus.evaluation_grams(request["held_out"]) if request["held_out"] else frozenset()
    recipe = pretrain.Recipe(**request["settings"])
    out, resume = Path(request["out"]), request["resume"]
    return {"model": pretrain.pretrain(text, out, recipe, resume, chats, held_out, start_from)}


def overlap(request: dict) -> dict:
    """How many documents of text files share a run of 13 words with evaluation examples."""
    from llmft_core.engine.pretraining import corpus

    return corpus.overlap([Path(path) for path in request["text"]], request["data_dir"])


def bits_per_byte(request: dict) -> dict:
    """How well a model predicts a text file; lower is better."""
    from llmft_core.engine import load, pretrain
    from llmft_core.engine.pretraining import corpus

    lm = load.load(request["model"])
    text = "\n".join(corpus.documents(Path(request["text"])))
    return {"bits_per_byte": pretrain.bits_per_byte(lm.model, lm.tokenizer, text)}


def exam(request: dict) -> dict:
    """What a model has right of reading practice that is made from a text file."""
    from llmft_core.engine import load
    from llmft_core.engine.pretraining import corpus, exam

    lm = load.load(request["model"])
    return exam.sit(lm, corpus.read([Path(request["text"])], seed=0), request["questions"])


def side(request: dict) -> dict:
    """One turn of one side of a bench."""
    from llmft_core.bench import side

    return side.take(request["where"], request["request"])


CALLS = {
    "evaluate": evaluate,
    "weights": weights,
    "pretrain": pretrain,
    "overlap": overlap,
    "bits_per_byte": bits_per_byte,
    "exam": exam,
    "side": side,
}


def answer(name: str, request: dict) -> dict:
    """{"result"} of the job, or {"reason", "message"} of its error."""
    try:
        return {"result": CALLS[name](request)}
    except BaseException as error:
        reason, message = explain(error, str(request.get("model") or ""))
        if os.environ.get("LLMFT_DEBUG"):
            print(files.hide_token("".join(traceback.format_exception(error))), file=sys.stderr)
        if reason == "other":
            message = message.replace("see log.txt", "LLMFT_DEBUG=1 shows where")
        return {"reason": reason, "message": message}


def main(name: str) -> None:
    request = json.load(sys.stdin)
    to_parent = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no answer
    try:
        to_parent.write(files.to_json(answer(name, request)) + "\n")
        to_parent.flush()
    except BrokenPipeError:  # nobody waits any more
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
