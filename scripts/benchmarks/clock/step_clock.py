"""A clock for the optimizer steps of any training script, which need not know of it.

With this folder on PYTHONPATH, `import torch` calls `start` at its end, as it calls every entry
point of the group "torch.backends". $BENCHMARK_MARKS lists numbers of steps ("1,5,25"); the time
at the end of each is written to the file $BENCHMARK_CLOCK, one time.time() a line.
"""

import os
import time
from pathlib import Path


def start() -> None:
    """Count the steps of all optimizers of this process."""
    import torch
    from torch.optim.optimizer import register_optimizer_step_post_hook

    marks = {int(mark) for mark in os.environ["BENCHMARK_MARKS"].split(",")}
    steps = 0

    def count_step(*_: object) -> None:
        nonlocal steps
        steps += 1
        if steps in marks:
            if torch.cuda.is_initialized():
                torch.cuda.synchronize()  # the step was only launched
            with Path(os.environ["BENCHMARK_CLOCK"]).open("a") as file:
                file.write(f"{time.time()}\n")

    register_optimizer_step_post_hook(count_step)
