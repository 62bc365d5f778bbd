"""What --help prints: every setting with its value and meaning, every choice, examples."""

import dataclasses
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from mobilenets.choices import join_words
from mobilenets.config.checks import chosen, settings
from mobilenets.config.compose import Command, compose, flat, plain
from mobilenets.config.groups import CHOICES
from mobilenets.config.schema import EvalConfig, ExportConfig, PredictConfig, TrainConfig
from mobilenets.config.values import alternatives, show

WIDTH, COLUMN = 100, 40
SIGNS = {"above": ">", "at_least": ">=", "below": "<", "at_most": "<="}
SHORT = {int: "integer", float: "number", str: "text", NoneType: "null"}
EXAMPLES = {
    TrainConfig: [
        "python train.py model=mobilenet_v1",
        "python train.py model=mobilenet_v2 model.width_mult=0.5 data=cifar10 data.root=/cifar10",
        "python train.py model=mobilenet_v2 data=folder data.root=/flowers model.weights=v2.pth",
        "python train.py experiment=cifar10_mobilenet_v2 seed=1",
        "python train.py --multirun model=mobilenet_v1,mobilenet_v2 model.width_mult=0.25,0.5",
        "python train.py resume=runs/digits/mobilenet_v1_1.0/2026-11-23_10-00-00",
    ],
    EvalConfig: [
        "python eval.py checkpoint=runs/digits/mobilenet_v1_1.0/2026-11-23_10-00-00",
        "python eval.py checkpoint=best.ckpt split=val data.root=/data/flowers output=val.json",
    ],
    ExportConfig: [
        "python scripts/export.py checkpoint=runs/digits/mobilenet_v1_1.0/... format=onnx",
        "python scripts/export.py checkpoint=best.ckpt format=onnx,executorch quantize=int8",
        "python scripts/export.py checkpoint=net.pth format=onnx preprocess=true images=photos",
    ],
    PredictConfig: [
        "python scripts/predict.py checkpoint=best.ckpt input=cat.jpg dog.jpg photos",
        "python scripts/predict.py checkpoint=best.ckpt input=photos format=csv output=answers.csv",
        "find . -name '*.png' | python scripts/predict.py checkpoint=best.ckpt input=-",
        "python scripts/predict.py checkpoint=best.ckpt input=photos overlay=answers cam=true",
    ],
}
FLAGS = {
    "--cfg job": "print the config and stop; --resolve fills in every ${...}",
    "--info defaults-tree": "print which files make up the config",
    "--hydra-help": "the other flags and settings of Hydra",
}
RUN_FLAGS = {
    "--multirun, -m": "a run for every combination of values that are given as a,b",
    "--config-dir DIR": "more choices: DIR/experiment/mine.yaml, DIR/data/mine.yaml, ...",
    "hydra.run.dir=DIR": "the folder of the run",
}


def help_text(cls: type, command: Command) -> str:
    """The help of the script that takes a `cls`, with the values that `command` gives."""
    omega = compose(cls, command, complete=False).omega
    values = plain(omega, resolve=True)
    folders = [Path(item.path) for item in omega.hydra.runtime.config_sources]
    lines = ["Give settings as setting=value and choices as group=choice.", "", "EXAMPLES"]
    lines += [f"  {line}" for line in EXAMPLES[cls]]
    for group in [*chosen(cls), "trainer", "experiment"] if cls is TrainConfig else []:
        lines += ["", f"{group}="]
        for folder in folders:
            lines += [row(name, text, column=26) for name, text in choices(folder / group)]
    lines += ["", "SETTINGS and their values here"]
    lines += described(cls, values)
    flags = FLAGS | RUN_FLAGS if cls is TrainConfig else FLAGS
    lines += ["", "FLAGS"] + [row(flag, text, column=26) for flag, text in flags.items()]
    return "\n".join(lines)


def choices(folder: Path) -> Iterator[tuple[str, str]]:
    """The name of each choice of a group, and the first comment of its file."""
    for path in sorted(folder.glob("*.yaml")):
        comments = [line for line in path.read_text("utf-8").splitlines() if line[:1] == "#"]
        texts = [line.lstrip("# ") for line in comments if not line.startswith("# @")]
        yield path.stem, texts[0] if texts else ""


def described(cls: type, values: dict[str, Any]) -> Iterator[str]:
    """The lines of all settings: of each section those of its choice, then those of others."""
    here, types = flat(values), get_type_hints(cls)
    for field in dataclasses.fields(cls):
        section, kind = field.name, types[field.name]
        if not dataclasses.is_dataclass(kind):
            yield row(brief(section, here[section]), meaning(kind, field))
            continue
        yield from ("", f"{section}: {field.metadata['meaning']}")
        explained = explanations(kind, values[section], section)
        for key, text in explained:
            yield row(brief(key, here[key]), text)
        yield from elsewhere(section, kind, explained)


def explanations(kind: Any, values: dict[str, Any], section: str) -> list[tuple[str, str]]:
    """The key and meaning of each setting of a section."""
    found = settings(kind, values, section)
    return [
        (key, meaning(of, field)) for key, of, field in found if not dataclasses.is_dataclass(of)
    ]


def elsewhere(section: str, kind: Any, explained: list[tuple[str, str]]) -> Iterator[str]:
    """The settings that a section has only with other choices, and with which."""
    owners: dict[tuple[str, str], list[str]] = {}
    for name, variant in CHOICES.get(kind, {}).items():
        for explanation in explanations(variant, {}, section):
            if explanation not in explained:
                owners.setdefault(explanation, []).append(name)
    for names in dict.fromkeys(map(tuple, owners.values())):
        yield f"  with {section}={join_words(list(names), 'or')}:"
        for (key, text), others in owners.items():
            if tuple(others) == names:
                yield row(f"  {key}", text)


def meaning(kind: Any, field: dataclasses.Field[Any]) -> str:
    """What a setting means, and what it may be where its value does not show it."""
    rules = field.metadata
    limits = [f"{sign}{rules[rule]}" for rule, sign in SIGNS.items() if rule in rules]
    kinds = list(dict.fromkeys(words(kind)))
    if kinds in (["text"], ["true", "false"]):
        return str(rules["meaning"])
    null = [kinds.pop()] if kinds[-1] == "null" else []
    admitted = f"{' | '.join(kinds)} {', '.join(limits)}".strip()
    return f"{rules['meaning']} ({' | '.join([admitted, *null])})"


def words(kind: Any) -> Iterator[str]:
    """What a type admits, in short."""
    for option in alternatives(kind):
        if get_origin(option) is list:
            yield f"[{' | '.join(words(get_args(option)[0]))}, ...]"
        elif get_origin(option) is Literal:
            yield from map(str, get_args(option))
        elif option is bool:
            yield from ("true", "false")
        else:
            yield SHORT[option]


def brief(key: str, value: Any) -> str:
    """The setting as the command line takes it, a long value shortened."""
    text = value if isinstance(value, str) else show(value)
    return f"{key}={textwrap.shorten(text, max(12, COLUMN - len(key) - 4), placeholder='...')}"


def row(left: str, right: str, column: int = COLUMN) -> str:
    """Two columns; the right one wraps."""
    rows = textwrap.wrap(right, WIDTH - column, break_on_hyphens=False)
    if len(left) > column - 4:
        rows.insert(0, "")
    margin = "\n" + " " * column
    return f"  {left:<{column - 2}}{margin.join(rows)}".rstrip()
