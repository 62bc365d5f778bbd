"""From a checkpoint to a file that runs elsewhere, with proof that it computes the same."""

from mobilenets.export.examples import noise as noise_images
from mobilenets.export.examples import of_data, of_folder
from mobilenets.export.exportable import Exportable, Runner
from mobilenets.export.formats import FORMATS, check
from mobilenets.export.parity import Example, Parity
from mobilenets.export.report import Exported, table, worst_layers, write_json
from mobilenets.export.shipping import check_files, first_line, settle, write

__all__ = [
    "FORMATS",
    "Example",
    "Exportable",
    "Exported",
    "Parity",
    "Runner",
    "check",
    "check_files",
    "first_line",
    "noise_images",
    "of_data",
    "of_folder",
    "settle",
    "table",
    "worst_layers",
    "write",
    "write_json",
]
