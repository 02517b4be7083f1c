"""Tensors out of PyTorch's own files, without unpickling: no code of the file runs, and nothing in it can name a function to call.

PyTorch keeps the structure of a checkpoint as pickle opcodes, and the numbers beside them. Here the few opcodes that tensors, dictionaries,
lists and plain values need are read by a machine of our own. Names of classes and functions stay names; the only ones with a meaning are
those of `_MEANINGS` and, in a TorchScript archive, the names of its modules, which become plain dictionaries of attributes. All others are
refused.

Three containers are known: the zip archive of `torch.save`, the older stream of pickles before it, and TorchScript's zip archive, whose
`data.pkl` holds the modules' attributes (the program beside it is never looked at).
"""

from __future__ import annotations

import io
import pickletools
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from openau.errors import WeightsError

Array = npt.NDArray[Any]

_MAGIC = 0x1950A86A20F9469CFC6C
_KINDS: Mapping[str, str] = MappingProxyType(
    {
        "DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2", "LongStorage": "<i8", "IntStorage": "<i4",
        "ShortStorage": "<i2", "CharStorage": "<i1", "ByteStorage": "<u1", "BoolStorage": "|b1",
    }
)  # fmt: skip
_LONGEST = 100_000_000
"""Opcodes are read from at most so many bytes: the structure of a checkpoint, not its numbers."""
_MOST, _DEEPEST = 100_000, 50
"""Values a checkpoint may hold, and levels it may be nested."""


def read_tensors(path: Path) -> dict[str, Array]:
    """All tensors of a checkpoint, by their dotted names.

    A state dict gives its own names, a TorchScript module `attribute.attribute…`. A checkpoint that wraps its state dict
    (`{"state_dict": …}`) gives what is inside; the prefix `module.` of data-parallel training is dropped.

    Args:
        path: a file of `torch.save` (either format) or `torch.jit.save`.

    Returns:
        name → array, in the file's order.

    Raises:
        WeightsError: the file cannot be read, is none of these, or asks for anything but tensors and plain values.
    """
    try:
        with path.open("rb") as file:
            root = _zip(file) if zipfile.is_zipfile(file) else _stream(file)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from None
    except _RefusedError as error:
        raise WeightsError(f"{path}: refused: {error}; nothing of it was run") from None
    except (
        ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, MemoryError, UnicodeError,
        struct.error, zipfile.BadZipFile, NotImplementedError, RuntimeError,
    ) as error:  # fmt: skip
        reason = " ".join(str(error).split()) or type(error).__name__
        raise WeightsError(f"{path}: is no PyTorch checkpoint, or damaged: {reason}") from None
    try:
        found = dict(_tensors(_unwrapped(root)))
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None
    if not found:
        raise WeightsError(f"{path}: holds no tensors")
    prefix = "module."
    if all(name.startswith(prefix) for name in found):
        found = {name.removeprefix(prefix): array for name, array in found.items()}
    return found


class _RefusedError(Exception):
    """The file asks for something that reading tensors does not need."""


@dataclass(frozen=True, slots=True)
class _Name:
    """A class or function the file names."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(slots=True)
class _Storage:
    """Numbers of one kind; in the older format they come after the structure."""

    kind: str
    count: int
    values: Array | None = None


@dataclass(frozen=True, slots=True)
class _View:
    """A tensor: how it lies in its storage."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def array(self) -> Array:
        values = self.storage.values
        if values is None:
            raise ValueError("a tensor's numbers are missing")
        last = self.offset + sum((n - 1) * step for n, step in zip(self.size, self.stride, strict=True))
        elements = int(np.prod(self.size, dtype=object)) if self.size else 1
        if min((self.offset, *self.size, *self.stride)) < 0 or (elements and last >= len(values)):
            raise ValueError("a tensor reaches beyond its numbers")
        if elements > len(values):
            raise ValueError("a tensor has more elements than numbers")
        strides = tuple(step * values.itemsize for step in self.stride)
        view = np.lib.stride_tricks.as_strided(values[self.offset :], self.size, strides, writeable=False)
        return np.ascontiguousarray(view).reshape(self.size)


# Containers -----------------------------------------------------------------------------------------------------------


