"""From a checkpoint to a file that runs elsewhere, with proof that it computes the same."""

from mobilenets.export.examples import examples_from_folder, examples_from_split, random_examples
from mobilenets.export.exportable import Exportable, Runner
from mobilenets.export.formats import FORMATS, check
from mobilenets.export.parity import Example, Parity
from mobilenets.export.report import Exported, table, worst_layers, write_report
from mobilenets.export.verify import accept_or_reject, verify_files, write

__all__ = [
    "FORMATS",
    "Example",
    "Exportable",
    "Exported",
    "Parity",
    "Runner",
    "accept_or_reject",
    "check",
    "examples_from_folder",
    "examples_from_split",
    "random_examples",
    "table",
    "verify_files",
    "worst_layers",
    "write",
    "write_report",
]
