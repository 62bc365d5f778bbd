"""Class-per-folder trees of image files, and folders of shards, which stand for such trees."""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from mobilenets.data.decode import EXTENSIONS, read_file
from mobilenets.data.shards import INDEX, open_shards

_SPLIT_NAMES = {  # a folder's name in lower case -> its split
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}


Scan = Callable[[Path], "Tree"]


class Tree(NamedTuple):
    """The image files below one class-per-folder tree."""

    root: Path
    paths: dict[str, list[str]]  # class -> its files, relative to root, with / between folders
    read: Callable[[str], bytes]  # one of these paths -> the content of that file
    short_side: int | None = None  # of shards: the one that larger images were reduced to


def find_trees(root: str, list_tree: Scan | None = None) -> tuple[dict[str, Tree], list[str]]:
    """Find root/CLASS/images or root/{train,val,test}/CLASS/images, and what serves as what.

    "valid" and "validation" are read as "val". With train/ and val/ only, val/ is the test set, so
    that the validation set comes from train/ and test is touched once.

    Args:
        root: The folder.
        list_tree: What lists one tree; None: `scan`.

    Returns:
        {"train": tree, ...} without the splits that are still to be split off, and notes for the
        reader: one sentence where a choice was made.

    Raises:
        ValueError: Nothing usable is there; it names the path and the fix.
    """
    top, list_tree = _existing(root), list_tree or list_images_strict
    names = _split_folders(top)
    if not names:
        return {"train": list_tree(top)}, [
            f"{root} has no split folders: all splits are made by seed"
        ]
    if "train" not in names:
        raise ValueError(
            f"{root} has {'/, '.join(names.values())}/ but no train/: add it, or move the class "
            "folders out of the others, to have them split by seed"
        )
    trees = {split: list_tree(top / name) for split, name in names.items()}
    notes = []
    if ignored := sorted(set(_folders(top)) - set(names.values())):
        notes.append(f"folders beside {top / names['train']} are ignored: {', '.join(ignored)}")
    if "val" in trees and "test" not in trees:
        trees["test"] = trees.pop("val")
        notes.append(_val_is_test(trees))
    elif "val" not in trees:
        notes.append(f"{root} has no val/: the validation set is split off train/ by seed")
    return trees, notes


def find_imagenet(root: str, list_tree: Scan | None = None) -> tuple[dict[str, Tree], list[str]]:
    """Find ImageNet's train/ and val/ by wnid; the official validation set is the test set."""
    top, list_tree = _existing(root), list_tree or list_images_strict
    for name in ("train", "val"):
        if not (top / name).is_dir():
            raise ValueError(
                f"{root} has no folder {name}/: ImageNet is read from {root}/train/WNID/*.JPEG and "
                f"{root}/val/WNID/*.JPEG"
            )
    trees = {"train": list_tree(top / "train"), "test": list_tree(top / "val")}
    return trees, [_val_is_test(trees)]


def _val_is_test(trees: dict[str, Tree]) -> str:
    return (
        f"{trees['test'].root} serves as the test set; the validation set is split off train/ by "
        "seed, so that test is touched once, at the end"
    )


def _existing(root: str) -> Path:
    if not root:
        raise ValueError("data.root is missing: give the folder with the images")
    path = Path(root).expanduser()
    if not path.exists():
        raise ValueError(f"data.root={root} does not exist: give the folder with the images")
    if not path.is_dir():
        raise ValueError(f"data.root={root} is a file: give the folder with the class folders")
    return path


def _split_folders(top: Path) -> dict[str, str]:
    """Find those folders of `top` that are splits, {split: folder name}.

    A folder called "train" that holds images and no folders is a class (of vehicles, say).
    """
    found: dict[str, str] = {}
    for name in sorted(_folders(top)):
        split = _SPLIT_NAMES.get(name.lower())
        if split is None or (_holds_images(top / name) and not _folders(top / name)):
            continue
        if split in found:
            raise ValueError(f"{top} has both {found[split]}/ and {name}/: keep one of the two")
        found[split] = name
    return found


