"""Export of a checkpoint: files for other runtimes, each verified against the net in PyTorch."""

from mobilenets.export.examples import examples_from_folder, examples_from_split, random_examples
from mobilenets.export.exportable import Exportable, Runner, make_runner, require_preprocessing
from mobilenets.export.formats import FORMATS, check_formats
from mobilenets.export.parity import Example, Parity
from mobilenets.export.report import format_report, format_worst_layers, write_report
from mobilenets.export.verify import ExportedFile, accept_or_reject, verify_files, write_file

__all__ = [
    "FORMATS",
    "Example",
    "Exportable",
    "ExportedFile",
    "Parity",
    "Runner",
    "accept_or_reject",
    "check_formats",
    "examples_from_folder",
    "examples_from_split",
    "format_report",
    "format_worst_layers",
    "make_runner",
    "random_examples",
    "require_preprocessing",
    "verify_files",
    "write_file",
    "write_report",
]
