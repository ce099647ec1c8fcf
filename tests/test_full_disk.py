"""A disk that is full, read-only or broken, no file descriptor, no process to be had: old content whole, nothing lost,
said once, taken up again when the condition ends.

Needs root (mount, mkfs.ext4 on a loop device, prlimit on another user's Monitor) and strace.
"""
import os
import re
import shutil
import signal
import subprocess
import time

from tests.helpers import MountedCase, QueueCase, children_of, cpu_of, heavy, need, read_text, stamped_uow, until, uow


class SmallDisk(MountedCase):
    """A root on a small file system of its own."""

    base = QueueCase.base.replace("sleep_seconds :: 5", "sleep_seconds :: 0.3")

    def mount(self, root):
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755,size=1m", "none", root], check=True)

    def fill(self):
        """Write until no byte is left."""
        with open(self.path("filler"), "ab", buffering=0) as file:
            for size in (65536, 4096, 1):
                try:
                    while True:
                        file.write(b"x" * size)
                except OSError:
                    pass

    def free(self):
        os.unlink(self.path("filler"))

    def stays_calm(self, monitor, seconds=1.0):
        """See that a lasting condition makes no hot loop, and that it is not said again and again."""
        until(self.is_silent, self.output)               # what it brings with it is said in turn
        lines, cpu = self.output().count("\n"), cpu_of(monitor.pid, children=True)
        time.sleep(seconds)                              # the time in which nothing may happen
        self.assertIsNone(monitor.poll(), self.output())
        self.assertLess(cpu_of(monitor.pid, children=True) - cpu, 0.5 * seconds, self.output())
        self.assertLessEqual(self.output().count("\n") - lines, 1, self.output())

    def done_once(self, *names):
        for name in names:
            self.assertEqual(self.ended(name), "done-q")
        self.assertEqual(sorted(self.ledger()), sorted(names))


class TestFullDisk(SmallDisk):
    def test_under_tee(self):
        """tee never resumes after a full disk, so the log has a hole: that is a failure even with exit 0."""
        self.started()
        self.drop("big", uow("head -c 3000000 /dev/zero | tr '\\0' x; echo big >> %s" % self.ledger_path))
        self.assertEqual(self.ended("big"), "fail-q")
        self.assertEqual(self.status("big"), "fail: exit 0, log incomplete")
        self.assertEqual(self.ledger(), ["big"])
        os.truncate(self.path("fail-q", "big"), 0)
        self.drop("next", uow("echo next >> " + self.ledger_path))
        self.assertEqual(self.ended("next"), "done-q")

    def test_a_daemon_that_holds_the_pipe_of_a_full_disk_keeps_no_queue(self):
        """FAULTS 66. Red if the Monitor waits for tee as long as somebody holds the pipe."""
        self.started()
        fill = "sleep 600 & cat /dev/zero > .fill || :; echo full; echo x >> %s" % self.ledger_path
        self.drop("full", uow(fill + "; head -c 100000 /dev/zero; exit 0", TIMEOUT="60"))
        self.assertEqual((self.ended("full"), self.ledger()), ("fail-q", ["x"]))
        self.assertRegex(self.status("full"), "^fail: exit 0, log incomplete")
        os.unlink(self.path(".fill"))
        self.drop("next", uow("true"))
        self.assertEqual(self.ended("next"), "done-q")

    def test_under_the_stamp(self):
        texts = {name: uow("echo %s >> %s" % (name, self.ledger_path)) for name in ("a", "b")}
        for name, text in texts.items():
            self.drop(name, text)
        self.fill()
        monitor = self.started()
        for name in texts:
            until(lambda: name + " in wait-q cannot be stamped: No space left" in self.output(), self.output)
        self.stays_calm(monitor)
        for name, text in texts.items():
            self.assertEqual(self.read("wait-q", name), text)
        self.assertEqual(self.ledger(), [])
        self.free()
        self.done_once("a", "b")

    @heavy
    def test_before_a_launch(self):
        """It needs no space itself, but the job's log would be lost: the Monitor waits for space."""
        text = stamped_uow(uow("echo one >> " + self.ledger_path))
        monitor = self.paused()
        self.drop("one", text)
        self.tidied()                                    # or a page becomes free when the disk is full
        self.fill()
        self.message("RESUME")                           # fits into the page that is there
        until(lambda: "no job can be started: No space left" in self.output(), self.output)
        self.stays_calm(monitor)
        self.assertEqual(self.text("one"), text)
        self.assertEqual(self.ledger(), [])
        self.free()
        self.done_once("one")
        self.assertEqual(self.read("done-q", "one").count("==== JOB START"), 1)

    @heavy
    def test_under_monitor_says(self):
        """Messages are acted on all the same, where they stand: no fresh message file can be written."""
        monitor = self.started()
        self.there("monitor_reads")
        with open(self.path("monitor_reads"), "a") as file:
            self.fill()
            file.write("HELP\n" * 9)                    # fits into the page that is there; the answers do not
        until(lambda: "cannot be written" in self.output(), self.output)
        until(lambda: "KILL JOB" in self.output(), self.output)
        self.assertEqual(self.output().count("monitor_says cannot be written"), 1)
        self.stays_calm(monitor, 1.0)
        self.assertEqual(self.output().count("message HELP"), 9)
        self.free()
        self.message("STATUS")
        until(lambda: "monitor_says can be written again" in self.output(), self.output)
        self.said("counts:")                             # another line may have been the first
        cut = [line for line in self.says().splitlines() if not re.match(r"\d{4}-\d\d-\d\dT\S+Z ", line)]
        self.assertLessEqual(len(cut), 1, cut)           # where the page ended, and the next line begins its own
        self.assertIsNone(monitor.poll())


