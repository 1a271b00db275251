"""Text end to end: a real TorchServe with the demo's archive, every documented way to send a text, and bad ones."""

import gzip
import io
import json
import subprocess
from typing import Any

import numpy as np
import pytest
import torch
from intgrads.serving.torchserve import TorchServe
from shared.bad_texts import BAD
from shared.html_pages import Page
from shared.places import EXAMPLES
from shared.serving import assert_refused, description, over_http, pids, post, post_at_once

pytestmark = pytest.mark.server

TEXT = (EXAMPLES / "negation.txt").read_text()


def curl(server: TorchServe, *options: str) -> bytes:
    command = ["curl", "-s", "--fail-with-body", *options, f"{server.url}/predictions/text"]
    return subprocess.run(command, capture_output=True, check=True).stdout


WAYS = {
    "body": ("-T", str(EXAMPLES / "negation.txt"), "-H", "Content-Type: text/plain"),
    "form file": ("-F", f"data=@{EXAMPLES / 'negation.txt'}"),
    "form file with a type": ("-F", f"data=@{EXAMPLES / 'negation.txt'};type=text/plain", "-F", "n_steps=50"),
    "form field": ("--form-string", f"sequence={TEXT}"),
    "json": ("--data", json.dumps({"sequence": TEXT}), "-H", "Content-Type: application/json"),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_send_a_text(torchserve: TorchServe, way: str) -> None:
    answer = json.loads(curl(torchserve, *WAYS[way], "-H", "Accept: application/json"))
    assert answer["text"].strip() == TEXT.strip()
    assert answer["prediction"]["label"] == "negative"
    words = dict(zip(answer["words"], answer["word_scores"], strict=True))
    assert max(words, key=words.__getitem__) == "not"


@pytest.mark.parametrize("text", ["good; not bad;", "@home \"good\" 'bad'", "<b>good</b> & bad \\ 好👍\n\tgood"])
def test_a_forms_text_arrives_in_full_and_the_answer_tells_it(torchserve: TorchServe, text: str) -> None:
    """Of `-F` curl itself cuts what follows a semicolon, and reads a file where the text begins with @ or <."""
    answer = json.loads(curl(torchserve, "--form-string", f"sequence={text}", "-F", "format=json"))
    assert answer["text"] == text


def test_the_default_answer(torchserve: TorchServe) -> None:
    raw = curl(torchserve, *WAYS["body"])
    answer = torch.load(io.BytesIO(gzip.decompress(raw)), weights_only=True)
    length = len(answer["tokens"])
    assert answer["integrated_gradients"].shape == (1, length, 384)
    steps = answer["info"]["n_steps"]
    assert answer["intermediate_gradients"].shape == answer["intermediates"].shape == (steps, length, 384)
    assert answer["attribution_error"].item() <= 0.05
    assert answer["tokens"][0] == "[CLS]"
    total = (answer["intermediate_gradients"] * answer["step_sizes"][:, :, None]).sum(0)
    change = answer["intermediates"][-1] - answer["intermediates"][0]
    change /= answer["alphas"][-1] - answer["alphas"][0]
    torch.testing.assert_close(total * change, answer["integrated_gradients"][0], rtol=1e-3, atol=1e-5)


def test_a_list_of_texts_and_a_page(torchserve: TorchServe) -> None:
    texts = [TEXT, (EXAMPLES / "but.txt").read_text()]
    answers = post(torchserve, "text", json={"sequence": texts, "format": "json"}).json()["answers"]
    assert [answer["prediction"]["label"] for answer in answers] == ["negative", "positive"]
    reply = post(torchserve, "text", json={"sequence": texts, "format": "html"})
    page = Page(reply.text)
    assert reply.headers["content-type"] == "text/html"
    assert [tag for tag, _ in page.tags].count("article") == 2
    assert "loved" in page.text


def test_the_page_of_a_picture(torchserve: TorchServe) -> None:
    cat = (EXAMPLES / "cat.jpg").read_bytes()
    headers = {"Content-Type": "image/jpeg", "Accept": "text/html"}
    reply = post(torchserve, data=cat, headers=headers)
    assert reply.headers["content-type"] == "text/html"
    page = Page(reply.text)
    sources = [value for _, of_tag in page.tags for name, value in of_tag.items() if name in ("src", "href")]
    assert len(sources) == 1
    assert (sources[0] or "").startswith("data:image/jpeg;base64,")
    assert "tiger cat" in page.text


def test_bad_texts_are_answered_in_json_by_the_same_worker(torchserve: TorchServe) -> None:
    before = pids(torchserve, "text")
    sent = 0
    for name, (call, _, _, _) in BAD.items():
        if name in ("too many texts", "too many characters", "an answer too large"):
            continue  # this archive allows what the small one of the unit tests did not
        if call.limit is not None:
            continue  # comes by another way than HTTP
        reply = post(torchserve, "text", **over_http(call))
        assert_refused(reply, name)
        sent += 1
    assert sent >= 30
    assert post(torchserve, "text", json={"sequence": TEXT}).status_code == 200
    assert pids(torchserve, "text") == before


def test_a_picture_sent_to_text_and_a_text_sent_to_pictures(torchserve: TorchServe) -> None:
    cat = (EXAMPLES / "cat.jpg").read_bytes()
    wrong = post(torchserve, "text", data=cat, headers={"Content-Type": "image/jpeg"})
    assert wrong.status_code == 415
    assert "takes text" in wrong.json()["message"]
    wrong = post(torchserve, "intgrads", data=TEXT.encode(), headers={"Content-Type": "text/plain"})
    assert wrong.status_code == 415
    assert "takes pictures" in wrong.json()["message"]


def test_texts_of_different_lengths_in_one_batch_equal_their_single_requests(torchserve: TorchServe) -> None:
    asks: list[dict[str, Any]] = [
        {"sequence": text, "format": "json", "fields": ["integrated_gradients"]}
        for text in (TEXT, "Good.", "", (EXAMPLES / "but.txt").read_text() * 4)
    ]
    alone = [post(torchserve, "text", json=ask) for ask in asks]
    for k, reply in enumerate(post_at_once(torchserve, "text", [{"json": ask} for ask in asks * 3])):
        expected = alone[k % 4]
        assert reply.status_code == expected.status_code == (400 if k % 4 == 2 else 200)
        if reply.status_code == 200:
            a, b = (np.array(answer.json()["integrated_gradients"]) for answer in (expected, reply))
            assert np.array_equal(a, b)


def test_it_describes_itself(torchserve: TorchServe) -> None:
    told = description(torchserve, "text")
    assert told["takes"] == "text"
    assert told["max_tokens"] == 512
    assert "mask" in told["baselines"]
    assert "sequence" in told["fields"]
    assert "png" not in told["formats"]