def _zip(file: IO[bytes]) -> Any:
    """`torch.save` since 1.6, and TorchScript."""
    with zipfile.ZipFile(file) as archive:
        members = {info.filename: info for info in archive.infolist()}
        roots = [name for name in members if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(roots) != 1:
            raise ValueError("it is a zip archive without data.pkl")
        top = roots[0].removesuffix("data.pkl")
        order = members.get(f"{top}byteorder")
        if order is not None and _member(archive, order) != b"little":
            raise ValueError("its numbers are big-endian")
        storages: dict[str, _Storage] = {}

        def storage(kind: str, key: str, count: int) -> _Storage:
            if key not in storages:
                content = _member(archive, members[f"{top}data/{key}"])
                values = np.frombuffer(content, _KINDS[kind])
                if len(values) < count:
                    raise ValueError(f"the numbers {key} are cut short")
                storages[key] = _Storage(kind, count, values)
            return storages[key]

        structure = _member(archive, members[roots[0]])
        return _Machine(storage).run(io.BytesIO(structure))


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    if info.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{info.filename} is compressed, which PyTorch does not do")
    return archive.read(info)


def _stream(file: IO[bytes]) -> Any:
    """`torch.save` before 1.6: magic number, version, system, structure, keys of the storages, then their numbers."""
    file.seek(0)
    storages: dict[str, _Storage] = {}

    def storage(kind: str, key: str, count: int) -> _Storage:
        return storages.setdefault(key, _Storage(kind, count))

    first = file.read(2)
    file.seek(0)
    if first[:1] != b"\x80":
        raise ValueError("it begins with neither a zip archive nor a pickle")
    magic, version, system = (_Machine(storage).run(file) for _ in range(3))
    if magic != _MAGIC or version != 1001 or not (isinstance(system, dict) and system.get("little_endian") is True):
        raise ValueError("it is a pickle, but no checkpoint of PyTorch's older format")
    root, keys = (_Machine(storage).run(file) for _ in range(2))
    for key in keys:
        found = storages[key]
        (count,) = struct.unpack("<q", file.read(8))
        content = file.read(count * np.dtype(_KINDS[found.kind]).itemsize) if count >= 0 else b""
        found.values = np.frombuffer(content, _KINDS[found.kind])
        if len(found.values) != count or count < found.count:
            raise ValueError(f"the numbers {key} are cut short")
    return root


# Structure ------------------------------------------------------------------------------------------------------------

_StorageOf = Callable[[str, str, int], _Storage]
_PLAIN = frozenset(
    (
        "BININT",
        "BININT1",
        "BININT2",
        "LONG1",
        "BINFLOAT",
        "BINUNICODE",
        "SHORT_BINUNICODE",
        "BINUNICODE8",
        "INT",
        "LONG",
    )
)
_CONSTANTS: Mapping[str, Any] = MappingProxyType({"NONE": None, "NEWTRUE": True, "NEWFALSE": False})


class _Machine:
    """Reads one pickle's opcodes into dictionaries, lists, tuples, plain values, names and tensors."""

    def __init__(self, storage: _StorageOf) -> None:
        self._storage = storage
        self._stack: list[Any] = []
        self._marks: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def run(self, file: IO[bytes]) -> Any:
        """The pickle's value; the file is left after its end."""
        start = file.tell()
        for opcode, argument, position in pickletools.genops(file):
            if position is not None and position - start > _LONGEST:
                raise ValueError("its structure is too long")
            if opcode.name == "STOP":
                return self._stack.pop()
            self._do(opcode.name, argument)
        raise ValueError("it ends too early")

    def _do(self, name: str, argument: Any) -> None:
        stack, memo = self._stack, self._memo
        if name in _PLAIN:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "MARK":
            self._marks.append(stack)
            self._stack = []
        elif name in ("EMPTY_TUPLE", "EMPTY_LIST", "EMPTY_DICT"):
            stack.append({"EMPTY_TUPLE": tuple, "EMPTY_LIST": list, "EMPTY_DICT": dict}[name]())
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            items = [stack.pop() for _ in range(int(name[-1]))]
            stack.append(tuple(reversed(items)))
        elif name == "TUPLE":
            items = self._since_mark()
            self._stack.append(tuple(items))
        elif name in ("SETITEM", "SETITEMS", "APPEND", "APPENDS"):
            self._extend(name)
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            self._name(name, argument)
        elif name in ("REDUCE", "NEWOBJ"):
            arguments, function = stack.pop(), stack.pop()
            stack.append(self._make(function, arguments))
        elif name == "BUILD":
            self._build(stack.pop())
        elif name == "BINPERSID":
            stack.append(self._stored(stack.pop()))
        elif name not in ("PROTO", "FRAME"):
            raise _RefusedError(f"it uses the pickle opcode {name}, which tensors do not need")

    def _since_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._marks.pop()
        return items

    def _extend(self, name: str) -> None:
        count = {"SETITEM": 2, "APPEND": 1}.get(name)
        items = self._since_mark() if count is None else [self._stack.pop() for _ in range(count)][::-1]
        target = self._stack[-1]
        if name.startswith("APPEND"):
            if not isinstance(target, list):
                raise ValueError("it appends to what is no list")
            target.extend(items)
        else:
            if not isinstance(target, dict):
                raise ValueError("it sets items of what is no dictionary")
            target.update(zip(items[::2], items[1::2], strict=True))

    def _name(self, opcode: str, argument: Any) -> None:
        if opcode == "STACK_GLOBAL":
            name, module = self._stack.pop(), self._stack.pop()
        else:
            module, _, name = str(argument).partition(" ")
        found = _Name(str(module), str(name))
        is_storage = found.module == "torch" and found.name in _KINDS
        if not (is_storage or found in _MEANINGS or found.module.split(".")[0] == "__torch__"):
            raise _RefusedError(f"it names {found}, which tensors do not need")
        self._stack.append(found)

    def _make(self, function: Any, arguments: Any) -> Any:
        """What calling a name means; only names with a meaning are ever on the stack."""
        if not isinstance(function, _Name) or not isinstance(arguments, tuple):
            raise ValueError("it calls what is no name")
        if function.module.split(".")[0] == "__torch__":
            return {}
        if function not in _MEANINGS:
            raise _RefusedError(f"it calls {function}")
        return _MEANINGS[function](*arguments)

    def _build(self, state: Any) -> None:
        """A module's attributes; what a state dict says about itself (`_metadata`) is left out."""
        target = self._stack[-1]
        if not isinstance(target, dict):
            raise ValueError("it sets attributes of what has none")
        if isinstance(state, dict) and set(state) != {"_metadata"}:
            target.update(state)

    def _stored(self, identity: Any) -> _Storage:
        """A storage, from ('storage', its kind, key, device, count …)."""
        word, kind, key, _device, count, *rest = identity
        if (
            word != "storage"
            or not isinstance(kind, _Name)
            or kind.name not in _KINDS
            or any(r is not None for r in rest)
        ):
            raise _RefusedError("it keeps numbers in a way that is not known")
        return self._storage(kind.name, str(key), int(count))


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_rest: Any) -> _View:
    whole = [offset, *size, *stride]
    if not isinstance(storage, _Storage) or not all(type(number) is int for number in whole):
        raise ValueError("a tensor is described in a way that is not known")
    return _View(storage, offset, tuple(size), tuple(stride))


