#!/usr/bin/env python3
"""Run all tests, each file as a process of its own and several at a time, and count them.

    python3 -B tests/run.py [NAME ...]        e.g. test_uow test_cycle

Most tests wait for the real program most of the time, so a few at once cost little. Ends with
`N passed, N failed, N skipped`, and with exit code 0 only if none failed and some passed.
"""
import concurrent.futures
import glob
import os
import re
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
LONG = ["test_crash_sweep", "test_crash_helpers", "test_many_monitors", "test_systemd", "test_status_page", "test_fuzz", "test_recipes"]


def run(name):
    """Run one file of tests; return its name, its output, and how many passed, failed and were skipped."""
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-B", "-m", "unittest", "tests." + name], cwd=os.path.dirname(HERE),
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    ran = sum(map(int, re.findall(r"^Ran (\d+) tests?", done.stdout, re.M)))
    last = done.stdout.rstrip().rpartition("\n")[2]
    failed, skipped = (sum(map(int, re.findall(r"(?:%s)=(\d+)" % words, last))) for words in ("failures|errors|unexpected successes", "skipped"))
    if done.returncode and not failed:
        failed, ran = 1, ran + 1                     # it did not even come to its end
    return name, done.stdout, time.monotonic() - began, max(0, ran - failed - skipped), failed, skipped


def main(names):
    names = names or sorted(os.path.basename(path)[:-3] for path in glob.glob(os.path.join(HERE, "test_*.py")))
    names.sort(key=lambda name: name not in LONG)    # the long ones first, so that none is left alone at the end
    totals = [0, 0, 0]
    with concurrent.futures.ThreadPoolExecutor((os.cpu_count() or 1) + 2) as workers:
        for future in concurrent.futures.as_completed([workers.submit(run, name) for name in names]):
            name, output, seconds, *counts = future.result()
            totals = [total + count for total, count in zip(totals, counts)]
            print("==== %s: %d passed, %d failed, %d skipped in %.0f s" % (name, *counts, seconds))
            if counts[1] or counts[2] or "swept" in output or "inputs" in output:
                print(output)
            sys.stdout.flush()
    print("%d passed, %d failed, %d skipped" % tuple(totals))
    return 0 if totals[0] and not totals[1] else 1


if __name__ == "__main__":
    sys.exit(main([name.replace("tests/", "").replace(".py", "") for name in sys.argv[1:]]))
