"""Network namespaces without names: they live as long as a file is open on them, or a process runs in them.

Nothing that the user has is named or touched, no name can clash, and the kernel takes a namespace with all its
interfaces away when this process and those in it are gone, however they end.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence

from simgmc.core.errors import SimgmcError, reason

_NEW_NETWORK = 0x40000000
TOOLS = ("ip", "tc")


class NotHereError(SimgmcError):
    """This machine, or this user, cannot have such a network; the message says what is missing."""


class Namespace:
    """A network namespace of its own."""

    def __init__(self) -> None:
        """Raises NotHereError where none may be made."""
        found: list[int] = []
        thread = threading.Thread(target=lambda: found.append(_made()))
        thread.start()
        thread.join()
        if found[0] < 0:
            raise NotHereError(
                f"a network namespace cannot be made: {os.strerror(-found[0])}; run it as root (or with the "
                "capabilities CAP_SYS_ADMIN and CAP_NET_ADMIN)"
            )
        self._file = found[0]

    @property
    def path(self) -> str:
        """By which ``ip link set ... netns`` finds it."""
        return f"/proc/{os.getpid()}/fd/{self._file}"

    def enter(self) -> None:
        """Move this thread there."""
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(self._file, _NEW_NETWORK):
            raise OSError(ctypes.get_errno(), "setns")

    def run(self, *command: object) -> str:
        """What a command prints that runs there. Raises NotHereError with what it says where it fails."""
        words = [str(word) for word in command]
        try:
            done = subprocess.run(words, preexec_fn=self.enter, capture_output=True, text=True)
        except (OSError, subprocess.SubprocessError) as error:
            raise NotHereError(f"{words[0]} cannot be run in a network namespace: {reason(error)}") from None
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise NotHereError(f"{' '.join(words)}: {said[0] if said else f'exit status {done.returncode}'}")
        return done.stdout

    def knows(self, *command: object) -> bool:
        """Whether a command succeeds there."""
        try:
            self.run(*command)
        except NotHereError:
            return False
        return True

    def within(self, task: Callable[[], None]) -> threading.Thread:
        """A thread there that does something until it is done; it ends with this process."""

        def work() -> None:
            self.enter()
            task()

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        return thread

    def close(self) -> None:
        """Let go of it."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _made() -> int:
    """A file open on a new namespace, in which this thread, soon over, is; less than 0: the reason why not."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEW_NETWORK):
        return -ctypes.get_errno()
    try:
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:  # too many open files
        return -(error.errno or 1)


def check_machine() -> str:
    """What latency of a link is made with: "netem", or "" where the kernel has none.

    Raises:
        NotHereError: naming all that is missing here.
    """
    missing = []
    if not sys.platform.startswith("linux"):
        raise NotHereError(f"needs Linux's network namespaces; this is {sys.platform}")
    missing += [f"the program {name} is not on the PATH (package iproute2)" for name in TOOLS if not shutil.which(name)]
    if missing:
        raise NotHereError("\n".join(missing))
    scratch = Namespace()
    try:
        for what, command in (
            ("veth", ("ip", "link", "add", "name", "one0", "type", "veth", "peer", "name", "one1")),
            ("bridge", ("ip", "link", "add", "name", "two0", "type", "bridge")),
            (
                "tbf",
                ("tc", "qdisc", "add", "dev", "one0", "root", "tbf", "rate", "1mbit", "burst", "10kb", "limit", "1mb"),
            ),
        ):
            try:
                scratch.run(*command)
            except NotHereError as error:
                if "not permitted" in str(error):
                    raise NotHereError(
                        f"networks may not be made ({error}); run it as root (or with the capabilities CAP_SYS_ADMIN "
                        "and CAP_NET_ADMIN)"
                    ) from None
                missing.append(f"the kernel gives no {what}: {error}")
        if missing:
            raise NotHereError("\n".join(missing))
        return "netem" if scratch.knows("tc", "qdisc", "add", "dev", "one1", "root", "netem", "delay", "1ms") else ""
    finally:
        scratch.close()


_REAPER = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
def begun(pid):
    try: return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[19]
    except OSError: return ""
known = {}
for line in sys.stdin:
    pid = int(line)
    if pid > 0:
        known[pid] = begun(pid)
    else:
        known.pop(-pid, None)
for pid, start in known.items():
    if begun(pid) in (start, ""):
        try: os.killpg(pid, signal.SIGKILL)
        except OSError: pass
"""
"""Watches sessions: a process that said its number began one, and others may have begun in it since. Of one whose first
process has ended, the number stays taken while others are left."""


class Reaper:
    """Kills sessions of ours that are left when this process is gone, were it by SIGKILL: it waits for a pipe's end."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-E", "-c", _REAPER], stdin=subprocess.PIPE, start_new_session=True, text=True
        )

    def watch_this(self) -> None:
        """Watch the calling process too: a child says so itself before it becomes its program, so that there is no
        instant at which it runs unwatched."""
        self._say(os.getpid())

    def end(self, process: subprocess.Popen) -> None:
        """End what a process of :func:`spawned` that is over has begun, and watch it no more: its number may be
        another's soon."""
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(BrokenPipeError):
            self._say(-process.pid)

    def _say(self, number: int) -> None:
        assert self._process.stdin is not None
        os.write(self._process.stdin.fileno(), f"{number}\n".encode())

    def close(self) -> None:
        """Kill what is left of those watched."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def spawned(
    command: Sequence[str], namespace: Namespace, environment: dict[str, str], reaper: Reaper
) -> subprocess.Popen:
    """A process in a namespace, in a session of its own, watched. What it prints comes through two pipes.

    It goes before other work on the machine where that is allowed, which would hold its messages up. Raises SimgmcError
    where it cannot begin.
    """

    def begin() -> None:
        reaper.watch_this()
        namespace.enter()
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))

    try:
        return subprocess.Popen(
            list(command),
            preexec_fn=begin,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise SimgmcError(f"a process of the laboratory cannot begin: {reason(error)}") from None
