"""Figures have the right labels, counts and images."""

import torch

from mobilenets.reports import Mistake, draw_confusion_matrix, draw_mistakes, make_image_grid
from mobilenets.reports.figures import denormalise

MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]


def test_denormalise_undoes_the_normalisation():
    images = torch.rand(2, 3, 4, 4)
    shape = (3, 1, 1)
    normalised = (images - torch.tensor(MEAN).view(shape)) / torch.tensor(STD).view(shape)
    torch.testing.assert_close(denormalise(normalised, MEAN, STD), images)


def test_grid_has_eight_images_in_a_row():
    grid = make_image_grid(torch.zeros(16, 1, 10, 10), [0.5], [0.5])
    assert grid.shape == (3, 2 * 12 + 2, 8 * 12 + 2)
    assert grid[:, 5, 5].tolist() == [0.5] * 3


def test_confusion_matrix_is_labelled_with_names_and_counts():
    matrix = torch.tensor([[8, 2], [0, 5]])
    axes = draw_confusion_matrix(matrix, ["cat", "dog"], "test").axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["cat", "dog"]
    assert sorted(text.get_text() for text in axes.texts) == ["2", "5", "8"]
    shares = torch.as_tensor(axes.images[0].get_array())
    torch.testing.assert_close(shares, torch.tensor([[0.8, 0.2], [0.0, 1.0]]))


def test_confusion_matrix_of_many_classes_has_no_text():
    axes = draw_confusion_matrix(torch.eye(100).long(), [str(i) for i in range(100)], "test").axes[
        0
    ]
    assert not axes.texts


def test_mistakes_show_truth_answer_and_sample():
    mistakes = [
        Mistake(f"test[{i}]", "cat", "dog", 0.97, 3.5, torch.zeros(3, 8, 8)) for i in (4, 9)
    ]
    titles = [axes.get_title() for axes in draw_mistakes(mistakes, MEAN, STD).axes]
    assert titles[:2] == ["cat, not dog (97%)\ntest[4]", "cat, not dog (97%)\ntest[9]"]


def test_a_net_without_mistakes_still_has_a_figure(tmp_path):
    draw_mistakes([], MEAN, STD).savefig(tmp_path / "none.png")
    assert (tmp_path / "none.png").stat().st_size > 0
