"""Muon for the matrices inside the layers, AdamW for embeddings and norms, as one optimizer for the Trainer."""

import torch


class MuonAdamW(torch.optim.Optimizer):
    """torch.optim.Muon (Jordan et al. 2024; scaled to the RMS of AdamW, arXiv 2502.16982) beside AdamW.

    Both take the same learning rate, so that one schedule drives them.
    """

    def __init__(self, model: torch.nn.Module, learning_rate: float, weight_decay: float):
        embeddings = {id(model.get_input_embeddings().weight), id(model.get_output_embeddings().weight)}
        matrices = [p for p in model.parameters() if p.ndim == 2 and id(p) not in embeddings]
        others = [p for p in model.parameters() if p.ndim != 2 or id(p) in embeddings]
        self.muon = torch.optim.Muon(
            matrices, lr=learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
        )
        self.adamw = torch.optim.AdamW(others, lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
        super().__init__([*matrices, *others], {})

    @property
    def param_groups(self) -> list[dict]:
        """Groups of both, always the live ones: loading a state replaces them."""
        return self.muon.param_groups + self.adamw.param_groups

    @param_groups.setter
    def param_groups(self, _) -> None: ...

    def add_param_group(self, _) -> None:
        """The groups are made at the beginning and stay."""

    def step(self, closure=None):
        """One step of both."""
        self.muon.step()
        self.adamw.step()

    def state_dict(self) -> dict:
        """The states of both."""
        return {"muon": self.muon.state_dict(), "adamw": self.adamw.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        """Put both back."""
        self.muon.load_state_dict(state["muon"])
        self.adamw.load_state_dict(state["adamw"])
