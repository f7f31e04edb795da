"""A Python that has imported what jobs import: most of a tiny job's time, and half of a dry run's, is imports.

`python()` gives the path of a program that takes `-m snakemake ...` and `script.py ...` as Python does. It asks a
server, one for each of pytest's processes, which forks a child with the caller's folder, environment and streams;
nothing of the project is imported before that, and what runs then is what would have run: signals that the program gets
go on to the child, and if the program is killed, so is the child with what it has started. Slurm uses the plain
interpreter, and so do faults (test_faults.py) with --long; Slurm's bytes are compared with these.
"""

import atexit
import contextlib
import ctypes
import gc
import io
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import weakref
from functools import cache, partial
from importlib import import_module, metadata
from pathlib import Path

# Packages alone, no module of the project; one that is not installed is left out.
MODULES = (
    "snakemake.cli", "snakemake.script", "snakemake.logging", "snakemake.iocontainers", "snakemake.benchmark",
    "snakemake.report.html_reporter", "snakemake_storage_plugin_fs", "yte", "nbformat", "yaml", "jsonschema", "numpy",
    "pandas", "pandas.io.formats.csvs", "pyarrow.parquet", "pyarrow.dataset", "pyarrow.pandas_compat", "scipy.stats",
    "scipy.optimize", "scipy.special", "sklearn.linear_model", "sklearn.model_selection", "sklearn.metrics",
    "sklearn.mixture", "diptest", "rouge_score.rouge_scorer", "torch", "torch.nn.functional", "safetensors.torch",
    "safetensors.numpy", "transformers", "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.llama.modeling_llama", "transformers.models.gpt2.modeling_gpt2",
    "transformers.models.gemma.modeling_gemma", "transformers.models.qwen2.modeling_qwen2", "transformers.cache_utils",
    "transformers.masking_utils",
    "matplotlib.pyplot", "matplotlib.backends.backend_pdf", "matplotlib.backends.backend_svg", "seaborn",
    "fontTools.ttLib.tables._p_r_e_p", "fontTools.ttLib.tables._l_o_c_a", "PIL.PpmImagePlugin", "PIL.JpegImagePlugin",
    "PIL.GifImagePlugin", "PIL.BmpImagePlugin", "bokeh.plotting", "tqdm", "numba", "numba.typed",
)  # fmt: skip
# Modules with an underscore are those below json, signal and socket, which take as long to import as Python to start.
CLIENT = """#!{python} -IS
import os, sys, _signal, _socket
if sys.argv[1] != "-m" and not sys.argv[1].endswith(".py"):
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
server = _socket.socket(_socket.AF_UNIX)
server.connect({address!r})
variables = [name + b"=" + value for name, value in os.environb.items()]
asked = b"\\0".join([b"%d" % len(sys.argv[1:]), *map(os.fsencode, [*sys.argv[1:], os.getcwd()]), *variables])
streams = b"".join(number.to_bytes(4, sys.byteorder) for number in (0, 1, 2))
server.sendmsg([len(asked).to_bytes(8, "big")], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, streams)])
server.sendall(asked)
for number in (_signal.SIGINT, _signal.SIGTERM):
    if _signal.getsignal(number) != _signal.SIG_IGN:
        _signal.signal(number, lambda number, _: server.sendall(bytes([number])))
said = server.recv(8)
code = int(said) if said else 70
if code < 0:
    if -code != _signal.SIGKILL:
        _signal.signal(-code, _signal.SIG_DFL)
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


@cache
def python():
    """Path of the program; its server ends with this process."""
    folder = tempfile.TemporaryDirectory(prefix="warm-")
    address, client = Path(folder.name, "socket"), Path(folder.name, "python")
    client.write_text(CLIENT.format(python=sys.executable, address=str(address)))
    client.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["OMP_NUM_THREADS"] = "1"
    command = [sys.executable, __file__, str(address), str(client)]
    server = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

    def end():
        server.terminate()
        server.wait()
        folder.cleanup()

    atexit.register(end)
    assert server.stdout.readline() == "ready\n"
    return str(client)


def serve(address):
    """Fork a child for each caller; in the child return (arguments, folder, environment, streams)."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(16)
    ended, end = socket.socketpair()
    end.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(end.fileno())
    waiting = selectors.DefaultSelector()
    waiting.register(listener, selectors.EVENT_READ)
    waiting.register(ended, selectors.EVENT_READ)
    callers = {}  # process id of the child: its caller's connection

    def stop(*_):  # also where a signal went to all of pytest's group: children have groups of their own
        for child in callers:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
        os._exit(1)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    parent = os.getppid()
    print("ready", flush=True)
    while os.getppid() == parent:
        for key, _ in waiting.select(timeout=5):
            if key.fileobj is ended:
                ended.recv(4096)
                _answer(callers, waiting)
            elif key.fileobj is listener:
                connection = listener.accept()[0]
                head, streams, *_ = socket.recv_fds(connection, 8, 3)
                asked = _asked(_read(connection, int.from_bytes(head, "big")))
                child = os.fork()
                if child == 0:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    os.setpgid(0, 0)
                    signal.signal(signal.SIGTERM, signal.SIG_DFL)
                    signal.signal(signal.SIGINT, signal.default_int_handler)
                    for opened in (waiting, listener, connection, ended, end, *callers.values()):
                        opened.close()
                    return (*asked, streams)
                for stream in streams:
                    os.close(stream)
                callers[child] = connection
                waiting.register(connection, selectors.EVENT_READ)
            else:
                child = next((child for child, connection in callers.items() if connection is key.fileobj), None)
                if child is None:  # it has just been answered
                    continue
                asked = key.fileobj.recv(1)
                if not asked:
                    waiting.unregister(key.fileobj)
                # What the caller got; without a word it was killed, and what it had started in its group dies too.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child, asked[0] if asked else signal.SIGKILL)
    return stop()  # pytest was killed


