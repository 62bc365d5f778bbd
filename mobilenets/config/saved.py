"""Read the config that another version of this package left in a run folder or a checkpoint."""

from collections.abc import Mapping
from typing import Any, get_type_hints

from omegaconf import DictConfig, OmegaConf

from mobilenets.config.checks import ConfigError, flatten, from_dict, list_groups
from mobilenets.config.compose import CONFIGS
from mobilenets.config.groups import CHOICES
from mobilenets.config.schema import TrainConfig


def restore_config(values: Mapping[str, Any], source: object = "the run") -> TrainConfig:
    """Return the config that a checkpoint carries, completed by `fill_missing`.

    Args:
        values: plain nested values.
        source: names the checkpoint in an error.

    Raises:
        ConfigError: the config has unknown settings or invalid values.
    """
    try:
        return from_dict(TrainConfig, fill_missing(values))
    except ConfigError as error:
        first, *others = error.problems
        more = f", and {len(others)} more" * bool(others)
        raise ConfigError(
            [
                f"{source} has a damaged config or that of another version ({first}{more}): use "
                "that version of mobilenets, or read the net alone with mobilenets.load_model"
            ]
        ) from None


def fill_missing(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Return a saved config of train.py with the settings that were added since.

    Their values are those in configs/, for the choice that the run made in each group. A group
    without a choice stays incomplete.

    Args:
        saved: plain nested values.
    """
    today = OmegaConf.load(CONFIGS / "train.yaml")
    assert isinstance(today, DictConfig)
    del today["defaults"], today["hydra"]
    choices, kinds = {"trainer": "default"}, get_type_hints(TrainConfig)
    for group in list_groups(TrainConfig):
        name = str(flatten(saved).get(f"{group}.name"))
        if name in CHOICES[kinds[group]]:
            choices[group] = name
    for group, name in choices.items():
        today[group] = OmegaConf.load(CONFIGS / group / f"{name}.yaml")
    values = OmegaConf.to_container(OmegaConf.merge(today, saved), resolve=True)
    assert isinstance(values, dict)
    return values  # type: ignore[return-value]
