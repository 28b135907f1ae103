"""Blocks in which an event costs what it changes, and a poll that changes nothing almost nothing."""

import copy
from typing import Any

import gradio as gr

from llmft_core.ui.told import Told

SKIPPED = gr.skip()


class Thrifty(gr.Blocks):
    """Gradio makes each output of an event anew, those too that are skipped; our events name most of the page."""

    async def postprocess_data(self, block_fn: Any, predictions: Any, state: Any) -> list:
        """What the browser is told of each output, in their order: Gradio's own answer for those that change."""
        if isinstance(predictions, Told) and predictions.sent is not None:
            return list(predictions.sent)
        outputs = list(block_fn.outputs)
        if block_fn.batch or not _is_by_component(predictions, outputs):
            return await super().postprocess_data(block_fn, predictions, state)
        said = {one: value for one, value in predictions.items() if not (isinstance(value, dict) and value == SKIPPED)}
        part = copy.copy(block_fn)
        part.outputs = [one for one in outputs if one in said]
        values = [said[one] for one in part.outputs]
        made = await super().postprocess_data(part, values[0] if len(values) == 1 else values, state) if values else []
        fresh = {one._id: value for one, value in zip(part.outputs, made, strict=True)}
        sent = [fresh[one._id] if one._id in fresh else None if one.stateful else gr.skip() for one in outputs]
        if isinstance(predictions, Told):
            predictions.sent = list(sent)
        return sent


def _is_by_component(predictions: Any, outputs: list) -> bool:
    """Whether a handler returned {component: value}, each of them one of its outputs."""
    return isinstance(predictions, dict) and bool(predictions) and all(one in outputs for one in predictions)
