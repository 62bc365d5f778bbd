"""Imports: which packages are missing, and how to leave out those that no run uses."""

import gc
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import Distribution, DistributionFinder, PackageNotFoundError
from importlib.util import find_spec

# Lightning imports torchmetrics, which imports these packages, if installed, for its metrics of
# sound, text and images. TensorBoard's event writer does the same with TensorFlow.
UNUSED = ("scipy", "transformers", "matplotlib", "tensorflow")


def find_missing(packages: Iterable[str]) -> list[str]:
    """Return those of the packages that are not installed, without importing any."""
    return [package for package in packages if find_spec(package) is None]


def install_hint(extra: str) -> str:
    """Return the command that installs the packages of an extra; this package is on no index."""
    return f'pip install -e ".[{extra}]"'


@contextmanager
def lean_imports() -> Iterator[None]:
    """Halve the time of imports: hide the packages `UNUSED`, and pause the garbage collector.

    The collector would scan a million new objects repeatedly, none of them garbage. Afterwards
    every package can be imported as usual. Nothing is hidden in a process that has imported
    torchmetrics before (the next job of a sweep).
    """
    if "torchmetrics" in sys.modules:
        yield
        return
    hidden = [name for name in UNUSED if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: can't be imported
    finder = _HidingFinder(hidden)
    sys.meta_path.insert(0, finder)
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()  # modules live until the process ends
        gc.enable()
        sys.meta_path.remove(finder)
        for name in hidden:
            del sys.modules[name]


class _HidingFinder(DistributionFinder):
    """A finder that hides the metadata of `packages`, which torchmetrics looks at first."""

    def __init__(self, packages: list[str]) -> None:
        self.packages = packages

    def find_spec(self, *args: object) -> None:
        """Find no module; the next finders do that."""

    def find_distributions(
        self,
        context: DistributionFinder.Context = DistributionFinder.Context(),  # noqa: B008 (its own)
    ) -> Iterator[Distribution]:
        """Find no distribution, and end the search for `packages`."""
        if context.name in self.packages:
            raise PackageNotFoundError(context.name)
        return iter(())
