"""Draw the gallery: what pictures of computation graphs look like, from small to large.

    python notebooks/gallery.py

writes an SVG for each function in PICTURES, and a page that shows them all, to notebooks/pictures/.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

import tinygrad_ce as tg
from tinygrad_ce import functional as F
from tinygrad_ce import nn
from tinygrad_ce.viz import Picture

FOLDER = Path(__file__).parent / "pictures"


def batch(inputs: int, classes: int, rows: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Random inputs, and targets that depend on them."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((rows, inputs), dtype=np.float32)
    return x, x[:, :classes].argmax(axis=1)


def mlp(*sizes: int, activation: str = "relu") -> nn.MLP:
    return nn.MLP(sizes, activation, generator=np.random.default_rng(0))


def named(loss: tg.Tensor, name: str = "loss") -> tg.Tensor:
    loss.name = name
    return loss


def small_mlp() -> Picture:
    """A small network and its loss. Each card is an op with the tensor it makes; the chip is the RMS of the gradient
    that reached it; what a card keeps is held for the backward pass. Fused ops have a double border and formulas."""
    model, (x, y) = mlp(4, 8, 3), batch(4, 3)
    loss = named(F.softmax_cross_entropy(model(x), y))
    return tg.draw(loss, model=model, inputs={"x": x, "y": y}, gradients=True)


def expanded() -> Picture:
    """The same with the fused loss drawn as the small ops it stands for."""
    model, (x, y) = mlp(4, 8, 3), batch(4, 3)
    loss = named(F.softmax_cross_entropy(model(x), y))
    return tg.draw(loss, model=model, inputs={"x": x, "y": y}, gradients=True, expand=["softmax_cross_entropy"])


def fused_against_unfused() -> Picture:
    """Two losses on one network: what only one of them has is marked, and the totals stand between."""
    model, (x, y) = mlp(4, 8, 3), batch(4, 3)

    def unfused(z: tg.Tensor) -> tg.Tensor:
        e = F.exp(z - z.max(axis=1, keepdims=True))
        p = e / e.sum(axis=1, keepdims=True)
        return -F.mean(F.take_along_axis(F.log(p), y[:, None], axis=1))

    losses = [named(unfused(model(x))), named(F.softmax_cross_entropy(model(x), y))]
    return tg.draw_comparison(*losses, titles=("unfused", "fused"), model=model, inputs={"x": x, "y": y})


def six_layers() -> Picture:
    """A network of six layers, one card for every op."""
    model, (x, y) = mlp(16, 32, 32, 32, 32, 32, 4, activation="tanh"), batch(16, 4)
    loss = named(F.softmax_cross_entropy(model(x), y))
    return tg.draw(loss, model=model, inputs={"x": x, "y": y}, gradients=True)


class Block(nn.Module):
    """x + fc2(gelu(fc1(norm(x))))"""

    def __init__(self, width: int, generator: np.random.Generator) -> None:
        self.norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 2 * width, generator=generator)
        self.fc2 = nn.Linear(2 * width, width, generator=generator)

    def forward(self, x: tg.Tensor) -> tg.Tensor:
        return x + self.fc2(F.gelu(self.fc1(self.norm(x))))


class Residual(nn.Module):
    """A stem, blocks that each add to what they are given, and a head."""

    def __init__(self, blocks: int, width: int = 16) -> None:
        generator = np.random.default_rng(0)
        self.stem = nn.Linear(8, width, generator=generator)
        self.blocks = nn.Sequential(*(Block(width, generator) for _ in range(blocks)))
        self.head = nn.Linear(width, 4, generator=generator)

    def forward(self, x: tg.Tensor) -> tg.Tensor:
        return self.head(self.blocks(self.stem(x)))


def residual() -> Picture:
    """A residual branch: the gradient of what is used twice is the sum of what arrives on two edges."""
    model, (x, y) = Residual(blocks=1), batch(8, 4)
    loss = named(F.softmax_cross_entropy(model(x), y))
    return tg.draw(loss, model=model, inputs={"x": x, "y": y}, gradients=True)


def by_module() -> Picture:
    """Eight blocks are too many cards: each module is one, with the sum of what it holds. `expand=` opens one."""
    model, (x, y) = Residual(blocks=8), batch(8, 4)
    loss = named(F.softmax_cross_entropy(model(x), y))
    return tg.draw(loss, model=model, inputs={"x": x, "y": y}, gradients=True)


def repeats() -> Picture:
    """Of twenty-four blocks that are all alike, one is drawn."""
    model, (x, y) = Residual(blocks=24), batch(8, 4)
    loss = named(F.softmax_cross_entropy(model(x), y))
    return tg.draw(loss, model=model, inputs={"x": x, "y": y}, gradients=True)


def vanishing() -> Picture:
    """Trouble has a word on the card and a line under the header: here gradients vanish in a stack of sigmoids."""
    model, (x, y) = mlp(8, 16, 16, 16, 16, 16, 4, activation="sigmoid"), batch(8, 4)
    loss = named(F.softmax_cross_entropy(model(x), y))
    return tg.draw(loss, model=model, inputs={"x": x, "y": y}, gradients=True)


def dead_units() -> Picture:
    """Biases so low that no row of the batch wakes a unit, and a tensor that `detach()` cut off from the loss."""
    model, (x, y) = mlp(8, 16, 4), batch(8, 4)
    model[0].bias.data[:] = -30
    scale = tg.Tensor(np.ones(4, np.float32), requires_grad=True)
    loss = named(F.softmax_cross_entropy(model(x) * scale.detach(), y))
    return tg.draw(loss, model=model, inputs={"x": x, "y": y, "scale": scale}, gradients=True)


def not_a_number() -> Picture:
    """Where a nan comes from: marked at the op that made it, counted from there on."""
    x = tg.Tensor(np.linspace(-1, 1, 6), requires_grad=True, name="x")
    with np.errstate(all="ignore"):
        loss = named(F.mean(F.exp(F.log(x) * 0.5)))
        return tg.draw(loss, gradients=True)


def second_order() -> Picture:
    """A gradient made with `create_graph=True` is a graph as well: that of the backward pass."""
    x = tg.Tensor(np.array([0.5, 1.0, 2.0]), requires_grad=True, name="x")
    gradient = tg.grad(F.sum(F.exp(x) * x), x, create_graph=True)
    return tg.draw(named(F.sum(gradient * gradient), "size"), gradients=True)


PICTURES: dict[str, Callable[[], Picture]] = {
    make.__name__: make
    for make in (
        small_mlp, expanded, fused_against_unfused, six_layers, residual, by_module, repeats, vanishing,
        dead_units, not_a_number, second_order,
    )
}  # fmt: skip


def page() -> str:
    """The page that shows them: Markdown."""
    parts = ["# Pictures of computation graphs", "Drawn by [gallery.py](../gallery.py), which shows how each is made."]
    for name, make in PICTURES.items():
        caption = " ".join((make.__doc__ or "").split())
        parts += [f"## {name.replace('_', ' ').capitalize()}", caption, f"![{name}]({name}.svg)"]
    return "\n\n".join(parts) + "\n"


def main(folder: Path = FOLDER) -> None:
    """Draw all of them."""
    folder.mkdir(exist_ok=True)
    for name, make in PICTURES.items():
        path = folder / f"{name}.svg"
        make().save(path)
        print(f"{path.name:30} {path.stat().st_size / 1024:5.1f} KiB")
    (folder / "README.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
