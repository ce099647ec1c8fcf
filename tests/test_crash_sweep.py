"""SIGKILL before every line of the Monitor's cycle, and of its recovery: nothing is lost, nothing runs twice.

Of the lines that only compute, and of recovery's, every fourth is tried. A plain run and CI take a sample;
`SJQ_SWEEP=1 python3 -B tests/run.py test_crash_sweep` takes every point: half an hour on two cores.
"""
import functools
import re
import shutil
import tempfile

from tests import crash
from tests.helpers import heavy, need

# Sections where a kill finds the disk as it was before them: every fourth line, once, is enough.
PURE = ("Types", "UOW text", "Decisions", "Configuration", "Post", "Processes")
# Where a UOW is launched and filed: there a kill comes in each UOW's turn.
STEPS = ("Launch", "Move", "Effects: files")


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
        """Kill at every line in a life of either kind of work: the first time, and where it has effects later, too."""
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
        points = once[::crash.EVERY] + later[::4 * crash.EVERY]
        return crash.try_all(points, functools.partial(crash.try_lines, monitor=cls.monitor))

    def sweep(self, what, points):
        tried = crash.try_all(points[::2 * crash.EVERY], functools.partial(crash.try_lines, monitor=self.monitor))
        self.report(what, tried, 0.8)

    def test_before_every_line_in_the_life_of_a_job(self):
        self.report("a job's life, kill", self.swept(), 0.8)

    def test_between_each_two_steps_of_launch_and_filing_of_what_ran_before(self):
        sections = sections_of(self.monitor)
        points = [("rerun", [plan(key, number)]) for key, times in crash.record("rerun", self.monitor)[0]
                  if sections[key[1]].startswith(STEPS) for number in range(1, min(times, 6) + 1)]
        self.sweep("a second run, kill", points)

    def test_a_person_removes_the_links_after_the_kill(self):
        """What lies in currently-executing without .run has begun: it may be filed as interrupted, never run again."""
        sections = sections_of(self.monitor)
        points = [("plain", [plan(key), crash.REMOVED]) for key, _ in crash.record("plain", self.monitor)[0]
                  if sections[key[1]].startswith(STEPS)]
        self.sweep("a kill, then .run is removed", points)

    def test_before_every_line_of_recovery(self):
        """On each kind of disk that a kill was seen to leave behind: each line of recovery on one of them, in turn."""
        disks = {}
        for one in self.swept():
            if one.reached and not one.wrong:
                disks.setdefault(one.disk, one.point)
        disks = list(disks.values())
        sections, by_line = sections_of(self.monitor), {}
        for point, (lines, landmarks) in zip(disks, crash.try_all(disks, self.lines_of_recovery)):
            for key, _ in lines[:landmarks.get("start")]:
                if not sections[key[1]].startswith(PURE):
                    by_line.setdefault(key, []).append(point)
        points = [(kind, plans + [plan(key)]) for number, (key, found) in enumerate(by_line.items())
                  for kind, plans in [found[number % len(found)]]]
        self.sweep("recovery of %d kinds of disk, kill" % len(disks), points)

    def lines_of_recovery(self, point):
        kind, plans = point
        return crash.record(kind, self.monitor, plans)


@heavy
class TestBrokenRecoveryIsFound(crash.SweepCase):
    """Negative controls: the sweep has to go red where the protocol is broken on purpose."""

    def find(self, functions, *changes, kind="plain", before=""):
        """Return what the sweep over these functions finds in a copy of monitor.py with these changes.

        before: the function at whose first line an earlier kill comes, so that it is recovery that is swept.
        """
        monitor = self.copy(*changes)
        first = [plan(next(key for key, _ in crash.record(kind, monitor)[0] if key[0] == before))] if before else []
        lines, _ = crash.record(kind, monitor, first)
        points = [(kind, first + [plan(key, number)]) for key, times in lines if key[0] in functions
                  for number in sorted({1, times})]
        self.assertTrue(points)
        return crash.first_wrong(points, functools.partial(crash.try_lines, monitor=monitor))

    def test_what_has_begun_is_taken_for_the_next_to_start(self):
        monitor = self.copy(('    return "begun" if ', '    return "claimed" if '))
        line = plan(next(key for key, _ in crash.record("plain", monitor)[0] if key[0] == "finish"))
        self.assertRegex(crash.try_lines(("plain", [line, crash.REMOVED]), monitor).wrong, "ran 2 times")

    def test_a_link_that_is_made_after_the_start(self):
        """STATUS goes with it: either of them alone says that the run has begun."""
        status = "        write_all(writer, status_line(running_status(since)), uow.status_at)\n"
        link = "        link_into(writer, run_directory(m.config), os.path.basename(job.link))\n"
        launch = "        start_processes(m, job, gap)\n"
        functions = ["start", "start_processes", "spawn"]
        wrong = self.find(functions, (status, ""), (link, ""), (launch, launch + status + link))
        self.assertRegex(wrong, "ran 2 times")

    def test_a_link_that_is_removed_before_the_move(self):
        remove, move = "        remove_links(m, job)\n", "        filed = move_by_name("
        wrong = self.find(["file_job", "move_by_name", "mv"], (remove, ""), (move, remove + move))
        self.assertRegex(wrong, "ran 2 times|ended in")

    def test_a_stamp_that_does_not_keep_the_original(self):
        swap, failed = "            exchange(new, path)\n", "        except BaseException:\n"
        careless = "            os.unlink(path)\n            os.rename(new, path)\n"
        wrong = self.find(["stamp"], (swap + failed, careless + failed))
        self.assertRegex(wrong, r"is in \[\]|ended in trash|header has changed|no whole UOW")

    def test_recovery_that_takes_a_status_back_for_a_moment(self):
        """Only recovery does it, so only a kill during recovery can show it."""
        adopting = "    job = Job(m, name, fd, uow, mark, "
        undo = ('    os.unlink(link)\n    set_status(m, fd, "")\n    set_status(m, fd, uow.status)\n'
                "    link_into(fd, run_directory(m.config), os.path.basename(link))\n")
        wrong = self.find(["adopt"], (adopting, undo + adopting), before="finish")
        self.assertRegex(wrong, "ran 2 times|interrupted, though it ran")


def sections_of(monitor):
    """Return line number -> the heading of the section of monitor.py that it stands in."""
    heading, result = "", [""]
    with open(monitor) as file:
        for line in file:
            found = re.match(r"# ---- (.*?) -+$", line)
            heading = found.group(1) if found else heading
            result.append(heading)
    return result