class TestReadOnly(SmallDisk):
    def remount(self, how):
        argv = ["mount", "-o", "remount," + how, self.root]
        until(lambda: subprocess.run(argv, stderr=subprocess.DEVNULL).returncode == 0, "remount " + how)

    def test_what_waits_when_the_disk_goes_read_only(self):
        """Stamped and held back by ready_command, so that the claim is the first that is refused."""
        self.configure("ready_command :: [ -e %s/ready ]\n" % self.outside)
        monitor = self.started()
        for name in ("a", "b", "c"):
            self.drop(name, uow("echo %s >> %s" % (name, self.ledger_path)))
        for name in "abc":
            self.stamped(name)
        self.remount("ro")
        open(os.path.join(self.outside, "ready"), "w").close()
        until(lambda: "ead-only file system" in self.output(), self.output)
        self.stays_calm(monitor)
        self.assertEqual(self.ledger(), [])
        self.remount("rw")
        self.done_once("a", "b", "c")

    @heavy
    def test_a_start_is_refused_with_a_sentence_that_names_no_chmod(self):
        self.remount("ro")
        self.assertEqual(self.start("--until-empty").wait(20), 2)
        self.assertRegex(self.output(), r"\A(monitor\.py: .*%s.* is on a read-only file system.*\n)+\Z" % self.root)
        self.assertNotRegex(self.output(), "chmod|chown")


