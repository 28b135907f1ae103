"""The app under visitors: first page, memory, first token, many at once, and what watching costs a run."""

import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from llmft_core import api, checks, files, jobs
from llmft_core.bench.visitors import Site, Visitor, together
from llmft_core.jobs import servers

TITLE = "the app: first page, visitors at once, and a run that is watched"
DEFAULTS = {"model": "mini", "examples": 320, "rounds": 2}
VISITORS = (1, 10, 50)
WATCHERS = 20
QUESTION = {
    "paragraph": "The heron slept in the old mill because the river had risen after three days of rain.",
    "question": "Where did the heron sleep?",
}
SENTENCE = {"sentence": "A warm, funny and quietly moving film."}


def run(options: dict, say) -> dict:
    """Starts the app twice, and runs `examples` × 4 epochs of sst2 1 + 2 × `rounds` times, every other one watched."""
    report: dict = {"name": "app", "rounds": options["rounds"], "cores": os.cpu_count(), "start": []}
    with tempfile.TemporaryDirectory(prefix="llmft-bench-") as folder, _runs_in(Path(folder)) as root:
        for _ in range(2):
            with servers.serve_app(root) as server:
                report["start"].append(_started(server))
        say(f"first page after {report['start'][-1]['seconds']} s")
        with servers.serve_app(root) as server:
            site = Site.read(server.address)
            together(site, 1, Visitor.load)  # what is made once is made
            report["page"] = _crowds(server, site, Visitor.load, options["rounds"], say, "pages")
            report["page"]["requests"] = len(site.paths)
            report["first_token"] = {name: _first_token(site, options["model"]) for name in ("cold", "warm")}
            say(f"first token after {report['first_token']['warm']} s when the model is loaded")
            report["try"] = _crowds(server, site, _trier(site, options["model"]), options["rounds"], say, "answers")
        report["watched"] = _watched(root, options, say)
    return report


@contextmanager
def _runs_in(root: Path) -> Iterator[Path]:
    """Runs of this block are made in `root`, and no Hub is asked for rows."""
    mine = {"LLMFT_RUNS_DIR": str(root), "HF_HUB_OFFLINE": "1"}
    before = {name: os.environ.get(name) for name in mine}
    os.environ.update(mine)
    try:
        yield root
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _started(server: servers.Server) -> dict:
    """Seconds to the first page of a fresh process, resident memory after it, and whether torch is in there."""
    maps = files_of(server.pid, "maps")
    return {
        "seconds": round(server.seconds, 2),
        "resident_mib": _resident(server.pid),
        "torch": None if maps is None else "libtorch" in maps,
    }


def files_of(pid: int, name: str) -> str | None:
    """What the system says of a process, where it does (/proc)."""
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except OSError:
        return None


def _resident(pid: int) -> int | None:
    found = [line for line in (files_of(pid, "status") or "").splitlines() if line.startswith("VmRSS")]
    return round(int(found[0].split()[1]) / 1024) if found else None


def _cpu(pid: int) -> float | None:
    """Seconds that a process has computed."""
    said = files_of(pid, "stat")
    return sum(map(int, said.rsplit(")", 1)[1].split()[11:13])) / os.sysconf("SC_CLK_TCK") if said else None


def _crowds(server, site: Site, do: Callable[[Visitor], None], rounds: int, say, what: str) -> dict:
    """Seconds (median, 95th percentile) with 1, 10 and 50 visitors at once; the server's CPU time for each of them."""
    found = {}
    for n in VISITORS:
        before, seconds = _cpu(server.pid), []
        repeats = rounds * (5 if n == 1 else 1)
        for _ in range(repeats):
            seconds += together(site, n, do)
        cpu = None if before is None else round((_cpu(server.pid) - before) / len(seconds), 4)
        found[str(n)] = {"p50": _at(seconds, 0.5), "p95": _at(seconds, 0.95), "server_cpu_seconds": cpu}
        say(f"{n} at once: {what} p50 {found[str(n)]['p50']} s, p95 {found[str(n)]['p95']} s")
    return found


def _at(seconds: list[float], share: float) -> float:
    return round(sorted(seconds)[min(len(seconds) - 1, int(share * len(seconds)))], 3)


def _press(site: Site, button: str, model: str, task: str, given: dict) -> tuple[dict, list]:
    """A click and what goes with it, after `task` and `model` were chosen and `given` was typed."""
    event = site.event(site.component(button), "click")
    typed = {"task": task, "model": model} | given
    return event, site.values(event, {site.component(name): value for name, value in typed.items()})


def _first_token(site: Site, model: str) -> float:
    """Seconds from the click to the first text of an answer: the first thing said after what is said at once."""
    begin = time.perf_counter()
    said = 0
    for message in Visitor(site).fire(*_press(site, "compare-text", model, "squad_v2", QUESTION)):
        said += message["msg"] == "process_generating"
        if said == 2:
            found = time.perf_counter() - begin
    if said < 2:
        raise OSError("The app gave no answer to a question.")
    return round(found, 3)


def _trier(site: Site, model: str) -> Callable[[Visitor], None]:
    """A visitor who has one sentence compared and waits for the answer of both sides."""
    event, data = _press(site, "compare", model, "sst2", SENTENCE)

    def try_it(visitor: Visitor) -> None:
        last = None
        for message in visitor.fire(event, data):
            last = message
        if last is None or not last.get("success"):
            raise OSError(f"The app gave no answer: {files.to_json(last)[:200]}")

    return try_it


