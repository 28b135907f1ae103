"""Linear layers that use the whole of an AMD CPU: float32 through oneDNN, where torch would ask MKL.

MKL keeps to AVX2 on processors that are not Intel's. oneDNN, which torch carries too, takes AVX-512 where there is one:
equal sums, but for the order of adding, in less than half the time on Zen 5 (235 instead of 100 GFLOPS per core), and
hardly less on Zen 4 (109 instead of 99).
"""

import torch

# Below both, MKL is as fast or faster. Large matrices that come from memory are read faster by oneDNN, and for a few
# rows MKL's time grows almost with their number (8192 x 2048; 1, 2, 4 rows: 1.6, 2.6, 3.2 ms, MKL 4.2, 8.4, 10.2).
FEWEST = 32  # rows
LARGE = 1 << 18  # weights


def pays(device: torch.device) -> bool:
    """Whether oneDNN is the faster one here, and can be asked: an AMD CPU with AVX-512."""
    able = getattr(torch.cpu, "get_capabilities", dict)() if device.type == "cpu" else {}
    is_amd = str(able.get("cpu_name", "")).startswith("AMD")
    can_ask = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return bool(is_amd and able.get("avx512_f") and can_ask)


class Linear(torch.nn.Linear):
    """torch's own layer but for how it multiplies float32 on a CPU when nothing is learnt."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled() or input.dtype != torch.float32 or self.weight.dtype != torch.float32:
            return super().forward(input)
        is_little = input.numel() < FEWEST * self.in_features and self.weight.numel() < LARGE
        if is_little or torch.is_autocast_enabled("cpu"):
            return super().forward(input)
        return product(input, self.weight, self.bias)


def product(given: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """`given` [..., in] times `weight` [out, in], plus `bias` [out]; float32 on a CPU, without gradients.

    torch has no public way to oneDNN for dense float32; this operator is what its own compiler writes for one.
    """
    return torch.ops.mkldnn._linear_pointwise(given.contiguous(), weight, bias, "none", [], "")


def quicken(model: torch.nn.Module) -> None:
    """Let every plain linear layer of a model multiply so; its weights stay where and what they are."""
    for module in model.modules():
        if type(module) is torch.nn.Linear:
            module.__class__ = Linear
