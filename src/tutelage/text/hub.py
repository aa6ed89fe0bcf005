"""Is this a path with a typing error, or a name on a hub? Only the second may go out to the network."""

import re
from pathlib import Path


def could_be_on_a_hub(name: str) -> bool:
    """Whether ``name`` has the form ``owner/name`` (or ``name``) and is no path that leads nowhere.

    A name whose first part is a folder here, such as ``runs/techer`` beside ``runs/``, was meant as a
    path: it is refused at once, without half a minute of attempts to reach a hub.
    """
    owner, slash, _ = name.partition("/")
    return bool(re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", name)) and not (slash and Path(owner).is_dir())
