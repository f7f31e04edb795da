"""Tests of pretend_gpu: it catches planted device mistakes, does not cry wolf, and counts what makes the host wait."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from pretend_gpu import pretend_gpus


@pytest.fixture
def gpus():
    with pretend_gpus(2, roots=("test_pretend_gpu",)) as found:
        yield found


DEVICES = r"same device"
# What torch refuses on a machine with two GPUs:
# (an expression in x on cuda:0, y on cuda:1, c on the CPU; exception, text)
MISTAKES = {
    "add": ("x + c", RuntimeError, DEVICES),
    "add in place": ("x.add_(c)", RuntimeError, DEVICES),
    "two gpus": ("x @ y", RuntimeError, "cuda:0 and cuda:1"),
    "matmul by 0-dim free path": ("torch.mm(x, c)", RuntimeError, DEVICES),
    "0-dim on a gpu into cpu": ("c.add_(x.sum())", RuntimeError, DEVICES),
    "cat": ("torch.cat([x, c])", RuntimeError, DEVICES),
    "stack": ("torch.stack([x, y])", RuntimeError, DEVICES),
    "where": ("torch.where(c > 0, x, 0.0)", RuntimeError, DEVICES),
    "gather": ("x.gather(1, torch.zeros(3, 1, dtype=torch.long))", RuntimeError, DEVICES),
    "index_select": ("x.index_select(0, torch.tensor([0]))", RuntimeError, DEVICES),
    "gpu index into cpu": ("c[(x > 0).nonzero()[:, 0]]", RuntimeError, "indices should be either on cpu"),
    "gpu mask into cpu": ("c[x > 0]", RuntimeError, "indices should be either on cpu"),
    "other gpu's index": ("x[torch.zeros(2, dtype=torch.long, device='cuda:1')]", RuntimeError, "indices should be"),
    "cpu values put": ("x.index_put_((torch.tensor([0]),), torch.ones(1, 3))", RuntimeError, "for value tensor"),
    "cpu values set": ("x.__setitem__(torch.tensor([0, 1]), torch.ones(2, 3))", RuntimeError, "for value tensor"),
    "masked_fill mask": ("x.masked_fill(c > 0, 0)", RuntimeError, DEVICES),
    "embedding": ("nn.Embedding(3, 4).to('cuda')(torch.tensor([0]))", RuntimeError, DEVICES),
    "linear": ("nn.Linear(3, 4).cuda()(c)", RuntimeError, DEVICES),
    "numpy": ("x.numpy()", TypeError, "can't convert cuda:0"),
    "asarray": ("np.asarray(x)", TypeError, "can't convert cuda:0"),
    "searchsorted": ("torch.searchsorted(x[0], torch.tensor([1.0]))", RuntimeError, DEVICES),
    "isin": ("torch.isin(x, torch.tensor([1.0]))", RuntimeError, DEVICES),
    "sdpa mask": (
        "nn.functional.scaled_dot_product_attention(*[x.view(1, 1, 3, 3)] * 3, attn_mask=torch.ones(3, 3).bool())",
        RuntimeError, DEVICES),
    "cross entropy": ("nn.functional.cross_entropy(x, torch.tensor([0, 1, 2]))", RuntimeError, DEVICES),
    "no such gpu": ("torch.zeros(2, device='cuda:2')", RuntimeError, "invalid device ordinal"),
    "cpu generator": ("torch.rand(2, device='cuda', generator=torch.Generator())", RuntimeError, "generator"),
    "module of two devices": ("nn.Sequential(nn.Linear(3, 3).to('cuda:0'), nn.Linear(3, 3).to('cuda:1'))(x)",
                              RuntimeError, DEVICES),
    "out": ("torch.mm(x, x, out=torch.empty(3, 3))", RuntimeError, DEVICES),
    "gather by other gpu": ("x.gather(1, torch.zeros(3, 1, dtype=torch.long, device='cuda:1'))", RuntimeError, DEVICES),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_caught(name, gpus):
    code, kind, text = MISTAKES[name]
    names = {"torch": torch, "nn": nn, "np": np, "c": torch.randn(3, 3)}
    names |= {"x": names["c"].to("cuda"), "y": names["c"].to("cuda:1")}
    with pytest.raises(kind, match=text):
        eval(code, names)


def test_a_mistake_in_the_backward_pass_is_caught(gpus):
    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, grad):
            return grad * torch.ones(3)

    x = torch.ones(3, device="cuda", requires_grad=True)
    with pytest.raises(RuntimeError, match=DEVICES):
        Wrong.apply(x).sum().backward()


# What torch allows.
RIGHT = {
    "scalars": "x + 1 + torch.tensor(2.0)",
    "cpu index": "x[torch.tensor([0, 2])]",
    "list index": "x[[0, 2]]",
    "mixed indices": "x[torch.arange(2), torch.arange(2).to(x.device)]",
    "cpu mask": "x[c > 0]",
    "setitem": "x.__setitem__(slice(0, 2), c[:2])",
    "set scalar": "x.__setitem__(x > 0, 0.0)",
    "copy_": "x.copy_(c)",
    "masked_fill": "x.masked_fill(x > 0, torch.tensor(0.0))",
    "where scalar": "torch.where(x > 0, torch.tensor(1.0), x)",
    "new": "x + x.new_zeros(3) + torch.zeros_like(x) + torch.full_like(x, 2) + x.new_tensor([1.0, 2.0, 3.0])",
    "made there": "x + torch.ones(3, device=x.device) + torch.arange(3, device=0)",
    "context": "x + made_in_context()",
    "from numpy": "x + torch.from_numpy(np.ones(3, np.float32)).to(x)",
    "as_tensor": "x + torch.as_tensor(np.ones(3, np.float32), device=x.device)",
    "sdpa": "nn.functional.scaled_dot_product_attention(*[x.view(1, 1, 3, 3)] * 3, is_causal=True)",
    "sdpa mask": "nn.functional.scaled_dot_product_attention(*[x.view(1, 1, 3, 3)] * 3, attn_mask=x[None, None] > 9)",
    "norms": "nn.LayerNorm(3).cuda()(x) + nn.functional.rms_norm(x, (3,)) + x.softmax(-1) + x.cumsum(0)",
    "linalg": "torch.linalg.vector_norm(x) + torch.linalg.vecdot(x, x) + x.logsumexp(-1)",
    "topk": "x.topk(2).values + x.sort().values[:, :2] + x[:, :2].argsort()",
    "scatter": "x.scatter(1, x.argmax(1, keepdim=True), 1.0)",
    "one hot": "nn.functional.one_hot(x.argmax(1), 3) * x",
    "loss": "nn.functional.cross_entropy(x, x.argmax(1))",
    "einsum": "torch.einsum('ij,kj->ik', x, x)",
    "repeat": "x.repeat_interleave(2, 0) + torch.ones(6, 1).to(x)",
    "out": "torch.mm(x, x, out=torch.empty_like(x))",
    "views": "x.T.reshape(-1).unflatten(0, (3, 3)).expand(3, 3).contiguous() + x",
    "double": "x.double() + x.double().to(torch.float32)",
    "deepcopy": "copy.deepcopy(nn.Linear(3, 3).cuda())(x)",
    "cast": "x.half().float().bfloat16()",
    "whole numbers counted": "torch.histc(torch.ones(4, dtype=torch.int, device='cuda'), bins=2, min=0, max=1)",
}


@pytest.mark.parametrize("name", RIGHT)
def test_correct_code_passes_with_the_same_values(name, gpus):
    def made_in_context():
        with torch.device("cuda"):
            return torch.ones(3)

    torch.manual_seed(0)
    names = {
        "torch": torch,
        "nn": nn,
        "np": np,
        "copy": copy,
        "c": torch.randn(3, 3),
        "made_in_context": made_in_context,
    }
    names["x"] = names["c"].cuda()
    state = torch.get_rng_state()
    out = eval(RIGHT[name], names)
    if out is None:
        out = names["x"]
    assert out.device == torch.device("cuda:0")
    assert out.is_cuda
    assert not out.is_cpu
    if not any(word in RIGHT[name] for word in ("cuda", "device", "context", "Linear")):
        torch.set_rng_state(state)
        plain = {**names, "x": names["c"].clone()}
        own = eval(RIGHT[name], plain)
        assert torch.equal(out.cpu(), plain["x"] if own is None else own)


def test_gradients_return_to_the_device_of_their_input(gpus):
    x = torch.randn(4, 3, requires_grad=True)
    seen = []
    first, second = nn.Linear(3, 3).to("cuda:0"), nn.Linear(3, 2).to("cuda:1")
    hidden = first(x.to("cuda:0"))
    hidden.register_hook(lambda grad: seen.append((grad.device, (grad + grad.new_ones(3)).to("cuda:1").device)))
    second(hidden.to("cuda:1")).max(1).values.sum().backward()
    assert x.grad.device.type == "cpu"
    assert first.weight.grad.device == torch.device("cuda:0")
    assert second.bias.grad.device == torch.device("cuda:1")
    assert seen == [(torch.device("cuda:0"), torch.device("cuda:1"))]


def test_attention_gives_the_gradient_of_the_cpu(gpus):
    q = torch.randn(2, 4, 5, 8)

    def grad(q):
        q = q.requires_grad_()
        out = nn.functional.scaled_dot_product_attention(q, q * 2, q, is_causal=True)
        return torch.autograd.grad(out.square().sum(), q)[0], out.grad_fn.name()

    (own, name), (other, hidden) = grad(q.clone()), grad(q.clone().cuda())
    assert torch.allclose(own, other.cpu(), atol=1e-6)
    assert "ForCpu" in name
    assert "ForCpu" not in hidden


def test_what_makes_the_host_wait_is_counted_by_line(gpus):
    x = torch.randn(3, 3, device="cuda")
    assert gpus.waits() == 0
    bool(x.isfinite().all()), float(x.sum()), x.tolist(), x.cpu(), x[x > 0], x[torch.tensor([0])]
    kinds = {(kind, operator): n for (kind, operator, where), n in gpus.counts.items()}
    assert kinds == {("wait", "_local_scalar_dense"): 2, ("d2h", "tolist"): 1, ("d2h", "copy"): 1,
                     ("wait", "index by a mask"): 1, ("h2d", "index by a CPU tensor"): 1}  # fmt: skip
    assert all(where.startswith("test_pretend_gpu.py:") for _, _, where in gpus.counts)
    before = gpus.waits()
    (x @ x).softmax(-1).sum(), x.argmax(), x.where(x > 0, 0.0)
    assert gpus.waits() == before


def test_memory_is_followed_and_ends():
    with pretend_gpus(1, memory=10 << 20) as gpus:
        x = torch.zeros(1 << 20, device="cuda")  # 4 MiB
        assert torch.cuda.memory_allocated() == 4 << 20
        assert torch.cuda.mem_get_info()[0] == 6 << 20
        y = x + 1
        view = y[1:]
        del y
        assert torch.cuda.memory_allocated() == 8 << 20
        with pytest.raises(torch.OutOfMemoryError, match=r"Tried to allocate 4\.00 MiB"):
            x * 2
        del view
        assert torch.cuda.memory_allocated() == 4 << 20
        assert torch.cuda.max_memory_allocated() == 8 << 20
        assert gpus.peak["cuda:0"] == 8 << 20


def test_torch_is_as_before_afterwards(gpus):
    assert torch.cuda.is_available()
    assert torch.cuda.device_count() == 2
    assert torch.cuda.is_bf16_supported()


def test_outside_nothing_is_left():
    with pretend_gpus():
        x = torch.ones(2, device="cuda")
    assert not torch.cuda.is_available()
    assert x.device.type == "cpu"
    assert x.numpy().sum() == 2
