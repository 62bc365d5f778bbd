"""The config that a run left in its folder and its checkpoints, as a later version reads it."""

from collections.abc import Mapping
from typing import Any, get_type_hints

from omegaconf import DictConfig, OmegaConf

from mobilenets.config.checks import ConfigError, checked, chosen
from mobilenets.config.compose import CONFIGS, flat
from mobilenets.config.groups import CHOICES
from mobilenets.config.schema import TrainConfig


def train_config(values: Mapping[str, Any], source: object = "the run") -> TrainConfig:
    """The config that a checkpoint carries; what it lacks has today's values, see `completed`.

    Args:
        values: plain nested values.
        source: what an error calls it.

    Raises:
        ConfigError: it has settings of another version, or wrong ones.
    """
    try:
        return checked(TrainConfig, fill_missing(values))
    except ConfigError as error:
        first, *others = error.problems
        more = f", and {len(others)} more" * bool(others)
        raise ConfigError(
            [
                f"{source} has a damaged config, or one of another version ({first}{more}): use "
                "that version of mobilenets; mobilenets.load_model reads the net alone"
            ]
        ) from None


def fill_missing(saved: Mapping[str, Any]) -> dict[str, Any]:
    """A config of train.py, plain nested values, with the settings that came after it was saved.

    Their values are those of configs/, in each group of the choice that was made. A choice that
    stands nowhere in the config is not made here.
    """
    today = OmegaConf.load(CONFIGS / "train.yaml")
    assert isinstance(today, DictConfig)
    del today["defaults"], today["hydra"]
    choices, kinds = {"trainer": "default"}, get_type_hints(TrainConfig)
    for section in chosen(TrainConfig):
        name = str(flat(saved).get(f"{section}.name"))
        if name in CHOICES[kinds[section]]:
            choices[section] = name
    for section, name in choices.items():
        today[section] = OmegaConf.load(CONFIGS / section / f"{name}.yaml")
    values = OmegaConf.to_container(OmegaConf.merge(today, saved), resolve=True)
    assert isinstance(values, dict)
    return values  # type: ignore[return-value]
