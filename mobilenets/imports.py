"""How train.py and eval.py load their libraries: without what no run uses, in half the time."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import Distribution, DistributionFinder, PackageNotFoundError

# Lightning imports torchmetrics, and that imports whatever its metrics of sound, text and pictures
# find installed. The writer of TensorBoard's events does so with TensorFlow.
UNUSED = ("scipy", "transformers", "matplotlib", "tensorflow")


@contextmanager
def lean_imports() -> Iterator[None]:
    """What is imported meanwhile finds none of `UNUSED`, and no garbage is collected.

    The collector would look at a million new objects again and again, none of them garbage.
    Afterwards everything can be imported as ever. In a process that has torchmetrics already (the
    next job of a sweep) nothing is hidden.
    """
    if "torchmetrics" in sys.modules:
        yield
        return
    hidden = [name for name in UNUSED if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: can't be imported
    finder = _Absent(hidden)
    sys.meta_path.insert(0, finder)
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()  # the modules stay until the end
        gc.enable()
        sys.meta_path.remove(finder)
        for name in hidden:
            del sys.modules[name]


class _Absent(DistributionFinder):
    """Says of `packages` that they are not installed: torchmetrics looks at the metadata first."""

    def __init__(self, packages: list[str]) -> None:
        self.packages = packages

    def find_spec(self, *args: object) -> None:
        """Finds no module: that is left to the others."""

    def find_distributions(
        self,
        context: DistributionFinder.Context = DistributionFinder.Context(),  # noqa: B008 (its own)
    ) -> Iterator[Distribution]:
        """Finds no distribution, and ends the search for those of `packages`."""
        if context.name in self.packages:
            raise PackageNotFoundError(context.name)
        return iter(())
