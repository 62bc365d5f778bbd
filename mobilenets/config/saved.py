"""Read the config that another version of this package left in a run folder or a checkpoint."""

from collections.abc import Mapping
from typing import Any, get_type_hints

from omegaconf import DictConfig, OmegaConf

from mobilenets.config.checks import ConfigError, flatten, from_dict, list_groups
from mobilenets.config.compose import CONFIGS, to_plain
from mobilenets.config.groups import CHOICES
from mobilenets.config.schema import TrainConfig
from mobilenets.config.yaml_files import NO_HYDRA


def restore_config(values: Mapping[str, Any], source: object = "the run") -> TrainConfig:
    """Return the config that a checkpoint carries, completed by `fill_missing`.

    Args:
        values: plain nested values.
        source: names the checkpoint in an error.

    Raises:
        ConfigError: the config has unknown settings or invalid values.
    """
    check_saved(values, source)
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


def check_saved(values: Mapping[str, Any], source: object) -> None:
    """Raise ConfigError for what no run writes into its config: settings of Hydra, and ${...}.

    The config of a run holds plain values. Anything else in it came from somebody else.
    """
    if "hydra" in values:
        raise ConfigError([f"{source} {NO_HYDRA}"])
    for key, value in flatten(values).items():
        if not isinstance(value, Mapping) and "${" in str(value):
            raise ConfigError(
                [f"{source}: {key}: {value!r} asks for another value: write the value itself"]
            )


def fill_missing(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Return a saved config of train.py with the settings that were added since.

    Their values are those in configs/, for the choice that the run made in each group. A group
    without a choice stays incomplete.

    Args:
        saved: plain nested values.
    """
    today = OmegaConf.load(CONFIGS / "train.yaml")
    assert isinstance(today, DictConfig)
    del today["defaults"]
    choices, kinds = {"trainer": "default"}, get_type_hints(TrainConfig)
    for group in list_groups(TrainConfig):
        name = str(flatten(saved).get(f"{group}.name"))
        if name in CHOICES[kinds[group]]:
            choices[group] = name
    for group, name in choices.items():
        today[group] = OmegaConf.load(CONFIGS / group / f"{name}.yaml")
    values = OmegaConf.create(_overlay(to_plain(today), saved))
    return to_plain(values, resolve=True)


def _overlay(values: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested values with others laid over them."""
    result = {**values, **others}
    for name, value in values.items():
        if isinstance(value, Mapping) and isinstance(others.get(name), Mapping):
            result[name] = _overlay(value, others[name])
    return result
