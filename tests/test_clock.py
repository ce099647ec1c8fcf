"""The clock jumps an hour back or forward: no timeout or quiet time is harmed, order is by the stamps, nothing spins.

The clock alone is changed: what starts the Monitor shifts time.time and time.time_ns by the number of seconds in a
file, and shifts the change times that os.lstat and os.stat show of whatever changed after the jump, as the kernel
would have written them. Time since boot is the real one, which no clock setting moves.
"""
import os
import time

from tests.helpers import DONE, HOLD, QueueCase, compiled, is_still, sleeps_of, until, uow

SHIFT = """
import os, runpy, sys, time
_time, _time_ns, _lstat, _stat, _fstat = time.time, time.time_ns, os.lstat, os.stat, os.fstat

def jumps():
    try:
        with open({clock!r}) as file:
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
runpy.run_path({monitor!r}, run_name="__main__")
"""
HOUR = 3600


class TestTheClockJumps(QueueCase):
    config = "settle_seconds :: 0.2\nsleep_seconds :: 30\n"

    def setUp(self):
        super().setUp()
        self.shifted = self.write(".shifted.py", SHIFT.format(clock=self.write(".clock", ""), monitor=compiled()))

    def drop(self, *words):
        return super().drop(*words, settled=False)       # what it shows is of the moment, on either side of a jump

    def jump(self, seconds):
        with open(self.path(".clock"), "a") as file:
            file.write("%r %r\n" % (time.time(), seconds))

    def test_neither_way_is_a_timeout_or_an_endless_wait_and_a_file_of_the_future_is_taken(self):
        self.started(program=self.shifted)
        for seconds in (HOUR, -HOUR):
            with self.subTest(seconds):
                one, future = "one%+d" % seconds, "future%+d" % seconds
                self.drop(one, uow(HOLD, TIMEOUT="30m"))
                self.running(one)
                self.jump(seconds)
                self.cycles(1)
                self.assertEqual(self.where(one), ["currently-executing"])
                self.write("go", "")
                self.assertEqual(self.ended(one), "done-q")
                self.assertRegex(self.status(one), DONE)
                os.utime(self.drop(future, uow("true"), ".staging"), (time.time() + HOUR, time.time() + HOUR))
                os.rename(self.path(".staging", future), self.path("wait-q", future))
                self.assertEqual(self.ended(future), "done-q")
                os.unlink(self.path("go"))

    def test_order_is_by_what_first_lines_say_over_a_jump_back(self):
        self.configure(self.config.replace("30", "5"))   # file times do not jump here, and may hide a change
        self.paused(program=self.shifted)
        for number in range(4):
            if number == 2:
                self.jump(-HOUR)
            self.drop("job-%d" % number, uow("echo %d >> ledger" % number))
            self.stamped("job-%d" % number)
        self.message("RESUME")
        until(lambda: len(self.ledger()) == 4, self.output)
        self.assertEqual(self.ledger(), ["2", "3", "0", "1"])

    def test_a_timeout_comes_though_the_clock_went_back(self):
        self.started(program=self.shifted)
        self.drop("one", uow("echo $(date +%%s.%%N) -%d >> .clock; sleep 600" % HOUR, TIMEOUT="2s"))     # the job itself sets it back
        self.assertEqual(self.ended("one"), "fail-q")
        self.assertIn(" -3600", self.read(".clock"))
        self.assertEqual(self.status("one"), "fail: timed out after 2 s")

    def test_an_adopted_job_is_timed_from_its_real_start(self):
        monitor = self.started(program=self.shifted)
        self.drop("one", uow(HOLD, TIMEOUT="30m"))
        self.running("one")
        self.said("started one")
        self.kill9(monitor)
        self.jump(HOUR)
        self.started(program=self.shifted)
        self.said("adopted one")
        self.write("go", "")
        self.assertEqual(self.ended("one"), "done-q")

    def test_nothing_spins_where_directories_lie_in_the_future(self):
        """A restart after the clock was set back: what the directories show is an hour ahead."""
        self.jump(-HOUR)
        monitor = self.started(program=self.shifted)
        self.drop("one", uow("true"))
        self.assertEqual(self.ended("one"), "done-q")
        self.message("STATUS")
        self.said("counts:")
        until(lambda: is_still(monitor.pid), "it sleeps")
        before = sleeps_of(monitor.pid)
        time.sleep(2)                                    # the time in which nothing may happen
        self.assertLess(sleeps_of(monitor.pid) - before, 3)
        self.drop("two", uow("true"), "priority-q")
        self.assertEqual(self.ended("two"), "done-q")
