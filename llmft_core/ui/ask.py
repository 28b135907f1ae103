"""Questions to both sides: a request for the speaker, and its events as pieces of HTML. Nothing of Gradio in here."""

import functools
import time
from collections.abc import Iterator
from typing import NamedTuple

from llmft_core import checks, models, rows, tasks, words
from llmft_core.run import Run
from llmft_core.tasks import Example, Task
from llmft_core.ui import choice, html, sides
from llmft_core.ui.choice import Choice

LIMITS = {"sentence": 2_000, "paragraph": 20_000, "question": 1_000, "message": 4_000}
KEPT = 40  # turns of a conversation; a model drops the oldest when they do not fit
BETWEEN_PARTIALS = 0.08  # seconds; faster than that nobody reads
NO_SIDE = "No fine-tuned run for this task and model yet. Start one in Train."
DOWNLOADING = "Downloading"
CALLED_OFF = "The model stopped without an answer; ask again."


class Shown(NamedTuple):
    """What stands below the input; None keeps what is there. `reply` is kept to switch between raw and calibrated.

    `download` is the progress of a model that has to come first, "" when none is on its way.
    """

    error: str | None = None
    zero_shot: str | None = None
    fine_tuned: str | None = None
    words: str | None = None
    prompt: str | None = None
    reply: dict | None = None
    download: str | None = None


def task_samples(name: str) -> list[Example]:
    """Our own test rows of a task, or none if this task has none."""
    task = tasks.find(name)
    try:
        return rows.samples(task, task.splits[1])
    except (OSError, ValueError, TypeError):
        return []


def three(name: str) -> list[Example]:
    """Three examples to begin with: as different in their answers as they come."""
    found = task_samples(name)
    by_answer: dict[tuple, Example] = {}
    for example in found:
        by_answer.setdefault(example.answers if tasks.find(name).labels else (bool(example.answers),), example)
    first = list(by_answer.values())
    rest = [example for example in found if example not in first]
    return (first + rest)[:3]


def method(chosen: Choice) -> str:
    return chosen.run.config.resolved().method if chosen.run else "lora"


def resting(chosen: Choice) -> Shown:
    """Before the first question."""
    ready = "Its answer appears here."
    how = method(chosen)
    tuned = ready if chosen.run else NO_SIDE
    return Shown("", sides.resting("zero_shot", how, ready), sides.resting("fine_tuned", how, tuned), "", "", {}, "")


def refuse(text: str, kind: str) -> str:
    """Why this input cannot be asked, as one sentence, or ""."""
    if not text.strip():
        return f"The {kind} is empty: write one{'' if kind == 'message' else ', or take an example below'}."
    if len(text) > LIMITS[kind]:
        return f"The {kind} has {len(text):,} characters and {LIMITS[kind]:,} is the most: shorten it."
    return ""


def compare(speaker, chosen: Choice, inputs: dict[str, str], calibrated: bool = False) -> Iterator[Shown]:
    """Both sides answer the same input; `inputs` holds sentence, or paragraph and question."""
    task = tasks.find(chosen.task)
    kinds = ("sentence",) if task.labels else ("paragraph", "question")
    given = {kind: str(inputs.get(kind) or "") for kind in kinds}
    problem = next((said for kind in kinds if (said := refuse(given[kind], kind))), "")
    if problem:
        yield resting(chosen)._replace(error=html.error("Nothing to compare", problem))
        return
    yield _waiting(task, chosen, given)
    latest: dict[str, str] = {}
    last = 0.0
    for event in speaker.ask(_request(task, chosen, given)):
        kind = event.get("event")
        if kind == "error":
            sentence = str(event.get("message") or CALLED_OFF)
            yield resting(chosen)._replace(error=html.error("The model could not answer", sentence))
            return
        if kind == "done":
            yield show(task, chosen, event | {"given": given}, calibrated)
            return
        if kind == "download":
            yield Shown(download=_coming(event))
            continue
        latest[str(event.get("side"))] = str(event.get("text", ""))
        if time.monotonic() - last > BETWEEN_PARTIALS:
            last = time.monotonic()
            yield _partial(chosen, latest, given)
    yield resting(chosen)._replace(error=html.error("The model could not answer", CALLED_OFF))


