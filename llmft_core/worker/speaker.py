"""The playground's process: answers requests, one JSON object a line, with both sides of a run (see `answer_one`)."""

import contextlib
import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np

from llmft_core import checks, files, models, runs, tasks
from llmft_core.engine import chat, score
from llmft_core.engine.chat import Pair
from llmft_core.engine.evaluate import answer_room
from llmft_core.tasks.base import Example, Prompt, Task
from llmft_core.worker import download
from llmft_core.worker.reasons import explain

MOST_WORDS = 60  # a longer sentence is not taken apart word by word
WROTE = 4  # tokens shown of what a model writes when it is only asked for a label


class Speaker:
    """Holds one pair in memory and answers with it; the pair changes when another run is asked for."""

    def __init__(self):
        self.name: tuple[str, str] | None = None
        self.pair: Pair | None = None
        self.stops: set[int] = set()  # after these an answer to a task is over
        self.ends: set[int] = set()  # after these a turn of a chat is over

    def open(self, request: dict) -> Pair:
        """The pair of the request's run, or the base model alone if it names none."""
        name = (request.get("run") or "", request.get("model") or "")
        if self.name != name:
            self.name = self.pair = None
            self.pair = _load(request)
            self.stops = score.stop_ids(self.pair.base, self.pair.prompter)
            self.ends = score.end_ids(self.pair.base) | set(self.pair.base.tokenizer.all_special_ids)
            self.name = name
        return self.pair

    def classify(self, request: dict, should_stop) -> Iterator[dict]:
        """Label probabilities of one text on each side, what it writes, and which words moved the fine-tuned side."""
        pair, task = self.open(request), tasks.find(request["task"])
        prompt = task.prompt(_example(task, "", request["text"]))
        encoded = pair.prompter.encode_all([prompt], pair.base.context, answer_room(task, pair.prompter))
        labels = pair.prompter.labels(task.labels)
        priors = _priors(request.get("run") or "", task)
        reply: dict = {}
        for side in pair.sides:
            start = time.perf_counter()
            with pair.side(side) as lm:
                log_probs = score.label_scores(lm, encoded, labels)[0]
                taken = time.perf_counter() - start
                (wrote,) = score.write(lm, pair.prompter, encoded, WROTE, stops=self.stops)
            reply[side] = {
                "label": task.labels[int(log_probs.argmax())],
                "probabilities": _named(task, log_probs),
                "calibrated": _named(task, log_probs - priors.get(side, 0.0)),
                "wrote": wrote.text,
                "seconds": round(taken, 4),
            }
        side = pair.sides[-1]
        with pair.side(side) as lm:
            words = _word_effects(lm, pair, task, request["text"], labels)
        yield reply | {"words": words, "prompt": _shown(pair, prompt, encoded[0].ids)}

    def answer(self, request: dict, should_stop) -> Iterator[dict]:
        """The answer to a question about a paragraph, written by both sides, with P(no answer)."""
        pair, task = self.open(request), tasks.find(request["task"])
        context = request["context"]
        prompt = task.prompt(_example(task, context, request["question"]))
        (encoded,) = pair.prompter.encode_all([prompt], pair.base.context, answer_room(task, pair.prompter))
        start, texts, taken = time.perf_counter(), dict.fromkeys(pair.sides, ""), {}
        ids = {side: list(encoded.ids) for side in pair.sides}
        for side, written in chat.stream(pair, ids, task.max_new_tokens, self.stops, should_stop):
            taken.setdefault(side, time.perf_counter() - start)
            texts[side] = pair.prompter.write(written)
            yield {"event": "partial", "side": side, "text": texts[side]}
        reply = {}
        for side in pair.sides:
            with pair.side(side) as lm:
                abstain = score.leaf_scores(lm, [encoded], [(pair.prompter.answer(task.abstention),)])[0, 0]
            parsed = task.parse(texts[side])
            at = context.lower().find(parsed.lower()) if parsed else -1
            reply[side] = {
                "answer": parsed,
                "start": at if at >= 0 else None,
                "end": at + len(parsed) if at >= 0 else None,
                "p_no_answer": float(np.exp(abstain)),
                "wrote": texts[side],
                "seconds": round(taken.get(side, 0.0), 4),
            }
        yield reply | {"prompt": _shown(pair, prompt, encoded.ids) | {"truncated": encoded.truncated}}

    def chat(self, request: dict, should_stop) -> Iterator[dict]:
        """The next turn of a conversation on both sides. `messages` is one list, or one list per side."""
        pair, messages = self.open(request), request["messages"]
        per_side = messages if isinstance(messages, dict) else dict.fromkeys(pair.sides, messages)
        ids = {side: chat.conversation(pair, per_side[side]) for side in pair.sides}
        texts = dict.fromkeys(pair.sides, "")
        room = pair.base.context - max(map(len, ids.values()))
        ends = self.ends
        for side, written in chat.stream(
            pair, ids, min(int(request.get("max_new_tokens", 96)), room), ends, should_stop
        ):
            texts[side] = pair.prompter.write(written)
            yield {"event": "partial", "side": side, "text": texts[side]}
        shown = pair.base.tokenizer.decode(ids[pair.sides[-1]])
        yield {side: {"text": text} for side, text in texts.items()} | {"prompt": {"text": shown}}


