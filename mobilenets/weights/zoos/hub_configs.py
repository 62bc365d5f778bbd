"""The config files beside weights on the Hub, as transformers and timm write them."""

import json
from pathlib import Path
from typing import Any

from mobilenets.choices import check_choice
from mobilenets.ranges import check_ints, check_number
from mobilenets.weights.files.limits import MAX_JSON_BYTES

TIMM_NETS = ("mobilenetv1_", "mobilenetv2_")
TRANSFORMERS_NETS = ("mobilenet_v1", "mobilenet_v2")
INTERPOLATIONS = ("nearest", "bilinear", "bicubic")
PIL_RESAMPLING = {0: "nearest", 2: "bilinear", 3: "bicubic"}


def read_hub_configs(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the config files in a folder: return the (options, preprocessing) that they state.

    Both are empty if there are no config files, or only those of other libraries.

    Raises:
        ValueError: a config file is of another net, or damaged.
    """
    path = folder / "config.json"
    config = read_config(path)
    if "architecture" in config:
        if not str(config["architecture"]).startswith(TIMM_NETS):
            raise _wrong_net_error(path, config["architecture"])
        return {}, parse_timm_preprocessing(path, config.get("pretrained_cfg", config))
    if "model_type" in config:
        if config["model_type"] not in TRANSFORMERS_NETS:
            raise _wrong_net_error(path, config["model_type"])
        return _parse_transformers_options(config), _parse_transformers_preprocessing(folder)
    return {}, {}


def read_config(path: Path) -> dict[str, Any]:
    """Read the dict in a JSON file, empty if there is no file."""
    if not path.is_file():
        return {}
    if path.stat().st_size > MAX_JSON_BYTES:
        raise ValueError(f"{path} is larger than {MAX_JSON_BYTES:,} bytes, so it was not read")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON, or it is damaged ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, not a dict of settings")
    return content


def parse_timm_preprocessing(source: Path | str, cfg: Any) -> dict[str, Any]:
    """Parse the preprocessing in timm's pretrained_cfg, at the image size of training."""
    if not isinstance(cfg, dict):
        raise ValueError(f"{source}: pretrained_cfg={cfg!r} must be a dict of settings")
    size = cfg.get("input_size")  # (channels, height, width)
    stated = {key: cfg.get(key) for key in ("mean", "std", "crop_pct", "interpolation")}
    if isinstance(size, list | tuple) and size:
        size = size[-1]
    return _check_preprocessing(source, {"image_size": size, **stated})


def _parse_transformers_options(config: dict[str, Any]) -> dict[str, Any]:
    """Parse the options in transformers' config.json; the defaults here are its own."""
    options = {
        "bn_eps": config.get("layer_norm_eps", 1e-3),
        "padding": "same" if config.get("tf_padding", True) else "symmetric",
        "activation": config.get("hidden_act", "relu6"),
    }
    if "output_stride" in config:
        options["output_stride"] = config["output_stride"]
    return options


def _parse_transformers_preprocessing(folder: Path) -> dict[str, Any]:
    """Parse the preprocessing in transformers' preprocessor_config.json."""
    path = folder / "preprocessor_config.json"
    config = read_config(path)
    resize = _parse_edge(config.get("size"))
    crop = _parse_edge(config.get("crop_size")) if config.get("do_center_crop", True) else None
    stated: dict[str, Any] = {"image_size": crop or resize}
    if crop and resize:
        stated["crop_pct"] = _compute_crop_pct(path, crop, resize)
    if config.get("do_normalize", True):
        stated |= {"mean": config.get("image_mean"), "std": config.get("image_std")}
    if (number := config.get("resample")) is not None:
        if number not in list(PIL_RESAMPLING):
            raise ValueError(f"{path}: resample={number!r} must be 0, 2 or 3")
        stated["interpolation"] = PIL_RESAMPLING[number]
    return _check_preprocessing(path, stated)


def _parse_edge(size: Any) -> Any:
    """Return the number in {"shortest_edge": 256}, {"height": 224, "width": 224} or 224."""
    return size.get("shortest_edge", size.get("height")) if isinstance(size, dict) else size


def _compute_crop_pct(path: Path, crop: Any, resize: Any) -> float:
    try:
        check_ints(1, crop_size=crop, size=resize)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return crop / resize


def _check_preprocessing(source: Path | str, stated: dict[str, Any]) -> dict[str, Any]:
    """Return the values that are not None, after a check of each."""
    stated = {key: value for key, value in stated.items() if value is not None}
    try:
        for key, value in stated.items():
            match key:
                case "image_size":
                    check_ints(1, image_size=value)
                case "crop_pct":
                    check_number(key, value, above=0)
                case "interpolation":
                    check_choice(key, value, INTERPOLATIONS)
                case _:
                    stated[key] = _check_channels(key, value)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    return stated


def _check_channels(key: str, values: Any) -> list[float]:
    if not isinstance(values, list | tuple) or not values:
        raise ValueError(f"{key}={values!r} must be a list of one number per channel")
    limits = {"above": 0} if key == "std" else {}
    for value in values:
        check_number(key, value, **limits)
    return list(values)


def _wrong_net_error(path: Path, found: object) -> ValueError:
    return ValueError(f"{path} is of {found!r}, which is not a MobileNetV1 or MobileNetV2")
