"""A power cut after each step of the Monitor: what the disk holds then is mounted and recovered, and the promises hold.

The root is an ext4 image on a loop device. strace stops the Monitor after each of its system calls that change
or sync a file, its `mv` and the keepers too; then the image is copied as it is, with nothing synced: what a disk
would hold after a cut. Each copy is mounted (its journal replayed), a Monitor recovers on it until nothing waits or
runs, and the ledger, which lies outside of the image and so survives the cut, tells what really ran.

On ext4 an fsync of any file also commits the renames before it. The fsyncs of directories, which other file systems
need, are therefore not what this sweep can miss. A second sweep lets another program sync its own file at each
step: then names are on disk, and what was written in place is not.

Needs root, loop devices, mkfs.ext4 and strace.
"""
import hashlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

from tests.helpers import FINISHED, IN_CI, QUEUES, MountedCase, heavy, need, processes_with, stamped_uow, until, uow

CALLS = "rename,renameat,renameat2,fsync,fdatasync,pwrite64,ftruncate,unlink,link,linkat,execve"
JOBS = ("job-a", "job-b", "again")
OLD = "fail: timed out after 2 s"                        # the outcome of the earlier run of "again"


class Cut:
    """What there was at one stop: the image, and how far the ledger had come."""

    def __init__(self, number, call, image, ledger):
        self.number, self.call, self.image, self.ledger = number, call, image, ledger


