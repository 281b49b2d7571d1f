#!/usr/bin/env python3
"""Run a private libvirtd where no init system does: in tests, containers and on laptops.

    start_libvirtd.py start FOLDER    start it unless it runs; prints its URI
    start_libvirtd.py stop FOLDER     end it and all its guests
    start_libvirtd.py uri FOLDER      print the URI

Everything libvirtd keeps lies in FOLDER; several can run side by side. It has a mount namespace of
its own, where FOLDER's parts lie over /etc/libvirt, /var/lib/libvirt and so on, and a PID namespace,
whose first process (this program) reaps orphans: without that each of QEMU's capability probes would
stay a zombie and be waited for. Needs root and the packages libvirt-daemon and qemu-system-x86.

Not for production: QEMU runs as root and unconfined.
"""

import argparse
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

BINDS = {
    "etc": "/etc/libvirt",
    "lib": "/var/lib/libvirt",
    "run": "/run/libvirt",
    "log": "/var/log/libvirt",
    "cache": "/var/cache/libvirt",
}
START_S = 30.0
POLL_S = 0.05
STOP_S = 10.0
RESTART_S = 0.5
SOCKET_PATH_BYTES_MAX = 107

LIBVIRTD_CONF = """\
listen_tls = 0
listen_tcp = 0
auth_unix_rw = "none"
auth_unix_ro = "none"
unix_sock_rw_perms = "0700"
host_uuid = "{host_uuid}"
max_clients = 200
max_workers = 20
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
"""

QEMU_CONF = """\
security_driver = "none"
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
cgroup_controllers = []
namespaces = []
seccomp_sandbox = 0
stdio_handler = "file"
"""


def socket_of(folder: Path) -> Path:
    """Where the private libvirtd listens."""
    return folder / "run" / "libvirt-sock"


def uri_of(folder: Path) -> str:
    """The connection URI of the private libvirtd."""
    return f"qemu+unix:///system?socket={socket_of(folder)}"


def answers(folder: Path) -> bool:
    """Whether somebody accepts connections on the socket."""
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(socket_of(folder)))
        except OSError:
            return False
    return True


def start(folder: Path) -> None:
    """Start it in the background unless it runs, and wait until it answers."""
    if len(str(socket_of(folder))) > SOCKET_PATH_BYTES_MAX:
        sys.exit(f"start_libvirtd: the path {folder} is too long for a socket in it")
    if answers(folder):
        return
    missing = [tool for tool in ("libvirtd", "qemu-system-x86_64", "unshare") if not find(tool)]
    if missing:
        sys.exit(f"start_libvirtd: not installed: {', '.join(missing)}")
    configure(folder)
    with (folder / "log" / "out.log").open("ab") as log:
        process = subprocess.Popen(
            [
                *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
                *(sys.executable, str(Path(__file__).resolve()), "run", str(folder)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    (folder / "pid").write_text(f"{process.pid}\n")
    deadline = time.monotonic() + START_S
    while not answers(folder):
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"start_libvirtd: libvirtd did not start; see {folder}/log")
        time.sleep(POLL_S)


def configure(folder: Path) -> None:
    """Write the private configuration; a former run's runtime files are removed."""
    shutil.rmtree(folder / "run", ignore_errors=True)
    for part in BINDS:
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "etc" / "qemu").mkdir(exist_ok=True)
    ident = folder / "host_uuid"
    if not ident.exists():
        ident.write_text(str(uuid.uuid4()))
    (folder / "etc" / "libvirtd.conf").write_text(LIBVIRTD_CONF.format(host_uuid=ident.read_text()))
    (folder / "etc" / "qemu.conf").write_text(QEMU_CONF)


def run(folder: Path) -> None:
    """Be the first process of the namespaces: mount, keep libvirtd running, reap orphans."""
    for part, target in BINDS.items():
        Path(target).mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "--bind", str(folder / part), target], check=True)
    # /dev/kvm is left alone, usable or not: were it hidden behind /dev/null, libvirt would take it for
    # usable, find QEMU without KVM, distrust its cache and probe QEMU anew for every definition (7 s).
    stopping = False
    libvirtd = spawn_libvirtd()

    def terminate(*_: object) -> None:
        nonlocal stopping
        stopping = True
        libvirtd.terminate()

    signal.signal(signal.SIGTERM, terminate)
    while True:
        pid, status = os.wait()
        if pid != libvirtd.pid:
            continue
        if stopping or status == 0:
            sys.exit(os.waitstatus_to_exitcode(status))
        time.sleep(RESTART_S)  # guests live on without it, and the next one adopts them
        libvirtd = spawn_libvirtd()


def spawn_libvirtd() -> subprocess.Popen[bytes]:
    """Start libvirtd itself."""
    return subprocess.Popen([find("libvirtd") or "libvirtd", "--pid-file", "/run/libvirt/libvirtd.pid"])


def stop(folder: Path) -> None:
    """Kill the namespaces' first process; the kernel ends libvirtd and every guest with it."""
    try:
        pid = int((folder / "pid").read_text())
        ours = str(folder).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return
    if not ours:
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + STOP_S
    while answers(folder) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    (folder / "pid").unlink(missing_ok=True)


def find(tool: str) -> str | None:
    """The program's path; system programs are found although PATH lacks sbin."""
    return shutil.which(tool, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def main() -> None:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("action", choices=("start", "stop", "uri", "run"))
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    folder: Path = arguments.folder.resolve()
    if arguments.action == "run":
        run(folder)
    elif arguments.action == "stop":
        stop(folder)
    else:
        if arguments.action == "start":
            start(folder)
        print(uri_of(folder))


if __name__ == "__main__":
    main()