def answer_one(speaker: Speaker, request: dict, say: Callable[[dict], None], should_stop: Callable[[], bool]) -> None:
    """Answer one request: `partial` events, then one `done` or `error`, each with the request's id.

    {"id": 1, "do": "classify", "task": "sst2", "run": NAME, "text": …}
    {"id": 2, "do": "answer", "task": "squad_v2", "run": NAME, "context": …, "question": …}
    {"id": 3, "do": "chat", "run": NAME, "messages": […] or {"zero_shot": […], "fine_tuned": […]}}
    An empty run with "model": KEY gives the zero-shot side alone. A model that is not on this machine is brought first,
    with `download` events (see `worker/download.py`).
    {"do": "cancel", "target": 3} and {"do": "quit"} need no id.
    """
    answers = {"classify": speaker.classify, "answer": speaker.answer, "chat": speaker.chat}
    try:
        base = _base(request)
        if not checks.is_here(base):
            with contextlib.closing(download.fetch(base.source, should_stop)) as coming:
                for event in coming:
                    say({"id": request.get("id"), **event})
        for reply in answers[request["do"]](request, should_stop):
            kind = reply.pop("event", "done")
            if kind == "done":
                reply |= {"proof": speaker.pair.proof, "stopped": should_stop()}
            say({"id": request.get("id"), "event": kind, **reply})
    except download.Stopped:
        say({"id": request.get("id"), "event": "done", "stopped": True})
    except KeyError as error:
        say({"id": request.get("id"), "event": "error", "message": f"The request has no {error} that is known here."})
    except Exception as error:  # the process must outlive any single request
        _, message = explain(error, str(request.get("model") or ""))
        say({"id": request.get("id"), "event": "error", "message": message.replace("log.txt", "the log")})


def _base(request: dict) -> models.Model:
    """The model of the request's run, or the one that it names."""
    return models.find(runs.find(request["run"]).config.model if request.get("run") else request.get("model") or "mini")


def _load(request: dict) -> Pair:
    row, run = _base(request), request.get("run")
    if not run:
        return chat.open_pair(row.key)
    found = runs.find(run)
    checks.same_base(found)
    if (found.adapter / "adapter_config.json").exists():
        return chat.open_pair(row.key, adapter=found.adapter)
    if (found.model_dir / "config.json").exists():
        return chat.open_pair(row.key, tuned=found.model_dir)
    raise ValueError(
        f"The run '{run}' ships without its weights, so it cannot answer; its results and weight changes are here."
    )


def _example(task: Task, shared: str, question: str) -> Example:
    return Example("typed", "typed", shared, question, task.labels[:1])


def _named(task: Task, log_probs: np.ndarray) -> dict[str, float]:
    probabilities = np.exp(log_probs - np.logaddexp.reduce(log_probs))
    return {label: round(float(p), 6) for label, p in zip(task.labels, probabilities, strict=True)}


def _priors(run: str, task: Task) -> dict[str, np.ndarray]:
    """Mean label log-probabilities of each side over the run's test set: what batch calibration subtracts."""
    try:
        rows = runs.find(run).predictions()
        columns = [f"logp_{index}" for index in range(len(task.labels))]
        return {side: part[columns].mean().to_numpy() for side, part in rows.groupby("side")}
    except (ValueError, KeyError, TypeError, AttributeError, OSError):
        return {}


def _word_effects(lm, pair: Pair, task: Task, text: str, labels) -> list[list]:
    """For each word, how much the log-odds of the last label fall when it is left out (leave-one-out)."""
    words = text.split()
    if not 1 < len(words) <= MOST_WORDS:
        return []
    texts = [text, *(" ".join(words[:i] + words[i + 1 :]) for i in range(len(words)))]
    prompts = [task.prompt(_example(task, "", text)) for text in texts]
    encoded = pair.prompter.encode_all(prompts, pair.base.context, answer_room(task, pair.prompter))
    log_probs = score.label_scores(lm, encoded, labels)
    margin = log_probs[:, -1] - log_probs[:, 0]
    return [[word, round(float(margin[0] - without), 4)] for word, without in zip(words, margin[1:], strict=True)]


def _shown(pair: Pair, prompt: Prompt, ids: tuple[int, ...]) -> dict:
    return {"text": "".join(pair.prompter.text(prompt)), "tokens": pair.base.tokenizer.convert_ids_to_tokens(list(ids))}


def main() -> None:
    """Read requests from standard input until it ends or says quit; a cancel is heard while an answer is under way."""
    waiting: queue.Queue[dict | None] = queue.Queue()
    cancelled: set = set()
    out = sys.stdout
    sys.stdout = sys.stderr  # a library that prints must not break the protocol

    def listen() -> None:
        for line in sys.stdin:
            try:
                request = json.loads(line)
            except ValueError:
                continue
            if request.get("do") == "quit":
                break
            if request.get("do") == "cancel":
                cancelled.add(request.get("target"))
            else:
                waiting.put(request)
        waiting.put(None)

    def say(reply: dict) -> None:
        out.write(files.to_json(reply) + "\n")
        out.flush()

    threading.Thread(target=listen, daemon=True).start()
    speaker = Speaker()
    while (request := waiting.get()) is not None:
        answer_one(speaker, request, say, lambda request=request: request.get("id") in cancelled)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):  # nobody listens any more
        main()
    os._exit(0)  # a download goes on in threads of a library: none of them may keep the process
