"""Find images in class-per-folder trees, or in shards made from such a tree."""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from mobilenets.data.decode import EXTENSIONS, read_file
from mobilenets.data.shards import INDEX, open_shards

_SPLIT_NAMES = {  # folder name in lower case -> split
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}


class Tree(NamedTuple):
    """The image files of one class-per-folder tree."""

    root: Path
    paths: dict[str, list[str]]  # class -> its files, relative to root, separated by /
    read: Callable[[str], bytes]  # path -> content of the file
    short_side: int | None = None  # of shards: the short side to which images were reduced


ListTree = Callable[[Path], Tree]  # folder -> the tree below it


def find_trees(root: str, list_tree: ListTree | None = None) -> tuple[dict[str, Tree], list[str]]:
    """Find the splits in root/CLASS/images or root/{train,val,test}/CLASS/images.

    "valid" and "validation" mean "val". If there is no test/, val/ is the test set, and the
    validation set is split off train/, so the test set is used only once.

    Args:
        root: folder of the data set.
        list_tree: function that lists one tree; None = `list_images_strict`.

    Returns:
        {"train": tree, ...} without the splits to be made by seed, and notes: one sentence for each
        choice made.

    Raises:
        ValueError: no usable splits; the message has the path and the fix.
    """
    top, list_tree = _find_root(root), list_tree or list_images_strict
    names = _find_split_folders(top)
    if not names:
        return {"train": list_tree(top)}, [
            f"{root} has no split folders: all splits are made by seed"
        ]
    if "train" not in names:
        raise ValueError(
            f"{root} has {'/, '.join(names.values())}/ but no train/: add it, or move all class "
            f"folders into {root}, to split them by seed"
        )
    trees = {split: list_tree(top / name) for split, name in names.items()}
    notes = []
    if ignored := sorted(set(_list_folders(top)) - set(names.values())):
        notes.append(f"folders beside {top / names['train']} are ignored: {', '.join(ignored)}")
    if "val" in trees and "test" not in trees:
        trees["test"] = trees.pop("val")
        notes.append(_note_val_is_test(trees))
    elif "val" not in trees:
        notes.append(f"{root} has no val/: the validation set is split off train/ by seed")
    return trees, notes


def find_imagenet(
    root: str, list_tree: ListTree | None = None
) -> tuple[dict[str, Tree], list[str]]:
    """Find ImageNet in root/{train,val}/WNID/; the official validation set is the test set.

    Arguments, result and errors are those of `find_trees`.
    """
    top, list_tree = _find_root(root), list_tree or list_images_strict
    for name in ("train", "val"):
        if not (top / name).is_dir():
            raise ValueError(
                f"{root} has no folder {name}/: ImageNet is read from {root}/train/WNID/*.JPEG and "
                f"{root}/val/WNID/*.JPEG"
            )
    trees = {"train": list_tree(top / "train"), "test": list_tree(top / "val")}
    return trees, [_note_val_is_test(trees)]


def _note_val_is_test(trees: dict[str, Tree]) -> str:
    return (
        f"{trees['test'].root} serves as the test set; the validation set is split off train/ by "
        "seed, so that the test set is used once, at the end"
    )


def _find_root(root: str) -> Path:
    """Return the root folder; raise ValueError if it is not one."""
    if not root:
        raise ValueError("data.root is missing: set it to the folder with the images")
    path = Path(root).expanduser()
    if not path.exists():
        raise ValueError(f"data.root={root} does not exist: set it to the folder with the images")
    if not path.is_dir():
        raise ValueError(f"data.root={root} is a file: set it to the folder with the class folders")
    return path


def _find_split_folders(top: Path) -> dict[str, str]:
    """Return the folders of `top` that are splits: {split: folder name}.

    A folder "train" that holds images and no folders is a class, such as a class of vehicles.
    """
    found: dict[str, str] = {}
    for name in sorted(_list_folders(top)):
        split = _SPLIT_NAMES.get(name.lower())
        if split is None or (_has_images(top / name) and not _list_folders(top / name)):
            continue
        if split in found:
            raise ValueError(f"{top} has both {found[split]}/ and {name}/: keep one of the two")
        found[split] = name
    return found


def list_images_strict(root: Path) -> Tree:
    """List a tree as `list_images` does, but raise ValueError at its first problem."""
    tree, problems = list_images(root)
    if problems:
        others = f" (and {len(problems) - 1} more: scripts/check_data.py lists all)"
        raise ValueError(problems[0] + others * (len(problems) > 1))
    return tree


def list_images(root: Path) -> tuple[Tree, list[str]]:
    """List root/CLASS/**/images, sorted by class and file name, and the problems found.

    Hidden files, hidden folders and files without an image extension are ignored. A folder of
    shards is listed as the tree that they were made from. Problems are empty class folders,
    circular links, dead links, and special files that are named like images: one sentence each.

    Raises:
        ValueError: there is no class folder, or the shards are damaged.
    """
    if (root / INDEX).is_file():
        return Tree(root, *open_shards(root)), []
    problems: list[str] = []
    names = sorted(_list_folders(root))
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


def _list_folders(root: Path) -> list[str]:
    with os.scandir(root) as entries:
        return [e.name for e in entries if _is_folder(e) and not e.name.startswith(".")]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    with suppress(OSError):  # a link to itself
        return entry.is_dir()
    return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    with suppress(OSError):
        return entry.is_file()
    return False


def _has_images(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(_is_image_name(entry.name) for entry in entries)


def _is_image_name(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in EXTENSIONS  # noqa: PTH122


def _list_below(
    root: Path, below: str, parents: tuple[tuple[int, int], ...], problems: list[str]
) -> list[str]:
    """List the images in root/below and its folders; `parents` are the folders above it."""
    folder = root / below
    status = folder.stat()
    identity = (status.st_dev, status.st_ino)
    if identity in parents:
        problems.append(f"{folder} links to a folder above it: remove the link")
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
                    f"{entry.path} is a dead link or not a regular file: remove or replace it"
                )
    return found


def order_classes(trees: dict[str, Tree], class_names: Sequence[str] | None) -> list[str]:
    """Return the classes in the order of their indices: `class_names`, or train's sorted folders.

    Raises:
        ValueError: train's folders are not the classes of `class_names` (in any order), there are
            fewer than two, or another split has a class that train lacks.
    """
    train = trees["train"]
    found = list(train.paths)
    if class_names is not None and set(class_names) != set(found):
        raise ValueError(
            f"data.class_names has {len(class_names)} names, {train.root} {len(found)} class "
            f"folders; {_describe_difference(class_names, found)}: name each folder once, "
            "or set data.class_names=null"
        )
    if len(found) < 2:
        raise ValueError(
            f"{train.root} has only one class folder ({found[0]}): a classifier needs two or more; "
            "is data.root one level too high or too low?"
        )
    for tree in trees.values():
        if extra := [name for name in tree.paths if name not in train.paths]:
            raise ValueError(
                f"{tree.root / extra[0]} is a class that {train.root} lacks: add its training "
                "images there, or remove the folder"
            )
    return list(class_names) if class_names is not None else found


def _describe_difference(names: Sequence[str], folders: Sequence[str]) -> str:
    missing = [f"no folder {name}" for name in names if name not in folders]
    unnamed = [f"no name for {folder}" for folder in folders if folder not in names]
    return ", ".join((missing + unnamed)[:4])
