"""Make the demo's tokenizer: a byte-level BPE of 2,048 tokens from the training stories.

    python recipes/demo/tokenizer.py

Writes ``recipes/demo/tokenizer/``. The end of a story, the beginning and the padding are one token:
masks in tutelage are made from lengths, never from ids.
"""

import gzip
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

HERE = Path(__file__).parent
TEXT = HERE.parents[1] / "data" / "tinystories" / "train.txt.gz"
END = "<|endoftext|>"


def main() -> None:
    """Train and save."""
    stories = gzip.decompress(TEXT.read_bytes()).decode().split(END)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=2048,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((story.strip() for story in stories), trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=END, eos_token=END, pad_token=END)
    made.save_pretrained(HERE / "tokenizer")
    tokens = sum(len(made(story.strip()).input_ids) for story in stories)
    print(f"{len(made)} tokens; {len(stories)} stories are {tokens} tokens")


if __name__ == "__main__":
    main()
