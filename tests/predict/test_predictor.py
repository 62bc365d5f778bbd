"""`Predictor` predicts what evaluation would, for any form of image."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

import mobilenets
from mobilenets import create_model
from mobilenets.data import ImageDataModule
from mobilenets.data.decode import EncodedImage
from mobilenets.data.memory import RawSplit, prepare
from mobilenets.data.transforms import Normalize, eval_transform, train_transform
from mobilenets.predict import Predictor, backends
from mobilenets.predict import predictor as module
from mobilenets.weights import load_weights, save_model
from tests.conftest import PREPROCESSING

EXIF = Image.Exif()
EXIF[0x0112] = 6  # the viewer must turn the image clockwise


def turn(image):
    return image.rotate(90, expand=True)


@pytest.fixture
def predict(net_file):
    return Predictor(net_file, "eager")


def test_it_is_a_public_name_and_predicts_classes(net_file, picture):
    prediction = mobilenets.Predictor(net_file)(picture())
    assert prediction.label in "abcd"
    assert prediction.probabilities.shape == (4,)
    top = prediction.top(3)
    assert top[0][0] == prediction.label
    assert [p for _, p in top] == sorted((p for _, p in top), reverse=True)
    assert len(prediction.top(9)) == 4
    assert sum(p for _, p in prediction.top(4)) == pytest.approx(1)


def test_predictions_are_those_of_evaluation(net_file, predict, picture, tmp_path):
    for number in range(6):
        folder = tmp_path / "set" / "val" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        picture(number, 40 + 7 * number, 50).save(folder / f"{number}.png")
    (tmp_path / "set" / "train").symlink_to(tmp_path / "set" / "val")
    preprocessing = {key: PREPROCESSING[key] for key in PREPROCESSING}
    data = ImageDataModule(
        "folder", seed=0, class_names=None, **preprocessing, batch_size=8, num_workers=0,
        val_fraction=0.1, split_seed=0, root=str(tmp_path / "set"),
        augment={"scale": [1, 1], "ratio": [1, 1], "flip": 0, "color_jitter": 0, "policy": None,
                 "magnitude": 0, "erasing": 0, "mixup": 0, "cutmix": 0},
    )  # fmt: skip
    data.setup()
    (batch,) = data.eval_dataloader("test")
    with torch.inference_mode():
        logits = load_weights(net_file).build()(data.on_after_batch_transfer(batch, 0).images)
    paths = [data.sample_name("test", index) for index in batch.indices.tolist()]
    for prediction, expected in zip(predict(paths), logits.softmax(1), strict=True):
        torch.testing.assert_close(prediction.probabilities, expected)


@pytest.mark.parametrize(("in_channels", "size"), [(1, 8), (3, 24)])
def test_so_are_those_for_data_sets_in_memory(in_channels, size, randomise, tmp_path):
    """Digits and CIFAR are preprocessed as tensors; the same images are files here."""
    known = {**PREPROCESSING, "in_channels": in_channels, "mean": [0.5], "std": [0.25]}
    net = randomise(create_model("mobilenet_v2", width_mult=0.25, in_channels=in_channels))
    save_model(net, tmp_path / "net.safetensors", preprocessing=known)
    raw = torch.randint(0, 256, (3, in_channels, size, size), dtype=torch.uint8)
    images = prepare(RawSplit(raw, torch.zeros(3, dtype=torch.int64)), known).images
    with torch.inference_mode():
        expected = net(Normalize(known)(images.permute(0, 3, 1, 2))).softmax(1)
    for image, row in zip(raw, expected, strict=True):
        Image.fromarray(image.permute(1, 2, 0).numpy().squeeze()).save(tmp_path / "a.png")
        found = Predictor(tmp_path / "net.safetensors", "folded")(tmp_path / "a.png")
        torch.testing.assert_close(found.probabilities, row)


def test_every_form_of_an_image_gives_the_same_prediction(predict, picture, tmp_path):
    image = picture()
    image.save(tmp_path / "a.png")
    pixels = np.array(image)
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    forms = [
        *(image, pixels, tensor, tensor / 255, tmp_path / "a.png", str(tmp_path / "a.png")),
        image.convert("RGBA"),
    ]
    expected = predict(image).probabilities
    for form in forms:
        torch.testing.assert_close(predict(form).probabilities, expected)
    together = predict(forms)
    assert len(together) == len(forms)
    for prediction in [*together, *predict(torch.stack([tensor, tensor]))]:
        torch.testing.assert_close(prediction.probabilities, expected)
    assert (together[0].name, together[4].name) == ("[0]", str(tmp_path / "a.png"))


def test_grey_images_are_accepted(predict, picture):
    grey = picture().convert("L")
    expected = predict(grey).probabilities
    pixels = np.array(grey)
    for form in (pixels, pixels[..., None], torch.from_numpy(pixels)[None], grey.convert("RGB")):
        torch.testing.assert_close(predict(form).probabilities, expected)


@pytest.mark.parametrize("kind", ["png", "tif"])
def test_images_are_turned_upright_in_predictions(kind, predict, picture, tmp_path):
    image, path = picture(), tmp_path / f"turned.{kind}"
    turn(image).save(path, exif=EXIF)
    expected = predict(image).probabilities
    torch.testing.assert_close(predict(path).probabilities, expected)
    with Image.open(path) as opened:
        torch.testing.assert_close(predict(opened).probabilities, expected)


def test_they_are_turned_upright_in_training_and_evaluation_too(predict, picture):
    upright, sideways = io.BytesIO(), io.BytesIO()
    picture().save(upright, "PNG")
    turn(picture()).save(sideways, "PNG", exif=EXIF)
    augment = {"scale": [0.1, 1], "ratio": [0.7, 1.4], "flip": 0.5, "color_jitter": 0.2}
    augment |= {"policy": None, "erasing": 0}
    for transform in (train_transform(PREPROCESSING, augment), eval_transform(PREPROCESSING)):
        found = []
        for file in (upright, sideways):
            torch.manual_seed(0)
            found.append(transform(EncodedImage(file.getvalue(), "a.png", 3)))
        assert found[0].equal(found[1])
    assert predict.prepare(picture()).equal(found[0])


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (torch.randn(3, 8, 8), "floats outside 0 to 1"),
        (torch.full((3, 8, 8), torch.nan), "floats outside 0 to 1"),
        (torch.zeros(5, 8, 8, dtype=torch.uint8), r"\(5, 8, 8\) of torch.uint8 is not an image"),
        (np.zeros((8, 8, 3)), r"\(8, 8, 3\) of float64 is not an image"),
        ("gone.jpg", "gone.jpg can't be read"),
    ],
)
def test_invalid_images_are_errors(image, sentence, predict):
    with pytest.raises(ValueError, match=sentence):
        predict(image)


def test_a_bad_file_in_a_stream_yields_its_error(predict, picture, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"nothing")
    results = list(predict.stream([picture(1), tmp_path / "bad.png", picture(2)] * 30))
    assert len(results) == 90
    kinds = [isinstance(result, ValueError) for result in results]
    assert kinds == [False, True, False] * 30
    expected = predict([picture(1), picture(2)])
    for good, known in zip(results[0:3:2], expected, strict=True):
        torch.testing.assert_close(good.probabilities, known.probabilities)


def test_the_search_for_the_fastest_backend_waits_until_it_pays(net_file, picture, monkeypatch):
    asked = []

    def fastest(weights, images, device):
        asked.append(len(images))
        return "channels_last", backends.load_backend("channels_last", weights, device)

    monkeypatch.setattr(backends, "pick_fastest", fastest)
    monkeypatch.setattr(backends, "is_cached", lambda *_: False)
    monkeypatch.setattr(module, "IMAGES_BEFORE_SEARCH", 5)
    predict = Predictor(net_file, batch_size=2)
    predict([picture(i) for i in range(4)])
    assert (predict.backend, asked) == ("folded", [])
    predict([picture(i) for i in range(4)])
    assert (predict.backend, asked) == ("channels_last", [2])
    monkeypatch.setattr(backends, "is_cached", lambda *_: True)
    predict = Predictor(net_file)
    predict(picture())
    assert predict.backend == "channels_last"


def test_the_cache_is_searched_once(net_file, picture, monkeypatch):
    looked = []
    monkeypatch.setattr(backends, "is_cached", lambda *names: looked.append(names))
    predict = Predictor(net_file)
    for number in range(3):
        predict(picture(number))
    assert len(looked) == 1


def test_incomplete_weights_are_errors(tmp_path):
    net = create_model("mobilenet_v1", width_mult=0.25, num_classes=3)
    save_model(net, tmp_path / "net.safetensors")
    with pytest.raises(ValueError, match="does not say which image_size, mean and std"):
        Predictor(tmp_path / "net.safetensors")
    save_model(net, tmp_path / "net.safetensors", preprocessing=PREPROCESSING)
    assert Predictor(tmp_path / "net.safetensors").class_names == ["0", "1", "2"]
    for backend in ("fast", "int8"):
        with pytest.raises(ValueError, match=f"backend='{backend}': choose one of auto, eager"):
            Predictor(tmp_path / "net.safetensors", backend)
    net.reset_classifier(0)
    save_model(net, tmp_path / "net.safetensors", preprocessing=PREPROCESSING)
    with pytest.raises(ValueError, match="has no classifier"):
        Predictor(tmp_path / "net.safetensors")
