"""Keys and values with free room behind them: to remember one more token copies none of those before it."""

import torch
from transformers import Cache
from transformers.cache_utils import DynamicLayer

SHARE = 4  # a layer that is full grows by this part of what it holds


class RoomyLayer(DynamicLayer):
    """A `DynamicLayer` for those who add tokens and drop rows: what it holds are the first columns of longer tensors.

    The other ways to change a layer (`reorder_cache`, `crop`, `batch_repeat_interleave`) do not know of the room.
    """

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        super().lazy_initialization(key_states, value_states)
        self.rooms = (key_states[..., :0, :], value_states[..., :0, :])

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args, **kwargs):
        """Put those of the newest tokens behind the others; all keys and all values [B, heads, n, width]."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        used = self.get_seq_length()
        length = used + key_states.shape[-2]
        if length > self.rooms[0].shape[-2]:
            self.rooms = tuple(_longer(room, used, length + length // SHARE) for room in self.rooms)
        for room, fresh in zip(self.rooms, (key_states, value_states), strict=True):
            room[..., used:length, :] = fresh
        self._see(length)
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Only keep these rows, with their room."""
        length = self.get_seq_length()
        if length:
            self.rooms = tuple(room[indices] for room in self.rooms)
            self._see(length)

    def _see(self, length: int) -> None:
        self.keys, self.values = (room[..., :length, :] for room in self.rooms)


def _longer(room: torch.Tensor, used: int, length: int) -> torch.Tensor:
    """A copy with columns for `length` tokens, of which `used` are filled."""
    longer = room.new_empty(*room.shape[:-2], length, room.shape[-1])
    longer[..., :used, :] = room[..., :used, :]
    return longer


def roomy_cache() -> Cache:
    """An empty cache of such layers."""
    return Cache(layer_class_to_replicate=RoomyLayer)