def _answer(callers, waiting):
    """Tell the callers of children that have ended how they did."""
    while callers:
        child, status = os.waitpid(-1, os.WNOHANG)
        if child == 0:
            return
        connection = callers.pop(child)
        try:
            waiting.unregister(connection)
            connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())
        except (KeyError, OSError):
            pass  # it is gone
        connection.close()


def _asked(sent):
    """(arguments, folder, environment) that a client sent."""
    count, *parts = map(os.fsdecode, sent.split(b"\0"))
    arguments, folder, variables = parts[: int(count)], parts[int(count)], parts[int(count) + 1 :]
    return arguments, folder, dict(variable.split("=", 1) for variable in variables)


def _read(connection, size):
    parts = b""
    while len(parts) < size:
        parts += connection.recv(size - len(parts))
    return parts


def run(arguments, folder, environment, streams, client):
    """What Python does with `arguments`, in this process."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.executable = client
    sys.dont_write_bytecode = bool(environment.get("PYTHONDONTWRITEBYTECODE"))
    if environment.get("PYTHONPATH"):
        sys.path[1:1] = filter(None, environment["PYTHONPATH"].split(os.pathsep))
        sys.modules.pop("sitecustomize", None)
        with contextlib.suppress(ModuleNotFoundError):
            import_module("sitecustomize")
    if arguments[0] == "-m":
        sys.path[0] = folder
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = str(Path(arguments[0]).parent)
        sys.argv = arguments
        runpy.run_path(arguments[0], run_name="__main__")


def end(work, *arguments):
    """End this process as Python does after work(*arguments), but for taking the imported modules to pieces.

    That would write to every page which this process has from the server, to be thrown away a moment later: a third of
    a second for each job. An exception takes the usual way.
    """
    code = 0
    try:
        work(*arguments)
    except SystemExit as asked:
        if not isinstance(asked.code, (int, type(None))):
            raise
        code = asked.code or 0
    threading._shutdown()  # waits for threads
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code & 0xFF)


def rehearse():
    """What takes long at first use, and what it gives, is kept: versions of packages, fonts, mathematics in texts."""
    metadata.version = cache(metadata.version)
    from transformers import conversion_mapping

    conversion_mapping.get_checkpoint_conversion_mapping("llama")
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained")
    axes = figure.subplots()
    axes.set_title("$a_0$")
    axes.legend(axes.plot([0, 1], [1, 2]), ["a"])
    for kind in ("pdf", "svg", "png"):
        figure.savefig(io.BytesIO(), format=kind)


def settle():
    """Leave what is imported where it is: what a fork copies, and what its end would look through, is a job's time."""
    gc.collect()
    gc.freeze()
    # The modules are not taken to pieces (see end), so what they hold needs no end either.
    for finalizer in list(weakref.finalize._registry):
        finalizer.atexit = False
    with contextlib.suppress(ImportError):
        from torch._dynamo.utils import dump_compile_times

        atexit.unregister(dump_compile_times)
    with contextlib.suppress(OSError, AttributeError):
        _take_large_pages()


def _take_large_pages(size=1 << 21, advice=25):
    """Linux: a fork copies one entry for each page, and its end clears it. Advice: MADV_COLLAPSE, of <sys/mman.h>."""
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for line in Path("/proc/self/maps").read_text().splitlines():
        place, rights, _, _, _, *name = line.split()
        first, end = (int(address, 16) for address in place.split("-"))
        if rights.startswith("rw") and name in ([], ["[heap]"]):
            for start in range(-(-first // size) * size, end - size + 1, size):
                advise(start, size, advice)  # refused by an older system, and where a part is not there


if __name__ == "__main__":
    for name in MODULES:
        try:
            import_module(name)
        except ImportError:
            print(f"warm_python: {name} is not there", file=sys.stderr)
    with contextlib.suppress(ImportError, AttributeError):
        rehearse()
    with contextlib.suppress(ImportError):  # machine code is kept beside a module, and so in copies of a project
        import numba

        numba.njit = partial(numba.njit, cache=True)
    settle()
    end(run, *serve(sys.argv[1]), sys.argv[2])
