import os

import pytest

from mobilenets.data.folder import (
    find_imagenet,
    find_trees,
    list_images,
    list_images_strict,
    order_classes,
)


def names(tree):
    return {name: len(paths) for name, paths in tree.paths.items()}


@pytest.fixture
def splits(tmp_path, write_images):
    """Make root/SPLIT/CLASS with one image a class: splits(train="ab", val="a")."""

    def make(**classes):
        for split, letters in classes.items():
            for letter in letters:
                write_images(tmp_path / "root" / split / letter, 1)
        return tmp_path / "root"

    return make


def test_classes_and_files_come_in_the_order_of_their_names(tree):
    found = list_images_strict(tree)
    assert names(found) == {"daisy": 10, "rose": 12, "tulip": 14}
    assert found.paths["daisy"] == [f"daisy/{number:03}.jpg" for number in range(10)]


def test_extensions_hidden_files_and_nested_folders(tree):
    daisy = tree / "daisy"
    (daisy / "000.jpg").rename(daisy / "000.JPeG")
    (daisy / "deep" / "deeper").mkdir(parents=True)
    (daisy / "001.jpg").rename(daisy / "deep" / "deeper" / "x.jpg")
    (daisy / ".hidden.jpg").touch()
    (daisy / "notes.txt").touch()
    (daisy / ".thumbnails").mkdir()
    (daisy / ".thumbnails" / "a.jpg").touch()
    (tree / ".git").mkdir()
    (tree / "README.md").touch()
    found = list_images_strict(tree)
    assert list(found.paths) == ["daisy", "rose", "tulip"]
    assert len(found.paths["daisy"]) == 10
    assert {"daisy/000.JPeG", "daisy/deep/deeper/x.jpg"} <= set(found.paths["daisy"])


def test_links_are_followed_but_not_in_circles(tree):
    (tree / "lily").symlink_to(tree / "rose", target_is_directory=True)
    assert names(list_images_strict(tree))["lily"] == 12
    (tree / "rose" / "again").symlink_to(tree / "rose", target_is_directory=True)
    with pytest.raises(ValueError, match=r"again links to a folder above it: remove the link"):
        list_images_strict(tree)


def test_dead_links_and_devices_named_like_images_are_reported(tree):
    (tree / "rose" / "x.jpg").symlink_to(tree / "gone.jpg")
    with pytest.raises(ValueError, match=r"x.jpg is a dead link or not a regular file: remove or"):
        list_images_strict(tree)
    (tree / "rose" / "x.jpg").unlink()
    (tree / "rose" / "x.jpg").symlink_to("x.jpg")
    (tree / "lily").symlink_to("lily")
    with pytest.raises(ValueError, match=r"x.jpg is a dead link or not a regular file"):
        list_images_strict(tree)
    (tree / "rose" / "x.jpg").unlink()
    os.mkfifo(tree / "rose" / "x.jpg")
    with pytest.raises(ValueError, match=r"x.jpg is a dead link or not a regular file"):
        list_images_strict(tree)


def test_all_problems_are_found_at_once(tree):
    for name in ("lily", "orchid"):
        (tree / name).mkdir()
    (tree / "rose" / "x.jpg").symlink_to(tree / "gone.jpg")
    (tree / "tulip" / "up").symlink_to(tree / "tulip")
    found, problems = list_images(tree)
    assert len(found.paths["rose"]) == 12 and len(problems) == 4
    with pytest.raises(ValueError, match=r"\(and 3 more: scripts/check_data.py lists all\)"):
        list_images_strict(tree)


def test_a_tree_without_splits(tree):
    trees, notes = find_trees(str(tree))
    assert (
        list(trees) == ["train"] and len(notes) == 1 and "all splits are made by seed" in notes[0]
    )


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Val"])
def test_all_three_splits(splits, name):
    trees, notes = find_trees(str(splits(train="ab", test="ab", **{name: "a"})))
    assert {split: tree.root.name for split, tree in trees.items()} == {
        "train": "train",
        "test": "test",
        "val": name,
    }
    assert notes == []


def test_val_serves_as_test_if_there_is_no_test(splits):
    root = splits(train="ab", val="ab")
    for find in (find_trees, find_imagenet):
        trees, notes = find(str(root))
        assert {split: tree.root for split, tree in trees.items()} == {
            "train": root / "train",
            "test": root / "val",
        }
        assert len(notes) == 1
        assert notes[0].startswith(f"{root / 'val'} serves as the test set; the validation set is")


def test_val_is_split_off_if_there_is_none(splits):
    trees, notes = find_trees(str(splits(train="ab", test="ab")))
    assert sorted(trees) == ["test", "train"] and "split off train/ by seed" in notes[0]


