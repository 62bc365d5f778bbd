"""The configuration: settings, their checks, and the way from a command line to `main`.

`groups` and `schema` declare every setting; the values stand in configs/. Importing this loads
neither torch nor Lightning.
"""

from mobilenets.config.checks import ConfigError, to_dict
from mobilenets.config.saved import restore_config
from mobilenets.config.schema import EvalConfig, ExportConfig, PredictConfig, TrainConfig

__all__ = [
    "ConfigError",
    "EvalConfig",
    "ExportConfig",
    "PredictConfig",
    "TrainConfig",
    "restore_config",
    "to_dict",
]
