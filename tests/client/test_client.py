"""Both clients give back what the server answered, as arrays."""

import asyncio
import gc
import gzip
import io
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from intgrads.client import AsyncClient, Client, RefusedError, Result
from shared.commands import replying
from shared.toys import encoded, pixels

PICTURE = encoded(pixels(13, 17))


def assert_same(result: Result, other: Result) -> None:
    assert result.arrays.keys() == other.arrays.keys()
    for name, array in result.arrays.items():
        np.testing.assert_allclose(array, other[name], rtol=1e-4, atol=1e-6, err_msg=name)


def test_a_result_is_the_servers_answer(pictures: httpx.MockTransport) -> None:
    with Client(transport=pictures) as client:
        result = client.attribute(PICTURE, target_class="tabby, tabby cat", n_steps=6)
        same = torch.load(
            io.BytesIO(gzip.decompress(client.ask(PICTURE, format="gzip", target_class=0, n_steps=6))),
            weights_only=True,
        )
    np.testing.assert_allclose(result.attribution, same["integrated_grads"].numpy(), rtol=1e-4, atol=1e-6)
    assert result.attribution is result["integrated_grads"]
    assert result["integrated_directional_grads"].shape == (6, 3, 8, 10)
    assert result.attribution_error == pytest.approx(same["info"]["attribution_error"], rel=1e-3)
    assert result.target_label == "tabby, tabby cat"
    assert result.prediction["index"] == same["info"]["prediction"]["index"]
    assert result.warnings == same["info"]["warnings"]


def test_a_text(texts: httpx.MockTransport) -> None:
    with Client(transport=texts) as client:
        result = client.attribute(text="The camera is not good.", n_steps=6)
    assert result.attribution.shape == result["integrated_gradients"].shape
    assert len(result.info["words"]) == len(result["word_scores"])


def test_several_targets_are_lists(pictures: httpx.MockTransport) -> None:
    with Client(transport=pictures) as client:
        result = client.attribute(PICTURE, target_class=[0, 1], n_steps=6, fields=["integrated_grads"])
    assert result.attribution.shape == (2, 1, 3, 8, 10)
    assert result.target_label == ["tabby, tabby cat", "crane"]
    assert isinstance(result.attribution_error, list)


def test_what_was_not_asked_for_is_told_by_name(pictures: httpx.MockTransport) -> None:
    with Client(transport=pictures) as client:
        result = client.attribute(PICTURE, n_steps=6, fields=["output"])
    with pytest.raises(KeyError, match=r"integrated_grads is not in this answer, which has .*output"):
        _ = result.attribution


def test_an_error_of_the_server_is_raised_with_its_field(pictures: httpx.MockTransport) -> None:
    with Client(transport=pictures) as client, pytest.raises(RefusedError, match="n_steps") as caught:
        client.attribute(PICTURE, n_steps=0)
    assert (caught.value.status, caught.value.field) == (400, "n_steps")
    with Client(transport=pictures) as client, pytest.raises(RefusedError) as caught:
        client.attribute(b"\0 no picture")
    assert caught.value.field == "image"


def test_one_that_nobody_closes_leaves_no_connection() -> None:
    with replying((200, b"answer")) as server:
        assert Client(server.url).ask(text="good", format="json") == b"answer"
        gc.collect()  # an open socket would be told, and fail the test


def test_asyncio_gets_the_same_many_at_a_time(pictures: httpx.MockTransport) -> None:
    steps = (3, 4, 5, 6)

    async def ask() -> list[Result]:
        async with AsyncClient(transport=pictures) as client:
            return await asyncio.gather(*(client.attribute(PICTURE, n_steps=n) for n in steps))

    with Client(transport=pictures) as client:
        for result, n in zip(asyncio.run(ask()), steps, strict=True):
            assert len(result["alphas"]) == n
            assert_same(result, client.attribute(PICTURE, n_steps=n))


def test_asyncio_raises_the_same(pictures: httpx.MockTransport) -> None:
    async def ask(**options: Any) -> Result:
        async with AsyncClient(transport=pictures) as client:
            return await client.attribute(PICTURE, **options)

    with pytest.raises(RefusedError, match="n_steps"):
        asyncio.run(ask(n_steps=0))
