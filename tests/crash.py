"""What the crash tests share: a root full of work, ways to kill the Monitor in it, and what must be true afterwards.

A Scene is one root with one helping of work. It is killed in some way, restarted without
mercy, and then `verify` holds it against what its author dropped and against a ledger that
the jobs themselves keep (O_APPEND, fsync, outside every queue).
"""
import concurrent.futures
import hashlib
import json
import os
import py_compile
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

from tests.helpers import MONITOR, QUEUES, processes_with

SECONDS = 90                     # for anything that a Monitor has to end
WORKERS = 2 + (os.cpu_count() or 1)      # a point waits half of its time
RAN = 'echo "$SJQ_NAME $SJQ_RUN" >> "$LEDGER" && sync "$LEDGER"'
STATUS_BYTES = 78
STANDING = (".ledger", ".output", ".turn")       # hidden files of a root that are no remains: two of the test, one of the Monitors
PYTHON = ["-I", "-S"]            # nothing but the interpreter: a sweep starts it thousands of times
LOAD = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("monitor", sys.argv[1])
monitor = importlib.util.module_from_spec(spec)
spec.loader.exec_module(monitor)
"""
COMPILED = LOAD + "sys.exit(monitor.main(sys.argv[2:]))"
# A second restart and, in the same process, --check if it is asked for: a start costs more than what it has to do.
ONCE_MORE = LOAD + """
import os
path, check = sys.argv[2:4]
if monitor.main([path, "--until-empty"]):
    sys.exit("the second restart failed")
os.close(monitor.DOOR.lock.pop())
sys.exit("--check found something" if check and monitor.main([path, "--check"]) else 0)
"""
CONFIG = "settle_seconds :: 0.02\nsleep_seconds :: 0.5\nkill_grace_seconds :: 1\nstatus_dir ::\n"

# Run as `python3 -c LAUNCHER monitor.py PLAN RECORD ARGUMENTS`: the real monitor.py, imported from its
# path. PLAN `function:line:n` kills it before that line of that function for the n-th time; without a
# plan the lines are recorded in the order in which they were met first, with `start` as a landmark.
LAUNCHER = LOAD + r"""
import json, os, signal
path, plan, record = sys.argv[1:4]
wanted = plan.split(":") if plan else None
key_wanted, nth = (wanted[0], int(wanted[1])) if wanted else None, int(wanted[2]) if wanted else 0
counts, landmarks = {}, {}
def lines(frame, event, _):
    if event == "line":
        key = (frame.f_code.co_name, frame.f_lineno)
        counts[key] = counts.get(key, 0) + 1
        if key == key_wanted and counts[key] == nth:
            os.kill(os.getpid(), signal.SIGKILL)
    return lines
def calls(frame, event, _):
    if frame.f_code.co_filename != path:
        return None
    landmarks.setdefault(frame.f_code.co_name, len(counts))
    return lines
sys.settrace(calls)
code = monitor.main(sys.argv[4:])
sys.settrace(None)
if record:
    with open(record, "w") as file:
        json.dump([list(counts.items()), landmarks], file)
sys.exit(code)
"""

TOOLS = ["mv", "cat", "date", "tee", "bash", "sh", "grep", "ps"]

# Calls are counted by making a file for each, which two at a time cannot do twice.
WRAPPER = """#!/bin/sh
n=1
until (set -C; : > "{here}/calls/{tool}.$n") 2>/dev/null; do n=$((n + 1)); done
[ "{tool}.$n" = "{wanted}" ] || exec {real} "$@"
read -r monitor < "{here}/pid"
end_monitor() {{ {grep} -q "{here}" "/proc/$monitor/environ" 2>/dev/null && kill -9 "$monitor"; }}
case "{mode}" in
kill-then-do)   end_monitor; exec {real} "$@";;
kill-then-late) end_monitor; n=0; began=$({grep} -c " started" "{output}")
                until [ $n = 100 ] || [ $({grep} -c " started" "{output}") -gt $((began + 1)) ]; do {sleep} 0.01; n=$((n + 1)); done
                {sleep} 0.1; exec {real} "$@";;
