"""Write the --help text: every setting with its value and meaning, every choice, examples."""

import dataclasses
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from mobilenets.choices import join_words
from mobilenets.config.checks import flatten, iter_settings, list_groups
from mobilenets.config.compose import CONFIGS, Source, compose_jobs, to_plain
from mobilenets.config.groups import CHOICES
from mobilenets.config.schema import TrainConfig
from mobilenets.config.values import format_value, list_union_members
from mobilenets.config.words import Word

WIDTH, COLUMN = 100, 40
SIGNS = {"above": ">", "at_least": ">=", "below": "<", "at_most": "<="}
SHORT_TYPE_NAMES = {int: "integer", float: "number", str: "string", NoneType: "null"}
EXAMPLES = {
    "train": [
        "python train.py model=mobilenet_v1",
        "python train.py model=mobilenet_v2 model.width_mult=0.5 data=cifar10 data.root=/cifar10",
        "python train.py model=mobilenet_v2 data=folder data.root=/flowers model.weights=v2.pth",
        "python train.py experiment=cifar10_mobilenet_v2 seed=1",
        "python train.py --multirun model=mobilenet_v1,mobilenet_v2 model.width_mult=0.25,0.5",
        "python train.py resume=runs/digits/mobilenet_v1_1.0/2026-11-23_10-00-00",
    ],
    "eval": [
        "python eval.py checkpoint=runs/digits/mobilenet_v1_1.0/2026-11-23_10-00-00",
        "python eval.py checkpoint=best.ckpt split=val data.root=/data/flowers output=val.json",
    ],
    "export": [
        "python scripts/export.py checkpoint=runs/digits/mobilenet_v1_1.0/... format=onnx",
        "python scripts/export.py checkpoint=best.ckpt format=onnx,executorch quantize=int8",
        "python scripts/export.py checkpoint=net.pth format=onnx preprocess=true images=photos",
    ],
    "predict": [
        "python scripts/predict.py checkpoint=best.ckpt input=cat.jpg dog.jpg photos",
        "python scripts/predict.py checkpoint=best.ckpt input=photos format=csv output=answers.csv",
        "find . -name '*.png' | python scripts/predict.py checkpoint=best.ckpt input=-",
        "python scripts/predict.py checkpoint=best.ckpt input=photos overlay=answers cam=true",
    ],
}
EXAMPLES["check_data"] = [
    "python scripts/check_data.py data=folder data.root=/data/flowers",
]
FLAGS = {
    "--cfg job": "print the config and stop; add --resolve to fill in every ${...}",
}
RUN_FLAGS = {
    "--multirun, -m": "start a run for every combination of values given as a,b",
    "--config-dir DIR": "add your own choices: DIR/experiment/mine.yaml, DIR/data/mine.yaml, ...",
    "hydra.run.dir=DIR": "the run folder",
}


def format_help(name: str, cls: type, source: Source, words: Iterable[str | Word]) -> str:
    """Return the help of the command that takes a `cls`, with the values that the words set."""
    omega = compose_jobs(cls, source, words, complete=False)[0].omega
    values = to_plain(omega, resolve=True)
    lines = ["Write settings as setting=value and choices as group=choice.", "", "EXAMPLES"]
    lines += [f"  {line}" for line in EXAMPLES[name]]
    for group in [*list_groups(cls), "trainer", "experiment"] if cls is TrainConfig else []:
        lines += ["", f"{group}="]
        for folder in (CONFIGS, *source.folders):
            choices = list_choices(folder / group)
            lines += [format_row(name, title, column=26) for name, title in choices]
    lines += ["", "SETTINGS with their values"]
    lines += format_settings(cls, values)
    flags = FLAGS | RUN_FLAGS if name == "train" else FLAGS
    lines += ["", "FLAGS"] + [format_row(flag, text, column=26) for flag, text in flags.items()]
    return "\n".join(lines)


def list_choices(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the name of each choice of a group, and the first comment of its file."""
    for path in sorted(folder.glob("*.yaml")):
        comments = [line for line in path.read_text("utf-8").splitlines() if line[:1] == "#"]
        texts = [line.lstrip("# ") for line in comments if not line.startswith("# @")]
        yield path.stem, texts[0] if texts else ""


def format_settings(cls: type, values: dict[str, Any]) -> Iterator[str]:
    """Yield a row for every setting; after a group's settings, those of its other choices."""
    flat, types = flatten(values), get_type_hints(cls)
    for field in dataclasses.fields(cls):
        name, kind = field.name, types[field.name]
        if not dataclasses.is_dataclass(kind):
            yield format_row(format_setting(name, flat[name]), describe_setting(kind, field))
            continue
        yield from ("", f"{name}: {field.metadata['meaning']}")
        settings = describe_settings(kind, values[name], name)
        for key, text in settings:
            yield format_row(format_setting(key, flat[key]), text)
        yield from format_other_choices(name, kind, settings)


def describe_settings(kind: Any, values: dict[str, Any], section: str) -> list[tuple[str, str]]:
    """Return the key and the description of each setting of a section."""
    return [
        (key, describe_setting(type_, field))
        for key, type_, field in iter_settings(kind, values, section)
        if not dataclasses.is_dataclass(type_)
    ]


def format_other_choices(group: str, kind: Any, settings: list[tuple[str, str]]) -> Iterator[str]:
    """Yield rows for what `settings` lacks: what a group has with its other choices only."""
    owners: dict[tuple[str, str], list[str]] = {}
    for name, variant in CHOICES.get(kind, {}).items():
        for setting in describe_settings(variant, {}, group):
            if setting not in settings:
                owners.setdefault(setting, []).append(name)
    for names in dict.fromkeys(map(tuple, owners.values())):
        yield f"  with {group}={join_words(list(names), 'or')}:"
        for (key, text), others in owners.items():
            if tuple(others) == names:
                yield format_row(f"  {key}", text)


def describe_setting(kind: Any, field: dataclasses.Field[Any]) -> str:
    """Return a setting's meaning, and its type and range unless its value shows them."""
    limits = field.metadata
    bounds = [f"{sign}{limits[name]}" for name, sign in SIGNS.items() if name in limits]
    types = list(dict.fromkeys(list_type_names(kind)))
    if types in (["string"], ["true", "false"]):
        return str(limits["meaning"])
    null = [types.pop()] if types[-1] == "null" else []
    admitted = f"{' | '.join(types)} {', '.join(bounds)}".strip()
    return f"{limits['meaning']} ({' | '.join([admitted, *null])})"


def list_type_names(kind: Any) -> Iterator[str]:
    """Yield short names of the types and values that a type admits."""
    for option in list_union_members(kind):
        if get_origin(option) is list:
            yield f"[{' | '.join(list_type_names(get_args(option)[0]))}, ...]"
        elif get_origin(option) is Literal:
            yield from map(str, get_args(option))
        elif option is bool:
            yield from ("true", "false")
        else:
            yield SHORT_TYPE_NAMES[option]


def format_setting(key: str, value: Any) -> str:
    """Return "key=value" as on the command line; a long value is shortened."""
    text = value if isinstance(value, str) else format_value(value)
    return f"{key}={textwrap.shorten(text, max(12, COLUMN - len(key) - 4), placeholder='...')}"


def format_row(left: str, right: str, column: int = COLUMN) -> str:
    """Return a row of two columns, of which the right one wraps."""
    rows = textwrap.wrap(right, WIDTH - column, break_on_hyphens=False)
    if len(left) > column - 4:
        rows.insert(0, "")
    margin = "\n" + " " * column
    return f"  {left:<{column - 2}}{margin.join(rows)}".rstrip()