def test_imagenets_unlabelled_test_folder_is_left_alone(splits, write_images):
    root = splits(train="ab", val="ab")
    write_images(root / "test", 2)
    trees, _ = find_imagenet(str(root))
    assert trees["test"].root == root / "val"


def test_folders_beside_the_splits_are_listed(splits):
    _, notes = find_trees(str(splits(train="ab", val="ab", test="ab", masks="a", extra="a")))
    assert len(notes) == 1 and notes[0].endswith("are ignored: extra, masks")


def test_classes_may_have_the_names_of_splits(tmp_path, write_images):
    for name in ("train", "bus", "test"):
        write_images(tmp_path / name, 2)
    trees, _ = find_trees(str(tmp_path))
    assert names(trees["train"]) == {"bus": 2, "test": 2, "train": 2}


def test_stray_images_beside_the_classes_change_nothing(splits, write_images):
    root = splits(train="ab", val="ab", test="ab")
    write_images(root / "train", 1)
    write_images(root, 1)
    trees, notes = find_trees(str(root))
    assert sorted(trees) == ["test", "train", "val"] and notes == []
    assert names(trees["train"]) == {"a": 1, "b": 1}


def test_an_unlabelled_test_folder_is_ignored_with_a_note(splits, write_images):
    root = splits(train="ab", val="ab")
    write_images(root / "test", 2)
    trees, notes = find_trees(str(root))
    assert trees["test"].root == root / "val" and notes[0].endswith("are ignored: test")


def fails(find, root, message):
    with pytest.raises(ValueError, match=message) as error:
        find(str(root))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("find", [find_trees, find_imagenet])
def test_a_root_that_is_not_a_folder(find, tmp_path):
    fails(find, tmp_path / "gone", rf"data.root={tmp_path}/gone does not exist: set it to")
    (tmp_path / "file").touch()
    fails(find, tmp_path / "file", rf"data.root={tmp_path}/file is a file: set it to the folder")
    fails(find, "", "data.root is missing: set it to the folder")


def test_a_root_without_classes(tmp_path, write_images):
    fails(find_trees, tmp_path, rf"{tmp_path} has no class folders: put the images of each class")
    write_images(tmp_path, 3)
    fails(find_trees, tmp_path, rf"{tmp_path} has no class folders")


def test_an_empty_class_folder(tree, splits):
    (tree / "lily").mkdir()
    fails(find_trees, tree, rf"the class folder {tree}/lily is empty: put images .*or remove it")
    (tree / "orchid").mkdir()
    fails(
        find_trees,
        tree,
        r"lily is empty: .*remove it \(and 1 more: scripts/check_data.py lists all\)",
    )
    root = splits(train="ab", val="a", test="a")
    (root / "val" / "b").mkdir()
    fails(find_trees, root, rf"the class folder {root}/val/b is empty")


def test_splits_without_train(splits):
    fails(find_trees, splits(val="ab", test="ab"), r"has (test/, val/|val/, test/) but no train/")


def test_two_validation_folders(splits):
    root = splits(train="ab", val="ab", valid="ab")
    fails(find_trees, root, rf"{root} has both val/ and valid/: keep one of the two")


def test_imagenet_without_its_folders(tree, splits):
    fails(find_imagenet, tree, rf"{tree} has no folder train/: ImageNet is read from .*WNID")
    fails(find_imagenet, splits(train="ab"), r"has no folder val/")


def test_imagenets_validation_images_still_unsorted(splits, write_images):
    root = splits(train="ab")
    write_images(root / "val", 3)
    fails(find_imagenet, root, rf"{root}/val has no class folders: put the images of each class")


def test_class_indices_come_from_train(splits):
    trees, _ = find_trees(str(splits(train="abc", val="b", test="c")))
    assert order_classes(trees, None) == ["a", "b", "c"]
    assert order_classes(trees, ["c", "a", "b"]) == ["c", "a", "b"]


def test_a_class_that_train_lacks(splits):
    trees, _ = find_trees(str(splits(train="ab", val="ab", test="abz")))
    with pytest.raises(ValueError, match=r"test/z is a class that .*train lacks: add its training"):
        order_classes(trees, None)


def test_class_names_that_are_not_the_folders(splits):
    trees, _ = find_trees(str(splits(train="abc")))
    with pytest.raises(ValueError) as error:
        order_classes(trees, ["a", "b", "x"])
    message = str(error.value)
    assert "data.class_names has 3 names" in message and "3 class folders" in message
    assert "no folder x, no name for c" in message and "data.class_names=null" in message


def test_a_single_class(splits):
    trees, _ = find_trees(str(splits(train="a")))
    with pytest.raises(ValueError, match=r"only one class folder \(a\): .*is data.root one level"):
        order_classes(trees, None)
