import importlib
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image


@pytest.fixture
def main(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "scripts")
    threads = torch.get_num_threads()
    yield importlib.import_module("benchmark_decoding").main
    torch.set_num_threads(threads)


@pytest.mark.filterwarnings("ignore:The image decoding.*of TorchVision:DeprecationWarning")
def test_every_decoder_is_measured_and_full_ones_agree(main, tmp_path, capsys):
    rows, columns = np.mgrid[:120, :160]
    pixels = np.stack([rows, columns, rows + columns], axis=-1).astype(np.uint8)
    for number in range(3):
        Image.fromarray(pixels).save(tmp_path / f"{number}.jpg", quality=95)
    main([str(tmp_path), "--size", "24", "--rounds", "1"])
    first, _, *lines = capsys.readouterr().out.splitlines()
    assert first == "3 files, 24 px, 1 rounds"
    differences = {re.split(r"\s{2,}", line)[0]: float(line.split()[-1]) for line in lines}
    assert differences.pop("PIL in full") == 0
    assert differences.pop("torchvision.io") < 1
    assert 0 < differences.pop("PIL reduced (ours)") < 5
    assert set(differences) <= {"simplejpeg reduced"}


def test_a_folder_without_jpegs_is_one_sentence(main, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([str(tmp_path)])
    assert "holds no .jpg or .JPEG files: give a folder that does" in capsys.readouterr().err