def list_images_strict(root: Path) -> Tree:
    """List a tree as `survey` does.

    Raises:
        ValueError: From `survey`, or the first problem that it found.
    """
    tree, problems = list_images(root)
    if problems:
        others = f" (and {len(problems) - 1} more: scripts/check_data.py lists all)"
        raise ValueError(problems[0] + others * (len(problems) > 1))
    return tree


def list_images(root: Path) -> tuple[Tree, list[str]]:
    """List root/CLASS/**/images, classes and files in the order of their names; and the problems.

    Hidden files and folders are skipped, and so are files without an image's extension. Shards with
    an index are listed as the tree that they were made of. A problem is an empty class folder, a
    circular or dead link, or a device that is named like an image: a sentence each.

    Raises:
        ValueError: No class folder; damaged shards.
    """
    if (root / INDEX).is_file():
        return Tree(root, *open_shards(root)), []
    problems: list[str] = []
    names = sorted(_folders(root))
    paths = {name: sorted(_list_below(root, name, (), problems)) for name in names}
    if not paths:
        raise ValueError(
            f"{root} has no class folders: put the images of each class into a folder of its own, "
            f"{root}/CLASS/image.jpg"
        )
    problems += [
        f"the class folder {root / name} is empty: put images ({', '.join(sorted(EXTENSIONS))}) "
        "into it, or remove it"
        for name, files in paths.items()
        if not files
    ]
    return Tree(root, paths, partial(_read, root)), problems


def _read(root: Path, path: str) -> bytes:
    return read_file(str(root / path))


def _folders(root: Path) -> list[str]:
    with os.scandir(root) as entries:
        return [e.name for e in entries if _is_folder(e) and not e.name.startswith(".")]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    with suppress(OSError):  # a link that leads to itself
        return entry.is_dir()
    return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    with suppress(OSError):
        return entry.is_file()
    return False


def _holds_images(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(_is_image_name(entry.name) for entry in entries)


def _is_image_name(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in EXTENSIONS  # noqa: PTH122


def _list_below(
    root: Path, below: str, parents: tuple[tuple[int, int], ...], problems: list[str]
) -> list[str]:
    """List the images in root/below and its folders; `parents` guards against circular links."""
    folder = root / below
    status = folder.stat()
    identity = (status.st_dev, status.st_ino)
    if identity in parents:
        problems.append(f"{folder} links back to a folder above it: remove the link")
        return []
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if _is_folder(entry):
                found += _list_below(root, f"{below}/{entry.name}", (*parents, identity), problems)
            elif _is_image_name(entry.name) and _is_file(entry):
                found.append(f"{below}/{entry.name}")
            elif _is_image_name(entry.name):
                problems.append(
                    f"{entry.path} is a dead link or no regular file: remove or replace it"
                )
    return found


def order_classes(trees: dict[str, Tree], class_names: Sequence[str] | None) -> list[str]:
    """Say which class has which index: as in `class_names`, or train's folders sorted by name.

    Raises:
        ValueError: The folders of train are not the classes of `class_names` (in any order), there
            are fewer than two, or another split has a class that train lacks.
    """
    train = trees["train"]
    found = list(train.paths)
    if class_names is not None and set(class_names) != set(found):
        raise ValueError(
            f"data.class_names has {len(class_names)} names, {train.root} {len(found)} class "
            f"folders; {_difference(class_names, found)}: name each folder once, "
            "or set data.class_names=null"
        )
    if len(found) < 2:
        raise ValueError(
            f"{train.root} has one class folder only ({found[0]}): a classifier needs two or more; "
            "is data.root one level too high or too low?"
        )
    for tree in trees.values():
        if extra := [name for name in tree.paths if name not in train.paths]:
            raise ValueError(
                f"{tree.root / extra[0]} is a class that {train.root} lacks: add its training "
                "images there, or remove the folder"
            )
    return list(class_names) if class_names is not None else found


def _difference(names: Sequence[str], folders: Sequence[str]) -> str:
    missing = [f"no folder {name}" for name in names if name not in folders]
    unnamed = [f"no name for {folder}" for folder in folders if folder not in names]
    return ", ".join((missing + unnamed)[:4])
