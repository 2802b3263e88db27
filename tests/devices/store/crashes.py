"""A disk that loses its power: what the store did to it is recorded, and every state made that it may be left in.

The model, after Pillai et al., All file systems are not created equal (OSDI 2014, section 3, "ALICE"), with the
weakest promises of POSIX, so that it covers ext4 in every mode, XFS, btrfs and F2FS:

- An operation that was not asked for has not happened.
- The content of a file (writes, truncations) is on the disk for sure once the file was synced after it; a name
  (making, renaming, unlinking, making a folder) once its folder was.
- Of everything else any subset may be there, in any order: a later write without an earlier one, a name without the
  content of its file, a rename without the name of the file that it renamed.
- A write may be there in part: sector by sector of 512 bytes, cut short anywhere, or as a longer file that reads as
  zeros where its sectors are missing.
- A rename in one folder happens wholly or not at all; so does every other change of a name.
- Syncing a file says nothing of its name, syncing a folder nothing of the content of its files.

Not in the model: disks that lie about having written, and stale data of other files in a file that grew (ext4 with
`data=writeback`, which no device should use).
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from bedside.devices.store.files import SystemFiles

SECTOR = 512

#: Bytes of a file by its path below the root, or None for a folder.
Tree = dict[str, bytes | None]
Nodes = dict[int, bytearray | dict[str, int]]

_ROOT = 0
_NAMING = frozenset({"create", "folder", "rename", "unlink"})
_PARTS = ("all", "none", "zeros", "front", "back", "holes")


class Killed(BaseException):
    """The process was killed: nothing after it happens, no cleaning up either."""


class Op(msgspec.Struct, frozen=True):
    """One thing that was asked of the disk.

    Attributes:
        kind: create, folder, rename, unlink; write, truncate; sync, sync-folder.
        folder: Node whose names it changes or syncs.
        name: That it is about.
        new: That it gets.
        node: File or folder that it is about.
        offset: Of a write, or the size that is left.
        data: Of a write.
    """

    kind: str
    folder: int = -1
    name: str = ""
    new: str = ""
    node: int = -1
    offset: int = 0
    data: bytes = b""


class RecordedFiles(SystemFiles):
    """Changes a real folder, and remembers how.

    Args:
        root: A folder; what is in it counts as being on the disk.
        forget: Says which syncs are left out, by kind and path: a store that forgets one.
    """

    def __init__(self, root: Path, forget: Callable[[str, Path], bool] | None = None) -> None:
        self.root = root
        self.ops: list[Op] = []
        self.kill_at: int | None = None
        self.forgotten = 0
        self._forget = forget or (lambda kind, path: False)
        self._next = itertools.count(1)
        self._nodes: dict[Path, int] = {root: _ROOT}
        self._handles: dict[int, tuple[int, Path]] = {}
        self._sizes: dict[int, int] = {}
        self.base: Nodes = {_ROOT: {}}
        for path in sorted(root.rglob("*")):
            node = self._nodes[path] = next(self._next)
            self.base[node] = {} if path.is_dir() else bytearray(path.read_bytes())
            self._sizes[node] = 0 if path.is_dir() else path.stat().st_size
            names = self.base[self._nodes[path.parent]]
            assert isinstance(names, dict)
            names[path.name] = node

    def make_folder(self, path: Path) -> None:
        self._alive()
        super().make_folder(path)
        node = self._nodes[path] = next(self._next)
        self.ops.append(Op("folder", self._nodes[path.parent], path.name, node=node))

    def create(self, path: Path) -> int:
        self._alive()
        handle = super().create(path)
        node = self._nodes[path] = next(self._next)
        self._handles[handle] = node, path
        self._sizes[node] = 0
        self.ops.append(Op("create", self._nodes[path.parent], path.name, node=node))
        return handle

    def extend(self, path: Path) -> int:
        self._alive()
        handle = super().extend(path)
        self._handles[handle] = self._nodes[path], path
        return handle

    def write(self, handle: int, data: bytes) -> None:
        self._alive()
        super().write(handle, data)
        node = self._handles[handle][0]
        self.ops.append(Op("write", node=node, offset=self._sizes[node], data=bytes(data)))
        self._sizes[node] += len(data)

    def truncate(self, handle: int, size: int) -> None:
        self._alive()
        super().truncate(handle, size)
        node = self._handles[handle][0]
        self.ops.append(Op("truncate", node=node, offset=size))
        self._sizes[node] = size

    def sync(self, handle: int) -> None:
        self._alive()
        node, path = self._handles[handle]
        self._synced("sync", Op("sync", node=node), path)

    def rename(self, old: Path, new: Path) -> None:
        self._alive()
        super().rename(old, new)
        self._nodes[new] = node = self._nodes.pop(old)
        self.ops.append(Op("rename", self._nodes[old.parent], old.name, new.name, node))

    def unlink(self, path: Path) -> None:
        self._alive()
        super().unlink(path)
        node = self._nodes.pop(path)
        self.ops.append(Op("unlink", self._nodes[path.parent], path.name, node=node))

    def sync_folder(self, path: Path) -> None:
        self._alive()
        if path in self._nodes:
            self._synced("sync-folder", Op("sync-folder", self._nodes[path]), path)

    def _synced(self, kind: str, op: Op, path: Path) -> None:
        if self._forget(kind, path):
            self.forgotten += 1
        else:
            self.ops.append(op)

    def _alive(self) -> None:
        if self.kill_at is not None and len(self.ops) >= self.kill_at:
            raise Killed


def crashed(base: Nodes, ops: Sequence[Op], most: int, rng: random.Random) -> Iterator[Tree]:
    """States that the disk may be left in when the power goes after `ops`.

    Args:
        base: What was on the disk before.
        ops: Everything that was asked of it since.
        most: How many states at most: all of them where there are no more, else the plain ones and random ones.
        rng: Chooses.
    """
    sure, pending = _sorted_out(ops)
    ways = [_PARTS if ops[k].kind == "write" else ("all", "none") for k in pending]
    total = math.prod(map(len, ways))
    plain = itertools.product(*ways) if total <= most else _plain(ways)
    # A write can be cut short in as many ways as it has bytes.
    further = _random(ways, rng) if total > most or any(way is _PARTS for way in ways) else iter(())
    for parts in itertools.islice(itertools.chain(plain, further), most):
        yield _tree(base, ops, sure | dict(zip(pending, parts, strict=True)), rng)


def _sorted_out(ops: Sequence[Op]) -> tuple[dict[int, str], list[int]]:
    """What is on the disk for sure, and what may be."""
    sure: dict[int, str] = {}
    pending: list[int] = []
    synced: set[tuple[str, int]] = set()
    for k in range(len(ops) - 1, -1, -1):
        op = ops[k]
        if op.kind == "sync":
            synced.add(("content", op.node))
        elif op.kind == "sync-folder":
            synced.add(("names", op.folder))
        elif (("names", op.folder) if op.kind in _NAMING else ("content", op.node)) in synced:
            sure[k] = "all"
        else:
            pending.append(k)
    return sure, sorted(pending)


def _plain(ways: list[tuple[str, ...]]) -> Iterator[Sequence[str]]:
    """Nothing, everything, and only one thing that is there or is not."""
    nothing, everything = ["none"] * len(ways), ["all"] * len(ways)
    yield nothing
    yield everything
    for k in range(len(ways)):
        yield [*everything[:k], "none", *everything[k + 1 :]]
        yield [*nothing[:k], "all", *nothing[k + 1 :]]


def _random(ways: list[tuple[str, ...]], rng: random.Random) -> Iterator[Sequence[str]]:
    """Writes cut short or with holes, under names that are mostly there: what is not found needs no looking at."""
    while True:
        yield [rng.choice(("front", "holes") if way is _PARTS else ("all", "all", "none")) for way in ways]


def _tree(base: Nodes, ops: Sequence[Op], parts: dict[int, str], rng: random.Random) -> Tree:
    nodes: Nodes = {n: bytearray(v) if isinstance(v, bytearray) else dict(v) for n, v in base.items()}
    for k, op in enumerate(ops):
        if op.kind in ("create", "folder"):
            nodes.setdefault(op.node, bytearray() if op.kind == "create" else {})
        if parts.get(k, "none") == "none":
            continue
        if op.kind in _NAMING:
            names = nodes[op.folder]
            assert isinstance(names, dict)
            if op.kind in ("rename", "unlink"):
                names.pop(op.name, None)
            if op.kind != "unlink":
                names[op.new or op.name] = op.node
        else:
            content = nodes[op.node]
            assert isinstance(content, bytearray)
            if op.kind == "truncate":
                del content[op.offset :]
            else:
                _write(content, op.offset, op.data, parts[k], rng)
    tree: Tree = {}
    _collect(nodes, _ROOT, "", tree)
    return tree


def _write(content: bytearray, offset: int, data: bytes, part: str, rng: random.Random) -> None:
    sectors = range(0, len(data), SECTOR)
    half = len(data) // 2
    kept = bytearray(len(data))
    if part == "all":
        kept[:] = data
    elif part == "front":
        kept = bytearray(data[: rng.randrange(1, len(data))]) if len(data) > 1 else bytearray()
    elif part == "back":
        kept[half:] = data[half:]
    elif part == "holes":
        for begin in sectors:
            if rng.random() < 0.5:
                kept[begin : begin + SECTOR] = data[begin : begin + SECTOR]
    content.extend(bytes(max(0, offset + len(kept) - len(content))))
    content[offset : offset + len(kept)] = kept


def _collect(nodes: Nodes, node: int, path: str, tree: Tree) -> None:
    names = nodes[node]
    assert isinstance(names, dict)
    for name, inner in names.items():
        below = f"{path}/{name}" if path else name
        content = nodes[inner]
        if isinstance(content, bytearray):
            tree[below] = bytes(content)
        else:
            tree[below] = None
            _collect(nodes, inner, below, tree)


def write_tree(tree: Tree, root: Path) -> None:
    """Make a state real."""
    for name, content in tree.items():
        path = root / name
        if content is None:
            path.mkdir()
        else:
            path.write_bytes(content)