kill-instead)   end_monitor; kill -9 $$;;
do-then-kill)   {real} "$@"; code=$?; end_monitor; exit $code;;
fail)           exit 1;;
do-then-fail)   {real} "$@"; exit 1;;
die)            kill -9 $$;;
do-then-die)    {real} "$@"; kill -9 $$;;
esac
""".replace("{grep}", shutil.which("grep")).replace("{sleep}", shutil.which("sleep"))


class Work:
    """One UOW of a Scene: as it is dropped, and what has to become of it."""

    def __init__(self, name, command, queue="wait-q", ends="done-q", status=r"done: exit 0 after [\d.]+ s", output=b"",
                 line_1=b"", was=b"", log=None, header=(), filed_as=None, exit=0, width=STATUS_BYTES):
        self.name, self.queue, self.ends, self.output, self.line_1, self.exit = name, queue, ends, output, line_1, exit
        self.status, self.log, self.filed_as = status, log, filed_as or name
        lines = ["COMMAND :: " + line for line in [RAN] + command.split("\n")] + list(header)
        self.header = ("==== UNIT OF WORK\n" + "\n".join(lines)).encode()
        self.text = (line_1 + b"\n\n" if line_1 else b"") + self.header + b"\n"
        if log is not None:
            self.text += b"\n==== STATUS\n" + was.ljust(width) + b"\n\n==== JOB LOG\n" + log


EARLIER = b"ENQUEUED :: 2026-01-02T03:04:05.000006Z by somebody"
OLD_RUN = (b"==== JOB START 2026-01-02T03:05:00.000000Z run 0badf00d-7\nthe first try\n"
           b"\n==== JOB END 2026-01-02T03:05:02.000000Z run 0badf00d-7 exit 1\n")


def plain_work():
    """The kinds of UOW that there are: unstamped, with an old log, priority, failing, to be run again."""
    return [
        Work("urgent", "echo urgent\nsleep 0.2\necho later", queue="priority-q", output=b"urgent\nlater\n"),
        Work("fresh", "printf 'no newline at the end, \\033[1mbold'", output=b"no newline at the end, \033[1mbold", header=["TICKET :: OPS-1"]),
        Work("old", "echo second", line_1=EARLIER, log=b"what a person kept here\nwithout a newline", width=0, output=b"second\n"),
        Work("bad one", "echo '==== JOB END x run y exit 0'\nexit 3", ends="error-q", status=r"error: exit 3 after [\d.]+ s",
             output=b"==== JOB END x run y exit 0\n", exit=3),
        Work("again", "echo the second try", line_1=EARLIER, was=b"error: exit 1 after 2.0 s", log=OLD_RUN, output=b"the second try\n"),
    ]


def hard_work():
    """What ends otherwise: by its timeout, by a message, by a pattern, under a taken name."""
    return [
        Work("slow", "echo begun\nexec sleep 60", queue="priority-q", ends="fail-q", status="fail: timed out after 0.3 s",
             output=b"begun\n", header=["TIMEOUT :: 0.3s"], exit=143),
        Work("killed", "echo begun\nprintf 'STATUS\\nKILL JOB\\n' >> monitor_reads\nexec sleep 60", line_1=EARLIER, log=b"", ends="fail-q",
             status="fail: killed by message", output=b"begun\n", exit=143),
        Work("found", "echo an OOPS", ends="error-q", status=r"error: exit 0 after [\d.]+ s, error_pattern found", output=b"an OOPS\n"),
        Work("taken", "echo mine", filed_as="taken.2", output=b"mine\n"),
    ]


class Scene:
    """A root of its own with work, messages and a ledger; used as a context, nothing of it is left behind."""

    def __init__(self, kind="plain", monitor=MONITOR, config="durable :: no\n"):
        self.kind, self.monitor = kind, monitor
        self.work = plain_work() if kind == "plain" else hard_work()
        self.root = tempfile.mkdtemp(prefix="sjq-crash-")
        self.environment = dict(os.environ, LEDGER=self.path(".ledger"), PYTHONDONTWRITEBYTECODE="1")
        self.tools = self.root + ".tools"            # wrappers of the commands that the Monitor runs, see `wrap`
        self.filed = set()       # UOWs that are where they were meant to end, by name
        self.unsure = set()      # UOWs that had START on disk at a kill: they may be `interrupted`
        self.kept = {}           # other files, which have to end where this says, as they are
        for queue in QUEUES + ["archive"]:
            os.mkdir(self.path(queue))
        self.write("config.txt", CONFIG + config + ("" if kind == "plain" else
                   "error_pattern :: OOPS\nafter_command :: true\nready_command :: true\n"))
        for work in self.work:
            self.write(work.queue + "/" + work.name, work.text)
        if kind == "plain":
            self.write("monitor_reads", "PAUSE\nRESUME\nHELP\n")
            self.said = ["message PAUSE", "message HELP", "message RESUME"]
        else:
            self.write("monitor_reads", "STATUS\nnonsense\n")
            self.said = ["message STATUS", "message nonsense is not known", "message KILL JOB"]
            self.keep("done-q/taken", Work("taken", "", line_1=EARLIER, was=b"done: exit 0 after 2.0 s", log=b"").text)
            self.keep("wait-q/junk", "this is no UOW\n", "trash/junk")
            self.keep("wait-q/README", "the older\n", "trash/README")
            os.utime(self.path("wait-q/README"), (1, 1))
            self.keep("wait-q/readme.md", "the newer\n")

    def path(self, *parts):
        return os.path.join(self.root, *parts)

    def write(self, name, text):
        with open(self.path(name), "wb") as file:
            file.write(text if isinstance(text, bytes) else text.encode())

    def keep(self, name, text, ends=None):
        self.write(name, text)
        self.kept[ends or name] = text if isinstance(text, bytes) else text.encode()

    def read(self, *parts):
        try:
            with open(self.path(*parts), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        end = time.monotonic() + 20
        while time.monotonic() < end:
            left = processes_with(self.root)
            if not left:
                break
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except OSError:
                    pass
            time.sleep(0.01)
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.rmtree(self.tools, ignore_errors=True)

    # -- running and killing

    def run(self, argv, seconds=SECONDS):
        """Run one Monitor to its end and return its exit code (-9 when it was killed)."""
        with open(self.path(".output"), "ab") as output:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd="/", env=self.environment)
            try:
                return process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise AssertionError("the Monitor did not end within %g s" % seconds) from None

    def traced(self, plan="", record=""):
        """Run the Monitor until it has killed itself at the planned line; return whether it did."""
        code = self.run([sys.executable, *PYTHON, "-c", LAUNCHER, self.monitor, plan, record, self.path("config.txt"), "--until-empty"])
        if code not in (0, -signal.SIGKILL):
            raise AssertionError("exit %s" % code)
        self.look()
        return code != 0

    def look(self):
        """Note which UOWs lie there with START on disk, right after a kill."""
        for name in os.listdir(self.path("currently-executing")):
            data = self.read("currently-executing", name) if os.path.isfile(self.path("currently-executing", name)) else b""
            found = re.search(rb"\nrunning: [^\n]*\bat (\d+)", data)
            if found and data[int(found.group(1)):].startswith(b"==== JOB START "):
                self.unsure.add(name)

    def disk(self):
        """Return what a kill left in hand, names aside: two disks that are the same here are recovered in the same way."""
        found = []
        for place, _, names in os.walk(self.path("currently-executing")):
            for name in names:
                data = self.read(place, name)
                words = [word for word in (b"ENQUEUED", b"\nrunning: ", b"\ndone: ", b"\nerror: ", b"\nfail: ", b"==== JOB START", b"==== JOB END", b"killed by")
                         if word in data.replace(OLD_RUN, b"")]
                found.append((os.path.basename(place), name if name.startswith(".") else "", *words))
        reads = self.read("monitor_reads")
        hidden = [name for name in os.listdir(self.root) if name.startswith(".") and name not in STANDING]
        return repr((sorted(set(found)), sorted(hidden), bool(re.search(rb"^[A-Z]", reads, re.M))))

    def wrap(self, wanted="", mode=""):
        """Put wrappers of all tools first in the first Monitor's PATH: the call `tool.n` goes wrong as `mode` says."""
        os.makedirs(self.tools + "/calls")
        for tool in TOOLS:
            with open(self.tools + "/" + tool, "w") as file:
                file.write(WRAPPER.format(tool=tool, here=self.tools, output=self.path(".output"), real=shutil.which(tool), wanted=wanted, mode=mode))
            os.chmod(file.name, 0o755)

    def wrapped(self):
        """Run a Monitor with the wrappers to its end and return its exit code."""
        with_wrappers = ["sh", "-c", 'echo $$ > "$0/pid"; export PATH="$0:$PATH"; exec "$@"', self.tools]
        code = self.run([*with_wrappers, sys.executable, *PYTHON, self.monitor + "c", self.path("config.txt"), "--until-empty"])
        self.look()
        return code

    def calls(self):
        """Return the calls that were made, as tool.n."""
        return sorted(os.listdir(self.tools + "/calls"))

    def injected(self, calls, what, when, log=""):
        """Run a Monitor whose own system call number `when` of these goes wrong, and return its exit code."""
        inject = ["-e", "inject=%s:%s:when=%d" % (calls, what, when)] if what else []
        code = self.run(["strace", "-qq", "-o", log or "/dev/null", "-e", "trace=" + calls, "-e", "signal=none", *inject,
                         sys.executable, *PYTHON, self.monitor + "c", self.path("config.txt"), "--until-empty"])
        self.look()
        return code

    def verify_nothing_waits(self):
        """One failure in passing must not have made the Monitor forget anybody."""
        left = [name for work in self.work for name in ["%s/%s" % (queue, work.name) for queue in ("wait-q", "priority-q", "currently-executing")]
                if os.path.lexists(self.path(name))]
        expect(not left, "ended --until-empty, and there still wait %s" % left)

    def restart(self, *flags):
        """Run the same file again, from the cache beside it, which is half the time, and return its exit code."""
        return self.run([sys.executable, *PYTHON, "-c", COMPILED, self.monitor, self.path("config.txt"), *flags])

    # -- what must be true

    def verify(self, lenient=False):
        """Restart the real Monitor until all is done and hold every promise against the disk; return who was interrupted.

        lenient: a tool failed on purpose, so a run may end otherwise than its author meant. Nothing
        is lost then either, nothing runs twice, and what is said to be done was done.
        """
        code = self.restart("--until-empty")
        if code:
            raise AssertionError("the restarted Monitor ended with %s" % code)
        return self.verify_ended(lenient)

    def verify_ended(self, lenient=False):
        interrupted = [work.name for work in self.work if self.verify_work(work, lenient)]
        for name, text in self.kept.items():
            expect(self.read(name) == text, "%s is not as it was dropped" % name)
        self.verify_nothing_else(lenient or "killed" in interrupted)
        before = self.listing()
        twice = any(work.filed_as != work.name and work.name not in self.filed for work in self.work)     # --check minds two of one name
        again = self.run([sys.executable, *PYTHON, "-c", ONCE_MORE, self.monitor, self.path("config.txt"), "" if twice else "check"])
        expect(again == 0, "a second restart, or --check, failed")
        after = self.listing()
        expect(before == after, "a second restart changed %s" % sorted(name for name, _ in set(before.items()) ^ set(after.items())))
        return interrupted

    def verify_work(self, work, lenient):
        """Hold one UOW against its author's text and the ledger; return whether it was interrupted."""
        places = [(queue, name) for queue in QUEUES for name in (work.name, work.filed_as)
                  if os.path.lexists(self.path(queue, name)) and "%s/%s" % (queue, name) not in self.kept]
        places = sorted(set(places))
        expect(len(places) == 1, "%s is in %s" % (work.name, places))
        queue, name = places[0]
        self.filed.add(work.name if name == work.filed_as else "")
        expect(queue in ("done-q", "error-q", "fail-q"), "%s ended in %s" % (work.name, queue))
        found = re.fullmatch(rb"(ENQUEUED :: [^\n]*)\n\n(==== UNIT OF WORK\n.*?)\n\n==== STATUS\n([^\n]{%d})\n\n==== JOB LOG\n(.*)" % STATUS_BYTES,
                             self.read(queue, name), re.S)
        expect(found, "%s is no whole UOW" % work.name)
        line_1, header, status, log = found.groups()
        status = status.decode().rstrip()
        expect(header == work.header, "%s: its header has changed" % work.name)
        expect(not work.line_1 or line_1 == work.line_1, "%s: line 1 is now %r" % (work.name, line_1))
        expect(status.split(":")[0] + "-q" == queue, "%s in %s has the STATUS %s" % (work.name, queue, status))
        runs = [line.split()[-1] for line in self.read(".ledger").splitlines() if line.rsplit(b" ", 1)[0] == work.name.encode()]
        expect(len(runs) <= 1, "%s ran %d times" % (work.name, len(runs)))
        old = (work.log or b"") + (b"\n" if work.log and not work.log.endswith(b"\n") else b"")
        expect(log.startswith(old), "%s: its old log has changed" % work.name)
        log = log[len(old):]
        if status == "fail: interrupted" and not lenient:
            expect(work.name in self.unsure, "%s: interrupted, though nothing had been written of a run" % work.name)
            expect(not runs, "%s: interrupted, though it ran" % work.name)
            expect(re.fullmatch(rb"==== JOB START \S+ run \S+\n", log), "%s: interrupted, and its log is %r" % (work.name, log))
            return True
        if lenient and not status.startswith("done"):
            return False
        expect(lenient or queue == work.ends and re.fullmatch(work.status, status), "%s ended in %s: %s" % (work.name, queue, status))
        # Where its launch was slow, its time may be up before its first command, and TERM have been sent before it began.
        late = "timed out" in status
        expect(len(runs) == 1 or late, "%s is in %s (%s) and never ran" % (work.name, queue, status))
        if late and not runs and re.fullmatch(rb"==== JOB START \S+ run \S+\n", log):
            return True                              # between START and the launch, and tee has lived on till its time was up
        run = re.escape(runs[0]) if runs else rb"(?P<run>\S+)"
        again = run if runs else rb"(?P=run)"
        whole = re.fullmatch(rb"==== JOB START \S+ run " + run + rb"\n(?P<output>.*)\n==== JOB END \S* run " + again
                             + rb" exit (?P<exit>\d+)( killed)?\n", log, re.S)
        expect(whole, "%s: the log of its run is %r" % (work.name, log))
        expect(whole["output"] == work.output or not whole["output"] and late, "%s: its output is %r" % (work.name, whole["output"]))
        expect(int(whole["exit"]) == work.exit or late and whole["exit"] in (b"137", b"143"), "%s: JOB END has exit %s" % (work.name, whole["exit"]))
        return False

    def verify_nothing_else(self, lenient):
        """No half file, no forgotten private copy, every message acted on."""
        hidden = [os.path.relpath(os.path.join(place, name), self.root) for place, _, names in os.walk(self.root) for name in names
                  if name.startswith(".") and name not in STANDING or "/." in place[len(self.root):]]
        expect(not hidden, "left behind: %s" % hidden)
        there = {name for queue in QUEUES for name in os.listdir(self.path(queue)) if not name.startswith(".")}
        strange = there - {name for work in self.work for name in (work.name, work.filed_as)} - {os.path.basename(name) for name in self.kept}
        expect(not strange, "nobody dropped %s" % strange)
        says = (self.read("monitor_says") + self.read(".output")).decode("utf-8", "replace")     # where the one fails, the other has it
        for text in self.said[:-1] if lenient else self.said:      # the last is a job's own, which may not have come so far
            expect(text in says, "not acted on: %s" % text)
        reads = [line for line in self.read("monitor_reads").splitlines() if line.strip() and not line.startswith(b"#")]
        expect(not reads, "left in monitor_reads: %s" % reads)

    def listing(self):
        """Return path -> inode, size and content of everything but the diary and the test's own files."""
        result = {}
        for place, _, names in os.walk(self.root):
            for name in names:
                path = os.path.join(place, name)
                if name not in ("monitor_says", ".output"):
                    with open(path, "rb") as file:
                        result[os.path.relpath(path, self.root)] = (os.lstat(path).st_ino, os.lstat(path).st_size, hashlib.sha256(file.read()).hexdigest())
        return result


