"""SIGKILL before every line of the Monitor's cycle, and of its recovery: nothing is lost, nothing runs twice.

Every line that may have an effect: of those that only compute, and of recovery's, every fourth.

By name it takes a sample of a minute; all of it (SJQ_CI=1) takes some minutes on two cores.
"""
import functools
import re
import shutil
import tempfile
import unittest

from tests import crash
from tests.helpers import IN_CI, heavy, need

EVERY = 1 if IN_CI else 25
# Sections where a kill finds the disk as it was before them: every fourth line, once, is enough.
PURE = ("Types", "UOW text", "Decisions", "Configuration", "Post")


def plan(key, number=1):
    return "%s:%d:%d" % (key[0], key[1], number)


@heavy
class TestKilledAtEveryLine(crash.SweepCase):
    @classmethod
    def setUpClass(cls):
        need("bash", "tee")
        cls.directory = tempfile.mkdtemp(prefix="sjq-sweep-")
        cls.addClassCleanup(shutil.rmtree, cls.directory)
        cls.monitor = crash.copy_of_monitor(cls.directory)

    @classmethod
    @functools.lru_cache(None)
    def swept(cls):
        """Kill at every line in a life of either kind of work: at its first time, and where it has effects at a later one too."""
        sections, seen, once, later, pure = sections_of(cls.monitor), set(), [], [], 0
        for kind in ("plain", "hard"):
            for key, times in crash.record(kind, cls.monitor)[0]:
                if key in seen:
                    continue
                seen.add(key)
                if sections[key[1]].startswith(PURE):
                    pure += 1
                    if pure % 4:
                        continue
                elif times > 1:
                    later.append((kind, [plan(key, times if len(later) % 2 else (times + 1) // 2)]))
                once.append((kind, [plan(key)]))
        points = once[::EVERY] + later[::8 * EVERY]
        return crash.try_all(points, functools.partial(crash.try_lines, monitor=cls.monitor))

    def test_before_every_line_in_the_life_of_a_job(self):
        self.report("a job's life, kill", self.swept(), 0.8)

    def test_before_every_line_of_recovery(self):
        """On each kind of disk that a kill was seen to leave behind: each line of recovery on one of them, in turn."""
        disks = {}
        for one in self.swept():
            if one.reached and not one.wrong:
                disks.setdefault(one.disk, one.point)
        disks = list(disks.values())[::1 if IN_CI else 2]
        sections, by_line = sections_of(self.monitor), {}
        for point, (lines, landmarks) in zip(disks, crash.try_all(disks, lambda point: crash.record(point[0], self.monitor, point[1][0]))):
            for key, _ in lines[:landmarks.get("start")]:
                if not sections[key[1]].startswith(PURE):
                    by_line.setdefault(key, []).append(point)
        points = [(kind, plans + [plan(key)]) for number, (key, found) in enumerate(by_line.items())
                  for kind, plans in [found[number % len(found)]]]
        tried = crash.try_all(points[::4 * EVERY], functools.partial(crash.try_lines, monitor=self.monitor))
        self.report("recovery of %d kinds of disk, kill" % len(disks), tried, 0.8)


@heavy
class TestBrokenRecoveryIsFound(crash.SweepCase):
    """Negative controls: the sweep has to go red where recovery is broken on purpose."""

    def find(self, functions, *changes, kind="plain", before=""):
        """Return what the sweep over these functions finds in a copy of monitor.py with these changes.

        before: the function at whose first line an earlier kill comes, so that it is recovery that is swept.
        """
        monitor = self.copy(*changes)
        first = [plan(next(key for key, _ in crash.record(kind, monitor)[0] if key[0] == before))] if before else []
        lines, _ = crash.record(kind, monitor, *first)
        points = [(kind, first + [plan(key, number)]) for key, times in lines if key[0] in functions for number in sorted({1, times})]
        self.assertTrue(points)
        return crash.first_wrong(points, functools.partial(crash.try_lines, monitor=monitor))

    def test_what_was_running_is_queued_again(self):
        wrong = self.find(["finish"], (r'return "adopt" if grown or running.reason else "next"', 'return "next"'))
        self.assertRegex(wrong, "ran 2 times")

    def test_start_is_written_after_the_launch(self):
        start, launch = r"^        write_all\(writer, gap \+ start_line\(since, job\.run\), size\)\n", r"^        start_processes\(m, job\)\n"
        written = "        write_all(writer, gap + start_line(since, job.run), size)\n"
        wrong = self.find(["watch"], (start, ""), (launch, "        start_processes(m, job)\n" + written))      # the launch ends with it
        self.assertRegex(wrong, "ran 2 times|ended in wait-q|the log of its run is")       # its tee is adopted, but its log has no START

    def test_a_stamp_that_does_not_keep_the_original(self):
        wrong = self.find(["write_whole"], (r"^    new = os.path.join\(.*", "    new = path"))
        self.assertRegex(wrong, r"is in \[\]|ended in trash|header has changed|no whole UOW")

    def test_recovery_that_takes_a_status_back_for_a_moment(self):
        """Only recovery does it, so only a kill during recovery can show it."""
        adopting = "    job = Job(m, path, os.dup(fd), "
        wrong = self.find(["adopt"], ("^" + re.escape(adopting), '    set_status(m, fd, "")\n    set_status(m, fd, uow.status)\n' + adopting),
                          before="finish")
        self.assertRegex(wrong, "ran 2 times")


def sections_of(monitor):
    """Return line number -> the heading of the section of monitor.py that it stands in."""
    heading, result = "", [""]
    with open(monitor) as file:
        for line in file:
            found = re.match(r"# ---- (.*?) -+$", line)
            heading = found.group(1) if found else heading
            result.append(heading)
    return result


if __name__ == "__main__":
    unittest.main()
