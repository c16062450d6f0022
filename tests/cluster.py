"""A Slurm cluster of one node, this machine: its three daemons as processes of whoever runs the tests."""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import time
from importlib.util import find_spec

import pytest

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel", "sinfo")
# cred_expire: a requeued job waits for as long, 2 minutes by default
CONF = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=1,batch_sched_delay=0
SlurmdParameters=config_overrides
GresTypes=gpu
KillWait=1
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 Port={node} CPUs=4 RealMemory=4000 Gres=gpu:1 State=UNKNOWN
PartitionName=tests Nodes={host} Default=YES MaxTime=60 State=UP
"""


def missing():
    """The programs of Slurm that this machine lacks, a list of names."""
    return [name for name in PROGRAMS if not where(name)]


def where(name):
    """The path of a program, or None; daemons are not on everybody's PATH."""
    return shutil.which(name, path=os.pathsep.join((os.environ["PATH"], "/usr/sbin", "/usr/local/sbin", "/sbin")))


def free_ports(count):
    """Ports of this machine that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextlib.contextmanager
def running(folder):
    """`with running(folder) as conf`: a cluster that takes jobs where SLURM_CONF names the file `conf`."""
    controller, node = free_ports(2)
    host, user = socket.gethostname().split(".")[0], pwd.getpwuid(os.getuid()).pw_name
    for name in ("state", "spool"):
        (folder / name).mkdir()
    conf, key = folder / "slurm.conf", folder / "munge.key"
    conf.write_text(CONF.format(host=host, controller=controller, node=node, user=user, folder=folder))
    (folder / "gres.conf").write_text("Name=gpu File=/dev/null\n")
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    munge = [f"--{name}={folder}/munge.{name[:-5]}" for name in ("pid-file", "log-file", "seed-file")]
    environment = {**os.environ, "SLURM_CONF": str(conf)}
    commands = (
        ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={folder}/munge.socket", *munge],
        ["slurmctld", "-D", "-f", str(conf)],
        ["slurmd", "-D", "-f", str(conf)],
    )
    with contextlib.ExitStack() as stack:
        for name, *arguments in commands:
            output = stack.enter_context(open(folder / f"{name}.out", "w"))
            daemon = subprocess.Popen(
                [where(name), *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
            )
            stack.callback(stop, daemon)
            if name == "munged":
                until(lambda: (folder / "munge.socket").exists(), folder)
        until(lambda: is_idle(conf), folder)
        try:
            yield conf
        finally:  # what is left of jobs would outlive the daemons
            subprocess.run([where("scancel"), f"--user={user}"], check=False, env=environment)
            until(lambda: is_idle(conf), folder)


def is_idle(conf):
    """Whether the node takes jobs and has none."""
    asked = [where("sinfo"), "--noheader", "--format=%T"]
    environment = {**os.environ, "SLURM_CONF": str(conf)}
    return subprocess.run(asked, capture_output=True, text=True, check=False, env=environment).stdout.strip() == "idle"


def stop(daemon):
    """End a process that was started here, and wait for its end."""
    daemon.terminate()
    try:
        daemon.wait(10)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def until(holds, folder, seconds=30):
    """Wait until `holds()`. Raises TimeoutError, with the ends of the logs in `folder`, when it does not come true."""
    end = time.time() + seconds
    while not holds():
        if time.time() > end:
            logs = [
                f"{file.name}: {file.read_text()[-1000:]}"
                for file in sorted(folder.iterdir())
                if file.suffix in (".log", ".out")
            ]
            raise TimeoutError("\n".join([f"not so within {seconds} s", *logs]))
        time.sleep(0.1)


absent = [*missing(), *(["submitit"] if find_spec("submitit") is None else [])]
needs_slurm = pytest.mark.skipif(bool(absent), reason=f"Slurm is not installed here: {', '.join(absent)}")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A cluster that takes jobs: the file that SLURM_CONF is to name."""
    with running(tmp_path_factory.mktemp("slurm")) as conf:
        yield conf


@pytest.fixture
def in_cluster(cluster, monkeypatch):
    """The environment of somebody at work on the cluster."""
    monkeypatch.setenv("SLURM_CONF", str(cluster))
