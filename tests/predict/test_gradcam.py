"""The heat map is the paper's, and is drawn in the right place."""

import numpy as np
import pytest
import torch
from PIL import Image

from mobilenets import create_model
from mobilenets.predict import Predictor
from mobilenets.predict.gradcam import grad_cam
from mobilenets.predict.overlay import OverlayWriter, draw_overlay, find_eval_crop
from mobilenets.weights import save_model


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2"])
def test_it_is_the_class_activation_map_of_nets_with_one_linear_layer(name, randomise):
    """The gradient of a logit is then the classifier's row: arXiv 1610.02391, section 3.1."""
    torch.manual_seed(0)
    net = randomise(create_model(name, width_mult=0.25, num_classes=5))
    images, classes = torch.randn(3, 3, 96, 96), torch.tensor([0, 4, 2])
    found = grad_cam(net, images, classes)
    with torch.no_grad():
        features = net.forward_features(images)
        rows = net.classifier[-1].weight[classes]
        expected = torch.einsum("nchw,nc->nhw", features, rows).relu()
    expected = expected / expected.amax((1, 2), keepdim=True).clamp_min(1e-12)
    torch.testing.assert_close(found, expected)
    assert found.shape == (3, 3, 3)
    predicted = net(images).argmax(1)
    torch.testing.assert_close(grad_cam(net, images), grad_cam(net, images, predicted))


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2"])
def test_the_map_of_any_layer_follows_the_papers_equations(name, randomise):
    torch.manual_seed(0)
    net = randomise(create_model(name, width_mult=0.25, num_classes=5))
    image, index, before = torch.randn(1, 3, 96, 96), 4, 6
    with torch.no_grad():
        features = net.features[:before](image)
    features.requires_grad_()
    net.forward_head(net.features[before:](features * 1))[0, index].backward()
    gradient, features = features.grad[0], features.detach()  # (C, h, w), (1, C, h, w)
    alpha = gradient.mean((1, 2))
    expected = sum(a * m for a, m in zip(alpha, features[0], strict=True)).clamp_min(0)
    assert expected.max() > 0
    found = grad_cam(net, image, torch.tensor([index]), layer=f"features.{before - 1}")
    torch.testing.assert_close(found[0], expected / expected.max())
    assert found.shape[1] > 3


@pytest.mark.parametrize("layer", ["features.99", "classifier", "last"])
def test_a_layer_without_a_feature_map_is_an_error(layer, randomise):
    net = randomise(create_model("mobilenet_v1", width_mult=0.25, num_classes=2))
    with pytest.raises(ValueError, match=rf"layer '{layer}'.* features.0"):
        grad_cam(net, torch.randn(1, 3, 64, 64), layer=layer)


def test_a_map_without_evidence_is_zero(randomise):
    net = randomise(create_model("mobilenet_v1", width_mult=0.25, num_classes=2))
    with torch.no_grad():
        net.classifier[-1].weight.fill_(-1)
    assert grad_cam(net, torch.randn(1, 3, 64, 64)).eq(0).all()


PREPROCESSING = {"image_size": 80, "crop_pct": 0.8}


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((100, 100), (10, 10, 90, 90)),
        ((200, 100), (60, 10, 140, 90)),
        ((50, 100), (5, 30, 45, 70)),
    ],
)
def test_the_crop_is_that_of_evaluation(size, box):
    assert find_eval_crop(*size, PREPROCESSING) == box


def test_the_heat_is_drawn_on_the_crop_that_the_net_saw():
    heat = torch.zeros(4, 4)
    heat[0, 3] = 1  # top right of the crop
    grey = Image.new("RGB", (400, 400), (100, 100, 100))
    drawn = draw_overlay(grey, [("a", 0.9)], heat, PREPROCESSING)
    changed = [
        place
        for place in ((320, 80), (80, 80), (80, 320), (320, 320), (10, 10))
        if max(abs(value - 100) for value in drawn.getpixel(place)) > 20
    ]
    assert changed == [(320, 80)]


@pytest.mark.parametrize("corner", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_the_heat_is_where_the_object_is(corner, tmp_path):
    """A net that averages brightness sees a white square in one corner of the crop."""
    net = create_model("mobilenet_v1", width_mult=0.25, num_classes=2)
    with torch.no_grad():
        for layer in net.modules():
            if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
                layer.weight.fill_(1 / layer.weight[0].numel())
    known = {"image_size": 128, "in_channels": 3, "mean": [0.0], "std": [1.0], "crop_pct": 0.8}
    known["interpolation"] = "bilinear"
    save_model(net, tmp_path / "net.safetensors", preprocessing=known)
    row, column = corner
    picture = Image.new("RGB", (500, 400))  # the crop is (90, 40) to (410, 360)
    x, y = 90 + 260 * column, 40 + 260 * row
    picture.paste((255, 255, 255), (x, y, x + 60, y + 60))
    picture.save(tmp_path / "a.png")
    predictor = Predictor(tmp_path / "net.safetensors", "eager")
    drawn = []
    for cam in (True, False):
        overlays = OverlayWriter(predictor, tmp_path / str(cam), cam)
        overlays.write(tmp_path / "a.png", predictor(tmp_path / "a.png"), topk=1)
        with Image.open(tmp_path / str(cam) / "a.jpg") as image:
            drawn.append(torch.from_numpy(np.asarray(image, dtype=np.int64)))
    change = (drawn[0] - drawn[1]).abs().sum(2)[50:350, 100:400]  # inside the outline
    quarters = change.unfold(0, 150, 150).unfold(1, 150, 150).sum((2, 3))
    assert divmod(int(quarters.argmax()), 2) == corner


def test_small_images_are_enlarged_and_bars_fit_below():
    drawn = draw_overlay(Image.new("RGB", (8, 8), "red"), [("a" * 500, 1.0), ("b\nc", 0.0)])
    assert drawn.width == 320
    assert drawn.height > 340
    assert drawn.getpixel((160, 160)) == (255, 0, 0)
    assert draw_overlay(Image.new("L", (4000, 3000)), [("a", 0.5)]).width == 1024
    assert draw_overlay(Image.new("L", (2, 9000)), [("a", 0.5)]).width == 320
