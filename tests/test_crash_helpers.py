"""Every command that the Monitor runs, and every system call of its own that matters, goes wrong in turn.

Killed before and after, failing before and after, ENOSPC and EIO: nothing is lost, nothing runs twice, and what did
not kill the Monitor does not stop it. A plain run and CI take a sample, SJQ_SWEEP=1 takes all. Needs strace.
"""
import functools

from tests import crash
from tests.helpers import heavy, need

MODES = ["kill-then-do", "kill-then-late", "kill-instead", "do-then-kill", "fail", "do-then-fail", "die", "do-then-die"]
CALLS = ["?rename,?renameat,?renameat2", "pwrite64", "fsync,fdatasync", "?open,openat", "write", "?ftruncate",
         "?unlink,?unlinkat", "?link,?linkat", "pidfd_open", "?vfork,?clone,?clone3", "pread64", "flock"]
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
        unused = set(crash.TOOLS) - {call.split(".")[0] for _, call in calls}
        self.assertFalse(unused, "wrapped in vain")
        points = [(kind, call, mode) for kind, call in calls for mode in MODES]
        points = points[::(crash.EVERY + 1) // 2 | 1]        # an odd step meets each way
        self.report("commands gone wrong", crash.try_all(points, functools.partial(crash.try_tool, monitor=monitor)))

    def test_a_stamp_that_does_not_look_at_cat_is_found(self):
        """Negative control."""
        monitor = self.copy(('run_tool(["cat"], stdin=rest, stdout=fd):', 'run_tool(["cat"], stdin=rest, stdout=fd) and False:'))
        self.assertRegex(crash.try_tool(("plain", "cat.1", "fail"), monitor).wrong, "its old log has changed")


@heavy
class TestSystemCallsGoWrong(crash.SweepCase):
    def setUp(self):
        need("strace")

    def points(self, kind, calls, monitor):
        """Return a point for each of these calls that has to do with the root, and each way to go wrong."""
        with crash.Scene(kind, monitor, "durable :: yes\n") as scene:
            self.assertEqual(scene.injected(calls, "", 0, scene.path(".strace")), 0)
            lines = scene.read(".strace").splitlines()
            ours = scene.root.encode()
        found = [number for number, line in enumerate(lines, 1)          # of hundreds of opens, most are looks at /proc
                 if "open," not in calls or ours in line or b"/proc/self/fd" in line]
        return [(kind, calls, what, number) for number in found for what in FAULTS]

    def test_each_call_fails_or_is_the_last(self):
        monitor = self.copy()
        points = [point for kind in ("plain", "hard", "rerun") for calls in CALLS
                  if kind == "plain" or calls not in ("?open,openat", "write", "pread64", "flock")
                  for point in self.points(kind, calls, monitor)]
        points = points[::crash.EVERY * 2 + 1 if crash.EVERY > 1 else 1]
        tried = crash.try_all(points, functools.partial(crash.try_call, monitor=monitor))
        self.report("system calls gone wrong", tried)

    def test_a_write_whose_failure_is_not_noticed_is_found(self):
        """Negative control."""
        line = "        done = os.write(fd, data) if at is None else os.pwrite(fd, data, at)\n"
        careless = "        try:\n    %s        except OSError:\n            done = len(data)\n" % line
        monitor = self.copy((line, careless))
        points = [point for point in self.points("plain", "pwrite64", monitor) if point[2] == "error=ENOSPC"]
        self.assertTrue(crash.first_wrong(points, functools.partial(crash.try_call, monitor=monitor)))
