import pytest
import torch

from mobilenets.models import count_macs, count_parameters, create_model
from mobilenets.models.published import TABLES, find_published

OURS = [(table, row) for table, rows in TABLES.items() for row in rows if row.model]
# (table, label): numbers in millions that the paper prints and no implementation has.
PARAMS_DIFFER = {("v2-table-4", "MobileNetV2 1.4"): 6.9, ("v2-table-4", "MobileNetV2 1.0"): 3.4}
MACS_DIFFER = {("v2-table-4", "MobileNetV1"): 575, ("v2-table-4", "MobileNetV2 1.4"): 585}


def test_tables_are_complete():
    assert {table: len(rows) for table, rows in TABLES.items()} == {
        "v1-table-4": 2,
        "v1-table-5": 2,
        "v1-table-6": 4,
        "v1-table-7": 4,
        "v1-table-8": 3,
        "v1-table-9": 3,
        "v2-table-4": 6,
    }


@pytest.mark.parametrize(("table", "row"), OURS)
def test_our_nets_have_the_published_size(table, row):
    with torch.device("meta"):
        model = create_model(row.model, **row.options)
    params = count_parameters(model) / 1e6
    macs = count_macs(model, (3, row.resolution, row.resolution)) / 1e6
    if (table, row.label) in PARAMS_DIFFER:
        assert row.params == PARAMS_DIFFER[table, row.label]
    else:
        assert params == pytest.approx(row.params, abs=0.05)
    if (table, row.label) in MACS_DIFFER:
        assert row.macs == MACS_DIFFER[table, row.label]
    else:
        assert macs == pytest.approx(row.macs, abs=1.3)


def test_find_published():
    table, row = find_published("mobilenet_v1", 160, {"width_mult": 0.5})
    assert (table, row.macs, row.top1) == ("v1-table-9", 76, 60.2)
    assert find_published("mobilenet_v1", 160, {"width_mult": 0.3}) == (None, None)
