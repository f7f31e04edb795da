"""GPUs that are not there: CPU tensors that behave as if they lay on cuda:0, cuda:1, ..., so that device mistakes show.

    with pretend_gpus(2, memory=16 << 30) as gpus:
        model = load_model(folder, device="cuda")       # or device_map: auto
        ...
    print(gpus.table())                                 # synchronisations and copies, by line of code
    print(gpus.peak)                                    # bytes held at most on each device

What is emulated: `.device`/`.is_cuda`, `.to`/`.cuda`/`.cpu`/`device=`, the RuntimeErrors for mixed devices (with
torch's own exceptions: 0-dim CPU tensors in pointwise operators, CPU indices), the TypeError of `.numpy()`, gradients
that return to the device of their input, `torch.cuda.*` queries, memory held (with torch.OutOfMemoryError above
`memory`), and counts of what makes the host wait. Values are those of the CPU kernels: no numerical difference of a
GPU, no speed, no streams.

How: a device is a tag on a storage, so views and in-place operators share it. A TorchFunctionMode answers questions and
moves tensors; a TorchDispatchMode below autograd checks every operator, also those of the backward pass, and tags what
it makes. Tensors that C++ makes inside an operator are of no device (ANY) until they meet one that has.
"""

import contextlib
import os
import sys
import types
import weakref
from collections import Counter
from functools import cache
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

ANY, CPU = "any", "cpu"
_SDPA = torch.nn.functional.scaled_dot_product_attention
# Operators that must know a number or a size on the host before they return.
_WAITS = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive", "bincount",
          "equal", "is_nonzero"}  # fmt: skip
_INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}
_ATTENTION = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
_SCALARS = {"masked_fill", "masked_fill_", "where", "fill_", "lerp", "lerp_"}  # take 0-dim CPU tensors, tagged or not
_PLAIN = {int, float, bool, str, type(None), torch.dtype, torch.device}
_FREE = {"copy_", "_to_copy", "set_", "lift_fresh", "detach", "alias", "_local_scalar_dense"}


def _tensors(*trees):
    """The tensors in lists, tuples and dictionaries. Asked for every operator: most of what stands there is neither."""
    found = []
    for tree in trees:
        if tree.__class__ in _PLAIN:
            continue
        if isinstance(tree, torch.Tensor):
            found.append(tree)
        elif isinstance(tree, (list, tuple, dict)):
            found += _tensors(*(tree.values() if isinstance(tree, dict) else tree))
    return found


@cache
def _name(operator):
    """Of an operator, without its namespace."""
    return operator._schema.name.partition("::")[2]


class _Move(torch.autograd.Function):
    """A copy on another device, whose gradient comes back."""

    @staticmethod
    def forward(ctx, x, gpus, source, target, dtype):
        ctx.back = gpus, source, x.dtype
        return gpus.tagged(x.detach().to(dtype, copy=True), target)

    @staticmethod
    def backward(ctx, grad):
        gpus, source, dtype = ctx.back
        with torch._C.DisableTorchFunction():
            return gpus.tagged(grad.to(dtype, copy=True), source), None, None, None, None


class _Attention(torch.autograd.Function):
    """SDPA that keeps its inputs and output alone, as fused kernels do, under a name that is no CPU kernel's."""

    @staticmethod
    def forward(ctx, query, key, value, options):
        ctx.save_for_backward(query, key, value)
        ctx.options = options
        with torch._C.DisableTorchFunction():
            return _SDPA(query, key, value, **options)

    @staticmethod
    def backward(ctx, grad):
        with torch._C.DisableTorchFunction(), torch.enable_grad():
            inputs = [x.detach().requires_grad_() for x in ctx.saved_tensors]
            return *torch.autograd.grad(_SDPA(*inputs, **ctx.options), inputs, grad), None


