"""Texts come back from a tensor as they went in, and other bytes are told apart."""

from __future__ import annotations

from hashlib import blake2b

import pytest
import torch

from kikiwake.frontends._texts import packed, unpacked


def test_texts_come_back_with_their_names():
    texts = {"config.json": '{"width": 8}\n', "names.txt": "聞き分け\r\n\0", "empty.json": ""}
    tensor = packed(texts)
    assert tensor.dtype == torch.uint8
    assert tensor.ndim == 1
    assert unpacked(tensor) == texts


def test_the_order_of_the_texts_does_not_matter():
    assert torch.equal(packed({"a": "1", "b": "2"}), packed({"b": "2", "a": "1"}))


@pytest.mark.parametrize("content", [blake2b(b"settings", digest_size=20).digest(), b"", b"12", b"[]"])
def test_other_bytes_are_no_texts(content):
    assert unpacked(torch.tensor(list(content), dtype=torch.uint8)) is None
