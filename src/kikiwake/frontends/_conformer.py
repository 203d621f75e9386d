"""The conformer with rotary positions, in the names and with the results of transformers' Wav2Vec2-Conformer.

Gulati et al. 2020, "Conformer: convolution-augmented transformer for speech recognition"; Su et al. 2021,
"RoFormer: enhanced transformer with rotary position embedding". For inference: there is no dropout.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


class Size(NamedTuple):
    """What a conformer's parameters look like.

    `width` of its vectors, `depth` in layers, `hidden` width inside its feed-forward networks, `kernel`:
    frames that a convolution sees, `head`: width of an attention head.
    """

    width: int
    depth: int
    hidden: int
    kernel: int
    head: int


class Conformer(nn.Module):
    """A stack of conformer layers and a last layer norm.

    Shape: `[B, N, width]` -> same.
    """

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.embed_positions = RotaryPositions(size.head)
        self.layers = nn.ModuleList(ConformerLayer(size) for _ in range(size.depth))
        self.layer_norm: nn.Module = nn.LayerNorm(size.width)

    def shorten(self, layers: int) -> None:
        """Keep the first layers only, and give what the last of them gives."""
        if layers < len(self.layers):
            del self.layers[layers:]
            self.layer_norm = nn.Identity()

    def forward(self, vectors: Tensor) -> Tensor:
        """Return the vectors behind the last layer."""
        cosines, sines = self.embed_positions(vectors.shape[1])
        for layer in self.layers:
            vectors = layer(vectors, cosines, sines)
        found: Tensor = self.layer_norm(vectors)
        return found


class RotaryPositions(nn.Module):
    """The angles by which the pairs of a head's values are turned at each position."""

    inv_freq: Tensor

    def __init__(self, head: int, *, base: float = 10_000.0) -> None:
        super().__init__()
        self.register_buffer("inv_freq", base ** (-torch.arange(0, head, 2) / head))

    def forward(self, frames: int) -> tuple[Tensor, Tensor]:
        """Return cosines and sines. Shape: `[frames, head]`, the same in both halves of a head."""
        positions = torch.arange(frames, device=self.inv_freq.device)
        angles = torch.outer(positions.float(), self.inv_freq).repeat(1, 2)
        return angles.cos(), angles.sin()


class ConformerLayer(nn.Module):
    """Half a feed-forward network, attention, convolution, the other half, each added to what came in."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.ffn1_layer_norm = nn.LayerNorm(size.width)
        self.ffn1 = FeedForward(size)
        self.self_attn_layer_norm = nn.LayerNorm(size.width)
        self.self_attn = Attention(size)
        self.conv_module = Convolution(size)
        self.ffn2_layer_norm = nn.LayerNorm(size.width)
        self.ffn2 = FeedForward(size)
        self.final_layer_norm = nn.LayerNorm(size.width)

    def forward(self, vectors: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        """Return the vectors behind this layer. Shape: `[B, N, width]` -> same."""
        vectors = vectors + 0.5 * self.ffn1(self.ffn1_layer_norm(vectors))
        vectors = vectors + self.self_attn(self.self_attn_layer_norm(vectors), cosines, sines)
        vectors = vectors + self.conv_module(vectors)
        vectors = vectors + 0.5 * self.ffn2(self.ffn2_layer_norm(vectors))
        found: Tensor = self.final_layer_norm(vectors)
        return found


class FeedForward(nn.Module):
    """Linear, swish, linear."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.intermediate_dense = nn.Linear(size.width, size.hidden)
        self.output_dense = nn.Linear(size.hidden, size.width)

    def forward(self, vectors: Tensor) -> Tensor:
        """Return what each vector makes by itself. Shape: `[B, N, width]` -> same."""
        found: Tensor = self.output_dense(functional.silu(self.intermediate_dense(vectors)))
        return found


class Attention(nn.Module):
    """Attention with several heads, between vectors that are turned by their positions.

    As in transformers the input is turned and then projected to queries and keys, where RoFormer turns the
    queries and keys themselves.
    """

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.head = size.head
        self.linear_q = nn.Linear(size.width, size.width)
        self.linear_k = nn.Linear(size.width, size.width)
        self.linear_v = nn.Linear(size.width, size.width)
        self.linear_out = nn.Linear(size.width, size.width)

    def forward(self, vectors: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        """Return what each position gathers from all. Shape: `[B, N, width]` -> same."""
        turned = self._turned(vectors, cosines, sines)
        gathered = functional.scaled_dot_product_attention(
            self._heads(self.linear_q(turned)),
            self._heads(self.linear_k(turned)),
            self._heads(self.linear_v(vectors)),
        )
        found: Tensor = self.linear_out(gathered.transpose(1, 2).flatten(2))
        return found

    def _heads(self, vectors: Tensor) -> Tensor:
        """Shape: `[B, N, heads * head]` -> `[B, heads, N, head]`."""
        return vectors.reshape(*vectors.shape[:2], -1, self.head).transpose(1, 2)

    def _turned(self, vectors: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        """Turn (x, y), the i-th values of both halves of a head, by its position's i-th angle."""
        heads = self._heads(vectors)
        x, y = heads.chunk(2, dim=-1)
        turned = heads * cosines + torch.cat([-y, x], dim=-1) * sines
        return turned.transpose(1, 2).flatten(2)


class Convolution(nn.Module):
    """Layer norm, gated linear unit, convolution over time a channel at a time, batch norm, swish, linear."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        width = size.width
        self.layer_norm = nn.LayerNorm(width)
        self.pointwise_conv1 = nn.Conv1d(width, 2 * width, 1, bias=False)
        self.depthwise_conv = nn.Conv1d(
            width, width, size.kernel, padding=size.kernel // 2, groups=width, bias=False
        )
        self.batch_norm = nn.BatchNorm1d(width)
        self.pointwise_conv2 = nn.Conv1d(width, width, 1, bias=False)

    def forward(self, vectors: Tensor) -> Tensor:
        """Return what the neighbourhood of each position adds to it. Shape: `[B, N, width]` -> same."""
        channels = self.layer_norm(vectors).transpose(1, 2)
        channels = functional.glu(self.pointwise_conv1(channels), dim=1)
        channels = functional.silu(self.batch_norm(self.depthwise_conv(channels)))
        found: Tensor = self.pointwise_conv2(channels).transpose(1, 2)
        return found
