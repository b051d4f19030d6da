"""Manifests as trees: a volume's list of chunk ids, cut into content-addressed segments.

Source: ``docs/vault-format.md``, section "Trees".
"""

import struct
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dozo.model.message import Message
from dozo.vault.errors import ObjectDamaged
from dozo.vault.format import ID_BYTES, ZERO_ID

FANOUT = 256
# 0 level u8 (0 is a leaf)  1 zero[3]
HEAD = struct.Struct("<B3x")
# 0 id[32]  32 number of stored chunks below u64
CHILD = struct.Struct("<32sQ")
LEAF_BYTES = HEAD.size + FANOUT * ID_BYTES
INNER_BYTES = HEAD.size + FANOUT * CHILD.size
MAX_DEPTH = 7
ZERO_LEAF = bytes(FANOUT * ID_BYTES)
CACHED_NODES = 64


@dataclass(frozen=True, slots=True)
class Node:
    """A child: its id (zero for nothing but zeros) and how many stored chunks are below."""

    object_id: bytes
    chunks: int


ZERO_NODE = Node(ZERO_ID, 0)


def depth_for(chunk_count: int) -> int:
    """How many levels a tree over so many chunks has, at least 1."""
    depth = 1
    while FANOUT**depth < chunk_count:
        depth += 1
    return depth


def leaf_content(ids: bytes) -> bytes:
    """A leaf's bytes, from 256 ids in a row."""
    return HEAD.pack(0) + ids


class TreeBuilder:
    """Builds a tree from its leaves, left to right, with one open node a level.

    ``store(content)`` keeps a segment and returns its id.
    """

    def __init__(self, depth: int, store: Callable[[bytes], bytes]) -> None:
        self._depth = depth
        self._store = store
        self._open: list[list[Node]] = [[] for _ in range(depth + 1)]

    def add_leaf(self, ids: bytes) -> None:
        """The next leaf, as 256 ids in a row; short ones are filled with zero."""
        if ids == ZERO_LEAF:
            self._add(ZERO_NODE, 1)
            return
        chunks = FANOUT - sum(
            ids[start : start + ID_BYTES] == ZERO_ID for start in range(0, len(ids), ID_BYTES)
        )
        self._add(Node(self._store(leaf_content(ids)), chunks), 1)

    def add_known_leaf(self, leaf: Node) -> None:
        """The next leaf, which is known to be stored already."""
        self._add(leaf, 1)

    def finish(self) -> Node:
        """The root, after the last leaf."""
        for level in range(1, self._depth):
            if self._open[level]:
                self._close(level)
        nodes = self._open[self._depth]
        return nodes[0] if nodes else ZERO_NODE

    def _add(self, node: Node, level: int) -> None:
        nodes = self._open[level]
        nodes.append(node)
        if level < self._depth and len(nodes) == FANOUT:
            self._close(level)

    def _close(self, level: int) -> None:
        nodes = self._open[level]
        self._open[level] = []
        if all(node.object_id == ZERO_ID for node in nodes):
            self._add(ZERO_NODE, level + 1)
            return
        filled = nodes + [ZERO_NODE] * (FANOUT - len(nodes))
        content = HEAD.pack(level) + b"".join(
            CHILD.pack(node.object_id, node.chunks) for node in filled
        )
        parent = Node(self._store(content), sum(node.chunks for node in nodes))
        self._add(parent, level + 1)


def parse_inner(content: bytes, level: int, object_id: bytes) -> list[Node]:
    """The children of an inner segment. Raises :class:`ObjectDamaged`."""
    if len(content) != INNER_BYTES or HEAD.unpack_from(content)[0] != level:
        raise ObjectDamaged(
            url="", key=object_id.hex(), reason=Message("it is not an inner tree segment")
        )
    return [Node(*fields) for fields in CHILD.iter_unpack(content[HEAD.size :])]