class PowerCutCase(MountedCase):
    durable, others = "yes", False

    def make_root(self):
        need("mkfs.ext4", "losetup", "strace")
        return super().make_root()

    def mount(self, root, image=None):
        if image is None:
            image = os.path.join(self.outside, "disk")
            with open(image, "wb") as file:
                file.truncate(8 << 20)
            subprocess.run(["mkfs.ext4", "-q", "-F", "-O", "^metadata_csum_seed", image], check=True)
        # A long commit interval: what is not synced is not on disk by chance within the test.
        done = subprocess.run(["mount", "-o", "loop,commit=3600", image, root], stderr=subprocess.PIPE, text=True)
        if done.returncode and "loop" in done.stderr and not IN_CI:
            raise unittest.SkipTest("no loop devices: " + done.stderr.strip())
        self.assertEqual(done.returncode, 0, done.stderr)

    def setUp(self):
        super().setUp()
        self.configure("durable :: %s\nsettle_seconds :: 0\n" % self.durable)

    def jobs(self):
        """Return the header of each UOW."""
        command = "echo %s >> %s; echo output of %s"
        return {name: uow(command % (name, self.ledger_path, name) + "; exit 3" * (name == "again")) for name in JOBS}

    def copy_of_disk(self, call, cuts, known):
        """Keep a copy of the image if it is a new one; two in a row must be equal: nothing was being written."""
        if self.others:
            with open(self.path(".another-program"), "ab") as file:
                file.write(b"x")
                file.flush()
                os.fsync(file.fileno())
        target, last = os.path.join(self.outside, "cut-%d" % self.steps), None
        while True:
            shutil.copyfile(os.path.join(self.outside, "disk"), target)
            with open(target, "rb") as file:
                digest = hashlib.sha256(file.read()).hexdigest()
            if digest == last:
                break
            last = digest
        ledger = tuple(self.ledger())
        if (digest, ledger) in known:
            os.unlink(target)
        else:
            known.add((digest, ledger))
            cuts.append(Cut(self.steps, call, target, ledger))

    def cut_at_each_step(self):
        """Run all jobs under strace, stopped after each step; return one Cut for each different disk."""
        path = os.path.join(self.outside, "trace")
        monitor = self.start("--until-empty", prefix=(
            "strace", "-f", "-qq", "-o", path, "-e", "trace=" + CALLS, "-e", "signal=STOP",
            "-e", "inject=%s:signal=STOP" % CALLS))
        cuts, known, call = [], set(), ""
        self.steps = 0
        until(lambda: os.path.exists(path), "strace's output")
        with open(path) as trace:
            while monitor.poll() is None:
                line = trace.readline()
                pid, _, text = line.rstrip().partition(" ")
                if not line:
                    time.sleep(0.001)
                elif not text.strip().startswith("---"):
                    call = text.strip()
                elif text.strip() == "--- stopped by SIGSTOP ---":
                    self.steps += 1
                    self.copy_of_disk(call, cuts, known)
                    os.kill(int(pid), signal.SIGCONT)
        self.assertEqual(monitor.returncode, 0, self.output())
        return cuts

    def recover(self, cut, jobs):
        """Mount what a cut left, let a Monitor recover on it, and return what is wrong with the result."""
        root = tempfile.mkdtemp(prefix="sjq-after-")
        with open(self.ledger_path, "w") as file:
            file.write("".join(word + "\n" for word in cut.ledger))
        self.mount(root, cut.image)
        before, self.root = self.root, root
        try:
            self.run_until_empty(seconds=60)
            return self.wrong(jobs)
        finally:
            self.root = before
            self.unmount(root)
            os.rmdir(root)

    def wrong(self, jobs):
        """Return each broken promise as a sentence."""
        found = []
        for name, text in jobs.items():
            places = [queue for queue in QUEUES if os.path.lexists(self.path(queue, name))]
            ran = self.ledger().count(name)
            if len(places) != 1:
                found.append("%s is in %s" % (name, places or "no directory"))
                continue
            content = self.read(places[0], name)
            if text.strip() not in content:
                found.append("%s: its header is not as its author wrote it: %r" % (name, content[:200]))
            if ran > 1:
                found.append("%s ran %d times" % (name, ran))
            if places[0] not in FINISHED:
                found.append("%s is left in %s" % (name, places[0]))
            elif not self.status(name).startswith(places[0][:-2] + ":") or self.status(name) == OLD:
                found.append("%s in %s has the STATUS %r" % (name, places[0], self.status(name)))
            whole = re.search(r"START [^\n]*\noutput of %s\n\n==== JOB END" % name, content)
            if places[0] in ("done-q", "error-q") and (ran != 1 or not whole):
                found.append("%s in %s ran %d times and has the log %r" % (name, places[0], ran, content[-300:]))
        return found

    def sweep(self):
        """Cut the power at each step and return the broken promises, each with the step at which they broke."""
        jobs = self.jobs()
        for name, text in jobs.items():
            self.drop(name, text if name != "again" else stamped_uow(text, OLD, "==== JOB START x run y\n"))
        subprocess.run(["sync", "-f", self.root], check=True)     # what people dropped is on disk
        cuts = self.cut_at_each_step()
        self.unmounted_processes()
        broken, self.disks = [], len(cuts)
        for cut in cuts:
            broken += ["step %d, after %s: %s" % (cut.number, cut.call, text) for text in self.recover(cut, jobs)]
            os.unlink(cut.image)
        print("power cut: %d steps, %d different disks recovered, %d broken promises with durable :: %s%s" % (
            self.steps, len(cuts), len(broken), self.durable, ", others sync" * self.others), flush=True)
        return broken

    def unmounted_processes(self):
        """Nothing of the first run may be alive when its copies recover: their marks are the same."""
        ours = [monitor.pid for monitor in self.monitors]
        until(lambda: set(processes_with(self.root)) <= set(ours), "the first run gone")


@heavy
class TestDurable(PowerCutCase):
    def test_the_promises_hold_after_each_step(self):
        self.assertEqual(self.sweep(), [])
        self.assertGreater(self.disks, 12)               # or nothing was ever synced


@heavy
class TestDurableWhileOthersSync(PowerCutCase):
    others = True

    def test_the_promises_hold_after_each_step(self):
        self.assertEqual(self.sweep(), [])


@heavy
class TestNotDurable(PowerCutCase):
    """The negative control: without fsync the same sweep must find that a job runs twice, or is lost."""

    durable = "no"

    def test_the_sweep_bites(self):
        broken = self.sweep()
        self.assertTrue([text for text in broken if "ran 2 times" in text], broken[:20])
