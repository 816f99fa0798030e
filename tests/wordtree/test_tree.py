from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolojax.wordtree.descent import descend
from yolojax.wordtree.softmax import (
    _repeat,
    absolute_log_probs,
    absolute_log_probs_of,
    group_log_softmax,
    group_logsumexp,
    group_sum,
    groups_on_path,
    path_log_prob,
    path_log_probs,
    to_channels,
)
from yolojax.wordtree.tree import bucket_layout, check_nodes, leaves, make_tree, paths

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "tree_small.npz")
SHARED = Path(__file__).parents[3] / "shared" / "golden" / "npz"
SMALL = bucket_layout(make_tree(GOLDEN["tree_parent"]))
# 0 animal (2 dog (4 terrier), 3 cat), 1 thing
ANIMALS = (-1, -1, 0, 0, 2)
UNTOUCHED = -1234  # what Darknet writes for groups that are off the path


@st.composite
def trees(draw):
    """Parents of random trees of up to 25 groups of 1 to 6 siblings."""
    parents = [-1] * draw(st.integers(1, 6))
    for size in draw(st.lists(st.integers(1, 6), max_size=24)):
        free = [node for node in range(len(parents)) if node not in parents]
        parents += [draw(st.sampled_from(free))] * size
    return parents


def logits_of(parents, seed=0, rows=3):
    """Logits [rows, N] in the order of nodes."""
    return 3 * np.random.default_rng(seed).normal(size=(rows, len(parents))).astype(np.float32)


def oracle(logits, parents):
    """Conditional and absolute probabilities [..., N], in the order of nodes, one by one."""
    parents, logits = np.asarray(parents), np.float64(logits)
    conditional, absolute = np.empty_like(logits), np.empty_like(logits)
    for node, parent in enumerate(parents):
        siblings = np.exp(logits - logits.max(-1, keepdims=True))[..., parents == parent]
        place = np.flatnonzero(parents == parent).tolist().index(node)
        conditional[..., node] = siblings[..., place] / siblings.sum(-1)
        above = absolute[..., parent] if parent >= 0 else 1
        absolute[..., node] = conditional[..., node] * above
    return conditional, absolute


def softmax(logits, layout):
    """Logits [..., N] in the order of nodes -> conditional log probabilities, of channels."""
    return group_log_softmax(jnp.asarray(logits)[..., layout.node], layout)


def test_a_tree_in_arrays():
    tree = make_tree(ANIMALS)
    assert tree.parent.tolist() == [-1, -1, 0, 0, 2]
    assert tree.group.tolist() == [0, 0, 1, 1, 2]
    assert tree.group_start.tolist() == [0, 2, 4]
    assert tree.group_size.tolist() == [2, 2, 1]
    assert tree.child_group.tolist() == [1, -1, 2, -1, -1]
    assert tree.depth.tolist() == [0, 0, 1, 1, 2]
    assert leaves(tree).tolist() == [1, 3, 4]
    assert paths(tree).tolist() == [[0, -1, -1], [1, -1, -1], [0, 2, -1], [0, 3, -1], [0, 2, 4]]
    assert all(array.dtype == np.int32 for array in tree)


def test_channels_of_groups_of_a_size_lie_side_by_side():
    layout = bucket_layout(make_tree(ANIMALS))
    assert layout.node.tolist() == [4, 0, 2, 1, 3]  # (4) | first of (0, 1) and (2, 3), second
    assert [tuple(bucket) for bucket in layout.buckets] == [(0, 1, 1, True), (1, 2, 2, True)]
    assert layout.rank.tolist() == [1, 2, 0]
    # A group that has more members than there are groups of its size stays in one piece.
    assert bucket_layout(make_tree([-1] * 3)).node.tolist() == [0, 1, 2]


def test_the_tree_is_the_one_that_darknet_reads():
    tree = SMALL.tree
    np.testing.assert_array_equal(tree.group, GOLDEN["tree_group"])
    np.testing.assert_array_equal(tree.group_start, GOLDEN["tree_group_offset"])
    np.testing.assert_array_equal(tree.group_size, GOLDEN["tree_group_size"])
    np.testing.assert_array_equal(tree.child_group, GOLDEN["tree_child_group"])
    np.testing.assert_array_equal(leaves(tree), np.flatnonzero(GOLDEN["tree_leaf"]))


@pytest.mark.parametrize(
    ("parents", "message"),
    [
        ([], "a tree needs the parent of each node"),
        ([-1, 1], "node 1 has parent 1"),
        ([-1, 2, 1], "node 1 has parent 2"),
        ([-1, -2], "node 1 has parent -2"),
        ([0], "node 0 has parent 0"),
        ([-1, -1, 0, 1, 0], "node 4 is a child of 0, but other nodes are between"),
        ([-1, 0, -1], "node 2 is a child of -1"),
    ],
)
def test_what_is_no_tree_is_refused(parents, message):
    with pytest.raises(ValueError, match=message):
        make_tree(parents)


