"""Somebody swaps files in wait-q for links, FIFOs and directories as fast as he can.

Real jobs run, and nothing outside is touched.
"""
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time

from tests.helpers import FINISHED, QueueCase, heavy, stamped_uow, until, uow

SECONDS = 12

SWAPPER = r"""
import os, random, sys
queue, canary, good, seed = sys.argv[1:]
choose, swaps = random.Random(int(seed)), 0
def put(make, name):
    new = ".new%s.%d" % (seed, swaps)
    make(new)
    try:
        os.rename(new, name)                         # atomic: there is never no file
    except OSError:                                  # a directory stands there
        os.rename(name, ".away%s.%d" % (seed, swaps))
        os.rename(new, name)
def regular(new):
    with open(new, "x") as file:
        file.write(good)
def unstamped(new):
    with open(new, "x") as file:
        file.write(good.partition("\n\n")[2].partition("\n==== STATUS")[0])
makes = [regular, regular, unstamped, os.mkfifo, os.mkdir,
         lambda new: os.symlink(canary, new), lambda new: os.link(canary + "-linked", new),
         lambda new: os.symlink("real-1", new), lambda new: os.link("swapped-%d" % choose.randrange(4), new)]
os.chdir(queue)
while True:
    name, swaps = "swapped-%d" % choose.randrange(4), swaps + 1
    try:
        put(choose.choice(makes), name)
        if not choose.randrange(20):
            fd = os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK)       # and another header in the same inode
            if os.fstat(fd).st_nlink == 1:
                os.write(fd, good.replace("honest", "forged").encode())
            os.close(fd)
    except OSError:
        pass                                         # the Monitor was faster
    if not swaps % 100:
        print(swaps, flush=True)
"""


@heavy
class TestSwapRace(QueueCase):
    config = "settle_seconds :: 0\nsleep_seconds :: 1\n"

    def setUp(self):
        super().setUp()
        self.outside = tempfile.mkdtemp(prefix="sjq-outside-")
        self.addCleanup(lambda: subprocess.run(["rm", "-rf", self.outside], check=True))

    def test_files_swapped_as_fast_as_possible_reach_neither_job_nor_log_and_every_real_job_ends_done(self):
        canary, ran = os.path.join(self.outside, "canary"), os.path.join(self.outside, "ran")
        with open(canary, "w") as file:
            file.write(stamped_uow(uow("touch " + ran)))
        os.utime(canary, (1, 2))                     # any read would move the access time
        with open(canary, "rb") as file:
            text = file.read()
        shutil.copy2(canary, canary + "-linked")     # of a second link the STATUS may be read: it may be a run's
        os.utime(canary, (1, 2))
        os.utime(canary + "-linked", (1, 2))
        monitor = self.started()
        good = stamped_uow(uow("echo %s >> attackers" % "honest"))
        tally = open(self.path(".tally"), "wb")
        argv = [sys.executable, "-c", SWAPPER, self.path("wait-q"), canary, good]
        swappers = [subprocess.Popen([*argv, seed], stdout=tally) for seed in "12"]
        real, end = 0, time.monotonic() + SECONDS
        try:
            while time.monotonic() < end:
                real += 1
                self.drop("real-%d" % real, uow("echo $(( %d * 2 ))" % real), "priority-q" if real % 2 else "wait-q")
                until(lambda: len(os.listdir(self.path("priority-q"))) < 20, self.output)
                time.sleep(0.02)                     # the pace of those who drop, not a wait
        finally:
            for swapper in swappers:
                swapper.kill()
                swapper.wait()
            tally.close()
        for number in range(1, real + 1):
            self.assertEqual(self.ended("real-%d" % number, 120), "done-q")
            self.assertIn("\n%d\n\n==== JOB END" % (number * 2), self.read("done-q", "real-%d" % number))
        self.assertIsNone(monitor.poll(), self.output())
        self.stop(monitor)                           # perhaps with a file in hand that was swapped under its mv
        self.run_until_empty()
        self.assertNotIn("Traceback", self.output())

        swaps = sum(sorted(int(line) for line in self.read(".tally").split())[-1:])
        self.assertGreater(swaps, 50 * SECONDS, "too few swaps to prove anything")
        self.assertGreater(len(os.listdir(self.path("trash"))), SECONDS, "none was met")
        self.assertFalse(os.path.exists(ran), "the canary was run")
        found = os.stat(canary)
        self.assertEqual((found.st_atime, found.st_mtime), (1, 2), "the canary was read or written")
        self.assertEqual(os.stat(canary + "-linked").st_mtime, 2, "the other canary was written")
        for path in (canary, canary + "-linked"):
            with open(path, "rb") as file:
                self.assertEqual(file.read(), text)
        for queue in FINISHED + ["currently-executing"]:
            for name in os.listdir(self.path(queue)):
                found = os.lstat(self.path(queue, name))
                if not name.startswith("."):
                    self.assertTrue(stat.S_ISREG(found.st_mode) and found.st_nlink == 1, "%s in %s" % (name, queue))
        print("swap race: %d swaps beside %d real jobs" % (swaps, real), file=sys.stderr)
