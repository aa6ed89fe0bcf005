"""Language models: loaded, made anew, taken apart into hidden states and output layer, and saved.

`load_model` and `new_model` give a `LanguageModel`; `rows_of` its hidden states at a batch's counted
positions with the output layer that belongs to them; `prove_shared` the token ids on which two models
may meet; `frozen` a copy of one; `write` and `continued` what it writes; `save_student` a plain folder.
`import_model` makes such a folder of a GGUF file.
"""

from tutelage.models.adapters import merged, with_adapters
from tutelage.models.digest import weights_digest
from tutelage.models.drawing import Drawing
from tutelage.models.forward import rows_of
from tutelage.models.frozen import at_rest, frozen
from tutelage.models.generate import Written, continued, write
from tutelage.models.heads import OutputLayer, last_hidden, output_layer, prove_head
from tutelage.models.load import LanguageModel, load_model
from tutelage.models.new import new_model
from tutelage.models.packaged import Imported, import_model
from tutelage.models.reader import Reader
from tutelage.models.save import save_student
from tutelage.models.shared import Shared, common, prove_shared
from tutelage.models.tokenizers import load_tokenizer
from tutelage.models.vocabulary import Vocabulary, vocabulary_of

__all__ = [
    "Drawing",
    "Imported",
    "LanguageModel",
    "OutputLayer",
    "Reader",
    "Shared",
    "Vocabulary",
    "Written",
    "at_rest",
    "common",
    "continued",
    "frozen",
    "import_model",
    "last_hidden",
    "load_model",
    "load_tokenizer",
    "merged",
    "new_model",
    "output_layer",
    "prove_head",
    "prove_shared",
    "rows_of",
    "save_student",
    "vocabulary_of",
    "weights_digest",
    "with_adapters",
    "write",
]
