"""The report on loaded weights: which net they are of, and what became of every tensor."""

from dataclasses import dataclass, field
from inspect import signature

from mobilenets.console import label_lines
from mobilenets.models import MODELS
from mobilenets.weights.differences import to_lists
from mobilenets.weights.record import Weights


@dataclass(frozen=True)
class Report:
    """What became of every tensor, by our keys; `ignored` by the names in the file."""

    weights: Weights
    matched: list[str]
    converted: list[str]
    reinitialised: list[str]
    ignored: list[str]
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        weights, preprocessing = self.weights, self.weights.preprocessing
        counts = {
            "matched": self.matched,
            "converted": self.converted,
            "re-initialised": self.reinitialised,
            "ignored": self.ignored,
        }
        total = len(self.matched) + len(self.converted) + len(self.reinitialised)
        tensors = f"{total} tensors: " + ", ".join(f"{len(k)} {word}" for word, k in counts.items())
        if self.ignored:
            tensors += f" ({', '.join(self.ignored[:3])}{', ...' * (len(self.ignored) > 3)})"
        lines = [weights.source, f"{weights.origin}: {describe(weights)}"]
        if preprocessing:
            lines += ["images: " + ", ".join(f"{k} {v}" for k, v in preprocessing.items())]
        return label_lines("weights", *lines, tensors, *self.notes)


def describe(weights: Weights) -> str:
    """Describe the net in a few words: its name, its width, and options that are not defaults."""
    parameters = signature(MODELS[weights.model]).parameters
    words = [f"{weights.model} of width {weights.options['width_mult']:g}"]
    words += [
        f"{option} {value}"
        for option, value in weights.options.items()
        if option not in ("width_mult", "dropout")
        and to_lists(value) != to_lists(parameters[option].default)
    ]
    return ", ".join(words)