@pytest.mark.parametrize("nodes", [[0, 5], [-1]])
def test_nodes_must_be_of_the_tree(nodes):
    with pytest.raises(ValueError, match=f"nodes holds {nodes[-1]}, but .* are 0 to 4"):
        check_nodes(nodes, make_tree(ANIMALS))


@settings(deadline=None, max_examples=40)
@given(trees())
def test_the_layout_is_a_permutation_with_groups_in_their_buckets(parents):
    layout = bucket_layout(make_tree(parents))
    every = np.arange(len(parents))
    np.testing.assert_array_equal(layout.node[layout.position], every)
    np.testing.assert_array_equal(layout.position[layout.node], every)
    assert sum(b.size * b.groups for b in layout.buckets) == len(parents)
    groups = layout.tree.group[layout.node]
    np.testing.assert_array_equal(layout.rank[groups], layout.channel_rank)
    for b in layout.buckets:
        square = groups[b.start : b.start + b.size * b.groups]
        square = square.reshape((b.size, b.groups) if b.member_major else (b.groups, b.size))
        square = square if b.member_major else square.T
        assert (square == square[0]).all()


@settings(deadline=None, max_examples=6)
@given(trees(), st.integers(0, 99))
def test_probabilities_equal_those_computed_one_by_one(parents, seed):
    """And by the law: children sum to their parent, leaves to 1."""
    layout = bucket_layout(make_tree(parents))
    nodes = np.arange(len(parents))

    @jax.jit  # or every operation would be compiled by itself
    def every_way(logits):
        conditional = softmax(logits, layout)
        some = absolute_log_probs_of(conditional, nodes[::2], layout)
        path = path_log_prob(logits[:, None, layout.node], nodes[None], layout)
        return conditional[:, layout.position], absolute_log_probs(conditional, layout), some, path

    logits = logits_of(parents, seed)
    conditional, absolute = oracle(logits, parents)
    found = [np.exp(log_probs) for log_probs in every_way(logits)]
    for ours, wanted in zip(
        found, [conditional, absolute, absolute[:, ::2], absolute], strict=True
    ):
        np.testing.assert_allclose(ours, wanted, rtol=1e-4)
    probs = found[1]
    np.testing.assert_allclose(probs[:, leaves(layout.tree)].sum(-1), 1, rtol=1e-5)
    for parent in set(parents) - {-1}:
        children = probs[:, np.asarray(parents) == parent].sum(-1)
        np.testing.assert_allclose(children, probs[:, parent], rtol=1e-4)


def test_one_level_is_an_ordinary_softmax():
    layout, logits = bucket_layout(make_tree([-1] * 7)), logits_of([-1] * 7)
    np.testing.assert_array_equal(layout.node, np.arange(7))
    np.testing.assert_allclose(
        softmax(logits, layout), jax.nn.log_softmax(logits), rtol=1e-5, atol=1e-6
    )


def test_an_only_child_is_certain_and_learns_nothing():
    layout = bucket_layout(make_tree(ANIMALS))
    logits = jnp.array([[1e4, 0.0, 3.0, -2.0, 1.0]])
    assert softmax(logits, layout)[0, layout.position[4]] == 0
    terrier, slope = jax.value_and_grad(lambda x: path_log_prob(x, 4, layout))(logits[0])
    assert terrier == path_log_prob(logits[0], 2, layout)
    assert slope[layout.position[4]] == 0


def test_probabilities_equal_darknets():
    conditional = softmax(GOLDEN["h_logits"], SMALL)
    ours = np.exp(conditional[:, SMALL.position])
    np.testing.assert_allclose(ours, GOLDEN["h_cond"], rtol=1e-5)
    absolute = np.exp(absolute_log_probs(conditional, SMALL))
    np.testing.assert_allclose(absolute, GOLDEN["h_abs"], rtol=1e-5)
    ends = leaves(SMALL.tree)
    wanted = GOLDEN["h_abs_leaves"]
    some = np.exp(absolute_log_probs_of(conditional, ends, SMALL))
    np.testing.assert_allclose(some, wanted[:, ends], rtol=1e-5)
    assert not np.delete(wanted, ends, axis=1).any()


@pytest.mark.parametrize(
    ("semantics", "wanted"), [("paper", "h_top_on_cond"), ("darknet", "h_top_on_abs")]
)
def test_descent_ends_where_darknets_does(semantics, wanted):
    conditional = softmax(GOLDEN["h_logits"], SMALL)
    program = jax.jit(lambda x, threshold: descend(x, threshold, SMALL, semantics))
    for threshold, nodes in zip(GOLDEN["h_thresh"], GOLDEN[wanted].T, strict=True):
        found, log_prob = program(conditional, threshold)
        np.testing.assert_array_equal(found, nodes)
        probs = np.take_along_axis(GOLDEN["h_abs"], nodes[:, None], axis=1)[:, 0]
        np.testing.assert_allclose(np.exp(log_prob), probs, rtol=1e-4)


@partial(jax.jit, static_argnames="semantics")
def descend_animals(threshold, semantics):
    layout = bucket_layout(make_tree(ANIMALS))
    conditional = jnp.log(jnp.array([0.8, 0.2, 0.7, 0.3, 1.0]))[layout.node]
    return descend(conditional, threshold, layout, semantics)