def parse_leaf(content: bytes, object_id: bytes) -> bytes:
    """The 256 ids of a leaf in a row. Raises :class:`ObjectDamaged`."""
    if len(content) != LEAF_BYTES or HEAD.unpack_from(content)[0] != 0:
        raise ObjectDamaged(url="", key=object_id.hex(), reason=Message("it is not a tree leaf"))
    return content[HEAD.size :]


class TreeReader:
    """Reads a tree by leaf number; ``load(id)`` gives a segment's content."""

    def __init__(self, root: bytes, depth: int, load: Callable[[bytes], bytes]) -> None:
        self._root = root
        self._depth = depth
        self._load = load
        self._cache: OrderedDict[bytes, list[Node]] = OrderedDict()

    @property
    def leaf_slots(self) -> int:
        """How many leaves the tree has room for."""
        return int(FANOUT ** (self._depth - 1))

    def leaf(self, number: int) -> Node:
        """A leaf's node, without reading the leaf; the chunk count is exact below an inner node."""
        if number >= self.leaf_slots or self._root == ZERO_ID:
            return ZERO_NODE
        # The root of a tree with one leaf has no inner node that counts its chunks.
        node = Node(self._root, 0)
        for level in range(self._depth - 1, 0, -1):
            if node.object_id == ZERO_ID:
                return ZERO_NODE
            child = number // FANOUT ** (level - 1) % FANOUT
            node = self._inner(node.object_id, level)[child]
        return node

    def leaf_ids(self, number: int) -> bytes:
        """The 256 ids of a leaf in a row."""
        node = self.leaf(number)
        if node.object_id == ZERO_ID:
            return ZERO_LEAF
        return parse_leaf(self._load(node.object_id), node.object_id)

    def leaves(self) -> Iterator[tuple[int, Node]]:
        """Every leaf that is not zero, with its number, in order."""
        yield from self._leaves(Node(self._root, 0), self._depth - 1, 0)

    def _leaves(self, node: Node, level: int, first: int) -> Iterator[tuple[int, Node]]:
        if node.object_id == ZERO_ID:
            return
        if level == 0:
            yield first, node
            return
        width = FANOUT ** (level - 1)
        for position, child in enumerate(self._inner(node.object_id, level)):
            yield from self._leaves(child, level - 1, first + position * width)

    def _inner(self, object_id: bytes, level: int) -> list[Node]:
        nodes = self._cache.get(object_id)
        if nodes is None:
            nodes = parse_inner(self._load(object_id), level, object_id)
            self._cache[object_id] = nodes
            if len(self._cache) > CACHED_NODES:
                self._cache.popitem(last=False)
        return nodes


def walk_segments(
    root: bytes,
    depth: int,
    load: Callable[[bytes], bytes | None],
    enter: Callable[[bytes], bool],
) -> Iterator[bytes]:
    """Every leaf's ids (256 in a row) of a tree, below segments that ``enter`` accepts.

    ``enter`` is asked once for each segment that is not zero, before it is loaded, and
    is how a caller visits shared segments of several trees only once. A segment for
    which ``load`` has nothing is passed over, with all that is below it.
    """
    stack = [(root, depth - 1)]
    while stack:
        object_id, level = stack.pop()
        if object_id == ZERO_ID or not enter(object_id):
            continue
        content = load(object_id)
        if content is None:
            continue
        if level == 0:
            yield parse_leaf(content, object_id)
        else:
            children = parse_inner(content, level, object_id)
            stack.extend((child.object_id, level - 1) for child in reversed(children))


def shared_segments(root: bytes, depth: int, load: Callable[[bytes], bytes | None]) -> set[bytes]:
    """The ids of all segments of a tree, found without reading its leaves.

    A tree over ten million chunks has some forty thousand.
    """
    found: set[bytes] = set()
    stack = [(root, depth - 1)]
    while stack:
        object_id, level = stack.pop()
        if object_id == ZERO_ID or object_id in found:
            continue
        found.add(object_id)
        content = load(object_id) if level > 0 else None
        if content is not None:
            children = parse_inner(content, level, object_id)
            stack.extend((child.object_id, level - 1) for child in children)
    return found
