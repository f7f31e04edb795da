"""A real Slurm of one node on this machine, as root, without systemd, cgroups or accounts; all in one folder."""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

PROGRAMS = ("munged", "munge", "unmunge", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol")
PACKAGES = "slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge"
# Where Slurm's programs look by themselves: the plugin's inner srun does not pass SLURM_CONF on.
WELL_KNOWN = Path("/etc/slurm/slurm.conf")


def why_not():
    """Why no Slurm can be started here, as a sentence, or None."""
    if os.geteuid() != 0:
        return "needs root: slurmd becomes the user of each job"
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"{', '.join(missing)} not installed: apt-get install --no-install-recommends {PACKAGES}"
    if WELL_KNOWN.exists() and not WELL_KNOWN.is_symlink():
        return f"this machine has a Slurm of its own ({WELL_KNOWN})"
    return None


class OneNode:
    """Daemons of a cluster with `cpus`, `memory_mb` and `gpus`, null devices that can be scheduled, not used.

    A context manager: on leaving, jobs are cancelled and every daemon that was started is ended, by its process.
    """

    def __init__(self, *, cpus, memory_mb, gpus):
        # Not in pytest's folder, which is closed to the user that munged runs as.
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-"))
        self.cpus, self.memory_mb, self.gpus = cpus, memory_mb, gpus
        self.name = socket.gethostname().split(".")[0]
        self.daemons = []

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *error):
        self.stop()

    def call(self, *command):
        """Output of a Slurm command."""
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout

    def jobs(self):
        """Every job so far, running or ended, as {field: value} of `scontrol show job`."""
        lines = self.call("scontrol", "--oneliner", "show", "job").splitlines()
        return [dict(part.split("=", 1) for part in line.split() if "=" in part) for line in lines if "JobId=" in line]

    def stop(self):
        if any("slurmctld" in daemon.args[0] and daemon.poll() is None for daemon in self.daemons):
            subprocess.run(["scancel", "--user", "root"], capture_output=True, timeout=60)
        for daemon in reversed(self.daemons):
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self.daemons = []
        if WELL_KNOWN.is_symlink() and WELL_KNOWN.readlink() == self.folder / "slurm.conf":
            WELL_KNOWN.unlink()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self):
        for part in ("munge", "state", "spool", "log", "gpus"):
            (self.folder / part).mkdir(parents=True, exist_ok=True, mode=0o755)
        self.folder.chmod(0o755)
        self._configure()
        self._munge()
        self._daemon("slurmctld", "-D", "-i")
        self._wait_for("slurmctld", lambda: "UP" in self.call("scontrol", "ping"))
        self._daemon("slurmd", "-D", "-N", self.name)
        self._wait_for("the node", lambda: "IDLE" in self.call("scontrol", "show", "node", self.name))

    def _munge(self):
        folder, socket_file = self.folder / "munge", self.folder / "munge" / "socket"
        key = folder / "key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        for path in (folder, key):
            shutil.chown(path, "munge", "munge")
        options = {"key-file": key, "socket": socket_file, "pid-file": folder / "pid", "log-file": folder / "log"}
        options["seed-file"] = folder / "seed"
        self._daemon("munged", "--foreground", *(f"--{name}={path}" for name, path in options.items()), user="munge")
        self._wait_for("munged", lambda: self.call("munge", "-S", str(socket_file), "-n"))

    def _configure(self):
        for number in range(self.gpus):
            os.mknod(self.folder / "gpus" / f"gpu{number}", 0o020666, os.makedev(1, 3))
        devices = [f"NodeName={self.name} Name=gpu File={self.folder}/gpus/gpu{n}\n" for n in range(self.gpus)]
        (self.folder / "gres.conf").write_text("".join(devices))
        (self.folder / "cgroup.conf").write_text("CgroupAutomount=no\n")
        settings = {
            "ClusterName": "one",
            "SlurmctldHost": f"{self.name}(127.0.0.1)",
            "SlurmUser": "root",
            "SlurmdUser": "root",
            "AuthType": "auth/munge",
            "AuthInfo": f"socket={self.folder}/munge/socket",
            "SlurmctldPort": _free_port(),
            "SlurmdPort": _free_port(),
            "StateSaveLocation": self.folder / "state",
            "SlurmdSpoolDir": self.folder / "spool",
            "SlurmctldPidFile": self.folder / "slurmctld.pid",
            "SlurmdPidFile": self.folder / "slurmd.pid",
            "SlurmctldLogFile": self.folder / "log" / "slurmctld",
            "SlurmdLogFile": self.folder / "log" / "slurmd",
            # No cgroups: processes are found by their parents, memory is measured each second and held.
            "ProctrackType": "proctrack/linuxproc",
            "TaskPlugin": "task/none",
            "JobAcctGatherType": "jobacct_gather/linux",
            "JobAcctGatherFrequency": "task=1",
            "JobAcctGatherParams": "OverMemoryKill",
            "SlurmdParameters": "config_overrides",
            "SchedulerParameters": "batch_sched_delay=0,sched_min_interval=0,bf_interval=5",
            "SelectType": "select/cons_tres",
            "SelectTypeParameters": "CR_CPU_Memory",
            "AccountingStorageType": "accounting_storage/none",
            "MpiDefault": "none",
            "SwitchType": "switch/none",
            "ReturnToService": 2,
            "MinJobAge": 3600,  # squeue still knows jobs that ended
            "KillWait": 5,
            "GresTypes": "gpu",
        }
        gres = f" Gres=gpu:{self.gpus}" if self.gpus else ""
        lines = [f"{name}={value}\n" for name, value in settings.items()]
        size = f"CPUs={self.cpus} RealMemory={self.memory_mb}{gres}"
        lines.append(f"NodeName={self.name} NodeAddr=127.0.0.1 {size} State=UNKNOWN\n")
        lines.append(f"PartitionName=main Nodes={self.name} Default=YES MaxTime=INFINITE State=UP\n")
        (self.folder / "slurm.conf").write_text("".join(lines))
        WELL_KNOWN.parent.mkdir(exist_ok=True)
        WELL_KNOWN.unlink(missing_ok=True)
        WELL_KNOWN.symlink_to(self.folder / "slurm.conf")

    def _daemon(self, program, *arguments, user=None):
        with (self.folder / "log" / f"{program}.out").open("w") as output:
            self.daemons.append(
                subprocess.Popen(
                    [shutil.which(program), *map(str, arguments)],
                    stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                    env={**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf")},  # gres.conf is sought beside it
                    user=user, group=user, extra_groups=[] if user else None,
                    start_new_session=True, preexec_fn=_end_with_us,
                )
            )  # fmt: skip

    def _wait_for(self, what, ready, limit=60):
        end = time.monotonic() + limit
        while True:
            try:
                if ready():
                    return
            except subprocess.CalledProcessError:
                pass
            if time.monotonic() > end or self.daemons[-1].poll() is not None:
                logs = "".join(path.read_text()[-2000:] for path in sorted((self.folder / "log").iterdir()))
                raise RuntimeError(f"{what} did not come up in {limit} s:\n{logs}")
            time.sleep(0.2)


def _end_with_us():
    """In a daemon: be terminated by the kernel when the tests' process ends, also when it is killed."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def _free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