@pytest.mark.parametrize(
    ("threshold", "paper", "darknet"),
    [
        (0.9, 0, 0),  # not even a root: the likeliest root
        (0.7, 0, 0),
        (0.5, 4, 0),  # .8 * .7 * 1 = .56; Darknet has .8 * (.8 * .7) = .448
        (0.4, 4, 2),  # the only child costs nothing; Darknet: .448 * .56 = .25
        (0.0, 4, 4),
    ],
)
def test_descent_of_a_tree_in_ones_head(threshold, paper, darknet):
    for semantics, node in (("paper", paper), ("darknet", darknet)):
        found, log_prob = descend_animals(threshold, semantics)
        assert found == node
        assert jnp.exp(log_prob) == pytest.approx({0: 0.8, 2: 0.56, 4: 0.56}[node])


def test_unknown_semantics_are_named():
    with pytest.raises(ValueError, match=r"tree_semantics is 'Paper'; known: paper, darknet"):
        descend(jnp.zeros(26), 0.5, SMALL, "Paper")


def test_a_label_pulls_where_darknets_target_says():
    """fill_hierarchy's target is 1 on the path and 0 beside it; it leaves other groups alone."""
    logits = jnp.asarray(GOLDEN["h_logits"][0])[SMALL.node]
    nodes = np.arange(26)
    of_label = jax.grad(lambda x, node: path_log_prob(x, node, SMALL))
    pull = jax.jit(jax.vmap(of_label, (None, 0)))(logits, nodes)[:, SMALL.position]
    target = GOLDEN["fill_hierarchy"]
    wanted = np.where(target == UNTOUCHED, 0, target - GOLDEN["h_cond"][0])
    np.testing.assert_allclose(pull, wanted, atol=1e-6)


def test_sums_and_their_way_back():
    values = logits_of(SMALL.node)[:, SMALL.node]
    sums = group_sum(values, SMALL)
    by_group = np.stack([values[:, SMALL.channel_rank == r].sum(-1) for r in range(9)], axis=-1)
    np.testing.assert_allclose(sums, by_group, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(to_channels(sums, SMALL), sums[:, SMALL.channel_rank])
    np.testing.assert_array_equal(_repeat(sums, SMALL), sums[:, SMALL.channel_rank])


def test_what_a_path_passes():
    layout = bucket_layout(make_tree(ANIMALS))
    logits = jnp.zeros((2, 5))
    half = np.log(0.5)
    np.testing.assert_allclose(
        path_log_probs(logits, jnp.array([4, 1]), layout), [[half, half, 0], [half, 0, 0]]
    )
    sizes = group_sum(jnp.ones((2, 5)), layout)
    on_path = groups_on_path(sizes, jnp.array([4, 1]), layout)
    assert on_path.tolist() == [[2, 2, 1], [2, 0, 0]]


@pytest.mark.parametrize("function", [group_logsumexp, group_log_softmax])
def test_gradients_equal_those_of_the_plain_formula(function):
    """Under jit, as in training: the gradients are written by hand."""

    def plain(logits):
        exponentials = jnp.exp(logits) @ (SMALL.channel_rank[:, None] == np.arange(9))
        total = jnp.log(exponentials)
        return total if function is group_logsumexp else logits - total[..., SMALL.channel_rank]

    logits = jnp.asarray(logits_of(SMALL.node))
    weights = logits_of(plain(logits)[0], seed=1)

    def slope(f):
        return jax.jit(jax.grad(lambda x: jnp.sum(weights * f(x))))(logits)

    np.testing.assert_allclose(
        slope(lambda x: function(x, SMALL)), slope(plain), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("shift", [-1e4, 1e4])
def test_logits_of_any_size_keep_their_probabilities(shift):
    conditional = softmax(GOLDEN["h_logits"] + shift * (SMALL.tree.group % 2), SMALL)
    np.testing.assert_allclose(
        np.exp(conditional[:, SMALL.position]), GOLDEN["h_cond"], rtol=1e-2, atol=1e-3
    )


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="the arrays of Darknet's 9k.tree are not here")
def test_yolo9000s_own_tree():
    arrays = np.load(SHARED / "tree_9k_arrays.npz")
    cell = np.load(SHARED / "tree_9k_cell.npz")
    layout = bucket_layout(make_tree(arrays["parent"]))
    np.testing.assert_array_equal(layout.tree.group_start, arrays["group_offset"])
    np.testing.assert_array_equal(leaves(layout.tree), np.flatnonzero(arrays["leaf"]))
    conditional = softmax(cell["raw"].ravel()[5:], layout)
    np.testing.assert_allclose(
        np.exp(absolute_log_probs(conditional, layout)), cell["abs_prob"].ravel(), atol=1e-6
    )
    for semantics, name in (("paper", "top_on_cond"), ("darknet", "top_on_abs")):
        program = jax.jit(lambda x, threshold: descend(x, threshold, layout, semantics)[0])
        found = [program(conditional, threshold) for threshold in cell["thresholds"]]
        np.testing.assert_array_equal(found, cell[name])
