#!/usr/bin/env python3
"""Run the tests, each file as a process of its own and several at a time, and count them.

    python3 -B tests/run.py                      the quick ones: every promise in under a minute
    python3 -B tests/run.py NAME ...             these files, heavy or not, e.g. test_uow test_crash_sweep
    SJQ_CI=1 python3 -B tests/run.py             everything, and what lacks a tool fails

Most tests wait for the real program most of the time, so a few at once cost little. What is skipped is named, with
what runs it. Ends with `N passed, N failed, N skipped`, and with exit code 0 only if none failed and some passed.
"""
import collections
import concurrent.futures
import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
# The long ones first, so that none is left alone at the end.
LONG = ["test_crash_sweep", "test_crash_helpers", "test_many_monitors", "test_systemd", "test_fuzz", "test_adoption",
        "test_kill", "test_status_page", "test_config", "test_recipes", "test_cycle", "test_conditions", "test_odd_places",
        "test_full_disk", "test_permissions", "test_dropped_files", "test_start", "test_clock"]


class Result(unittest.TextTestResult):
    """Counts what went as expected, which unittest does not: what passed, and known bugs that are still there."""

    passed = 0

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed += 1

    def addExpectedFailure(self, test, err):
        super().addExpectedFailure(test, err)
        self.passed += 1

    def failed(self):
        """Return the tests that failed; one with several failing rows is one."""
        wrong = [test for test, _ in self.failures + self.errors] + self.unexpectedSuccesses
        return {getattr(test, "test_case", test).id() for test in wrong}


def run_here(name):
    """Run one file, or one class or test of it, in this process; the counts are its last line."""
    sys.path.insert(0, os.path.dirname(HERE))
    tests = unittest.defaultTestLoader.loadTestsFromName("tests." + name)
    result = unittest.TextTestRunner(resultclass=Result).run(tests)
    sys.stderr.flush()
    reasons = [reason for _, reason in result.skipped]
    print(json.dumps([result.passed, sorted(result.failed()), reasons, len(result.expectedFailures)]), flush=True)


def run(name):
    """Run one file in a process of its own; return its name, what it wrote, its seconds, and its counts.

    What it leaves behind is a failure, too.
    """
    began, place = time.monotonic(), tempfile.mkdtemp(prefix="sjq-")
    os.chmod(place, 0o755)                               # some tests are another user for a while
    done = subprocess.run([sys.executable, "-B", __file__, "--here", name], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace", env=dict(os.environ, TMPDIR=place))
    output, _, last = done.stdout.rstrip("\n").rpartition("\n")
    try:
        counts = json.loads(last)
    except ValueError:
        output, counts = done.stdout, [0, [name], [], 0]    # it did not even come to its end
    counts[1] += ["%s left behind: %s" % (name, what) for what in left_behind(place)]
    shutil.rmtree(place, ignore_errors=True)
    return name, output, time.monotonic() - began, counts


def left_behind(place):
    """Return which files, mounts and processes there still are of tests that had this directory as TMPDIR."""
    left = [os.path.join(place, name) for name in os.listdir(place)]
    with open("/proc/self/mountinfo") as file:
        left += ["mount " + line.split()[4] for line in file if line.split()[4].startswith(place + "/")]
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/environ" % pid, "rb") as environ, open("/proc/%s/cmdline" % pid, "rb") as words:
                if os.fsencode("TMPDIR=" + place) in environ.read().split(b"\0"):
                    left.append("process %s %s" % (pid, words.read().replace(b"\0", b" ").decode(errors="replace")[:100]))
        except OSError:
            pass                                         # it has ended, or is nobody of ours
    return left


def main(names):
    if names:
        os.environ["SJQ_HEAVY"] = "1"                    # who names a file wants all of it
    names = names or sorted(os.path.basename(path)[:-3] for path in glob.glob(os.path.join(HERE, "test_*.py")))
    names.sort(key=lambda name: LONG.index(name) if name in LONG else len(LONG))
    passed, failed, known, skipped = 0, [], 0, collections.Counter()
    sys.path.insert(0, os.path.dirname(HERE))
    from tests.helpers import compiled
    os.environ["SJQ_COMPILED"] = compiled()
    os.environ.pop("PYTHONUNBUFFERED", None)             # few who run the Monitor have it
    cpus = os.cpu_count() or 1
    side_by_side = cpus + 2 if os.environ.get("SJQ_CI") else 5 * cpus      # each of the heavy ones keeps several busy
    with concurrent.futures.ThreadPoolExecutor(side_by_side) as workers:
        for future in concurrent.futures.as_completed([workers.submit(run, name) for name in names]):
            name, output, seconds, (good, bad, reasons, expected) = future.result()
            passed, failed, known = passed + good, failed + bad, known + expected
            skipped.update((name, reason) for reason in reasons)
            print("==== %s: %d passed, %d failed, %d skipped in %.0f s" % (name, good, len(bad), len(reasons), seconds))
            if bad or "swept" in output or "inputs" in output:
                print(output)
            sys.stdout.flush()
    if known:
        print("\n%d of those that passed are known bugs: expected failures that still fail." % known)
    if skipped:
        print("\nSkipped:")
        for (name, reason), count in sorted(skipped.items()):
            print("  %3d of %s: %s" % (count, name, reason))
        print("SJQ_CI=1 python3 -B tests/run.py runs everything.\n")
    if failed:
        print("\nFailed:\n  %s\n" % "\n  ".join(failed))       # what each wrote may be far above
    print("%d passed, %d failed, %d skipped" % (passed, len(failed), sum(skipped.values())))
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--here"]:
        run_here(sys.argv[2])
    else:
        sys.exit(main([name.replace("tests/", "").replace(".py", "") for name in sys.argv[1:]]))
