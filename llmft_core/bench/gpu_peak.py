"""What the parts of bench gpu stand on, inside a child: the device, its measured peak, a model, a clock."""

import statistics
import time
from collections.abc import Callable

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from llmft_core import models
from llmft_core.bench.shapes import SHAPES
from llmft_core.engine.language_model import LanguageModel

NO_GPU = "The bench 'gpu' needs a GPU that torch can use (CUDA), and there is none here: run it where there is one."
LARGEST = 8192  # rows of the matrices whose product shows the peak
GIB = 2**30


def device_of(request: dict) -> torch.device:
    """Where the work is done. Raises ValueError if that is a GPU and there is none."""
    device = torch.device(request["device"])
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(NO_GPU)
    return device


def measure(request: dict) -> tuple[float, int, dict, dict]:
    """TFLOPS of the best of some products of square bf16 matrices (2 n³ each), and what the device is."""
    device = device_of(request)
    size = request.get("size", LARGEST)
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    a @ b
    seconds = [timed(lambda: a @ b, device)[0] for _ in range(20)]
    is_cuda = device.type == "cuda"
    found = {
        "device": torch.cuda.get_device_name() if is_cuda else "cpu",
        "memory_gib": round(torch.cuda.get_device_properties(device).total_memory / GIB, 1) if is_cuda else None,
        "tflops": 2 * size**3 / min(seconds) / 1e12,
    }
    return sum(seconds), len(seconds), found, {}


def timed(work: Callable[[], object], device: torch.device) -> tuple[float, object]:
    """Seconds that the work took on the device, and what came of it."""
    _wait(device)
    begin = time.perf_counter()
    found = work()
    _wait(device)
    return time.perf_counter() - begin, found


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def model_of(request: dict, dtype: torch.dtype) -> LanguageModel:
    """A model of that shape (a name, or a config as a dict), random weights made on the device; mini's tokenizer."""
    device, shape = device_of(request), request["shape"]
    tokenizer = AutoTokenizer.from_pretrained(models.find("mini").source)
    special = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    torch.manual_seed(request["seed"])
    settings = SHAPES[shape] if isinstance(shape, str) else shape
    config = AutoConfig.for_model(**settings, **special, tie_word_embeddings=True)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    return LanguageModel(model.to(device).eval(), tokenizer, "random weights", device)


def in_turn(ways: dict[str, Callable[[float], dict]], rounds: int, budget: float, device: torch.device) -> dict:
    """What each way counted in `budget` seconds, the ways in turn in every round; sums, seconds, and peak memory.

    A way that fails is a sentence; the others go on without it.
    """
    found: dict[str, dict | str] = {way: {"seconds": 0.0} for way in ways}
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, work in ways.items():
            so_far = found[way]
            if isinstance(so_far, str):
                continue
            forget(device)
            try:
                seconds, counted = timed(lambda work=work: work(budget), device)
            except Exception as error:  # out of memory, or what a compiler does not know
                found[way] = sentence(error)
                continue
            counted |= {"seconds": seconds}
            rates[way].append(counted["examples"] / seconds)
            found[way] = {key: so_far.get(key, 0) + value for key, value in counted.items()}
            found[way]["peak_memory_gib"] = (
                round(torch.cuda.max_memory_allocated() / GIB, 2) if _is_gpu(device) else None
            )
    for way, one in found.items():
        if isinstance(one, dict):
            one["examples_per_second"] = statistics.median(rates[way])
    return found


def _is_gpu(device: torch.device) -> bool:
    return device.type == "cuda"


def forget(device: torch.device) -> None:
    """Give back what is cached, and count peak memory anew."""
    if _is_gpu(device):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def sentence(error: Exception) -> str:
    """The first line of an error, with its kind."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200] if lines else 'it says nothing'}"
