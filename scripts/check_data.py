"""Reads every image of a data set, and reports all that is wrong with it.

    python scripts/check_data.py data=folder data.root=/data/flowers

The settings are those of train.py. It says which images there are, what is wrong with those that
are bad, which files are there twice, and whether the set can be trained on as it is. The exit code
is 1 if there is anything to mend, 2 if the settings are wrong.
"""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from statistics import median
from typing import Any, NamedTuple

from torch.utils.data import DataLoader, Dataset

from mobilenets.config import ConfigError, TrainConfig
from mobilenets.config.compose import CONFIGS, Command, Source, compose
from mobilenets.console import progress
from mobilenets.data import ImageDataModule
from mobilenets.data.datamodule import IN_FILES
from mobilenets.data.decode import EncodedImage, ImageFileError
from mobilenets.data.folder import Tree, list_images

MOST = 100  # classes and copies that are listed


class Finding(NamedTuple):
    """What a file is: what is wrong with it, or what it holds."""

    problem: str = ""
    kind: str = ""  # "JPEG RGB"
    height: int = 0
    width: int = 0
    digest: bytes = b""  # of the file, not of the pixels


class Files(Dataset[Finding]):
    """The files of trees, each of them read and decoded in full."""

    def __init__(self, trees: Sequence[Tree], in_channels: int):
        self.places = [(tree, path) for tree in trees for path in files_of(tree)]
        self.in_channels = in_channels

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Finding:
        tree, path = self.places[index]
        try:
            data = tree.read(path)
            image = EncodedImage(data, f"{tree.root}/{path}", self.in_channels)
            image.decode()
        except ImageFileError as error:
            return Finding(str(error))
        digest = blake2b(data, digest_size=16).digest()
        return Finding("", image.kind, image.height, image.width, digest)


@dataclass
class Summary:
    """What was found in the files of a tree."""

    bad: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    sizes: list[tuple[int, int]] = field(default_factory=list)  # (width, height)


def files_of(tree: Tree) -> list[str]:
    """The paths of all its images."""
    return [path for paths in tree.paths.values() for path in paths]


def check(config: TrainConfig) -> list[str]:
    """Read all images; print what there is, and return what is wrong, a sentence each."""
    options = config.data.options()
    problems: list[str] = []
    if config.data.name in IN_FILES:
        problems += check_files(config.data.name, options)
    try:  # all that a run would meet before its first step
        data = ImageDataModule(seed=config.seed, **options)
        data.setup()
        config.model.options(data.num_classes, data.in_channels)
        data.train_dataloader()
        sizes = ", ".join(f"{size:,} {split}" for split, size in data.sizes.items())
        say("splits", f"{sizes} images of {data.num_classes} classes")
    except ValueError as error:
        if not problems:  # or else it may be one of them again
            problems.append(str(error))
    return problems


def check_files(name: str, options: Mapping[str, Any]) -> list[str]:
    """The same, of the files of a set that has any."""
    problems: list[str] = []

    def list_tree(root: Any) -> Tree:
        tree, found = list_images(root)
        problems.extend(found)
        return tree

    trees, notes = IN_FILES[name](root=options["root"], list_tree=list_tree)
    for note in notes:
        say("note", note)
    summaries, copies = read(list(trees.values()), options)
    for tree, summary in zip(trees.values(), summaries, strict=True):
        report(tree, summary)
        problems += summary.bad
    for copy in copies[:MOST]:
        say("twice", copy)
    if len(copies) > MOST:
        say("twice", f"... and {len(copies) - MOST:,} more")
    return problems


def read(trees: Sequence[Tree], options: Mapping[str, Any]) -> tuple[list[Summary], list[str]]:
    """Read all files, in parallel: a summary for each tree, and which files are copies."""
    files = Files(trees, options["in_channels"])
    workers = ImageDataModule(seed=0, **options).num_workers
    loader = DataLoader(files, batch_size=None, num_workers=workers, collate_fn=tuple)
    results = iter(loader)  # processes start here, before the progress bar starts a thread
    summaries = {tree.root: Summary() for tree in trees}
    first: dict[bytes, str] = {}  # digest -> the file that had it first
    copies = []
    with progress(len(files)) as advance:
        for (tree, path), result in zip(files.places, results, strict=True):
            found, summary, name = Finding(*result), summaries[tree.root], f"{tree.root}/{path}"
            if found.problem:
                summary.bad.append(found.problem)
            else:
                summary.kinds[found.kind] += 1
                summary.sizes.append((found.width, found.height))
                if (other := first.setdefault(found.digest, name)) != name:
                    copies.append(f"{name} is a copy of {other}")
            advance()
    return list(summaries.values()), copies


def report(tree: Tree, summary: Summary) -> None:
    """Print what a tree holds."""
    counts = {name: len(paths) for name, paths in tree.paths.items()}
    say(
        "folder",
        f"{tree.root}: {sum(counts.values()):,} images of {len(counts):,} classes, "
        f"{len(summary.bad):,} bad",
    )
    for name, count in list(counts.items())[:MOST]:
        say("class", f"{count:>7,} {name}")
    if len(counts) > MOST:
        say("class", f"... and {len(counts) - MOST:,} more of {min(counts.values()):,} or more")
    if summary.sizes:
        by_area = sorted(summary.sizes, key=lambda size: size[0] * size[1])
        smallest, largest = ("x".join(map(str, by_area[end])) for end in (0, -1))
        middle = "x".join(f"{median(sides):.0f}" for sides in zip(*summary.sizes, strict=True))
        say("sizes", f"{smallest} to {largest}, median {middle} (width x height)")
        say("kinds", ", ".join(f"{count:,} {kind}" for kind, count in summary.kinds.most_common()))


def say(what: str, text: str) -> None:
    """Print a line, with names that aren't UTF-8 escaped."""
    print(f"{what:<8}{text.encode('utf-8', 'backslashreplace').decode()}")


def main(argv: Sequence[str] | None = None) -> int:
    """Check the data that the command line names; returns the exit code."""
    overrides = sys.argv[1:] if argv is None else list(argv)
    if {"-h", "--help"} & set(overrides):
        print(__doc__)
        return 0
    try:
        config = compose(TrainConfig, Command(Source(CONFIGS, "train"), overrides)).config
    except ConfigError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        return 2
    try:
        problems = check(config)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    for problem in problems:
        say("bad", problem)
    say("result", f"things to mend: {len(problems):,}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