class PretendGpus:
    """`count` devices of `memory` bytes, `taken` of them by others (None: endless); `roots`: path parts of the code
    whose lines `counts` names; `major`: compute capability."""

    def __init__(self, count=1, memory=None, taken=0, roots=("scripts/",), major=8):
        self.count, self.room, self.roots, self.major = count, None if memory is None else memory - taken, roots, major
        self.total = memory or 80 << 30
        self.tags, self.live, self.peak = {}, Counter(), Counter()
        self.counts, self.bytes = Counter(), Counter()  # (kind, operator, "file:line") -> times; direction -> bytes
        self.current, self.ambient = 0, CPU
        self.functions, self.operators = _Functions(self), _Operators(self)

    def device(self, name):
        """None, or a tag: 'cpu', 'meta', 'cuda:1' ... of what torch accepts as a device."""
        if name is None:
            return None
        if isinstance(name, int):
            name = f"cuda:{name}"
        kind, _, index = str(name).partition(":")
        if kind != "cuda":
            return kind
        if int(index or self.current) >= self.count:
            raise RuntimeError("CUDA error: invalid device ordinal")
        return f"cuda:{index or self.current}"

    def tag(self, tensor):
        if tensor.layout != torch.strided:
            return CPU
        tag = self.tags.get(tensor.untyped_storage()._cdata)
        return tensor.device.type if tag is None else tag

    def tagged(self, tensor, tag):
        """The same tensor, its storage now on device `tag`; counts as held there until it is freed."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, -(-storage.nbytes() // 512) * 512
        old = self.tags.pop(key, None)
        if old is not None and old.startswith("cuda"):
            self.live[old] -= size
        if old is None and tag != CPU:
            weakref.finalize(storage, self._freed, key, size)
        if tag.startswith("cuda"):
            if self.room is not None and self.live[tag] + size > self.room:
                raise torch.OutOfMemoryError(
                    f"CUDA out of memory. Tried to allocate {size / 2**20:.2f} MiB. GPU {tag[5:]} has a total capacity "
                    f"of {self.total / 2**30:.2f} GiB of which {(self.room - self.live[tag]) / 2**20:.2f} MiB is free."
                )
            self.live[tag] += size
            self.peak[tag] = max(self.peak[tag], self.live[tag])
        if old is not None or tag != CPU:
            self.tags[key] = tag
        return tensor

    def _freed(self, key, size):
        tag = self.tags.pop(key, CPU)
        if tag.startswith("cuda"):
            self.live[tag] -= size

    def note(self, kind, operator, size=0):
        """Count a wait (or bytes moved) for the innermost line of the code at `roots`, else of transformers."""
        self.bytes[kind] += size
        frame, fallback = sys._getframe(1), None
        while frame is not None:
            path = frame.f_code.co_filename
            if any(root in path for root in self.roots):
                break
            if fallback is None and "site-packages/t" in path and "site-packages/torch/" not in path:
                fallback = frame
            frame = frame.f_back
        frame = frame or fallback
        where = "?" if frame is None else f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"
        self.counts[kind, operator, where] += 1

    def table(self, least=1):
        """Lines 'times kind operator file:line', most frequent first."""
        rows = [(n, *key) for key, n in self.counts.most_common() if n >= least]
        return "\n".join(f"{n:7d}  {kind:5s} {operator:24s} {where}" for n, kind, operator, where in rows)

    def waits(self):
        """How often the host waited for a device: reads of values and sizes, and blocking copies either way."""
        return sum(self.counts.values())

    def copied(self, source, target, x, operator, non_blocking=False):
        """Note a copy of x: blocking ones from or to the host make it wait."""
        kind, size = "d2h" if target == CPU else "h2d" if source == CPU else "d2d", x.numel() * x.element_size()
        if kind == "d2d" or not size or (non_blocking and kind == "h2d"):
            self.bytes[kind] += size
        else:
            self.note(kind, operator, size)

    def move(self, x, target, dtype=None, copy=False, non_blocking=False):
        source, dtype = self.tag(x), dtype or x.dtype
        if target == "meta":
            return x.to("meta", dtype)
        if target is None or source in ("meta", target):
            return x.to(dtype, copy=copy)
        self.copied(source, target, x, "copy", non_blocking)
        if x.requires_grad and torch.is_grad_enabled():
            return _Move.apply(x, self, source, target, dtype)
        return self.tagged(x.detach().to(dtype, copy=True), target)


class _Functions(TorchFunctionMode):
    """Everything that Python calls on tensors."""

    def __init__(self, gpus):
        super().__init__()
        self.gpus = gpus

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "")
        if name in ("__get__", "__set__"):
            return self._attribute(func, name, args)
        gpus, kwargs = self.gpus, dict(kwargs or {})
        if func is torch.device:
            return torch.device(gpus.device(args[0])) if args and isinstance(args[0], int) else func(*args, **kwargs)
        first = args[0] if args and isinstance(args[0], torch.Tensor) else None
        own = CPU if first is None else gpus.tag(first)
        here = own if own.startswith("cuda") else None
        if here is None:
            here = next((tag for x in _tensors(args, kwargs) if (tag := gpus.tag(x)).startswith("cuda")), None)
        if first is not None and name in ("to", "cuda", "cpu", "get_device", "__deepcopy__", "pin_memory"):
            return self._method(func, name, first, args[1:], kwargs)
        if own.startswith("cuda"):
            if name in ("numpy", "__array__"):
                raise TypeError(
                    f"can't convert {own} device type tensor to numpy. Use Tensor.cpu() to copy the tensor "
                    "to host memory first."
                )
            if name == "tolist":
                gpus.note("d2h", "tolist")
        target = gpus.device(kwargs.get("device")) or (own if name == "new_tensor" else None)
        if target is not None and target.startswith("cuda"):
            if kwargs.get("generator") is not None:
                raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
            kwargs["device"] = CPU
        if func is _SDPA and here is not None:
            options = {**dict(zip(_ATTENTION, args, strict=False)), **kwargs}
            inputs = [options.pop(part) for part in ("query", "key", "value")]
            func, args, kwargs = _Attention.apply, (*inputs, options), {}
        before, gpus.ambient = gpus.ambient, ANY if here is not None else CPU
        try:
            out = func(*args, **kwargs)
        finally:
            gpus.ambient = before
        for x in _tensors(out) if target is None and here is not None else ():
            if gpus.tag(x) == ANY:
                gpus.tagged(x, here)
        if target is not None and isinstance(out, torch.Tensor) and gpus.tag(out) not in (target, "meta"):
            if name in ("as_tensor", "asarray"):  # may share the memory of what it is given
                return gpus.move(out, target)
            if name in ("tensor", "new_tensor"):
                gpus.copied(CPU, target, out, name)
            gpus.tagged(out, target)
        return out

    def _attribute(self, func, name, args):
        attribute, gpus = func.__self__.__name__, self.gpus
        if name == "__get__" and attribute in ("device", "is_cuda", "is_cpu"):
            tag = gpus.tag(args[0])
            return {"device": torch.device(tag), "is_cuda": tag.startswith("cuda"), "is_cpu": tag == CPU}[attribute]
        return func(*args)

    def _method(self, func, name, x, args, kwargs):
        gpus = self.gpus
        tag = gpus.tag(x)
        if name == "get_device":
            return int(tag[5:]) if tag.startswith("cuda") else -1
        if name == "pin_memory":
            return x
        if name == "__deepcopy__":
            out = func(x, *args, **kwargs)
            return out if gpus.tag(out) == tag else gpus.tagged(out, tag)
        copy = kwargs.pop("copy", False)
        if name == "cpu":
            return gpus.move(x, CPU)
        if name == "cuda":
            index = args[0] if args else kwargs.get("device")
            return gpus.move(x, gpus.device("cuda" if index is None else index))
        other = kwargs.pop("other", args[0] if args else None)
        if isinstance(other, torch.Tensor):
            return gpus.move(x, gpus.tag(other), other.dtype, copy)
        device, dtype, non_blocking, memory_format = torch._C._nn._parse_to(*args, **kwargs)
        out = gpus.move(x, gpus.device(device), dtype, copy, non_blocking)
        return out if memory_format is None else out.contiguous(memory_format=memory_format)


class _Operators(TorchDispatchMode):
    """Every operator that reaches a kernel."""

    @classmethod
    def _should_skip_dynamo(cls):  # or every operator goes through torch.compile's machinery first
        return False

    def __init__(self, gpus):
        super().__init__()
        self.gpus = gpus

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        with torch._C.DisableTorchFunction():
            name = _name(func)
            tag = self._checked(func, name, args, kwargs)
            if name == "histc" and not args[0].is_floating_point():  # counts whole numbers on a GPU alone
                args = args[0].float(), *args[1:]
            out = func(*args, **kwargs)
            if tag not in (CPU, "meta"):
                for x in _tensors(out):
                    if not x.is_meta and self.gpus.tag(x) in (CPU, ANY):
                        self.gpus.tagged(x, tag)
            return out

    def _checked(self, func, name, args, kwargs):
        """The tag of what the operator makes; RuntimeError where torch raises one."""
        gpus = self.gpus
        tensors = [x for x in _tensors(args, kwargs) if not x.is_meta]
        tags = [gpus.tag(x) for x in tensors]
        gpu = [tag for tag in tags if tag.startswith("cuda")]
        if not gpu:
            return gpus.ambient if not tensors else ANY if set(tags) == {ANY} else CPU
        if name in _WAITS or (name == "repeat_interleave" and kwargs.get("output_size") is None):
            gpus.note("wait", name)
        if name not in _INDEXING and len(set(tags)) == 1:
            return gpu[0]
        if name == "copy_":
            if tags[0] != tags[1] and ANY not in tags[:2]:
                gpus.copied(tags[1], tags[0], tensors[1], "copy_", len(args) > 2 and args[2])
            return tags[0]
        if name in _FREE:
            return tags[0]
        if name in _INDEXING:
            return self._index(name, args)
        scalars = torch.Tag.pointwise in func.tags or name in _SCALARS
        found, written = [], func._schema.is_mutable
        for position, (x, tag) in enumerate(zip(tensors, tags, strict=True)):
            if tag != ANY and not (tag == CPU and x.dim() == 0 and scalars and not (written and position == 0)):
                found.append(tag)
        if len(set(found)) > 1:
            a, b = list(dict.fromkeys(found))[:2]
            raise RuntimeError(
                f"Expected all tensors to be on the same device, but found at least two devices, {a} and {b}! "
                f"(when checking arguments of aten::{name})"
            )
        return gpu[0]

    def _index(self, name, args):
        gpus = self.gpus
        own, value = gpus.tag(args[0]), args[2] if "put" in name else None
        for index in (x for x in args[1] if x is not None):
            tag = gpus.tag(index)
            if tag not in (CPU, ANY, own):
                raise RuntimeError(
                    f"indices should be either on cpu or on the same device as the indexed tensor ({own})"
                )
            if own.startswith("cuda") and tag == CPU:
                gpus.note("h2d", f"{name} by a CPU tensor")
            if own.startswith("cuda") and index.dtype == torch.bool and not (value is not None and value.dim() == 0):
                gpus.note("wait", f"{name} by a mask")
        if value is not None and value.dim() and gpus.tag(value) not in (ANY, own):
            raise RuntimeError(f"expected device {own} but got device {gpus.tag(value)} for value tensor")
        return own


@contextlib.contextmanager
def pretend_gpus(count=1, memory=None, taken=0, roots=("scripts/",), major=8):
    """Inside the block torch has `count` GPUs (arguments as of PretendGpus, which it yields)."""
    gpus = PretendGpus(count, memory, taken, roots, major)
    places = [(torch.cuda, name, value) for name, value in _cuda(gpus).items()]
    parse, run = torch._C._nn._parse_to, torch.autograd._engine_run_backward

    def parse_to(*args, **kwargs):  # a number means a GPU, also where torch was built without
        args = tuple(torch.device(f"cuda:{x}") if type(x) is int else x for x in args)
        if type(kwargs.get("device")) is int:
            kwargs["device"] = torch.device(f"cuda:{kwargs['device']}")
        return parse(*args, **kwargs)

    def run_backward(*args, **kwargs):  # hooks and custom functions are Python again; what C++ makes has no device yet
        before, gpus.ambient = gpus.ambient, ANY
        try:
            with gpus.functions:
                return run(*args, **kwargs)
        finally:
            gpus.ambient = before

    places += [(torch._C._nn, "_parse_to", parse_to), (torch.autograd, "_engine_run_backward", run_backward)]
    kept = [(place, name, getattr(place, name)) for place, name, _ in places]
    # Modes do not reach the threads in which transformers loads weights.
    with mock.patch.dict(os.environ, HF_DEACTIVATE_ASYNC_LOAD="1"):
        for place, name, value in places:
            setattr(place, name, value)
        try:
            with gpus.operators, gpus.functions:
                yield gpus
        finally:
            for place, name, value in kept:
                setattr(place, name, value)


def _cuda(gpus):
    """What stands in for functions of torch.cuda."""

    def key(device=None):
        return gpus.device("cuda" if device is None else device)

    def free(device=None):
        return (gpus.total if gpus.room is None else gpus.room) - gpus.live[key(device)], gpus.total

    name, properties = (
        "Pretend GPU",
        {"minor": 0, "multi_processor_count": 108, "is_integrated": False, "gcnArchName": ""},
    )
    properties = types.SimpleNamespace(name=name, major=gpus.major, total_memory=gpus.total, **properties)
    silent = ("empty_cache", "ipc_collect", "init", "_lazy_init", "manual_seed", "manual_seed_all")
    return {  # a function for each: torch.compile's tables refuse the same one twice
        "is_available": lambda: True, "is_initialized": lambda: True, "device_count": lambda: gpus.count,
        "current_device": lambda: gpus.current, "set_device": lambda x: setattr(gpus, "current", int(key(x)[5:])),
        "device": lambda x: contextlib.nullcontext(), "get_device_name": lambda x=None: name,
        "get_device_properties": lambda x=None: properties, "get_device_capability": lambda x=None: (gpus.major, 0),
        "mem_get_info": free, "memory_allocated": lambda x=None: gpus.live[key(x)],
        "memory_reserved": lambda x=None: gpus.live[key(x)], "max_memory_allocated": lambda x=None: gpus.peak[key(x)],
        "max_memory_reserved": lambda x=None: gpus.peak[key(x)],
        "reset_peak_memory_stats": lambda x=None: gpus.peak.update(dict(gpus.live)),
        "synchronize": lambda x=None: gpus.note("wait", "synchronize"), **{part: lambda *args: None for part in silent},
    }  # fmt: skip
