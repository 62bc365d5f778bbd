"""Our own .safetensors: weights and the record that describes them (`mobilenets.save_model`)."""

from pathlib import Path

from mobilenets.export.exportable import Exportable, Runner, make_runner
from mobilenets.weights import load_weights, save_model


def write(model: Exportable, path: Path) -> None:
    """Write the weights as they were trained, BatchNorm not folded."""
    weights = model.weights
    save_model(
        weights.build(),
        path,
        class_names=weights.class_names,
        preprocessing=weights.preprocessing,
        metrics=weights.metrics,
        command=weights.command,
        config=weights.config,
    )


def load(path: Path, num_threads: int | None = None) -> Runner:
    """Return a function that runs a file in PyTorch, with torch's threads."""
    return make_runner(load_weights(path).build())
