"""A recipe without a model: it counts steps, and misbehaves as TOY_DOES says. For tests of runs, jobs and the envelope.

TOY_STEPS steps (8) of PAUSE seconds. TOY_DOES: "" (finish), wait (after the first step, for a file `go`), deaf (never
look at should_stop), stuck (ignore SIGTERM too), memory, disk, value, token, exit.
"""

import errno
import json
import os
import signal
import time

from llmft_core import files
from llmft_core.events import Stage, Step
from llmft_core.runs import Cancelled

PAUSE = 0.05  # seconds


def run(run, say, should_stop, resume) -> None:
    steps, does = int(os.environ.get("TOY_STEPS", "8")), os.environ.get("TOY_DOES", "")
    say(Stage("loading"))
    _misbehave(does)
    kept = run.path / "checkpoint.json"
    first = json.loads(kept.read_text()) + 1 if resume and kept.exists() else 1
    for step in range(first, steps + 1):
        if should_stop() and does not in ("deaf", "stuck"):
            raise Cancelled()
        time.sleep(PAUSE)
        say(Step(step, steps, 1 / step, 1e-3, step * 4, 80.0))
        files.write_json(kept, step)
        while does == "wait" and not (run.path / "go").exists():
            time.sleep(PAUSE)
    import fakes  # slow, and only a run that finishes needs it

    made = fakes.run(run.config.task, 20)
    made.rows.to_parquet(run.path / "predictions.parquet")
    made.tensors.to_parquet(run.path / "weights.parquet")
    run.adapter.mkdir(exist_ok=True)
    (run.adapter / "adapter_model.safetensors").write_bytes(b"\2\0\0\0\0\0\0\0{}")
    (run.adapter / "adapter_config.json").write_text('{"base_model_name_or_path": "mini"}')
    (run.path / "metrics.json").write_text(json.dumps(made.scores))


def _misbehave(does: str) -> None:
    print("the toy recipe", does or "works")
    if does == "stuck":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    elif does == "memory":
        raise MemoryError
    elif does == "disk":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/somewhere/adapter.safetensors")
    elif does == "value":
        raise ValueError("inside a library")
    elif does == "token":
        raise RuntimeError(f"could not log in with {os.environ['HF_TOKEN']}")
    elif does == "exit":
        raise SystemExit(5)