@heavy
class TestDiskThatGoesReadOnlyUnderAJob(SmallDisk):
    """An ext4 that finds an error turns itself read-only, with files open for writing and all."""

    def mount(self, root):
        need("mkfs.ext4", "losetup", "e2fsck")
        self.image = os.path.join(self.outside, "image")
        with open(self.image, "wb") as file:
            file.truncate(8 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", self.image], check=True)
        subprocess.run(["mount", "-o", "loop", self.image, root], check=True)

    def test_the_outcome_is_kept_and_nothing_runs_twice(self):
        monitor = self.started()
        go = os.path.join(self.outside, "go")
        self.drop("one", uow("echo one >> %s; until [ -e %s ]; do sleep 0.02; done" % (self.ledger_path, go)))
        until(self.ledger, self.output)
        os.sync()
        subprocess.run(["mount", "-o", "remount,abort", self.root], stderr=subprocess.DEVNULL)
        open(go, "w").close()
        until(lambda: re.search("STATUS cannot be written.*Read-only", self.output()), self.output)
        self.stays_calm(monitor)
        self.assertEqual(self.output().count("STATUS cannot be written"), 1)
        self.kill9(monitor)
        self.unmount(self.root)
        repaired = shutil.copy(self.image, self.image + "-repaired")     # the old one may still be mounted elsewhere
        subprocess.run(["e2fsck", "-p", "-f", repaired], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        subprocess.run(["mount", "-o", "loop", repaired, self.root], check=True)
        self.run_until_empty()
        self.assertEqual(self.where("one"), ["fail-q"])
        self.assertIn(self.status("one"), ("fail: interrupted", "fail: exit 0, log incomplete"))
        self.assertEqual(self.ledger(), ["one"])


@heavy
class TestNothingToBeHad(SmallDisk):
    """No file descriptor, no process: back off, lose nothing, go on when there are some again."""

    def limit(self, monitor, what, *prefix):
        subprocess.run([*prefix, "prlimit", "--pid", str(monitor.pid), what], check=True)

    def test_few_file_descriptors_while_a_job_runs(self):
        for spare in (0, 1, 2, 4, 6):
            self.check_few(spare)

    def check_few(self, spare):
        """Take all but some file descriptors away while a job runs: it and the next one are done once, and none is lost."""
        need("prlimit")
        name, go = "job-%d" % spare, os.path.join(self.outside, "go-%d" % spare)
        monitor = self.started()
        self.cycles(1)
        before = len(os.listdir("/proc/%d/fd" % monitor.pid))
        self.drop(name, uow("echo %s >> %s; until [ -e %s ]; do sleep 0.02; done" % (name, self.ledger_path, go)))
        until(lambda: name in self.ledger(), self.output)
        self.drop("then-" + name, uow("echo then-%s >> %s" % (name, self.ledger_path)))
        self.limit(monitor, "--nofile=%d:1024" % (max(map(int, os.listdir("/proc/%d/fd" % monitor.pid))) + 1 + spare))
        open(go, "w").close()
        time.sleep(0.5)                                  # what can go wrong meanwhile, may
        self.stays_calm(monitor, 1)
        self.limit(monitor, "--nofile=1024:1024")
        self.assertEqual([self.ended(name), self.ended("then-" + name)], ["done-q", "done-q"], self.output())
        self.assertEqual(self.ledger().count(name), 1)
        until(lambda: len(os.listdir("/proc/%d/fd" % monitor.pid)) <= before, "none is lost")
        self.stop(monitor)

    def test_no_memory(self):
        need("prlimit")
        self.configure("sleep_seconds :: 2\n")           # the longest time between two tries
        monitor = self.started()
        self.message("STATUS")
        self.said("counts:")
        size = int(re.search(r"VmSize:\s*(\d+)", read_text("/proc/%d/status" % monitor.pid))[1]) * 1024
        self.limit(monitor, "--as=%d:" % (size + (3 << 20)))
        for number in range(20000):                      # a listing of them takes some mebibytes
            open(self.path("currently-executing", ".%0250d" % number), "w").close()
        until(lambda: re.search("the work was cut short.*: no memory", self.output()), self.output)
        self.drop("a", uow("echo a >> " + self.ledger_path))
        self.stays_calm(monitor)
        self.limit(monitor, "--as=unlimited:")
        self.done_once("a")

    def test_no_process(self):
        """fork: EAGAIN. The limit counts for a user without root's privileges only."""
        need("setpriv", "prlimit")
        uid = "54329"
        user = ("setpriv", "--reuid", uid, "--regid", uid, "--clear-groups")
        subprocess.run(["chown", "-R", uid + ":" + uid, self.root, self.outside], check=True)
        self.configure("error_pattern :: ^FAILED\n")
        monitor = self.started(prefix=user)
        self.drop("a", uow("echo a >> " + self.ledger_path))
        self.assertEqual(self.ended("a"), "done-q")
        self.limit(monitor, "--nproc=1:100", *user)
        self.drop("b", uow("echo b >> " + self.ledger_path))
        until(lambda: "Resource temporarily unavailable" in self.output(), self.output)
        monitor.send_signal(signal.SIGHUP)               # the pattern is tried with grep
        until(lambda: re.search("RELOAD refused.*Resource temporarily unavailable", self.output()), self.output)
        self.stays_calm(monitor)
        self.assertEqual(self.ledger(), ["a"])
        self.limit(monitor, "--nproc=100:100", *user)
        self.done_once("a", "b")


class TestFsyncThatFails(QueueCase):
    """EIO from fsync is not success: what is not on disk is not started. One that fails once: test_crash_helpers."""

    config = "durable :: yes\nsleep_seconds :: 0.3\n"

    def test_no_fsync_no_start(self):
        need("strace")
        self.drop("one", uow("echo one >> ledger"))
        strace = self.started(prefix=("strace", "-qq", "-o", "/dev/null", "-e", "inject=fsync,fdatasync:error=EIO"))
        until(lambda: "one in wait-q cannot be stamped: Input/output error" in self.output(), self.output)
        until(self.is_silent, self.output)               # it is all said once, and it does not start
        self.assertEqual(self.ledger(), [])
        for pid in children_of(strace.pid):
            os.kill(pid, signal.SIGKILL)
        strace.wait(20)
        self.run_until_empty()
        self.assertEqual((self.where("one"), self.ledger()), (["done-q"], ["one"]))
