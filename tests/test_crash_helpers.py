"""Every command that the Monitor runs, and every system call of its own that matters, goes wrong in turn.

Killed before and after, failing before and after, ENOSPC and EIO: nothing is lost, nothing runs twice, and what did
not kill the Monitor does not stop it. By name it takes a sample; CI (SJQ_CI=1) a larger one. Needs strace.
"""
import functools
import re
import unittest

from tests import crash
from tests.helpers import IN_CI, heavy, need

MODES = ["kill-then-do", "kill-then-late", "kill-instead", "do-then-kill", "fail", "do-then-fail", "die", "do-then-die"]
CALLS = ["?rename,?renameat,?renameat2", "pwrite64", "fsync", "?open,openat", "write", "?ftruncate", "?unlink,?unlinkat", "?link,?linkat"]
FAULTS = ["error=ENOSPC", "error=EIO", "signal=KILL", "error=EIO:signal=KILL"]     # a KILL alone comes after the call


@heavy
class TestCommandsGoWrong(crash.SweepCase):
    def calls(self, kind, monitor):
        with crash.Scene(kind, monitor) as scene:
            scene.wrap()
            self.assertEqual(scene.wrapped(), 0)
            return scene.calls()

    def test_each_call_of_each_command_in_each_way(self):
        monitor = self.copy()
        calls = [(kind, call) for kind in ("plain", "hard") for call in self.calls(kind, monitor)]
        unused = set(crash.TOOLS) - {"sh"} - {call.split(".")[0] for _, call in calls}      # the keeper is one of sh and bash
        self.assertFalse(unused, "wrapped in vain")
        # Each call in some ways and each way for some calls; those of the first two calls of a command in every way in CI.
        some = 4 if IN_CI else 40
        points = [(kind, call, mode) for number, (kind, call) in enumerate(calls) for way, mode in enumerate(MODES)
                  if (number + way) % some == 0 or IN_CI and call.endswith((".1", ".2"))]
        self.report("commands gone wrong", crash.try_all(points, functools.partial(crash.try_tool, monitor=monitor)))

    def test_a_stamp_that_does_not_look_at_cat_is_found(self):
        """Negative control."""
        monitor = self.copy((r'run\(\["cat"\], stdin=rest, stdout=fd\):', 'run(["cat"], stdin=rest, stdout=fd) and False:'))
        self.assertRegex(crash.try_tool(("plain", "cat.1", "fail"), monitor).wrong, "its old log has changed")

    def test_a_launch_that_is_filed_only_where_the_monitor_waits_for_it_is_found(self):
        """Negative control: what began is forgotten by a Monitor that does not look for its mark."""
        monitor = self.copy((r'return "adopt" if grown or running.reason else "next"', 'return "next"'))
        self.assertRegex(crash.try_tool(("plain", "date.1", "kill-then-do"), monitor).wrong, "ran 2 times|ended in")

    def test_a_mv_that_the_next_monitor_does_not_wait_for_is_found(self):
        """Negative control: a Monitor died, its mv is late, and the next one has looked already."""
        monitor = self.copy((r"extra=DOOR\.lock\)", ")"))
        points = [("plain", "mv.%d" % number, "kill-then-late") for _ in range(8) for number in range(2, 6)]      # until it comes just then
        self.assertRegex(crash.first_wrong(points, functools.partial(crash.try_tool, monitor=monitor)), r"is in \[\]|ran 2 times")


@heavy
class TestSystemCallsGoWrong(crash.SweepCase):
    def setUp(self):
        need("strace")

    def points(self, kind, calls, monitor):
        """Return the numbers of these calls that have to do with the root (of hundreds, most are looks at /proc)."""
        with crash.Scene(kind, monitor, "durable :: yes\n") as scene:
            self.assertEqual(scene.injected(calls, "", 0, scene.path(".strace")), 0)
            lines = scene.read(".strace").splitlines()
            ours = scene.root.encode()
        found = [number for number, line in enumerate(lines, 1) if "open" not in calls or ours in line or b"/proc/self/fd" in line]
        return [(kind, calls, what, number) for number in found for what in FAULTS]

    def test_each_call_fails_or_is_the_last(self):
        monitor = self.copy()
        points = [point for kind in ("plain", "hard") for calls in CALLS if kind == "plain" or "open" not in calls and calls != "write"
                  for point in self.points(kind, calls, monitor)]
        self.report("system calls gone wrong", crash.try_all(points[::9 if IN_CI else 51], functools.partial(crash.try_call, monitor=monitor)))

    def test_a_write_whose_failure_is_not_noticed_is_found(self):
        """Negative control."""
        line = "done = os.write(fd, data) if at is None else os.pwrite(fd, data, at)\n"
        monitor = self.copy(("^        " + re.escape(line), "        try:\n            " + line + "        except OSError:\n            done = len(data)\n"))
        points = [point for point in self.points("plain", "pwrite64", monitor) if point[2] == "error=ENOSPC"]
        self.assertTrue(crash.first_wrong(points, functools.partial(crash.try_call, monitor=monitor)))


if __name__ == "__main__":
    unittest.main()