def _first(value: Any, *_rest: Any) -> Any:
    """A parameter is its tensor, a typed list its items, a value with a type's name beside it the value."""
    return value


def _ordered(items: Any = ()) -> dict[Any, Any]:
    return dict(items)


_MEANINGS: Mapping[_Name, Callable[..., Any]] = MappingProxyType(
    {
        _Name("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
        _Name("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
        _Name("torch._utils", "_rebuild_parameter"): _first,
        _Name("collections", "OrderedDict"): _ordered,
        **{
            _Name("torch.jit._pickle", name): _first
            for name in ("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist", "restore_type_tag")
        },
    }
)
"""What a checkpoint may call, and what we do instead."""


# Names ----------------------------------------------------------------------------------------------------------------


def _unwrapped(root: Any) -> Any:
    """The state dict within a training checkpoint."""
    if isinstance(root, dict) and not any(isinstance(value, _View) for value in root.values()):
        for key in ("state_dict", "model_state_dict", "model"):
            if isinstance(root.get(key), dict):
                return root[key]
    return root


def _tensors(root: Any) -> Iterator[tuple[str, Array]]:
    """Tensors with their dotted names, depth first; a structure that refers to itself or grows without end is refused."""
    waiting: list[tuple[str, int, Any]] = [("", 0, root)]
    for seen in range(_MOST + 1):
        if not waiting:
            return
        name, depth, value = waiting.pop()
        if seen == _MOST or depth > _DEEPEST:
            raise WeightsError("a checkpoint is nested too deeply, or without end")
        if isinstance(value, _View):
            try:
                yield name, value.array()
            except ValueError as error:
                raise WeightsError(f"the tensor {name}: {error}") from None
        elif isinstance(value, dict):
            inner = [(key, part) for key, part in value.items() if isinstance(key, str | int)]
            waiting += [(f"{name}.{key}" if name else str(key), depth + 1, part) for key, part in reversed(inner)]
