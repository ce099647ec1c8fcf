"""The clock jumps an hour back or forward: timeouts, waiting, order and quiet times are unharmed, and nothing spins.

The clock alone is changed: a sitecustomize of the Monitor's Python shifts time.time and time.time_ns by the number of
seconds in a file, and shifts the change times that os.lstat and os.stat show of whatever changed after the jump, as
the kernel would have written them. Time since boot is the real one, which no clock setting moves.
"""
import os
import re
import time

from tests.helpers import QueueCase, until, uow

SHIFT = """
import os, time
_time, _time_ns, _lstat, _stat, _fstat = time.time, time.time_ns, os.lstat, os.stat, os.fstat

def jumps():
    try:
        with open(os.environ["SJQ_TEST_CLOCK"]) as file:
            return [tuple(map(float, line.split())) for line in file]
    except (OSError, ValueError):
        return []

def shift(moment):
    return sum(seconds for at, seconds in jumps() if moment >= at)

class Found:
    def __init__(self, found):
        self.found = found
    def __getattr__(self, name):
        value = getattr(self.found, name)
        if name in ("st_mtime", "st_ctime"):
            return value + shift(value)
        if name in ("st_mtime_ns", "st_ctime_ns"):
            return value + int(shift(value / 1e9) * 1e9)
        return value

time.time = lambda: _time() + shift(_time())
time.time_ns = lambda: _time_ns() + int(shift(_time()) * 1e9)
os.lstat = lambda *a, **k: Found(_lstat(*a, **k))
os.stat = lambda *a, **k: Found(_stat(*a, **k))
os.fstat = lambda *a, **k: Found(_fstat(*a, **k))
"""
HOUR = 3600


class TestTheClockJumps(QueueCase):
    config = "settle_seconds :: 0.2\nsleep_seconds :: 30\n"

    def setUp(self):
        super().setUp()
        os.mkdir(self.path(".python"))
        self.write(".python/sitecustomize.py", SHIFT)
        self.env = {**os.environ, "PYTHONPATH": self.path(".python"), "SJQ_TEST_CLOCK": self.write(".clock", "")}

    def jump(self, seconds):
        with open(self.path(".clock"), "a") as file:
            file.write("%r %r\n" % (time.time(), seconds))

    def enqueued(self, name):
        return re.match(r"ENQUEUED :: (\S+)", self.read(self.where(name)[0], name)).group(1)

    def check_a_job_in_hand(self, seconds):
        self.started(env=self.env)
        self.drop("one", uow("until [ -e go ]; do sleep 0.02; done", TIMEOUT="30m"))
        self.running("one")
        self.jump(seconds)
        self.message("STATUS")
        self.said("running: one")
        self.assertEqual(self.where("one"), ["currently-executing"])
        self.write("go", "")
        self.assertEqual(self.ended("one"), "done-q")
        self.assertRegex(self.status("one"), r"^done: exit 0 after \d\.\d s$")
        self.drop("two", uow("true"))
        self.assertEqual(self.ended("two"), "done-q")

    def test_forward_is_no_timeout(self):
        self.check_a_job_in_hand(HOUR)

    def test_back_is_no_endless_wait(self):
        self.check_a_job_in_hand(-HOUR)

    def test_a_timeout_comes_though_the_clock_went_back(self):
        self.started(env=self.env)
        self.drop("one", uow("sleep 600", TIMEOUT="2s"))
        self.running("one")
        self.jump(-HOUR)
        self.assertEqual(self.ended("one"), "fail-q")
        self.assertEqual(self.status("one"), "fail: timed out after 2 s")

    def test_an_adopted_job_is_timed_from_its_real_start(self):
        monitor = self.started(env=self.env)
        self.drop("one", uow("until [ -e go ]; do sleep 0.02; done", TIMEOUT="30m"))
        self.running("one")
        self.said("started one")
        monitor.kill()
        monitor.wait()
        self.jump(HOUR)
        self.started(env=self.env)
        self.said("adopted one")
        self.write("go", "")
        self.assertEqual(self.ended("one"), "done-q")

    def check_order(self, seconds):
        """What was dropped before the jump comes before what was dropped after it."""
        self.message("PAUSE")
        self.started(env=self.env)
        self.said("paused")
        for number in range(6):
            if number == 3:
                self.jump(seconds)
            name = "job-%d" % number
            self.drop(name, uow("echo %s >> ledger" % name))
            until(lambda: self.where(name) == ["wait-q"] and "ENQUEUED" in self.read("wait-q", name), self.output)
        self.message("RESUME")
        for number in range(6):
            self.assertEqual(self.ended("job-%d" % number), "done-q")
        self.assertEqual(self.read("ledger").split(), ["job-%d" % number for number in range(6)])

    def test_order_over_a_jump_forward(self):
        self.check_order(HOUR)

    def test_order_over_a_jump_back(self):
        self.check_order(-HOUR)

    def test_a_file_that_looks_newer_than_now_is_taken(self):
        self.started(env=self.env)
        os.utime(self.drop("future", uow("true")), (time.time() + HOUR, time.time() + HOUR))
        self.assertEqual(self.ended("future"), "done-q")

    def test_nothing_spins_where_directories_lie_in_the_future(self):
        """A restart after the clock was set back: what the directories show is an hour ahead."""
        self.jump(-HOUR)
        monitor = self.started(env=self.env)
        self.drop("one", uow("true"))
        self.assertEqual(self.ended("one"), "done-q")
        self.message("STATUS")
        self.said("counts:")
        time.sleep(0.5)
        before = self.switches(monitor)
        time.sleep(2)                                    # the time in which nothing may happen
        self.assertLess(self.switches(monitor) - before, 3)
        self.drop("two", uow("true"), "priority-q")
        self.assertEqual(self.ended("two"), "done-q")

    def switches(self, monitor):
        """Return how often the Monitor has gone to sleep."""
        with open("/proc/%d/status" % monitor.pid) as file:
            return int(re.search(r"^voluntary_ctxt_switches:\s*(\d+)", file.read(), re.M).group(1))