def expect(condition, text):
    if not condition:
        raise AssertionError(text)


def record(kind, monitor=MONITOR, before=None):
    """Return [((function, line), times)] of a life of this kind of work, in the order of first meeting, and where functions began.

    before: a plan that kills an earlier Monitor first, so that these are the lines of recovery.
    """
    with Scene(kind, monitor) as scene:
        if before:
            scene.traced(before)
        scene.traced(record=scene.path("lines.json"))
        lines, landmarks = json.loads(scene.read("lines.json"))
        return [(tuple(key), times) for key, times in lines], landmarks


def try_tool(point, monitor=MONITOR):
    """Let one call of a tool go wrong; a Monitor that it does not kill has to stay alive and go on."""
    kind, wanted, mode = point
    with Scene(kind, monitor) as scene:
        def attempt(tried):
            scene.wrap(wanted, mode)
            code = scene.wrapped()
            tried.reached = wanted in scene.calls()
            if "kill" not in mode and b" started: pid " in scene.read(".output"):      # start-up may refuse and say why
                expect(code == 0, "the Monitor ended with %s" % code)
                scene.verify_nothing_waits()
            # What runs a job, carries its output or judges it may fail; then the job does, too. What moves, copies or looks may not matter.
            job, whole = wanted.split(".")[0] in ("tee", "bash", "sh", "grep"), mode in ("kill-then-do", "kill-then-late")
            return scene.verify(lenient=job and not whole)
        return Tried(point, scene, attempt)


