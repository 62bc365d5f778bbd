"""The worst mistakes are the wrong answers with the largest loss, over all batches."""

from types import SimpleNamespace

import torch
import torch.nn.functional as F

from mobilenets.data.batch import Batch
from mobilenets.reports import WorstMistakes


def test_the_worst_wrong_answers_are_kept_in_order():
    torch.manual_seed(0)
    data = SimpleNamespace(
        class_names=list("abcde"), test_split="test", sample_name=lambda split, i: f"{split}[{i}]"
    )
    mistakes = WorstMistakes(data, count=5)
    mistakes.on_test_start(None, None)
    logits, labels = 3 * torch.randn(60, 5), torch.randint(5, (60,))
    losses = F.cross_entropy(logits, labels, reduction="none")
    for part in torch.arange(60).split(8):
        batch = Batch(torch.zeros(len(part), 1, 2, 2), labels[part], part, -1)
        mistakes.on_test_batch_end(None, None, (logits[part], losses[part]), batch, 0)

    wrong = [i for i in range(60) if logits[i].argmax() != labels[i]]
    expected = sorted(wrong, key=lambda i: -losses[i])[:5]
    assert [mistake.sample for mistake in mistakes.worst] == [f"test[{i}]" for i in expected]
    first = mistakes.worst[0]
    assert first.label == "abcde"[labels[expected[0]]]
    assert first.answer == "abcde"[logits[expected[0]].argmax()]
    assert abs(first.confidence - logits[expected[0]].softmax(0).max().item()) < 1e-6


def test_a_batch_without_mistakes_adds_none():
    mistakes = WorstMistakes(SimpleNamespace(class_names=list("ab"), test_split="test"))
    logits, labels = torch.tensor([[2.0, 0.0]]), torch.tensor([0])
    batch = Batch(torch.zeros(1, 1, 2, 2), labels, torch.tensor([0]), -1)
    mistakes.on_test_batch_end(None, None, (logits, torch.tensor([0.1])), batch, 0)
    assert mistakes.worst == []
