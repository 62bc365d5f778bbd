"""What no line of this project does, whatever it is for."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("mobilenets", "scripts", "tests", "configs", ".ci")
FILES = [
    *(path for path in ROOT.iterdir() if path.suffix in (".py", ".md", ".toml")),
    *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file()),
]
TEXTS = {
    path: path.read_text("utf-8")
    for path in sorted(FILES)
    if "__pycache__" not in path.parts and path.suffix != ".safetensors" and path != Path(__file__)
}
# Methods of Lightning's Trainer, and which of their arguments is a checkpoint.
RUNS = {"fit": 4, "validate": 2, "test": 2, "predict": 2}
READS = {*RUNS, "load", "loads", "load_from_checkpoint", "load_state_dict_from_url"}
PICKLES = ("pickle", "dill", "joblib", "cloudpickle")


def calls():
    """Every call that may read a checkpoint: its place, what is called, the call, its keywords."""
    for path, text in TEXTS.items():
        if path.suffix == ".py":
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in READS:
                    keywords = {keyword.arg: keyword.value for keyword in node.keywords}
                    yield f"{path}:{node.lineno}", ast.unparse(node.func), node, keywords


def weights_only(keywords):
    value = keywords.get("weights_only")
    return isinstance(value, ast.Constant) and value.value is True


def test_a_checkpoint_is_read_as_plain_data_wherever_it_is_read():
    """The default is not relied upon: TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD flips it."""
    reads, bad = 0, []
    for place, name, node, keywords in calls():
        owner, _, method = name.rpartition(".")
        position = RUNS.get(method, 99)
        lightning = "ckpt_path" in keywords or len(node.args) > position
        if name == "torch.load" or lightning or method == "load_from_checkpoint":
            reads += 1
            bad += [] if weights_only(keywords) else [f"{place}: {name}"]
        assert name != "torch.hub.load_state_dict_from_url", f"{place} checks no sum"
        if "tests" not in Path(place).parts:
            assert not (owner in PICKLES and method in ("load", "loads")), place
    assert not bad
    assert reads > 12


def test_nobody_is_advised_to_let_a_file_execute_code():
    for path, text in TEXTS.items():
        saying = text.replace("save_checkpoint(self.folder / name, weights_only=False)", "")
        assert "weights_only=False" not in saying, path  # there it means: all that resuming needs
        assert "NO_WEIGHTS_ONLY_LOAD" not in text or "tests" in path.parts, path


def test_nothing_is_served_to_other_machines():
    for path, text in TEXTS.items():
        assert "bind_all" not in text and "0.0.0.0" not in text, path
    assert sum("tensorboard --logdir" in text for text in TEXTS.values()) >= 2


def test_all_files_were_looked_at():
    names = {path.relative_to(ROOT).as_posix() for path in TEXTS}
    assert names >= {"train.py", "README.md", "configs/train.yaml", "scripts/check_data.py"}
    assert len([name for name in names if name.startswith("mobilenets/")]) > 80