def warm(speaker, chosen: Choice) -> None:
    """Have the pair loaded by an example of ours, unless it would be downloaded; what it answers is thrown away."""
    try:
        if not checks.is_here(models.find(chosen.model)):
            return
    except ValueError:  # said when somebody asks
        return
    task = tasks.find(chosen.task)
    for example in three(chosen.task)[:1]:
        given = {"sentence": example.question, "question": example.question, "paragraph": example.shared}
        for _ in speaker.ask(_request(task, chosen, given)):
            pass


def _request(task: Task, chosen: Choice, given: dict[str, str]) -> dict:
    who = {"task": task.name, "run": chosen.run_name, "model": chosen.model}
    if task.labels:
        return {"do": "classify", **who, "text": given["sentence"]}
    return {"do": "answer", **who, "context": given["paragraph"], "question": given["question"]}


def _waiting(task: Task, chosen: Choice, given: dict[str, str]) -> Shown:
    how = method(chosen)
    if task.labels:
        drawn = {side: sides.waiting_labels(side, how, list(reversed(task.labels))) for side in sides.NAMES}
    else:
        drawn = {side: sides.waiting_text(side, how, given["paragraph"]) for side in sides.NAMES}
    return _with_tuned(chosen, Shown("", **drawn, words="", prompt="", reply={}, download=""))


def _with_tuned(chosen: Choice, shown: Shown) -> Shown:
    """Without a run there is no right side, and it says so."""
    return shown if chosen.run else shown._replace(fine_tuned=sides.resting("fine_tuned", "lora", NO_SIDE))


def _downloading(event: dict) -> str:
    return f"{DOWNLOADING} {choice.model_title(choice.model_key(str(event.get('model'))))}"


def _coming(event: dict) -> str:
    """How far a download is; nothing any more when all of it is here."""
    done, total = event["done"], event["total"]
    if done >= total:
        return ""
    says = "The answer follows when the model is on this machine"
    return html.progress(_downloading(event), says, done / total, f" · {words.amount(done, total)}")


def _partial(chosen: Choice, latest: dict[str, str], given: dict[str, str]) -> Shown:
    how = method(chosen)
    drawn = {
        side: sides.partial_text(side, how, text, given["paragraph"])
        for side, text in latest.items()
        if side in sides.NAMES
    }
    return Shown(**drawn, download="")


def show(task: Task, chosen: Choice, reply: dict, calibrated: bool) -> Shown:
    """The finished answer, also drawn again when the scale is switched."""
    how, proof, given = method(chosen), reply.get("proof"), reply.get("given") or {}
    known = _known(task, given)
    drawn = {}
    for side in sides.NAMES:
        said = reply.get(side)
        if not isinstance(said, dict):
            continue
        if task.labels:
            right = _right_label(known, said, calibrated)
            drawn[side] = sides.labels(side, said, how, proof, task.labels, calibrated, right)
        else:
            right = _right_text(known, str(said.get("answer") or ""))
            tick = {"threshold": thresholds(chosen.run).get(side)} if chosen.run else {}
            drawn[side] = sides.answer(side, said | tick, how, proof, given["paragraph"], right)
    on = "fine-tuned" if reply.get("fine_tuned") else "zero-shot"
    strip = sides.word_strip(reply.get("words") or (), task.labels, on) if task.labels else ""
    shown = Shown("", **drawn, words=strip, prompt=sides.prompt(reply.get("prompt")), reply=reply, download="")
    return _with_tuned(chosen, shown)


