"""Where files are kept that can be made anew."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """The folder of this project in the user's cache; it may not be there yet."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home, "mobilenets")
