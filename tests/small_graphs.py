"""Small graphs for tests: made by hand, at random, or by small networks."""

import numpy as np
from hypothesis import strategies as st

from tinygrad_ce import nn
from tinygrad_ce.graph import Edge, Graph, GraphNode


def graph_of(leaves, ops, outputs=None):
    """A graph by hand. leaves: (name, shape); ops: (op, operands by number); outputs: by default what nobody uses."""
    nodes = [GraphNode(f"n{i}", "parameter", "", name, shape, "float32") for i, (name, shape) in enumerate(leaves)]
    edges = []
    for op, operands in ops:
        this = f"n{len(nodes)}"
        edges += [Edge(f"n{s}", this, p, "xyz"[p]) for p, s in enumerate(operands)]
        nodes.append(GraphNode(this, "op", op, "", (2,), "float32"))
    if outputs is None:
        used = {edge.source for edge in edges}
        outputs = [node.id for node in nodes if node.id not in used]
    return Graph(tuple(nodes), tuple(edges), tuple(outputs), "made by hand")


@st.composite
def graphs(draw, prefix="w", most=14):
    """Random graphs of unary and binary ops of a few kinds, so that much of them looks alike."""
    count = draw(st.integers(1, 3))
    leaves = [(f"{prefix}{i}", (2,)) for i in range(count)]
    ops = []
    for i in range(draw(st.integers(1, most))):
        op = draw(st.sampled_from(["sin", "exp", "add", "sub", "mul"]))
        near = st.integers(0, count + i - 1)
        ops.append((op, draw(st.tuples(near) if op in ("sin", "exp") else st.tuples(near, near))))
    return graph_of(leaves, ops)


def network(*layers, seed=0):
    generator = np.random.default_rng(seed)
    return nn.Sequential(*(nn.Linear(*x, generator=generator) if isinstance(x, tuple) else x() for x in layers))
