"""Tiny random checkpoints in Hub format: two layers, a byte-level tokenizer learnt on a few lines of ours."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

LINES = [
    "The fox ran over the hill and then slept. Question: who ran? Answer: the fox",
    "Is this review positive or negative? A good film, never bad. Sentiment: positive",
    "A bad film, never good. Sentiment: negative. The answer is unanswerable.",
] * 4
GEMMA_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<start_of_turn>{{ 'model' if m['role'] == 'assistant' else 'user' }}\n"
    "{{ m['content'] | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)


def tokenizer(chat_template: str | None = None) -> PreTrainedTokenizerFast:
    """About 400 tokens, BOS in front."""
    special = ["<pad>", "<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"]
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator(
        LINES,
        trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )
    raw.post_processor = processors.TemplateProcessing(single="<bos> $A", pair=None, special_tokens=[("<bos>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>", chat_template=chat_template
    )


SIZES = dict(
    hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
    max_position_embeddings=512, bos_token_id=1, eos_token_id=2, pad_token_id=0,
)  # fmt: skip
OTHERS = {  # what other architectures call their sizes, or have besides
    "gpt2": dict(n_embd=32, n_layer=2, n_head=4, n_positions=512),
    "bloom": dict(n_layer=2, n_head=4),
    "gpt_neo": dict(num_layers=2, num_heads=4, attention_types=[[["global", "local"], 1]]),
    "mamba": dict(state_size=8),
    "lfm2": dict(layer_types=["conv", "full_attention"]),
}


def _save(model, words, folder: Path) -> Path:
    for parameter in model.parameters():
        if parameter.dim() == 2:
            torch.nn.init.normal_(parameter, std=0.15)  # large enough for answers to differ
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return Path(folder)


def llama(folder: Path, **changes) -> Path:
    """A random Llama with tied embeddings and no chat template."""
    words = tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=len(words), **(SIZES | {"tie_word_embeddings": True} | changes))
    return _save(LlamaForCausalLM(config), words, folder)


def gemma2(folder: Path, **changes) -> Path:
    """A random Gemma-2 (soft-capped logits, every other layer with a sliding window) with a chat template."""
    words = tokenizer(GEMMA_TEMPLATE)
    torch.manual_seed(0)
    config = Gemma2Config(vocab_size=len(words), **(SIZES | {"sliding_window": 256} | changes))
    return _save(Gemma2ForCausalLM(config), words, folder)


def other(kind: str, folder: Path, **changes) -> Path:
    """A random model of any architecture, by what transformers calls its `model_type`."""
    words = tokenizer()
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, vocab_size=len(words), **(SIZES | OTHERS.get(kind, {}) | changes))
    return _save(AutoModelForCausalLM.from_config(config), words, folder)


def adapter(base_folder: Path, folder: Path, rank: int = 4) -> Path:
    """A LoRA adapter with random, non-zero B for the model in `base_folder`."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    base = AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.float32)
    model = get_peft_model(
        base, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    model.save_pretrained(folder)
    return Path(folder)
