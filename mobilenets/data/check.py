"""The check of a data set: every image file is read, and every problem reported."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from torch.utils.data import DataLoader, Dataset

from mobilenets.console import label_lines, progress
from mobilenets.data.datamodule import IN_FILES, ImageDataModule
from mobilenets.data.decode import EncodedImage, ImageFileError
from mobilenets.data.folder import Tree, list_images

MAX_LISTED = 100  # classes and copies


class FileReport(NamedTuple):
    """The problem of an image file, or its properties."""

    problem: str = ""
    kind: str = ""  # "JPEG RGB"
    height: int = 0
    width: int = 0
    digest: bytes = b""  # of the file, not of the pixels


class FileReports(Dataset[FileReport]):
    """Reports on all image files of some trees, each read and decoded in full."""

    def __init__(self, trees: Sequence[Tree], in_channels: int):
        self.files = [
            (tree, path) for tree in trees for paths in tree.paths.values() for path in paths
        ]
        self.in_channels = in_channels

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> FileReport:
        tree, path = self.files[index]
        try:
            data = tree.read(path)
            image = EncodedImage(data, f"{tree.root}/{path}", self.in_channels)
            image.decode()
        except ImageFileError as error:
            return FileReport(str(error))
        digest = blake2b(data, digest_size=16).digest()
        return FileReport("", image.kind, image.height, image.width, digest)


@dataclass
class Summary:
    """The image files of a tree, summed up."""

    problems: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    sizes: list[tuple[int, int]] = field(default_factory=list)  # (width, height)


def check_data_set(
    name: str, seed: int, options: Mapping[str, Any]
) -> tuple[ImageDataModule, list[str]]:
    """Read all images, print a summary, and return the data module and the problems.

    Args:
        name: the data set.
        seed: the seed of the run.
        options: what `ImageDataModule` takes besides.
    """
    problems: list[str] = []
    if name in IN_FILES:
        problems += check_files(name, options)
    data = ImageDataModule(seed=seed, **options)
    try:  # what a run does before its first step
        data.setup()
        data.train_dataloader()
        sizes = ", ".join(f"{size:,} {split}" for split, size in data.sizes.items())
        print(label_lines("splits", f"{sizes} images of {data.num_classes} classes"))
    except ValueError as error:
        if not problems:  # otherwise this may be one of them
            problems.append(str(error))
    return data, problems


def check_files(name: str, options: Mapping[str, Any]) -> list[str]:
    """Read all files of a set, print a summary, and return the problems."""
    problems: list[str] = []

    def list_tree(root: Path) -> Tree:
        tree, found = list_images(root)
        problems.extend(found)
        return tree

    trees, notes = IN_FILES[name](root=options["root"], list_tree=list_tree)
    for note in notes:
        print(label_lines("note", note))
    summaries, copies = read_files(list(trees.values()), options)
    for tree, summary in zip(trees.values(), summaries, strict=True):
        print_summary(tree, summary)
        problems += summary.problems
    for copy in copies[:MAX_LISTED]:
        print(label_lines("copy", copy))
    if len(copies) > MAX_LISTED:
        print(label_lines("copy", f"... and {len(copies) - MAX_LISTED:,} more"))
    return problems


def read_files(
    trees: Sequence[Tree], options: Mapping[str, Any]
) -> tuple[list[Summary], list[str]]:
    """Read all files in parallel; return a summary for each tree, and a sentence for each copy."""
    reports = FileReports(trees, options["in_channels"])
    num_workers = ImageDataModule(seed=0, **options).num_workers
    loader = DataLoader(reports, batch_size=None, num_workers=num_workers, collate_fn=tuple)
    results = iter(loader)  # starts the workers before the progress bar starts a thread
    summaries = {tree.root: Summary() for tree in trees}
    originals: dict[bytes, str] = {}  # digest -> the first file that has it
    copies = []
    with progress(len(reports)) as advance:
        for (tree, path), result in zip(reports.files, results, strict=True):
            report, summary, name = FileReport(*result), summaries[tree.root], f"{tree.root}/{path}"
            if report.problem:
                summary.problems.append(report.problem)
            else:
                summary.kinds[report.kind] += 1
                summary.sizes.append((report.width, report.height))
                if (original := originals.setdefault(report.digest, name)) != name:
                    copies.append(f"{name} is a copy of {original}")
            advance()
    return list(summaries.values()), copies


def print_summary(tree: Tree, summary: Summary) -> None:
    """Print the classes, sizes and formats of a tree's images."""
    counts = {name: len(paths) for name, paths in tree.paths.items()}
    images = f"{sum(counts.values()):,} images of {len(counts):,} classes"
    print(label_lines("folder", f"{tree.root}: {images}, {len(summary.problems):,} bad"))
    for name, count in list(counts.items())[:MAX_LISTED]:
        print(label_lines("class", f"{count:>7,} {name}"))
    if len(counts) > MAX_LISTED:
        rest = f"... and {len(counts) - MAX_LISTED:,} more of {min(counts.values()):,} or more"
        print(label_lines("class", rest))
    if summary.sizes:
        by_area = sorted(summary.sizes, key=lambda size: size[0] * size[1])
        smallest, largest = ("x".join(map(str, by_area[end])) for end in (0, -1))
        middle = "x".join(f"{median(sides):.0f}" for sides in zip(*summary.sizes, strict=True))
        print(label_lines("sizes", f"{smallest} to {largest}, median {middle} (width x height)"))
        kinds = (f"{count:,} {kind}" for kind, count in summary.kinds.most_common())
        print(label_lines("kinds", ", ".join(kinds)))
