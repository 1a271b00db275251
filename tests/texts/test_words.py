"""Words are what a reader takes for them, and their sums leave no token out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from intgrads.texts.sentences import Sentence, tokenise
from intgrads.texts.words import LONGEST_WORD, _words, find_words
from shared.texts import VOCABULARY, small_bert_tokenizer, small_xlnet_tokenizer
from tokenizers import Tokenizer

BERT: Tokenizer = small_bert_tokenizer().backend_tokenizer
XLNET: Tokenizer = small_xlnet_tokenizer().backend_tokenizer


def test_a_run_without_end_is_cut_into_words() -> None:
    text = "x" * 250 + " y"
    words = find_words(text, np.array([[0, 250], [251, 252]]))
    assert max(map(len, words.texts)) == 100
    assert words.texts[-1] == "y"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("我喜欢这部电影。", ["我", "喜欢", "这", "部", "电影", "。"]),
        ("これは良い映画です", ["これ", "は", "良い", "映画", "です"]),
        ("ฉันชอบหนังเรื่องนี้", ["ฉัน", "ชอบ", "หนัง", "เรื่อง", "นี้"]),
        ("안녕하세요 세계!", ["안녕하세요", "세계", "!"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("کتاب\u200cها خوب", ["کتاب\u200cها", "خوب"]),
        ("ok👍🏽👍!", ["ok", "👍🏽", "👍", "!"]),
        ("👨\u200d👩\u200d👧\u200d👦🇩🇪🇫🇷 ❤️❤️", ["👨\u200d👩\u200d👧\u200d👦", "🇩🇪", "🇫🇷", "❤️", "❤️"]),
        ("𝕏𝕐 好 𠮷 a", ["𝕏𝕐", "好", "𠮷", "a"]),
        ("★★★★☆ 3.14 50% $5", ["★★★★☆", "3.14", "50", "%", "$", "5"]),
        ("it isn't well-known (at all).", ["it", "isn't", "well", "-", "known", "(", "at", "all", ")."]),
        (" \u0301a", ["\u0301", "a"]),
    ],
)
def test_words_of_any_script_are_those_of_its_readers(text: str, words: list[str]) -> None:
    found = find_words(text, np.array([[place, place + 1] for place in range(len(text))]))
    assert found.texts == words
    assert [text[start:end] for start, end in found.offsets] == words


HOSTILE = "ab_1 \t\n.,!'’\u0301\u200d\ufe0f\u200b\u0e01\u0e33\u1000好電👍🏽🇩❤★\x00\x1c\x85\u3000"


@given(text=st.text(max_size=400) | st.text(alphabet=HOSTILE, max_size=400) | st.text(alphabet="a'", max_size=400))
def test_words_are_in_order_bounded_and_all_that_is_no_space(text: str) -> None:
    found = find_words(text, np.array([[place, place + 1] for place in range(len(text))]).reshape(-1, 2))
    starts, ends = found.offsets.T
    assert (starts < ends).all()
    assert (ends - starts <= LONGEST_WORD).all()
    assert (ends[:-1] <= starts[1:]).all()
    covered = np.zeros(len(text), bool)
    for start, end in found.offsets:
        covered[start:end] = True
    assert all(covered[place] or sign.isspace() for place, sign in enumerate(text))
    assert not any(text[start].isspace() for start in starts)


@pytest.mark.parametrize("unit", ["\u0301", "x", "a ", "好", "ก", ".", "👍\u200d", "🇩", "a'", " \u0301", "က"])
def test_a_million_characters_are_one_pass(unit: str) -> None:
    text = unit * (10**6 // len(unit))
    every = list(_words(text))
    assert sum(end - start for start, end in every) == len("".join(text.split()))
    assert max(end - start for start, end in every) <= LONGEST_WORD
    assert find_words(text, np.array([[0, 1]])).offsets.tolist() == [list(every[0])]


def cut(text: str, tokenizer: Tokenizer = BERT) -> Sentence:
    return tokenise(text, tokenizer, VOCABULARY["[UNK]"], "sequence")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The camera isn't good.", ["The", "camera", "isn't", "good", "."]),
        ("it’s good...  really?!", ["it’s", "good", "...", "really", "?!"]),
        ("  good\n\tfilm ", ["good", "film"]),
        ("bad,bad", ["bad", ",", "bad"]),
        ("é好a", ["é", "好", "a"]),
        ("'good'", ["'", "good", "'"]),
    ],
)
@pytest.mark.parametrize("tokenizer", [BERT, XLNET])
def test_words_are_a_readers(text: str, words: list[str], tokenizer: Tokenizer) -> None:
    found = cut(text, tokenizer).words
    assert found.texts == words
    assert [text[start:end] for start, end in found.offsets] == words


def test_the_pieces_of_a_word_are_one_word() -> None:
    sentence = cut("The camera isn't")
    assert [sentence.tokens[a:b] for a, b in sentence.words.spans] == [["the"], ["camera"], ["isn", "'", "[UNK]"]]


@pytest.mark.parametrize("tokenizer", [BERT, XLNET])
@given(
    text=st.text(alphabet="abc not.,!?'’ \n\té好👍🏽\u200d\u0301#", min_size=1, max_size=60).filter(lambda t: "a" in t)
)
def test_every_token_but_the_special_ones_is_in_one_word_and_sums_add_up(tokenizer: Tokenizer, text: str) -> None:
    sentence = cut(text, tokenizer)
    spoken = sentence.offsets[:, 0] < sentence.offsets[:, 1]
    scores = np.random.default_rng(0).normal(size=(2, len(sentence.ids)))
    sums = sentence.words.sums(scores)
    assert sums.shape == (2, len(sentence.words.texts))
    np.testing.assert_allclose(sums.sum(1), scores[:, spoken].sum(1), atol=1e-12)
    covered = np.zeros(len(spoken), int)
    for start, end in sentence.words.spans:
        assert start < end
        covered[start:end] += 1
    assert (covered == spoken).all()
    assert (np.diff(sentence.words.offsets.ravel()) >= 0).all()


def test_a_token_between_words_counts_to_the_next_and_one_after_the_last_to_the_last() -> None:
    text = "a  b  "
    offsets = np.array([[0, 0], [0, 1], [1, 3], [3, 4], [4, 6], [0, 0]])
    assert find_words(text, offsets).spans.tolist() == [[1, 2], [2, 5]]


def test_words_beyond_the_cut_are_left_out() -> None:
    tokenizer = Tokenizer.from_str(BERT.to_str())
    tokenizer.enable_truncation(5)
    sentence = cut("the camera is good", tokenizer)
    assert sentence.truncated
    assert sentence.words.texts == ["the", "camera", "is"]
    assert sentence.notes == (
        "the text was cut after 5 of 6 tokens, at character 13 of 18: this archive takes no more",
    )


def test_what_the_tokeniser_leaves_out_or_does_not_know_is_told() -> None:
    assert cut("the camera").notes == ()
    assert "left out (control characters, accents or the like): 2" in cut("the \x00\x01 camera \u200b").notes[0]
    assert "lacks: 2; the network sees [UNK]" in cut("the zebra zebra").notes[0]


def test_words_that_one_token_stands_for_are_one_word() -> None:
    """As where an unknown token covers many: none is lost, and none gets the score of all."""
    text = "one two three four"
    found = find_words(text, np.array([[0, 0], [0, 13], [14, 18], [0, 0]]))
    assert found.texts == ["one two three", "four"]
    assert found.offsets.tolist() == [[0, 13], [14, 18]]
    assert found.spans.tolist() == [[1, 2], [2, 3]]
    long = "a " * 200
    (label,) = find_words(long, np.array([[0, 399]])).texts
    assert len(label) == 100
