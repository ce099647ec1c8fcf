"""The clock jumps an hour back or forward: timeouts, waiting, order and quiet times are unharmed, and nothing spins.

The clock alone is changed: what starts the Monitor shifts time.time and time.time_ns by the number of seconds in a file,
and shifts the change times that os.lstat and os.stat show of whatever changed after the jump, as the kernel would have
written them. Time since boot is the real one, which no clock setting moves.
"""
import os
import re
import time

from tests.helpers import HOLD, QueueCase, compiled, heavy, sleeps_of, until, uow

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
HOUR, YEAR = 3600, 365 * 86400


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

    def check_a_job_in_hand(self, seconds):
        self.started(program=self.shifted)
        self.drop("one", uow(HOLD, TIMEOUT="30m"))
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

    @heavy
    def test_back_by_a_year_is_no_endless_wait(self):
        self.check_a_job_in_hand(-YEAR)

    def test_forward_is_no_longer_run_on_the_status_page(self):
        self.configure(self.config.replace("30", "1") + "status_dir :: status\n")
        self.started(program=self.shifted)
        self.drop("one", uow(HOLD))
        self.running("one")
        self.jump(HOUR)
        later = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + HOUR / 2))

        def posted():
            status = self.posted()
            return status["running"] if status["written"] > later else None

        job = until(posted, self.output)
        self.assertEqual(job["name"], "one")
        self.assertLess(job["elapsed_seconds"], HOUR / 2)
        self.assertGreater(job["elapsed_seconds"], 0)
        elapsed = r"^simple_job_q_running_elapsed_seconds ([\d.]+)$"
        there = until(lambda: re.search(elapsed, self.read("status", "metrics.prom"), re.M), "it is posted")
        self.assertLess(float(there.group(1)), HOUR / 2)

    def test_a_timeout_comes_though_the_clock_went_back(self):
        self.started(program=self.shifted)
        self.drop("one", uow("sleep 600", TIMEOUT="2s"))
        self.running("one")
        self.jump(-HOUR)
        self.assertEqual(self.ended("one"), "fail-q")
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

    def check_order(self, seconds):
        """What was dropped before the jump comes before what was dropped after it."""
        self.configure(self.config.replace("30", "5"))   # here file times do not jump, and may hide a change from it for once
        self.message("PAUSE")
        self.started(program=self.shifted)
        self.said("paused")
        for number in range(6):
            if number == 3:
                self.jump(seconds)
            name = "job-%d" % number
            self.drop(name, uow("echo %s >> ledger" % name))
            self.stamped(name)
        self.message("RESUME")
        for number in range(6):
            self.assertEqual(self.ended("job-%d" % number), "done-q")
        self.assertEqual(self.ledger(), ["job-%d" % number for number in range(6)])

    def test_order_over_a_jump_forward(self):
        self.check_order(HOUR)

    def test_order_over_a_jump_back(self):
        self.check_order(-HOUR)

    @heavy
    def test_order_over_a_jump_back_by_a_year(self):
        self.check_order(-YEAR)

    def test_that_it_was_set_back_is_said_once_and_again_when_it_is_right(self):
        self.started(program=self.shifted)
        text, number = "the clock was set back by 3600 s: ", 0
        for seconds, said in ((0, 0), (-HOUR, 1), (0, 1), (HOUR, 2), (0, 2)):
            if seconds:
                self.jump(seconds)
            self.drop("job-%d" % number, uow("true"))
            self.assertEqual(self.ended("job-%d" % number), "done-q")
            self.assertEqual(self.says().count(text), said, self.says())
            number += 1
        self.assertEqual(self.says().count("over: " + text), 1, self.says())

    def test_that_it_was_set_back_is_over_when_it_is_right_though_nothing_is_dropped(self):
        self.configure(self.config.replace("30", "0.3"))
        self.started(program=self.shifted)
        self.drop("one", uow("true"))
        self.assertEqual(self.ended("one"), "done-q")
        self.jump(-HOUR)
        self.drop("two", uow("true"))
        self.assertEqual(self.ended("two"), "done-q")
        text = "the clock was set back by 3600 s: "
        self.said(text)
        self.cycles(2)
        self.assertEqual(self.says().count(text), 1, self.says())
        self.jump(HOUR)
        self.said("over: " + text, seconds=4)

    def test_a_file_that_looks_newer_than_now_is_taken(self):
        self.started(program=self.shifted)
        os.utime(self.drop("future", uow("true")), (time.time() + HOUR, time.time() + HOUR))
        self.assertEqual(self.ended("future"), "done-q")

    def test_nothing_spins_where_directories_lie_in_the_future(self):
        """A restart after the clock was set back: what the directories show is an hour ahead."""
        self.jump(-HOUR)
        monitor = self.started(program=self.shifted)
        self.drop("one", uow("true"))
        self.assertEqual(self.ended("one"), "done-q")
        self.message("STATUS")
        self.said("counts:")
        time.sleep(0.5)
        before = sleeps_of(monitor.pid)
        time.sleep(2)                                    # the time in which nothing may happen
        self.assertLess(sleeps_of(monitor.pid) - before, 3)
        self.drop("two", uow("true"), "priority-q")
        self.assertEqual(self.ended("two"), "done-q")
