"""The word that a server asks for and a client brings: from a file or the environment, never a recipe."""

from __future__ import annotations

import os
from pathlib import Path

from tutelage.errors import TutelageError

TOKEN_VARIABLE = "TUTELAGE_TOKEN"
MAKE_TOKEN = "python -c 'import secrets; print(secrets.token_urlsafe(32))' > token"


def token_of(file: str | None) -> str | None:
    """The token in a file, else in the environment, else None.

    Raises:
        TutelageError: the file can't be read, or what is there is no token.
    """
    where = f"the variable {TOKEN_VARIABLE}" if file is None else file
    if file is None:
        text = os.environ.get(TOKEN_VARIABLE)
        if text is None:
            return None
    else:
        try:
            text = Path(file).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise TutelageError(
                f"{where}: can't be read ({getattr(error, 'strerror', None) or 'not UTF-8'})",
                expected="a file that holds the same token for the server and its clients",
                fix=f"check the path, or make one: {MAKE_TOKEN}",
            ) from None
    token = text.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise TutelageError(
            f"{where}: holds no token",
            expected="one word of letters, digits and signs",
            fix=f"make one: {MAKE_TOKEN}",
        )
    return token
