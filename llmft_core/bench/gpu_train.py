"""Fine-tuning on a GPU, inside a child: our optimizer step on prompt trees, and the same examples in padded rows.

The share of the peak is (model FLOPs of the tokens that are no padding) / (seconds × measured peak), with per step
    full:  6 · P · tokens           + 6 · H · targets + 12 · A · pairs
    LoRA:  4 · P · tokens + 6 · L · tokens + 4 · H · targets + 12 · A · pairs
P: parameters without embeddings and adapter, L: those of the adapter, H: those of the head, which is read at answer
tokens alone; pairs: tokens that may look at one another, A: layers × heads × width of a head.
"""

import contextlib
import importlib
import itertools
import time
from functools import partial

import torch

from llmft_core.bench import gpu_peak
from llmft_core.bench.gpu_lessons import lessons
from llmft_core.engine import load, train
from llmft_core.engine.language_model import LanguageModel
from llmft_core.engine.tree import OUTSIDE, PACKED, PADDED, Layout, Packing

WAYS = {"packed": PACKED, "padded": PADDED}
STEP = 32  # examples per optimizer step
RANK = 16
COMPILING = 30.0  # seconds of steps before a compiled model is timed: each new shape may compile it again
LIGER = {"llama": "apply_liger_kernel_to_llama", "gemma2": "apply_liger_kernel_to_gemma2"}


def measure(request: dict) -> tuple[float, int, dict, dict]:
    """Examples and tokens per second of each way, share of the peak, peak memory."""
    if request.get("extra") == "liger":
        _put_liger_in(request)
    pupil = _pupil(request)
    taught = lessons(pupil, "squad_v2", request)
    steps = [[taught[i] for i in step] for step in train.plan(taught, STEP, 1, request["seed"])]
    if request.get("extra") == "compiled":
        for module in _layers(pupil):
            module.compile(dynamic=True)
    optimizer = torch.optim.AdamW([p for p in pupil.model.parameters() if p.requires_grad], lr=1e-5, fused=True)
    ways = {}
    for way in request.get("ways", WAYS):
        work = partial(_for_a_while, pupil, optimizer, steps, WAYS[way])
        ways[way] = work
        with contextlib.suppress(Exception):  # warm; what fails here fails again where it is told
            work(COMPILING if request.get("extra") == "compiled" else 0.0)
    found = gpu_peak.in_turn(ways, request["rounds"], request["budget"], pupil.device)
    for one in found.values():
        if isinstance(one, dict):
            one["tokens_per_second"] = one["tokens"] / one["seconds"]
            one["of_peak"] = one["flops"] / one["seconds"] / (request["tflops"] * 1e12)
    return sum(one["seconds"] for one in found.values() if isinstance(one, dict)), len(taught), {"ways": found}, {}


def _pupil(request: dict) -> LanguageModel:
    """As the app trains: LoRA on weights of bf16; all weights in float32, multiplied in bf16."""
    is_full = request["method"] == "full"
    lm = gpu_peak.model_of(request, torch.float32 if is_full else torch.bfloat16)
    lm = lm if is_full else load.with_new_adapter(lm, RANK)
    lm.model.train()
    return lm


def _layers(lm: LanguageModel) -> list[torch.nn.Module]:
    """The decoder layers: compiled one by one they are compiled once, and the head is left as it is."""
    return next(list(m) for m in lm.causal.modules() if isinstance(m, torch.nn.ModuleList))


def _put_liger_in(request: dict) -> None:
    """Replace norms, activations and rotary embeddings of the architecture by Liger's kernels."""
    try:
        liger = importlib.import_module("liger_kernel.transformers")
    except ImportError:
        raise ValueError("Liger kernels are not installed.") from None
    kind = gpu_peak.SHAPES[request["shape"]]["model_type"] if isinstance(request["shape"], str) else "llama"
    getattr(liger, LIGER[kind])(cross_entropy=False, fused_linear_cross_entropy=False)


def _for_a_while(lm: LanguageModel, optimizer, steps: list, way: Packing, budget: float) -> dict:
    """Optimizer steps until `budget` seconds are over, at least one; examples, tokens and FLOPs of them."""
    begin, counted = time.perf_counter(), {"examples": 0, "tokens": 0, "flops": 0.0}
    for step in itertools.cycle(steps):
        layouts = train.lay_out_lessons(lm, step, way)
        _step(lm, optimizer, layouts)
        counted["examples"] += len(step)
        for layout in layouts:
            counted["tokens"] += int((layout.branch != OUTSIDE).sum())
            counted["flops"] += _flops(lm, layout)
        if time.perf_counter() - begin >= budget:
            return counted


def _step(lm: LanguageModel, optimizer, layouts: list[Layout]) -> None:
    """What `TreeTrainer.training_step` and the Trainer around it do."""
    optimizer.zero_grad(set_to_none=True)
    targets = sum(len(layout.targets["token"]) for layout in layouts)
    mixed = torch.autocast(lm.device.type, torch.bfloat16, load.trains_mixed(lm))
    for layout in layouts:
        with mixed:
            loss = train.answer_loss(lm, layout.to(lm.device)) / targets
        loss.backward()
    torch.nn.utils.clip_grad_norm_([p for p in lm.model.parameters() if p.grad is not None], 1.0)
    optimizer.step()
    if lm.device.type == "cuda":
        torch.cuda.synchronize()  # steps are counted when they are over


def _flops(lm: LanguageModel, layout: Layout) -> float:
    config = lm.causal.config.get_text_config()
    head = lm.causal.get_output_embeddings().weight.numel()
    adapter = sum(p.numel() for name, p in lm.model.named_parameters() if "lora_" in name)
    rest = sum(p.numel() for p in lm.model.parameters()) - head - adapter
    per_head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    real = layout.branch != OUTSIDE
    pairs = int((layout.visible() & real[:, :, None]).sum())
    tokens, targets = int(real.sum()), len(layout.targets["token"])
    weights = 4 if adapter else 6
    linear = weights * (rest * tokens + head * targets) + 6 * adapter * tokens
    return linear + 12 * config.num_hidden_layers * config.num_attention_heads * per_head * pairs