def try_call(point, monitor=MONITOR):
    """Let one of the Monitor's own system calls fail, or kill it there; one that fails in passing has to be got over."""
    kind, calls, what, when = point
    with Scene(kind, monitor, "durable :: yes\n") as scene:
        def attempt(tried):
            code = scene.injected(calls, what, when)
            if "KILL" not in what and b" started: pid " in scene.read(".output"):
                expect(code == 0, "the Monitor ended with %s" % code)
                scene.verify_nothing_waits()
            tried.reached = code != 0 or "KILL" not in what
            return scene.verify()
        return Tried(point, scene, attempt)


class Tried:
    """What came of one point: whether it was reached, which disk it left, who was interrupted, and what is wrong."""

    def __init__(self, point, scene, attempt):
        self.point, self.reached, self.interrupted, self.wrong = point, True, [], ""
        try:
            self.interrupted = attempt(self)
        except AssertionError as problem:
            self.wrong = "%s: %s\n%s" % (point, problem, scene.read(".output").decode("utf-8", "replace")[-3000:])


def try_lines(point, monitor=MONITOR):
    """Kill at each plan of a point (kind, plans) in turn, then verify."""
    kind, plans = point
    with Scene(kind, monitor) as scene:
        def attempt(tried):
            tried.reached = all([scene.traced(plan) for plan in plans])
            tried.disk = scene.disk()
            return scene.verify()
        return Tried(point, scene, attempt)


