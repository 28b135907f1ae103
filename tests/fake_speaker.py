"""A speaker for tests: answers the playground's protocol at once with made-up answers, without a process or a model."""

import time
from collections.abc import Iterator

PROOF = {"base_equal": True, "tuned_differs": True}


class FakeSpeaker:
    """`jobs.Speaker` as the app sees it. `pause` is the time between two events; `asked` keeps the requests."""

    def __init__(self, pause: float = 0.0, fail: str = ""):
        self.pause, self.fail, self.asked = pause, fail, []

    def ask(self, request: dict) -> Iterator[dict]:
        self.asked.append(request)
        if self.fail:
            yield {"id": 1, "event": "error", "message": self.fail}
            return
        for event in {"classify": _classify, "answer": _answer, "chat": _chat}[request["do"]](request):
            time.sleep(self.pause)
            yield {"id": 1, **event}

    def close(self) -> None:
        pass


def _classify(request: dict) -> Iterator[dict]:
    def side(p: float, wrote: str, seconds: float) -> dict:
        share = {"negative": 1 - p, "positive": p}
        even = {"negative": 1 - min(1, p + 0.1), "positive": min(1, p + 0.1)}
        label = max(share, key=share.get)
        return {"label": label, "probabilities": share, "calibrated": even, "wrote": wrote, "seconds": seconds}

    words = [[word, round(((len(word) * 37) % 11 - 4) / 5, 2)] for word in request["text"].split()]
    tuned = {"fine_tuned": side(0.93, " positive", 0.044)} if request["run"] else {}
    text = f"Is this review positive or negative?\n{request['text']}\nSentiment:"
    yield {
        "event": "done", "zero_shot": side(0.38, " bad", 0.041), **tuned, "words": words, "proof": PROOF,
        "prompt": {"text": text, "tokens": text.split()},
    }  # fmt: skip


def _answer(request: dict) -> Iterator[dict]:
    paragraph = request["context"]
    words = paragraph.split()
    spans = {"zero_shot": " ".join(words[3:7]), "fine_tuned": " ".join(words[1:3])}
    sides = {}
    for side, span in spans.items():
        if side == "fine_tuned" and not request["run"]:
            continue
        for end in range(1, len(span.split()) + 1):
            yield {"event": "partial", "side": side, "text": " ".join(span.split()[:end])}
        start = paragraph.find(span)
        sides[side] = {
            "answer": span, "start": start, "end": start + len(span), "wrote": span,
            "p_no_answer": 0.22 if side == "zero_shot" else 0.09, "seconds": 0.09,
        }  # fmt: skip
    text = f"{paragraph}\nQuestion: {request['question']}\nAnswer:"
    yield {"event": "done", **sides, "proof": PROOF, "prompt": {"text": text, "tokens": text.split()[:40]}}


def _chat(request: dict) -> Iterator[dict]:
    texts = {"zero_shot": "It is a poster. The film of the poster is a film.", "fine_tuned": "positive"}
    if not request["run"]:
        texts.pop("fine_tuned")
    for side, text in texts.items():
        for end in range(1, len(text.split()) + 1):
            yield {"event": "partial", "side": side, "text": " ".join(text.split()[:end])}
    yield {"event": "done", "proof": PROOF, **{side: {"text": text} for side, text in texts.items()}}