def _watched(root: Path, options: dict, say) -> dict:
    """Seconds of the same run alone and with 20 pages open on it, in turn; its slowdown pair by pair.

    The app is up both times. Watchers are threads of this process, so what they compute counts against the app.
    """
    seconds: dict[str, list[float]] = {"alone": [], "watched": []}
    looks: list[int] = []
    with servers.serve_app(root) as server:
        site = Site.read(server.address)
        pages = [Visitor(site) for _ in range(WATCHERS)]
        for page in pages:  # open before the run begins: what Gradio keeps of each is made
            Watcher(page, options["model"], threading.Event()).look()
        # Off the clock: the zero-shot side, which the others read from the cache, and what draws the first curve.
        _timed_run(options, pages)
        for _ in range(options["rounds"]):
            for side, watching in (("alone", []), ("watched", pages)):
                taken, looked = _timed_run(options, watching)
                seconds[side].append(taken)
                if watching:
                    looks.append(looked)
                say(f"a run {side}: {taken:.1f} s, {looked} looks")
    ratios = [b / a for a, b in zip(seconds["alone"], seconds["watched"], strict=True)]
    return {
        "watchers": WATCHERS,
        "looks": looks,
        "seconds": {side: [round(one, 2) for one in found] for side, found in seconds.items()},
        "slowdowns": [round(ratio - 1, 4) for ratio in ratios],
        "slowdown": round(statistics.median(ratios) - 1, 4),
    }


def _timed_run(options: dict, pages: list[Visitor]) -> tuple[float, int]:
    """Working time of one run, from its first word to its last, and how often the pages looked at it.

    Raises jobs.CallFailed if it does not finish, and what a watcher met.
    """
    wanted = checks.prepare(
        task="sst2", model=options["model"], train_examples=options["examples"], epochs=4, data_dir=options["data_dir"]
    )
    over = threading.Event()
    crowd = [Watcher(page, options["model"], over) for page in pages]
    run = api.begin(wanted)
    for one in crowd:
        one.start()
    try:
        state = jobs.wait(run)
    finally:
        over.set()
        if run.state().is_active:
            jobs.stop(run)
    for one in crowd:
        one.join()
        if one.failed:
            raise one.failed
    if state.kind != "finished":
        raise jobs.CallFailed(f"The run that was to be watched {state.kind}: {state.detail}")
    return run.seconds(), sum(one.looks for one in crowd)


class Watcher(threading.Thread):
    """A page that is open on Train: it looks as often as its timer says, and is told what has changed since."""

    def __init__(self, page: Visitor, model: str, over: threading.Event):
        super().__init__()
        self.visitor, self.over, self.failed, self.looks = page, over, None, 0
        site = page.site
        self.timer = site.component("timer", "type")
        self.event = site.event(self.timer, "tick")
        seen = self.event["inputs"][1]
        chosen = {"task": "sst2", "model": model, "open-tab": "train"}
        self.held = {site.component(name): value for name, value in chosen.items()} | {self.timer: 1.0, seen: ""}
        self.places = {number: self.event["outputs"].index(number) for number in (self.timer, seen)}

    def run(self) -> None:
        try:
            while not self.over.wait(self.held[self.timer]):
                self.look()
        except Exception as error:
            self.failed = error
        finally:
            self.visitor.close()

    def look(self) -> None:
        self.looks += 1
        for message in self.visitor.fire(self.event, self.visitor.site.values(self.event, self.held)):
            if message["msg"] == "process_completed":
                if not message["success"]:
                    raise OSError(f"The app did not say how the run goes: {files.to_json(message)[:200]}")
                told = message["output"]["data"]
                self.held |= {number: _changed(told[at], self.held[number]) for number, at in self.places.items()}


def _changed(told, before):
    """The value of a component after what the app said of it: itself, or what of it is new."""
    return told.get("value", before) if isinstance(told, dict) else told


def table(report: dict) -> tuple:
    """Heads, rows and the columns of numbers, for people."""
    first, again = report["start"]
    torch = {True: "torch is loaded", False: "no torch", None: "torch unknown"}[again["torch"]]
    rows = [
        ("first page of a fresh app", f"{first['seconds']:.2f}", f"{again['seconds']:.2f}", ""),
        (f"resident MiB, {torch}", *(str(one["resident_mib"] or "") for one in report["start"]), ""),
        ("first token, model not loaded, loaded", *(f"{one:.2f}" for one in report["first_token"].values()), ""),
    ]
    for what in ("page", "try"):
        for n in VISITORS:
            found = report[what][str(n)]
            cpu = "" if found["server_cpu_seconds"] is None else f"{found['server_cpu_seconds']:.3f}"
            rows.append((f"{what}, {n} at once: p50, p95", f"{found['p50']:.2f}", f"{found['p95']:.2f}", cpu))
    watched = report["watched"]
    medians = [f"{statistics.median(watched['seconds'][side]):.1f}" for side in ("alone", "watched")]
    rows.append((f"a run alone, with {watched['watchers']} watchers", *medians, ""))
    rows.append((f"slowed by {watched['slowdown']:.1%}", "", "", ""))
    return ("seconds", "first", "second", "server's CPU, each"), rows, (1, 2, 3)
