"""Tiny models of every known architecture, and a small tokenizer in a folder."""

from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from tutelage.seeds import drawing_from

END = "<|end|>"
SAMPLE = ["Once upon a time there was a little girl. She said: What is it?\n\n"] * 5
SIZES = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "max_position_embeddings": 64,
}


def without(*keys: str) -> dict[str, Any]:
    return {key: value for key, value in SIZES.items() if key not in keys}


# What each architecture needs to be tiny, with everything that its head knows switched on.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "llama": SIZES,
    "mistral": SIZES,
    "qwen2": without("head_dim"),
    "qwen3": SIZES,
    "gemma2": SIZES | {"final_logit_softcapping": 0.5},
    "gemma3_text": SIZES | {"final_logit_softcapping": 0.5},
    "gpt_neox": without("num_key_value_heads", "head_dim"),
    "opt": without("num_key_value_heads", "head_dim", "intermediate_size")
    | {"ffn_dim": 24, "word_embed_proj_dim": 8},
    "phi": without("head_dim"),
    "granite": without("head_dim") | {"logits_scaling": 4.0},
    "cohere": without("head_dim") | {"logit_scale": 0.25},
}


def tiny(model_type: str, *, tied: bool = True, rows: int = 40, seed: int = 0) -> Any:
    """A random model in evaluation mode whose biases are not zero, as they are when made."""
    config = AutoConfig.for_model(
        model_type,
        **ARCHITECTURES[model_type],
        vocab_size=rows,
        tie_word_embeddings=tied,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=1,
    )
    with drawing_from(seed, "a tiny model"):
        model: Any = AutoModelForCausalLM.from_config(config)
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.data.normal_()
    return model.eval()


def bytes_tokenizer(tokens: int = 300, special: tuple[str, ...] = (END,)) -> Any:
    """Byte-level BPE; the first of the special tokens is start, end and padding at once."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=tokens,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=list(special),
        show_progress=False,
    )
    backend.train_from_iterator(SAMPLE, trainer)
    first = special[0]
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=first, eos_token=first, pad_token=first
    )
