"""Groups of a text are the tokens of its words, spans and phrases; a tree that does not fit is refused."""

from typing import Any

import numpy as np
import pytest
from intgrads.errors import RequestError
from intgrads.texts.groups import CharacterSpan, callers_spans, read_tree, token_groups

TEXT = "The plot isn't bad (at all)."
TREE = (
    "(S (NP (DT The) (NN plot)) (VP (VBZ is) (RB n't) (ADJP (JJ bad) "
    "(PRN (-LRB- -LRB-) (ADVP (IN at) (DT all)) (-RRB- -RRB-)))) (. .))"
)
OFFSETS = np.array([[0, 0], [0, 3], [4, 8], [9, 14], [15, 18], [19, 20], [20, 22], [23, 26], [26, 28], [0, 0]])
TOKENS = ["[CLS]", "the", "plot", "isn't", "bad", "(", "at", "all", ").", "[SEP]"]


def read(spans: list[CharacterSpan]) -> dict[str, str]:
    return {span.label.split()[0]: TEXT[span.start : span.end] for span in spans}


def test_each_bracket_is_a_phrase() -> None:
    spans = read_tree(TREE, TEXT)
    phrases = read(spans)
    assert len(spans) == TREE.count("(")
    assert phrases["S"] == TEXT
    assert phrases["NP"] == "The plot"
    assert phrases["VP"] == "isn't bad (at all)"
    assert phrases["RB"] == "n't"
    assert phrases["-LRB-"] == "("
    assert phrases["ADVP"] == "at all"
    assert spans[0].label == f"S {TEXT}"


def test_labels_are_cut_and_deep_trees_of_long_texts_are_read() -> None:
    text = "a " * 100_000
    spans = read_tree("(" * 2000 + "S " + text + ")" * 2000, text)
    assert len(spans) == 2000
    assert spans[0].start == spans[-1].start == 0
    assert spans[0].end == len(text) - 1
    assert len(spans[-1].label) == 100


def test_spaces_and_missing_categories_do_not_matter() -> None:
    assert read_tree("( (NP It )( VP\n works))", "  It   works ")[0] == CharacterSpan("phrase", "It   works", 2, 12)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ("(S (NP The) (NN plot)", "lacks 1 closing"),
        ("(S The plot isn't bad (X) (at all).)", "holds no word"),
        ("(S The plot) isn't", 'goes on after its last bracket: "isn\'t"'),
        ("(S The plot)", "lacks \"isn't bad"),
        ("(S The film)", "its word 'film' stands where the text has \"plot isn"),
        ("(S)", "holds no word"),
        ("()", "holds no word"),
        ("(" * 1000 + "The", "lacks 1000 closing"),
        ("(" * 10**6 + "The plot", "more than the 2000 brackets"),
    ],
)
def test_trees_that_do_not_fit_are_refused(tree: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        read_tree(tree, TEXT)


def test_spans_become_tokens() -> None:
    groups = token_groups(callers_spans([[0, 8], [5, 12], [15, 28]], TEXT), OFFSETS, TOKENS)
    assert groups.kinds == ["token"] * 10 + ["span"] * 3 + ["text"]
    assert groups.labels[:10] == TOKENS
    assert groups.spans.tolist()[:10] == [[place, place + 1] for place in range(10)]
    assert groups.spans.tolist()[10:] == [[1, 3], [2, 4], [4, 9], [0, 10]]
    assert groups.notes == ["groups widened to whole tokens: 1"]


def test_what_was_cut_off_is_told() -> None:
    groups = token_groups(callers_spans([[0, 8], [19, 28]], TEXT), OFFSETS[:4], TOKENS[:4])
    assert groups.spans.tolist()[4:] == [[1, 3], [0, 4]]
    assert "left out" in groups.notes[0]
    with pytest.raises(RequestError, match="no group has a token"):
        token_groups(callers_spans([[19, 28]], TEXT), OFFSETS[:4], TOKENS[:4])


@pytest.mark.parametrize(
    "groups",
    ["phrases", [], [[3, 3]], [[5, 4]], [[0, 99]], [[-1, 4]], [[0]], [[0, 1, 2]], [[0, 1.5]], [[False, True]], [0], {}],
)
def test_bad_spans_are_refused(groups: Any) -> None:
    with pytest.raises(RequestError) as refused:
        callers_spans(groups, TEXT)
    assert refused.value.field == "groups"
