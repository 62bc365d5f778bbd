"""ImageNet, or any tree with a folder for each class -> shards of small images.

    python scripts/prepare_imagenet.py /data/imagenet /data/imagenet_256
    python train.py model=mobilenet_v2 data=imagenet data.root=/data/imagenet_256

Large photographs are decoded and reduced anew in every epoch; this does it once. SOURCE is what
data=imagenet or data=folder reads. DEST then stands for it, with the same classes, splits, order
and augmentation: plain tar files and their index, shards.json. The short side of an image becomes
--short-side pixels (none is enlarged); images are turned upright and stay grey or RGB.

Every image is decoded and checked. Bad ones are listed at the end, and there is no index unless
they are left out with --skip-bad. When it was stopped or failed, the same command goes on after the
last whole shard, to the same bytes.

At quality 95 a photograph takes 36 kB (all of ImageNet 48 GB) and its pixels change by 2 of 255 on
average; at 90 it takes 26 kB, and they change by 2.5.
"""

import argparse
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mobilenets.console import OneLineParser, progress
from mobilenets.data.decode import ImageFileError, read_file
from mobilenets.data.folder import Tree, find_trees
from mobilenets.data.shards import (
    INDEX,
    Shard,
    read_index,
    shard_path,
    shrink,
    write_index,
    write_shard,
)

OURS = re.compile(r"(shard-\d{5,}\.(tar|json)|shards\.json)(\.part)?")
BYTES_PER_PIXEL = 0.43  # of photographs at quality 95
ASPECT_RATIO = 4 / 3


@dataclass
class Folder:
    """A folder of shards that is to be made, and what is there of it."""

    source: Path
    dest: Path
    parts: list[list[str]]  # the names of the images of each shard
    digests: list[str]  # what each shard is to be made of
    shards: dict[int, Shard]  # those that are whole

    @property
    def missing(self) -> list[int]:
        """The numbers of the shards that are still to be made."""
        return [number for number in range(len(self.parts)) if number not in self.shards]

    @property
    def left_out(self) -> list[str]:
        """What is wrong with each bad image."""
        shards = [self.shards[number] for number in sorted(self.shards)]
        return [problem for shard in shards for problem in shard.left_out.values()]


class ShrunkImages(Dataset[tuple[Tensor, str]]):
    """Image files made small: (JPEG, "") each, or (nothing, what is wrong with the file).

    The JPEG is a uint8 tensor, which travels in shared memory: bytes would fill the pipe, and keep
    workers waiting for ever when this process is killed.
    """

    def __init__(self, paths: Sequence[str], short_side: int, quality: int):
        self.paths = paths
        self.short_side = short_side
        self.quality = quality

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, str]:
        path = self.paths[index]
        try:
            data = read_file(path)
            small = shrink(data, path, short_side=self.short_side, quality=self.quality)
            return torch.frombuffer(bytearray(small), dtype=torch.uint8), ""
        except ImageFileError as error:
            return torch.empty(0, dtype=torch.uint8), str(error)


def plan(tree: Tree, dest: Path, options: dict[str, Any]) -> Folder:
    """Deal the images of a tree out to shards, and see which of these are there already."""
    if (tree.root / INDEX).exists():
        raise ValueError(f"{tree.root} holds shards: give the tree that they were made of")
    names = [name for paths in tree.paths.values() for name in paths]
    step = options["images_per_shard"]
    parts = [names[start : start + step] for start in range(0, len(names), step)]
    folder = Folder(tree.root, dest, parts, [digest(tree.root, part) for part in parts], {})
    dest.mkdir(parents=True, exist_ok=True)
    if strange := sorted(path.name for path in dest.iterdir() if not OURS.fullmatch(path.name)):
        raise ValueError(f"{dest} holds other things ({strange[0]}): choose an empty folder")
    found = find_shards(dest)
    for number, (found_options, shard) in found.items():
        if found_options != options:
            raise ValueError(
                f"{dest} holds shards made with {describe(found_options)}, not with "
                f"{describe(options)}: give the same options, or choose an empty folder"
            )
        if number < len(parts) and shard.source == folder.digests[number]:
            path = shard_path(dest, number)
            if path.exists() and path.stat().st_size == shard.bytes:
                folder.shards[number] = shard
    if (dest / INDEX).exists() and (folder.missing or len(found) > len(parts)):
        raise ValueError(
            f"{dest} is finished, but {tree.root} has changed since, or shards are damaged: delete "
            f"{dest} to make it anew"
        )
    return folder


def digest(root: Path, names: Sequence[str]) -> str:
    """Sum up which files these are: names, sizes and times of change."""
    summary = blake2b(digest_size=16)
    for name in names:
        status = os.stat(f"{root}/{name}")  # noqa: PTH116  (a Path takes longer than the call)
        summary.update(os.fsencode(f"{name}/{status.st_size}/{status.st_mtime_ns}\n"))
    return summary.hexdigest()


def find_shards(dest: Path) -> dict[int, tuple[dict[str, Any], Shard]]:
    """Read the index, or else what a stopped run left: {number: (options, shard)}."""
    if (dest / INDEX).exists():
        options, shards = read_index(dest / INDEX)
        return {number: (options, shard) for number, shard in enumerate(shards)}
    found = {}
    for path in dest.glob("shard-*.json"):
        options, [shard] = read_index(path)
        found[int(path.stem.removeprefix("shard-"))] = options, shard
    return found


def describe(options: dict[str, Any]) -> str:
    """Options in words: "short_side 256, quality 95, images_per_shard 13303"."""
    return ", ".join(f"{name} {value}" for name, value in options.items())


