"""Packs ImageNet, or any class-per-folder tree of images, into shards of small images.

    python scripts/prepare_imagenet.py /data/imagenet /data/imagenet_256
    python train.py model=mobilenet_v2 data=imagenet data.root=/data/imagenet_256

A run decodes and resizes large photographs in every epoch; this script does it once. SOURCE is a
folder that data=imagenet or data=folder reads. DEST can replace it, with the same classes, splits,
order and augmentation. It contains plain tar files and their index, shards.json. Images whose short
side is longer than --short-side pixels are reduced to that; all are turned upright, and stay grey
or RGB.

Every image is decoded and checked. Bad ones are listed at the end, and the index is not written
unless --skip-bad leaves them out. If the script is stopped or fails, the same command resumes after
the last complete shard and makes the same bytes.

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

from mobilenets import console
from mobilenets.atomic import remove_partial_files
from mobilenets.console import label_lines
from mobilenets.cpus import num_cpus
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

FILE = r"(shard-\d{5,}\.(tar|json)|shards\.json)"
OURS = re.compile(rf"{FILE}(\.part)?|\.{FILE}\.[0-9a-f]{{8}}\.part")  # earlier versions: FILE.part
BYTES_PER_PIXEL = 0.43  # of photographs at quality 95
ASPECT_RATIO = 4 / 3


@dataclass
class Folder:
    """A folder of shards to make, with those that exist already."""

    source: Path
    dest: Path
    parts: list[list[str]]  # names of the images in each shard
    digests: list[str]  # digest of the files that each shard is made from
    shards: dict[int, Shard]  # the complete ones

    @property
    def missing(self) -> list[int]:
        """The numbers of the shards still to be made."""
        return [number for number in range(len(self.parts)) if number not in self.shards]

    @property
    def left_out(self) -> list[str]:
        """The problem of each bad image."""
        shards = [self.shards[number] for number in sorted(self.shards)]
        return [problem for shard in shards for problem in shard.left_out.values()]


class ShrunkImages(Dataset[tuple[Tensor, str]]):
    """Shrunk image files: each is (JPEG, "") or, if the file is bad, (empty, problem).

    The JPEG is a uint8 tensor, because tensors travel in shared memory. Bytes would fill the pipe,
    and workers would wait forever if this process were killed.
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
    """Divide the images of a tree into shards, and find those that exist already."""
    if (tree.root / INDEX).exists():
        raise ValueError(f"{tree.root} contains shards: give the tree that they were made from")
    names = [name for paths in tree.paths.values() for name in paths]
    step = options["images_per_shard"]
    parts = [names[start : start + step] for start in range(0, len(names), step)]
    digests = [digest_files(tree.root, part) for part in parts]
    folder = Folder(tree.root, dest, parts, digests, {})
    dest.mkdir(parents=True, exist_ok=True)
    if others := sorted(path.name for path in dest.iterdir() if not OURS.fullmatch(path.name)):
        raise ValueError(f"{dest} contains other files ({others[0]}): choose an empty folder")
    found = find_shards(dest)
    for number, (found_options, shard) in found.items():
        if found_options != options:
            raise ValueError(
                f"{dest} contains shards made with {describe(found_options)}, not with "
                f"{describe(options)}: give the same options, or choose an empty folder"
            )
        if number < len(parts) and shard.source == folder.digests[number]:
            path = shard_path(dest, number)
            if path.exists() and path.stat().st_size == shard.bytes:
                folder.shards[number] = shard
    if (dest / INDEX).exists() and (folder.missing or len(found) > len(parts)):
        raise ValueError(
            f"{dest} is complete, but {tree.root} has changed since, or shards are damaged: delete "
            f"{dest} to make it again"
        )
    remove_partial_files(dest)
    return folder


def digest_files(root: Path, names: Sequence[str]) -> str:
    """Return a digest of the names, sizes and modification times of files."""
    summary = blake2b(digest_size=16)
    for name in names:
        status = os.stat(f"{root}/{name}")  # noqa: PTH116  (a Path takes longer than the call)
        summary.update(os.fsencode(f"{name}/{status.st_size}/{status.st_mtime_ns}\n"))
    return summary.hexdigest()


def find_shards(dest: Path) -> dict[int, tuple[dict[str, Any], Shard]]:
    """Find the shards of a complete or a stopped run: {number: (options, shard)}."""
    if (dest / INDEX).exists():
        options, shards = read_index(dest / INDEX)
        return {number: (options, shard) for number, shard in enumerate(shards)}
    found = {}
    for path in dest.glob("shard-*.json"):
        options, [shard] = read_index(path)
        found[int(path.stem.removeprefix("shard-"))] = options, shard
    return found


def describe(options: dict[str, Any]) -> str:
    """Format options: "short_side 256, quality 95, images_per_shard 13303"."""
    return ", ".join(f"{name} {value}" for name, value in options.items())