@functools.lru_cache(maxsize=8)
def thresholds(run: Run) -> dict[str, float]:
    """Of each side: the P(no answer) above which silence pays on the run's test set, where there is such a point."""
    from llmft_core import metrics
    from llmft_core.frames import reading

    try:
        best = {
            side: metrics.best_threshold(items["f1"], items["has_answer"], items["p_no_answer"]).value
            for side, items in reading.sides(run).items()
        }
    except (KeyError, ValueError):
        return {}
    return {side: value for side, value in best.items() if 0 <= value <= 1}


def _known(task: Task, given: dict[str, str]) -> Example | None:
    """Our own example, if this is one: only then do we know the right answer."""
    wanted = (given.get("paragraph", "").strip(), (given.get("sentence") or given.get("question", "")).strip())
    return next((one for one in task_samples(task.name) if (one.shared, one.question) == wanted), None)


def _right_label(known: Example | None, said: dict, calibrated: bool) -> str:
    shares = said.get("calibrated" if calibrated else "probabilities") or {}
    if known is None or not shares:
        return ""
    return "Right" if max(shares, key=shares.get) in known.answers else "Wrong"


def _right_text(known: Example | None, answer: str) -> str:
    if known is None:
        return ""
    from llmft_core import metrics

    scores = metrics.squad_item(answer, list(known.answers))
    return f"{'Right' if scores['exact_match'] == 1 else 'Wrong'} · F1 {scores['f1']:.2f}"


def chat(speaker, chosen: Choice, talks: dict[str, list[dict]], message: str) -> Iterator[tuple[str, dict, str]]:
    """The next turn on both sides -> (error, {side: messages}, note). `talks` holds what each side has said so far."""
    if problem := refuse(message, "message"):
        yield html.error("Nothing to send", problem), talks, ""
        return
    turn = {"role": "user", "content": message}
    asked = {side: [*_answered(talks.get(side, []))[-KEPT:], turn] for side in sides.NAMES}
    yield "", asked, ""
    request = {"do": "chat", "run": chosen.run_name, "model": chosen.model, "task": chosen.task, "messages": asked}
    begun, last = time.monotonic(), 0.0
    texts: dict[str, str] = {}
    for event in speaker.ask(request):
        kind = event.get("event")
        if kind == "error":
            sentence = str(event.get("message") or CALLED_OFF)
            yield html.error("The model could not answer", sentence), talks, ""
            return
        if kind == "done":
            texts |= {side: str((event.get(side) or {}).get("text", "")) for side in sides.NAMES if event.get(side)}
            yield "", _spoken(asked, texts), _chat_note(texts, time.monotonic() - begun, chosen)
            return
        if kind == "download":
            yield "", asked, f"{_downloading(event)}: {words.amount(event['done'], event['total'])}. Stop cancels it."
            continue
        texts[str(event.get("side"))] = str(event.get("text", ""))
        if time.monotonic() - last > BETWEEN_PARTIALS:
            last = time.monotonic()
            yield "", _spoken(asked, texts), ""
    yield html.error("The model could not answer", CALLED_OFF), talks, ""


def _answered(turns: list[dict]) -> list[dict]:
    """Without a last message that was stopped before its answer: chat templates want turns to alternate."""
    return turns[:-1] if turns and turns[-1]["role"] == "user" else turns


def _spoken(asked: dict[str, list[dict]], texts: dict[str, str]) -> dict[str, list[dict]]:
    return {
        side: [*turns, {"role": "assistant", "content": texts[side]}] if side in texts else turns
        for side, turns in asked.items()
    }


def _chat_note(texts: dict[str, str], seconds: float, chosen: Choice) -> str:
    silent = [sides.NAMES[side].lower() for side, text in texts.items() if not text.strip()]
    quiet = f" · the {' and the '.join(silent)} side ended its turn at once" if silent else ""
    alone = "" if chosen.run else " · no fine-tuned run yet"
    return f"Greedy decoding, the same message to both · {seconds:.1f} s{quiet}{alone}"
