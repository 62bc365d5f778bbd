"""The settings that trained weights determine: their net's options and the images it expects."""

import dataclasses
from collections.abc import Collection
from copy import deepcopy
from typing import Any

from mobilenets.config.checks import flatten, to_dict
from mobilenets.config.groups import SmallImagesConfig
from mobilenets.config.schema import TrainConfig

SCALE, SIZE = ("mean", "std", "interpolation"), ("image_size", "crop_pct")


def settings_from_weights(config: TrainConfig, explicit: Collection[str]) -> dict[str, Any]:
    """Return the settings that follow from `model.weights`, as dotted key -> value.

    These are the net's options that its weights fix, and how images are resized and normalised.
    Images in memory keep their size. If the net sees images of the size that it was trained on, it
    also keeps the strides that it was trained with.

    Args:
        explicit: keys that the user set; they keep their values.

    Raises:
        ValueError: the weights can't be read.
    """
    # Imported here: only runs that start from weights load torch this early.
    from mobilenets.weights import FREE_OPTIONS, adapt_preprocessing, load_weights

    model, data = config.model, config.data
    assert model.weights is not None
    weights = load_weights(model.weights, model.num_classes)
    expected = adapt_preprocessing(weights.preprocessing, model.in_channels or data.in_channels)
    keys = SCALE if isinstance(data, SmallImagesConfig) else SCALE + SIZE
    settings = {f"data.{key}": expected[key] for key in keys if key in expected}
    if weights.model == model.name:
        fields = {field.name for field in dataclasses.fields(model)}
        settings |= {
            f"model.{key}": value
            for key, value in weights.options.items()
            if key in fields and key not in FREE_OPTIONS
        }
        keeps_size = "data.image_size" in explicit or "data.image_size" not in settings
        size = data.image_size if keeps_size else settings["data.image_size"]
        if size == expected.get("image_size") and "strides" in weights.options:
            settings["model.strides"] = weights.options["strides"]
    present = flatten(to_dict(config))
    return {
        key: value
        for key, value in settings.items()
        if key not in explicit and present[key] != value
    }


def deep_update(values: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of nested values in which settings, given under dotted keys, are replaced."""
    result = deepcopy(values)
    for key, value in settings.items():
        section, _, name = key.partition(".")
        result[section][name] = value
    return result
