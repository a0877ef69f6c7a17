"""The user's settings: `schema` has their names, defaults and limits, `load` reads them.

Input: the configuration file, the environment and flags.
Output: `Settings`.
May import: the other base modules.
"""

from overheard.settings.load import default_config_path, fields, flatten, load, read_toml
from overheard.settings.schema import (
    AUTO,
    MODELS_DIR,
    GateSettings,
    IndexSettings,
    ListenSettings,
    Settings,
    TrackSettings,
    WebSettings,
)

__all__ = [
    "AUTO",
    "MODELS_DIR",
    "GateSettings",
    "IndexSettings",
    "ListenSettings",
    "Settings",
    "TrackSettings",
    "WebSettings",
    "default_config_path",
    "fields",
    "flatten",
    "load",
    "read_toml",
]
