"""Which files are found for a file, a folder, a pattern, a list; frames of a video."""

import os
from pathlib import Path

import pytest

from mobilenets.data.decode import ImageFileError
from mobilenets.predict.inputs import find_inputs, is_video, read_frames


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ["b.jpg", "a.PNG", "deep/er/c.jpeg", "deep/film.mp4", "notes.txt", ".hidden/x.jpg"]
    for name in [*names, "deep/.y.jpg", "odd [1], a=b (2).jpg"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()


def names(*inputs, listed=()):
    found = find_inputs(inputs, listed)
    return [str(path) for path in found.paths], found.missing


def test_a_folder_stands_for_its_images_without_hidden_ones(tree):
    expected = ["a.PNG", "b.jpg", "odd [1], a=b (2).jpg", "deep/film.mp4", "deep/er/c.jpeg"]
    assert names(".") == (expected, [])
    assert is_video(find_inputs(["deep"]).paths[0])


def test_file_names_are_taken_literally_and_once(tree):
    odd = "odd [1], a=b (2).jpg"
    assert names("notes.txt", odd, "b.jpg", "b.jpg") == (["notes.txt", odd, "b.jpg"], [])


def test_links_are_followed_but_each_folder_is_read_once(tree):
    Path("deep/loop").symlink_to(Path.cwd(), target_is_directory=True)
    Path("linked").symlink_to("deep", target_is_directory=True)
    assert names("linked") == (
        ["linked/film.mp4", "linked/er/c.jpeg", "linked/loop/a.PNG", "linked/loop/b.jpg",
         "linked/loop/odd [1], a=b (2).jpg"],
        [],
    )  # fmt: skip


def test_patterns_are_expanded(tree):
    assert names("**/*.jp*g")[0] == ["b.jpg", "deep/er/c.jpeg", "odd [1], a=b (2).jpg"]
    assert names("d*p")[0] == ["deep/film.mp4", "deep/er/c.jpeg"]


def test_a_list_on_standard_input(tree):
    found, missing = names("-", listed=["b.jpg\n", "\n", "deep\r\n", "gone.jpg\n"])
    assert found == ["b.jpg", "deep/film.mp4", "deep/er/c.jpeg"]
    assert missing == ["gone.jpg: no such file, or no images in it"]


def test_missing_inputs_are_named(tree):
    (missing,) = names("no*.jpg")[1]
    assert missing.startswith("no*.jpg: ")


def test_frames_of_a_video_carry_their_time(tmp_path):
    cv2 = pytest.importorskip("cv2")
    import numpy as np

    path = tmp_path / "film.avi"
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (32, 24))
    for i in range(30):
        video.write(np.full((24, 32, 3), (0, 0, 8 * i), np.uint8))  # blue, green, red
    video.release()
    found = list(read_frames(path, frames_per_second=2))
    assert [image.filename for image in found] == [
        f"{path}@{time:.2f}s" for time in (0, 0.5, 1, 1.5, 2, 2.5)
    ]
    red = [image.getpixel((5, 5))[0] for image in found]
    assert red == sorted(red)
    assert red[-1] > 180
    assert max(found[-1].getpixel((5, 5))[1:]) < 40


def test_an_unreadable_video_is_an_error(tmp_path, monkeypatch):
    pytest.importorskip("cv2")
    (tmp_path / "film.mp4").write_bytes(b"nothing")
    with pytest.raises(ImageFileError, match="can't be read as a video"):
        list(read_frames(tmp_path / "film.mp4", 1))
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(ImageFileError, match="is not a regular file"):
        list(read_frames(tmp_path / "pipe.mp4", 1))
    monkeypatch.setattr("mobilenets.imports.find_spec", lambda name: None)
    with pytest.raises(ImageFileError, match=r'pip install -e "\.\[video\]"'):
        list(read_frames(tmp_path / "film.mp4", 1))
