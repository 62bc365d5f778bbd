"""Dates the optimizer's steps of any training script, which need not know of it.

Every Python that starts with this folder on PYTHONPATH imports this module first. Of the steps
whose numbers $BENCHMARK_MARKS lists ("1,5,25") the ends are written to the file $BENCHMARK_CLOCK,
one time.time() a line. All systems are measured by this one clock.
"""

import os
import sys
import time
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

OPTIMIZERS = "torch.optim.optimizer"


class StepClock(MetaPathFinder):
    """Waits for torch's optimizers to be imported: importing them here would cost start-up."""

    def __init__(self, marks: set[int], file: str) -> None:
        self.marks = marks
        self.file = file
        self.steps = 0

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Finds the module as Python does, and has it registered once it is loaded."""
        if fullname != OPTIMIZERS:
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(fullname, path)
        assert spec is not None and spec.loader is not None
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            module.register_optimizer_step_post_hook(self.count)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec

    def count(self, *_: Any) -> None:
        """Counts a step, and dates it if it is one of the marks."""
        self.steps += 1
        if self.steps in self.marks:
            torch = sys.modules["torch"]
            if torch.cuda.is_initialized():
                torch.cuda.synchronize()  # what was launched has not happened yet
            with open(self.file, "a") as file:  # noqa: PTH123 (pathlib takes its time to import)
                file.write(f"{time.time()}\n")


if "BENCHMARK_CLOCK" in os.environ:
    sys.meta_path.insert(
        0,
        StepClock(
            {int(mark) for mark in os.environ["BENCHMARK_MARKS"].split(",")},
            os.environ["BENCHMARK_CLOCK"],
        ),
    )
