"""The command `mobilenets`, or `python -m mobilenets`: train, eval, predict, export and more."""

import sys
from importlib import import_module

COMMANDS = {  # name -> what it does; each is a module of mobilenets.commands
    "train": "train a net, and test it at the end",
    "eval": "evaluate a checkpoint or a run folder",
    "predict": "say what is on images and videos",
    "export": "write a checkpoint for another runtime, and check that it computes the same",
    "check-data": "read every image of a data set, and report all problems",
}


def main(name: str | None = None) -> None:
    """Run the command `name`, or the one that the command line names; exit if it fails."""
    try:
        words = sys.argv[1:]
        if name is None:
            name, *words = words or ["--help"]
        if code := _run(name, words):
            sys.exit(code)
    except KeyboardInterrupt:  # before the command itself listens
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _run(name: str, words: list[str]) -> int:
    if name in ("--help", "-h", "help"):
        print("usage: mobilenets COMMAND setting=value ...; mobilenets COMMAND --help explains all")
        for command, text in COMMANDS.items():
            print(f"  {command:<12}{text}")
        return 0
    if name == "--version":
        from mobilenets import __version__

        print(f"mobilenets {__version__}")
        return 0
    if name not in COMMANDS:
        from mobilenets.choices import describe_unknown
        from mobilenets.console import print_errors

        print_errors(f"command {name!r} is {describe_unknown(name, list(COMMANDS))}")
        return 2
    module = name.replace("-", "_")
    return getattr(import_module(f"mobilenets.commands.{module}"), module)(words)


if __name__ == "__main__":
    main()
