"""What tests of folded graphs need: a check that one is true to the whole, and a network of blocks."""

from collections import Counter

import numpy as np

from tinygrad_ce import functional as F
from tinygrad_ce import nn
from tinygrad_ce.graph import capture


def check(whole, drawn):
    """What holds for everything that is folded."""
    ids = [node.id for node in whole.nodes]
    standing = [id for node in drawn.nodes for id in (node.members or (node.id,))]
    assert sorted(standing) == sorted(ids), "each node is drawn in one place"
    card = {id: node for node in drawn.nodes for id in (node.members or (node.id,))}
    assert all(node.id in (node.members or (node.id,)) for node in drawn.nodes)
    place = {node.id: i for i, node in enumerate(drawn.nodes)}
    edges = Counter((edge.source, edge.target) for edge in drawn.edges)
    assert all(place[source] < place[target] for source, target in edges), "in order, and without cycles"
    block = {id: i * node.count // len(node.members) for node in drawn.nodes for i, id in enumerate(node.members)}
    expected = set()
    for edge in whole.edges:
        source, target = card[edge.source], card[edge.target]
        between_blocks = (
            source.count > 1 and source.module == target.module and block[edge.source] != block[edge.target]
        )
        if source is not target and not between_blocks:
            expected.add((source.id, target.id))
        if between_blocks:
            assert block[edge.source] == block[edge.target] - 1, "a block takes from the one before it"
        if source.count > 1 and source.module != target.module:
            assert block[edge.source] == source.count - 1, "what leaves a repeat leaves the last block"
    assert set(edges) == expected, "edges go where the tensors go"
    assert set(drawn.outputs) == {card[id].id for id in whole.outputs}
    assert all(sum(source == node.id for source, _ in edges) or node.id in drawn.outputs or not has_user(whole, node)
               for node in drawn.nodes)  # fmt: skip


def has_user(whole, node):
    members = node.members or (node.id,)
    return any(edge.source in members and edge.target not in members for edge in whole.edges)


def names(graph):
    return [(node.op or node.name, node.count) for node in graph.nodes]


class Block(nn.Module):
    def __init__(self, n):
        generator = np.random.default_rng(0)
        self.fc1, self.fc2 = (nn.Linear(n, n, generator=generator) for _ in range(2))

    def forward(self, x):
        return x + self.fc2(F.relu(self.fc1(x)))


def blocks(n, times, **options):
    model = nn.Sequential(*(Block(n) for _ in range(times)))
    x = np.linspace(-1, 1, 2 * n, dtype=np.float32).reshape(2, n)
    return capture(model(x).sum(), model=model, inputs={"x": x}, **options)