def make_shards(folders: Sequence[Folder], options: dict[str, Any], num_workers: int) -> None:
    """Make the missing shards, one after the other."""
    missing = [(folder, number) for folder in folders for number in folder.missing]
    if not missing:
        return
    paths = [str(folder.source / name) for folder, n in missing for name in folder.parts[n]]
    images = ShrunkImages(paths, options["short_side"], options["quality"])
    parallel = num_workers > 1
    loader = DataLoader(
        images,
        batch_size=None,
        num_workers=num_workers if parallel else 0,
        prefetch_factor=8 if parallel else None,
        collate_fn=tuple,
    )
    results = iter(loader)  # starts the workers before the progress bar starts a thread
    with console.progress(len(paths)) as advance:
        for folder, number in missing:
            left_out: dict[str, str] = {}
            good = take_good(folder.parts[number], results, left_out, advance)
            path = shard_path(folder.dest, number)
            shard = write_shard(path, good)
            shard.source, shard.left_out = folder.digests[number], left_out
            write_index(path.with_suffix(".json"), options, [shard])
            folder.shards[number] = shard


def take_good(
    names: Sequence[str],
    results: Iterator[tuple[Tensor, str]],
    left_out: dict[str, str],
    advance: Callable[[], None],
) -> Iterator[tuple[str, bytes]]:
    """Take a result for each name; yield good images, and add problems to `left_out`."""
    for name in names:
        data, problem = next(results)
        if problem:
            left_out[name] = problem
        else:
            yield name, data.numpy().tobytes()
        advance()


def finish(folder: Folder, options: dict[str, Any]) -> None:
    """Write the index, and remove all files that are not needed any more."""
    shards = [folder.shards[number] for number in range(len(folder.parts))]
    classes = [{name.partition("/")[0] for name in part} for part in folder.parts]
    kept = {name.partition("/")[0] for shard in shards for name in shard.names}
    if lost := sorted(set().union(*classes) - kept):
        raise ValueError(
            f"{folder.source / lost[0]} has no valid image: replace them, or remove the class"
        )
    write_index(folder.dest / INDEX, options, shards)
    needed = {INDEX, *(shard_path(folder.dest, number).name for number in range(len(shards)))}
    for path in folder.dest.iterdir():
        if OURS.fullmatch(path.name) and path.name not in needed:
            path.unlink()
    num_images = sum(len(shard.names) for shard in shards)
    megabytes = sum(shard.bytes for shard in shards) / 1e6
    images = f"{num_images:,} images of {len(kept):,} classes"
    left_out = f"{len(folder.left_out):,} left out"
    print(label_lines("ready", f"{folder.dest}: {images}, {megabytes:,.1f} MB, {left_out}"))


def prepare(args: argparse.Namespace) -> None:
    """Make the shards of all splits."""
    source, dest = Path(args.source).expanduser(), Path(args.dest).expanduser()
    inner, outer = source.resolve(), dest.resolve()
    if inner.is_relative_to(outer) or outer.is_relative_to(inner):
        raise ValueError(f"{source} and {dest} must not contain each other: choose another folder")
    trees, notes = find_trees(args.source)
    for note in notes:
        print(label_lines("note", note))
    image_bytes = BYTES_PER_PIXEL * ASPECT_RATIO * args.short_side**2
    options = {
        "short_side": args.short_side,
        "quality": args.quality,
        "images_per_shard": max(1, round(args.shard_size * 1e6 / image_bytes)),
    }
    folders = [plan(tree, dest / tree.root.relative_to(source), options) for tree in trees.values()]
    if done := sum(len(folder.shards) for folder in folders):
        total = sum(len(folder.parts) for folder in folders)
        print(label_lines("resume", f"{done:,} of {total:,} shards are complete"))
    make_shards(folders, options, args.workers)
    problems = [problem for folder in folders for problem in folder.left_out]
    for problem in problems:
        print(label_lines("bad", problem))
    if problems and not args.skip_bad:
        raise ValueError(
            f"the index was not written because of bad images ({len(problems):,}): replace them, "
            "or leave them out with --skip-bad, and run the command again"
        )
    for folder in folders:
        finish(folder, options)


def make_parser() -> console.OneLineParser:
    """Return the parser of the command line."""
    parser = console.OneLineParser(
        prog="prepare_imagenet.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    count = console.number(int, above=0)
    parser.add_argument("source", metavar="SOURCE", help="folder of train/ and val/, or of classes")
    parser.add_argument("dest", metavar="DEST", help="folder of the shards")
    parser.add_argument(
        "--short-side",
        type=count,
        default=256,
        metavar="PIXELS",
        help="at least data.image_size / data.crop_pct (default: 256)",
    )
    parser.add_argument(
        "--quality",
        type=console.number(int, at_least=1, at_most=100),
        default=95,
        metavar="1..100",
        help="of the JPEGs (default: 95)",
    )
    parser.add_argument(
        "--workers",
        type=count,
        default=num_cpus(),
        metavar="N",
        help="processes (default: one per CPU)",
    )
    parser.add_argument(
        "--shard-size",
        type=count,
        default=500,
        metavar="MB",
        help="approximate size of a shard of photographs at quality 95 (default: 500)",
    )
    parser.add_argument("--skip-bad", action="store_true", help="leave out bad images")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Make shards as the command line says."""
    parser = make_parser()
    args = parser.parse_args(argv)
    console.escape_stdout()
    try:
        prepare(args)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        parser.exit(1, f"error: {error.filename or args.dest}: {reason}\n")
    except ValueError as error:
        parser.exit(1, f"error: {error}\n")
    except KeyboardInterrupt:
        parser.exit(130, "stopped: the same command resumes after the last complete shard\n")


if __name__ == "__main__":
    main()
