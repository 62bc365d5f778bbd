"""Settings that trained weights bring along: of their net, and of the images it expects."""

import dataclasses
import json
from collections.abc import Collection
from copy import deepcopy
from typing import Any

from mobilenets.config.checks import to_dict
from mobilenets.config.compose import flat
from mobilenets.config.groups import SmallImagesConfig
from mobilenets.config.schema import TrainConfig

SCALE, SIZE = ("mean", "std", "interpolation"), ("image_size", "crop_pct")


def settings_from_weights(config: TrainConfig, asked: Collection[str]) -> dict[str, Any]:
    """What `model.weights` says of settings that nobody asked for: dotted key -> value.

    These are the options of the net which its weights fix, and how images are scaled and
    normalised. Images in memory keep their size. Strides go with the size: where the net sees
    images of the size it was trained on, it has the strides it was trained with.

    Raises:
        ValueError: from reading the weights.
    """
    # Imported here: only runs that start from weights load torch this early.
    from mobilenets.weights import FREE_OPTIONS, adapt_preprocessing, load_weights

    model, data = config.model, config.data
    assert model.weights is not None
    weights = load_weights(model.weights, model.num_classes)
    expected = adapt_preprocessing(weights.preprocessing, model.in_channels or data.in_channels)
    keys = SCALE if isinstance(data, SmallImagesConfig) else SCALE + SIZE
    said = {f"data.{key}": expected[key] for key in keys if key in expected}
    if weights.model == model.name:
        own = {field.name for field in dataclasses.fields(model)}
        said |= {
            f"model.{key}": value
            for key, value in weights.options.items()
            if key in own and key not in FREE_OPTIONS
        }
        asked_size = "data.image_size" in asked or "data.image_size" not in said
        size = data.image_size if asked_size else said["data.image_size"]
        if size == expected.get("image_size") and "strides" in weights.options:
            said["model.strides"] = weights.options["strides"]
    values = flat(to_dict(config))
    return {key: value for key, value in said.items() if key not in asked and values[key] != value}


def as_overrides(values: dict[str, Any]) -> list[str]:
    """The words of a command line that set these values."""
    return [f"{key}={json.dumps(value)}" for key, value in values.items()]


def deep_update(values: dict[str, Any], said: dict[str, Any]) -> dict[str, Any]:
    """Nested values with others, under dotted keys, laid over them."""
    result = deepcopy(values)
    for key, value in said.items():
        section, _, name = key.partition(".")
        result[section][name] = value
    return result
