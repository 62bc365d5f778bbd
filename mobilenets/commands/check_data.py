"""Check a data set before training: read every image, and report all problems.

The settings are those of train.py. The report lists the images of each class, the bad images, the
files that are copies of another, and whether a run could train on the data set as it is. The exit
code is 1 if there are problems.
"""

from mobilenets.commands.runner import command
from mobilenets.config import TrainConfig
from mobilenets.console import escape_stdout, label_lines
from mobilenets.imports import lean_imports


@command("check_data", TrainConfig, primary="train")
def check_data(config: TrainConfig) -> int:
    """Print what is there and what is wrong with it; return the exit code."""
    # Imported here, so that an error in the config is reported before torch is loaded.
    with lean_imports():
        from mobilenets.data.check import check_data_set

    escape_stdout()
    data, problems = check_data_set(config.data.name, config.seed, config.data.options())
    if not problems:
        try:
            config.model.options(data.num_classes, data.in_channels)
        except ValueError as error:
            problems.append(str(error))
    for problem in problems:
        print(label_lines("bad", problem))
    print(label_lines("result", f"problems: {len(problems):,}"))
    return 1 if problems else 0
