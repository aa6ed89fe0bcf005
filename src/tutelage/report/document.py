"""An HTML document that stands alone: its style and script inside, a policy that allows nothing else."""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from tutelage.report.wording import clean

HERE = Path(__file__).parent


def document(template: str, styles: Sequence[str], **words: Any) -> str:
    """A template of this folder, filled.

    Args:
        template: name of its file.
        styles: names of style sheets, put together in this order.
        words: what else it asks for; text is escaped.
    """
    css = "".join(HERE.joinpath(name).read_text(encoding="utf-8") for name in styles)
    script = HERE.joinpath("page.js").read_text(encoding="utf-8")
    html = _template(template).render(
        # The text between the tags, to the letter: its hash is what the page's own policy allows.
        css=Markup(css),
        script=Markup(script),
        policy=f"default-src 'none'; img-src data:; style-src {_hash(css)}; script-src {_hash(script)}",
        **words,
    )
    return clean(html)


@functools.cache
def _template(name: str) -> Template:
    """The page; what is put into it is escaped, since texts are what a model wrote."""
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(name)


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