def make_shards(folders: Sequence[Folder], options: dict[str, Any], num_workers: int) -> None:
    """Make the shards that are missing, each whole before the next."""
    missing = [(folder, number) for folder in folders for number in folder.missing]
    if not missing:
        return
    paths = [str(folder.source / name) for folder, n in missing for name in folder.parts[n]]
    images = ShrunkImages(paths, options["short_side"], options["quality"])
    several = num_workers > 1
    loader = DataLoader(
        images,
        batch_size=None,
        num_workers=num_workers if several else 0,
        prefetch_factor=8 if several else None,
        collate_fn=tuple,
    )
    results = iter(loader)  # processes start here, before the progress bar starts a thread
    with progress(len(paths)) as advance:
        for folder, number in missing:
            left_out: dict[str, str] = {}
            good = sift(folder.parts[number], results, left_out, advance)
            path = shard_path(folder.dest, number)
            shard = write_shard(path, good)
            shard.source, shard.left_out = folder.digests[number], left_out
            write_index(path.with_suffix(".json"), options, [shard])
            folder.shards[number] = shard


def sift(
    names: Sequence[str],
    results: Iterator[tuple[Tensor, str]],
    left_out: dict[str, str],
    advance: Callable[[], None],
) -> Iterator[tuple[str, bytes]]:
    """Take the next results, one for each name: yield the good ones, note the bad ones."""
    for name in names:
        data, problem = next(results)
        if problem:
            left_out[name] = problem
        else:
            yield name, data.numpy().tobytes()
        advance()


def finish(folder: Folder, options: dict[str, Any]) -> None:
    """Write the index, and remove what it makes superfluous."""
    shards = [folder.shards[number] for number in range(len(folder.parts))]
    classes = [{name.partition("/")[0] for name in part} for part in folder.parts]
    kept = {name.partition("/")[0] for shard in shards for name in shard.names}
    if lost := sorted(set().union(*classes) - kept):
        raise ValueError(
            f"{folder.source / lost[0]} has no image that can be read: replace them, or remove "
            "the class"
        )
    write_index(folder.dest / INDEX, options, shards)
    needed = {INDEX, *(shard_path(folder.dest, number).name for number in range(len(shards)))}
    for path in folder.dest.iterdir():
        if OURS.fullmatch(path.name) and path.name not in needed:
            path.unlink()
    num_images = sum(len(shard.names) for shard in shards)
    megabytes = sum(shard.bytes for shard in shards) / 1e6
    print(
        f"ready   {folder.dest}: {num_images:,} images of {len(kept):,} classes, "
        f"{megabytes:,.1f} MB, {len(folder.left_out):,} left out"
    )


def prepare(args: argparse.Namespace) -> None:
    """Do what the command line says."""
    source, dest = Path(args.source).expanduser(), Path(args.dest).expanduser()
    ends = source.resolve(), dest.resolve()
    if ends[0].is_relative_to(ends[1]) or ends[1].is_relative_to(ends[0]):
        raise ValueError(f"{source} and {dest} lie within each other: choose another folder")
    trees, notes = find_trees(args.source)
    for note in notes:
        print(f"note    {note}")
    image_bytes = BYTES_PER_PIXEL * ASPECT_RATIO * args.short_side**2
    options = {
        "short_side": args.short_side,
        "quality": args.quality,
        "images_per_shard": max(1, round(args.shard_size * 1e6 / image_bytes)),
    }
    folders = [plan(tree, dest / tree.root.relative_to(source), options) for tree in trees.values()]
    if whole := sum(len(folder.shards) for folder in folders):
        wanted = sum(len(folder.parts) for folder in folders)
        print(f"there   {whole:,} of {wanted:,} shards are whole already")
    make_shards(folders, options, args.workers)
    problems = [problem for folder in folders for problem in folder.left_out]
    for problem in problems:
        print(f"bad     {problem.encode('utf-8', 'backslashreplace').decode()}")
    if problems and not args.skip_bad:
        raise ValueError(
            f"there is no index yet, as images can't be read ({len(problems):,}): replace them, or "
            "leave them out with --skip-bad, and start again"
        )
    for folder in folders:
        finish(folder, options)


def make_parser() -> OneLineParser:
    """The command line."""
    parser = OneLineParser(
        prog="prepare_imagenet.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="SOURCE", help="folder of train/ and val/, or of classes")
    parser.add_argument("dest", metavar="DEST", help="folder of the shards")
    parser.add_argument(
        "--short-side",
        type=positive,
        default=256,
        metavar="PIXELS",
        help="at least data.image_size / data.crop_pct (default: 256)",
    )
    parser.add_argument(
        "--quality", type=quality, default=95, metavar="1..100", help="of the JPEGs (default: 95)"
    )
    parser.add_argument(
        "--workers", type=positive, default=num_cores(), metavar="N", help="processes (all cores)"
    )
    parser.add_argument(
        "--shard-size",
        type=positive,
        default=500,
        metavar="MB",
        help="of a shard of photographs at quality 95, about (default: 500)",
    )
    parser.add_argument("--skip-bad", action="store_true", help="leave images out that are bad")
    return parser


def positive(text: str) -> int:
    """A whole number above 0 from the command line."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def quality(text: str) -> int:
    """A JPEG quality from the command line."""
    if not text.isdecimal() or not 1 <= int(text) <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a quality from 1 to 100")
    return int(text)


def num_cores() -> int:
    """The processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def main(argv: Sequence[str] | None = None) -> None:
    """Make the shards that the command line asks for."""
    parser = make_parser()
    args = parser.parse_args(argv)
    try:
        prepare(args)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        parser.exit(1, f"error: {error.filename or args.dest}: {reason}\n")
    except ValueError as error:
        parser.exit(1, f"error: {error}\n")
    except KeyboardInterrupt:
        parser.exit(130, "stopped: the same command goes on after the last whole shard\n")


if __name__ == "__main__":
    main()