def try_all(points, attempt, workers=WORKERS):
    """Try points side by side and return what came of them, in order."""
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        return list(pool.map(attempt, points))


def first_wrong(points, attempt, workers=WORKERS):
    """Try points until one is found wrong and return what is wrong, '' if nothing is."""
    for at in range(0, len(points), workers):
        for tried in try_all(points[at:at + workers], attempt, workers):
            if tried.wrong:
                return tried.wrong
    return ""


class SweepCase(unittest.TestCase):
    """A test that tries points of a copy of monitor.py and reports what came of them."""

    def copy(self, *changes):
        directory = tempfile.mkdtemp(prefix="sjq-copy-")
        self.addCleanup(shutil.rmtree, directory)
        return copy_of_monitor(directory, *changes)

    def report(self, what, tried, share=0.0):
        """Print how many points were swept; fail when one is wrong, or when no more than this share of them was met."""
        reached = [one for one in tried if one.reached]
        print("\n%s: %d points swept, %d of them between START and the launch (interrupted); %d were not met again"
              % (what, len(reached), sum(bool(one.interrupted) for one in tried), len(tried) - len(reached)), flush=True)
        wrong = [one.wrong for one in tried if one.wrong]
        if wrong:
            self.fail("%d wrong, such as:\n%s" % (len(wrong), "\n".join(wrong[:3])))
        self.assertGreater(len(reached), share * len(tried))


def copy_of_monitor(directory, *changes):
    """Return the path of a copy of monitor.py, so that edits meanwhile do not move its lines; (pattern, replacement) break it."""
    with open(MONITOR) as file:
        text = file.read()
    for pattern, replacement in changes:
        text, count = re.subn(pattern, replacement, text, flags=re.M)
        expect(count == 1, "%r stands %d times in monitor.py; the negative control has to be written anew" % (pattern, count))
    path = os.path.join(directory, "monitor.py")
    with open(path, "w") as file:
        file.write(text)
    py_compile.compile(path, path + "c", doraise=True)       # at each start it would be compiled anew
    return path
