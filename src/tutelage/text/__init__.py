"""From files to batches: rows are read, laid out as tokens with a mask, and padded.

`read_rows` reads a file or a hub data set and says what it found; `examples_of` lays the rows out for
a tokenizer and says what it cut; `collate` pads examples to a `tutelage.interfaces.Batch`;
`preceded` puts more in front of its rows; `show` renders one example with its mask.
"""

from tutelage.text.batching import collate, preceded
from tutelage.text.hub import could_be_on_a_hub
from tutelage.text.readers import TextRows, read_rows
from tutelage.text.template import Example, Examples, Layout, examples_of, show, start_tokens

__all__ = [
    "Example",
    "Examples",
    "Layout",
    "TextRows",
    "collate",
    "could_be_on_a_hub",
    "examples_of",
    "preceded",
    "read_rows",
    "show",
    "start_tokens",
]
