"""Whatever a shell hands over as a path arrives as it is."""

import pytest

from mobilenets.config.words import Grammar, collect_inputs, parse_search_path

GRAMMAR = Grammar(groups={"model": ["v1", "v2"]}, texts={"data.root"}, lists={"format"})
PATHS = [
    *("a b", "it's", r"back\slash'", "a=b,c(d)[e]{f}", "ünï", "#", " x ", "1e3", "2024", "true"),
    *("a,b", "a:b", "$x", "(", "]", "%", "*", "a'b\"c", "", "?", "-", "[a,b]", "{a: 1}", "="),
]  # fmt: skip


def value(text, **options):
    (word,) = GRAMMAR.parse(text, **options)
    return word.value


@pytest.mark.parametrize("text", PATHS)
def test_a_path_is_taken_as_it_stands(text):
    assert value(f"data.root={text}") == text
    assert value(f"hydra.run.dir={text}") == text


@pytest.mark.parametrize("text", [text for text in PATHS if "," not in text])
def test_in_a_sweep_too_unless_a_comma_is_in_it(text):
    assert value(f"data.root={text}", sweep=True) == text


def test_a_comma_separates_the_jobs_of_a_sweep():
    assert [word.value for word in GRAMMAR.parse("data.root=/a,/b c", sweep=True)] == ["/a", "/b c"]


def test_null_quotes_and_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert value("data.root=null") is None
    assert value("data.root='a b'") == "a b"
    assert value("data.root=~/flowers") == "/home/me/flowers"


def test_other_values_are_in_hydras_grammar():
    assert value("lr=1e-3") == 1e-3
    assert value("mean=[0.5, 1]") == [0.5, 1]
    assert value("format=onnx,litert") == ["onnx", "litert"]
    assert value("+lr=3") == 3
    assert value("~lr") == "???"
    assert [word.value for word in GRAMMAR.parse("lr=range(1,4)", sweep=True)] == [1, 2, 3]


def test_words_without_an_equals_sign_are_inputs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=b.jpg").touch()
    words = ["cat.jpg", "topk=3", "a=b.jpg", "input=photos", "--x"]
    assert collect_inputs(words, "input") == (["cat.jpg", "a=b.jpg", "photos"], ["topk=3", "--x"])


def test_a_search_path_is_a_folder_or_a_list_of_them(tmp_path):
    for text in (f"[file://{tmp_path},/x]", f"['file://{tmp_path}','/x']"):
        assert [str(path) for path in parse_search_path(text)] == [str(tmp_path), "/x"]
    assert parse_search_path(str(tmp_path)) == [tmp_path]
