"""What the crash tests share: a root full of work, ways to kill the Monitor in it, and what must be true afterwards.

A Scene is one root with one helping of work. Its Monitor is killed, or something fails under it. Then another one
runs until nothing is left, and `verify` compares the result with what the authors dropped and with a ledger that the
jobs themselves keep (O_APPEND, fsync, outside every queue).

A plain run tries few of the points, CI more of them; SJQ_SWEEP=1 tries all of them.
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
import unittest

from tests.helpers import IN_CI, MONITOR, QUEUES, inode_of, kill_all, mark_of, processes_with, read_text, until

EVERY = int(os.environ.get("SJQ_SWEEP") or (8 if IN_CI else 40))     # of so many points one is tried
SECONDS = 90                     # for anything that a Monitor has to end
WORKERS = 2 + (os.cpu_count() or 1)      # a point waits half of its time
RAN = 'echo "$SJQ_NAME $SJQ_RUN" >> "$LEDGER" && sync "$LEDGER"'
STATUS_BYTES = 78
STANDING = (".ledger", ".output", ".turn")       # hidden files of a root that stay: two of the test, one of the Monitor
AFTER = r" after [\d.]+ s(, cpu [\d.]+ s)?(, \d+ MiB)?"
PYTHON = ["-I", "-S"]            # nothing but the interpreter: a sweep starts it thousands of times
LOAD = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("monitor", sys.argv[1] + "c")
monitor = importlib.util.module_from_spec(spec)
spec.loader.exec_module(monitor)
"""
# Two restarts more in one process, the second of them with --check: a start costs more than what it has to do.
ONCE_MORE = LOAD + """
import os
path, check = sys.argv[2:4]
if monitor.main([path, "--until-empty"]):
    sys.exit("the second restart failed")
os.close(monitor.DOOR.lock.pop())
sys.exit("--check found something" if check and monitor.main([path, "--check"]) else 0)
"""
CONFIG = "settle_seconds :: 0.02\nsleep_seconds :: 0.5\nkill_grace_seconds :: 5\nstatus_dir ::\n"

# Run as `python3 -c LAUNCHER monitor.py PLAN RECORD ARGUMENTS`: the real monitor.py, compiled. PLAN
# `function:line:n` kills it before that line of that function for the n-th time; without a plan the lines
# are recorded in the order in which they were met first, with `start` as a landmark.
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

TOOLS = ["mv", "cat", "date", "tee", "bash", "timeout", "grep", "ps"]

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
                until [ $n = 100 ] || [ $({grep} -c " started" "{output}") -gt $((began + 1)) ]
                do {sleep} 0.01; n=$((n + 1)); done
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
    """One UOW of a Scene: as it is dropped, and what has to become of it. AFTER in its status is a time."""

    def __init__(self, name, command, queue="wait-q", ends="done-q", status="done: exit 0AFTER", output=b"", line_1=b"",
                 was=b"", log=None, header=(), filed_as=None, exit=0, width=STATUS_BYTES):
        self.name, self.queue, self.ends, self.output = name, queue, ends, output
        self.line_1, self.log, self.exit, self.filed_as = line_1, log, exit, filed_as or name
        self.status = status.replace("AFTER", AFTER)
        lines = ["COMMAND :: " + line for line in [RAN] + command.split("\n")] + list(header)
        self.header = ("==== UNIT OF WORK\n" + "\n".join(lines)).encode()
        self.text = (line_1 + b"\n\n" if line_1 else b"") + self.header + b"\n"
        if log is not None:
            self.text += b"\n==== STATUS\n" + was.ljust(width) + b"\n\n==== JOB LOG\n" + log

    @property
    def old_log(self):
        return (self.log or b"") + (b"\n" if self.log and not self.log.endswith(b"\n") else b"")


REMOVED = "a person removes .run"    # the last of the plans of a point
EARLIER = b"ENQUEUED :: 2026-01-02T03:04:05.000006Z by somebody"
OLD_MARK = b"0badf00d-1284506243386-fe01-131077"


def old_run(code=b"", mark=OLD_MARK):
    """Return the log of an earlier run; without a code it has no END line."""
    end = b"\n==== JOB END 2026-01-02T03:05:02.000000Z run %s exit %s\n" % (mark, code) if code else b""
    return b"==== JOB START 2026-01-02T03:05:00.000000Z run %s\nthe first try\n" % mark + end


def plain_work():
    """The kinds of UOW that there are: unstamped, with an old log, priority, failing, to be run again."""
    return [
        Work("urgent", "echo urgent\nsleep 0.2\necho later", queue="priority-q", output=b"urgent\nlater\n"),
        Work("fresh", "printf 'no newline at the end, \\033[1mbold'", output=b"no newline at the end, \033[1mbold"),
        Work("old", "echo second", line_1=EARLIER, log=b"what a person kept here\nwithout a newline", width=0,
             output=b"second\n"),
        Work("bad one", "echo '==== JOB END x run y exit 0'\nexit 3", ends="error-q", status="error: exit 3AFTER",
             output=b"==== JOB END x run y exit 0\n", exit=3),
        Work("again", "echo the second try", line_1=EARLIER, was=b"error: exit 1 after 2.0 s", log=old_run(b"1"),
             output=b"the second try\n"),
    ]


def hard_work():
    """What ends otherwise: by its timeout, by a message, by a pattern, under a taken name."""
    return [
        Work("slow", "echo begun\nexec sleep 60", queue="priority-q", ends="fail-q", header=["TIMEOUT :: 0.3s"],
             status="fail: timed out after 0.3 s", output=b"begun\n", exit=143),
        Work("killed", "echo begun\nprintf 'STATUS\\nKILL JOB\\n' >> monitor_reads\nexec sleep 60", line_1=EARLIER,
             log=b"", ends="fail-q", status="fail: killed by message", output=b"begun\n", exit=143),
        Work("found", "echo an OOPS", ends="error-q", status="error: exit 0AFTER, error_pattern found",
             output=b"an OOPS\n"),
        Work("taken", "echo mine", filed_as="taken.2", output=b"mine\n"),
    ]


def rerun_work():
    """UOWs that ran before, by how that ended: none may be filed under its old outcome."""
    again = "echo the second try"
    return [
        Work("was done", again, line_1=EARLIER, was=b"done: exit 0 after 2.0 s", log=old_run(b"0"),
             output=b"the second try\n"),
        Work("was failed", again + "\nexit 3", line_1=EARLIER, was=b"fail: timed out after 2 s", log=old_run(),
             ends="error-q", status="error: exit 3AFTER", exit=3, output=b"the second try\n"),
        Work("daemon", again, line_1=EARLIER, was=b"done: exit 0 after 2.0 s", output=b"the second try\n",
             log=old_run(b"0")),                     # `Scene.leave_daemon` puts its living mark there
    ]


class Scene:
    """A root of its own with work, messages and a ledger; used as a context, nothing of it is left behind."""

    def __init__(self, kind, monitor, config="durable :: no\n"):
        self.kind, self.monitor = kind, monitor
        self.work = {"plain": plain_work, "hard": hard_work, "rerun": rerun_work}[kind]()
        self.root = tempfile.mkdtemp(prefix="sjq-crash-")
        self.environment = dict(os.environ, LEDGER=self.path(".ledger"), PYTHONDONTWRITEBYTECODE="1")
        self.tools = self.root + ".tools"            # wrappers of the commands that the Monitor runs, see `wrap`
        self.begun = set()       # UOWs that had begun at a kill: they may be `interrupted`
        self.kept = {}           # other files, which have to end where this says, as they are
        self.said = []           # what monitor_says must have
        for queue in QUEUES + ["archive"]:
            os.mkdir(self.path(queue))
        self.write("config.txt", CONFIG + config + ("" if kind != "hard" else
                   "error_pattern :: OOPS\nafter_command :: true\nready_command :: true\n"))
        for work in self.work:
            self.write(work.queue + "/" + work.name, work.text)
        if kind == "plain":
            self.write("monitor_reads", "PAUSE\nRESUME\nHELP\n")
            self.said = ["message PAUSE", "message HELP", "message RESUME"]
        elif kind == "hard":
            self.write("monitor_reads", "STATUS\nnonsense\n")
            self.said = ["message STATUS", "message nonsense is not known", "message KILL JOB"]
            self.keep("done-q/taken", Work("taken", "", line_1=EARLIER, was=b"done: exit 0 after 2.0 s", log=b"").text)
            self.keep("wait-q/junk", "this is no UOW\n", "trash/junk")
            self.keep("wait-q/README", "the older\n", "trash/README")
            os.utime(self.path("wait-q/README"), (1, 1))
            self.keep("wait-q/readme.md", "the newer\n")
        else:
            self.leave_daemon(self.work[-1])

    def leave_daemon(self, work):
        """Let a process live that the earlier run of a UOW has left, and its log say so."""
        mark = mark_of(self.path(work.queue, work.name))
        work.text, work.log = work.text.replace(OLD_MARK, mark.encode()), work.log.replace(OLD_MARK, mark.encode())
        with open(self.path(work.queue, work.name), "wb") as file:       # the same inode
            file.write(work.text)
        environment = dict(self.environment, SJQ_RUN=mark)
        self.daemon = subprocess.Popen(["sleep", "600"], env=environment, start_new_session=True)

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
        until(lambda: kill_all(processes_with(self.root)) or not processes_with(self.root), "what was started here has ended")
        if self.kind == "rerun":
            self.daemon.wait(20)
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.rmtree(self.tools, ignore_errors=True)

    # -- running and killing

    def run(self, argv, seconds=SECONDS):
        """Run one Monitor to its end and return its exit code (-9 when it was killed)."""
        with open(self.path(".output"), "ab") as output:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd="/",
                                       env=self.environment)
            try:
                return process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise AssertionError("the Monitor did not end within %g s" % seconds) from None

    def until_empty(self, *prefix):
        program = [sys.executable, *PYTHON, self.monitor + "c"]
        return self.run([*prefix, *program, self.path("config.txt"), "--until-empty"])

    def traced(self, plan="", record=""):
        """Run the Monitor until it has killed itself at the planned line; return whether it did."""
        code = self.run([sys.executable, *PYTHON, "-c", LAUNCHER, self.monitor, plan, record, self.path("config.txt"),
                         "--until-empty"])
        if code not in (0, -signal.SIGKILL):
            raise AssertionError("exit %s" % code)
        self.look()
        return code != 0

    def look(self):
        """Note which UOWs have begun, right after a kill, and let what a stamp has left look old."""
        links = {inode_of(path) for path in self.files("currently-executing", ".run")}
        for path in self.files("currently-executing"):           # a `mv` may still be under way
            if inode_of(path) in links - {0} or b"\n==== STATUS\nrunning: " in self.read(path):
                self.begun.add(os.path.basename(path))
        for queue in ("wait-q", "priority-q", "currently-executing"):
            for path in self.files(queue):
                if os.path.basename(path).startswith(".stamp."):
                    os.utime(path, (1, 1))

    def files(self, *parts):
        """Return the paths of the files in a directory."""
        place = self.path(*parts)
        names = os.listdir(place) if os.path.isdir(place) else []
        return [os.path.join(place, name) for name in names if os.path.isfile(os.path.join(place, name))]

    def disk(self):
        """Return what a kill left, names aside: two disks that are the same here are recovered in the same way."""
        found, words = set(), [b"ENQUEUED", b"\nrunning: ", b"\ndone: ", b"\nerror: ", b"\nfail: ", b"==== JOB START",
                               b"==== JOB END", b"killed by"]
        for queue in ("currently-executing", "currently-executing/.run", "wait-q", "priority-q"):
            for path in self.files(queue):
                name, data = os.path.basename(path), self.read(path).replace(old_run(b"1"), b"")
                hidden = name[:6] if name.startswith(".") else ""
                if hidden or queue.startswith("c"):
                    found.add((queue, hidden, *[word for word in words if word in data]))
        reads = self.read("monitor_reads")
        hidden = [name for name in os.listdir(self.root) if name.startswith(".") and name not in STANDING]
        return repr((sorted(found), sorted(hidden), bool(re.search(rb"^[A-Z]", reads, re.M))))

    def wrap(self, wanted="", mode=""):
        """Put wrappers of all tools first in the first Monitor's PATH: the call `tool.n` goes wrong as `mode` says."""
        os.makedirs(self.tools + "/calls")
        for tool in TOOLS:
            with open(self.tools + "/" + tool, "w") as file:
                file.write(WRAPPER.format(tool=tool, here=self.tools, output=self.path(".output"),
                                          real=shutil.which(tool), wanted=wanted, mode=mode))
            os.chmod(file.name, 0o755)

    def wrapped(self):
        """Run a Monitor with the wrappers to its end and return its exit code."""
        code = self.until_empty("sh", "-c", 'echo $$ > "$0/pid"; export PATH="$0:$PATH"; exec "$@"', self.tools)
        self.look()
        return code

    def calls(self):
        """Return the calls that were made, as tool.n."""
        return sorted(os.listdir(self.tools + "/calls"))

    def injected(self, calls, what, when, log=""):
        """Run a Monitor whose own system call number `when` of these goes wrong, and return its exit code."""
        inject = ["-e", "inject=%s:%s:when=%d" % (calls, what, when)] if what else []
        code = self.until_empty("strace", "-qq", "-o", log or "/dev/null", "-e", "trace=" + calls, "-e", "signal=none",
                                *inject)
        self.look()
        return code

    def verify_went_on(self, code):
        """One failure in passing must not have ended the Monitor, nor made it forget anybody."""
        if b" started: pid " not in self.read(".output"):
            return                                   # a start may be refused, and says why
        expect(code == 0, "the Monitor ended with %s" % code)
        left = [name for work in self.work for name in ["%s/%s" % (queue, work.name) for queue in QUEUES[:3]]
                if os.path.lexists(self.path(name))]
        expect(not left, "ended --until-empty, and there still wait %s" % left)

    # -- what must be true

    def verify(self, lenient=False):
        """Restart the real Monitor until all is done, and compare the disk with every promise.

        Return who was interrupted. lenient: a tool failed on purpose, so a run may end otherwise than its author
        meant. Nothing is lost then either, nothing runs twice, and what is said to be done was done.
        """
        code = self.until_empty()
        if code:
            raise AssertionError("the restarted Monitor ended with %s" % code)
        interrupted = [work.name for work in self.work if self.verify_work(work, lenient)]
        for name, text in self.kept.items():
            expect(self.read(name) == text, "%s is not as it was dropped" % name)
        self.verify_nothing_else(lenient or "killed" in interrupted)
        before = self.listing()
        twice = os.path.lexists(self.path("fail-q", "taken"))
        again = self.run([sys.executable, *PYTHON, "-c", ONCE_MORE, self.monitor, self.path("config.txt"),
                          "" if twice else "check"])     # --check minds two of one name
        expect(again == 0, "a second restart, or --check, failed")
        after = self.listing()
        changed = sorted(name for name, _ in set(before.items()) ^ set(after.items()))
        expect(not changed, "a second restart changed %s" % changed)
        if self.kind == "rerun":
            expect(self.daemon.poll() is None, "the process that an earlier run left was killed")
        return interrupted

    def verify_work(self, work, lenient):
        """Compare one UOW with its author's text and the ledger; return whether it was interrupted."""
        places = sorted({(queue, name) for queue in QUEUES for name in (work.name, work.filed_as)
                         if os.path.lexists(self.path(queue, name)) and "%s/%s" % (queue, name) not in self.kept})
        expect(len(places) == 1, "%s is in %s" % (work.name, places))
        queue, name = places[0]
        expect(queue in ("done-q", "error-q", "fail-q"), "%s ended in %s" % (work.name, queue))
        found = re.fullmatch(rb"(ENQUEUED :: [^\n]*)\n\n(==== UNIT OF WORK\n.*?)\n\n==== STATUS\n([^\n]{%d})\n\n"
                             rb"==== JOB LOG\n(.*)" % STATUS_BYTES, self.read(queue, name), re.S)
        expect(found, "%s is no whole UOW" % work.name)
        line_1, header, status, log = found.groups()
        status = status.decode().rstrip()
        expect(header == work.header, "%s: its header has changed" % work.name)
        expect(not work.line_1 or line_1 == work.line_1, "%s: line 1 is now %r" % (work.name, line_1))
        expect(status.split(":")[0] + "-q" == queue, "%s in %s has the STATUS %s" % (work.name, queue, status))
        runs = [line.split()[-1] for line in self.read(".ledger").splitlines()
                if line.rsplit(b" ", 1)[0] == work.name.encode()]
        expect(len(runs) <= 1, "%s ran %d times" % (work.name, len(runs)))
        if status == "fail: interrupted" and not lenient:
            expect(work.name in self.begun, "%s: interrupted, though nothing had been written of a run" % work.name)
            expect(not runs, "%s: interrupted, though it ran" % work.name)
            expect(log == (work.log or b""), "%s: interrupted, and its log is %r" % (work.name, log))
            return True
        if lenient and not status.startswith("done"):
            expect(log.startswith(work.log or b""), "%s: its old log has changed" % work.name)
            return False
        expect(log.startswith(work.old_log), "%s: its old log has changed" % work.name)
        expect(lenient or queue == work.ends and re.fullmatch(work.status, status),
               "%s ended in %s: %s" % (work.name, queue, status))
        self.verify_run(work, log[len(work.old_log):], runs, status)
        return False

    def verify_run(self, work, log, runs, status):
        """Compare the log of a run with what its author meant it to say."""
        # Where its launch was slow, its time may be up before its first command.
        late = "timed out" in status
        expect(runs or late, "%s never ran, and is %s" % (work.name, status))
        if late and not runs and b"==== JOB END" not in log:
            return
        run = re.escape(runs[0]) if runs else rb"\S+"
        whole = re.fullmatch(rb"==== JOB START \S+ run (?P<run>%s)\n(?P<output>.*)\n==== JOB END \S* run (?P=run) "
                             rb"exit (?P<exit>\d+)\n" % run, log, re.S)
        expect(whole, "%s: the log of its run is %r" % (work.name, log))
        expect(whole["output"] == work.output or not whole["output"] and late,
               "%s: its output is %r" % (work.name, whole["output"]))
        expect(int(whole["exit"]) == work.exit or late and whole["exit"] in (b"137", b"143"),
               "%s: JOB END has exit %s" % (work.name, whole["exit"]))

    def verify_nothing_else(self, lenient):
        """No half file, no forgotten link or copy, every message acted on."""
        hidden = [os.path.relpath(os.path.join(place, name), self.root) for place, _, names in os.walk(self.root)
                  for name in names if name.startswith(".") and name not in STANDING or "/." in place[len(self.root):]]
        hidden = [name for name in hidden if not name.startswith("trash/.stamp.")]
        expect(not hidden, "left behind: %s" % hidden)
        there = {name for queue in QUEUES for name in os.listdir(self.path(queue)) if not name.startswith(".")}
        meant = {name for work in self.work for name in (work.name, work.filed_as)}
        strange = there - meant - {os.path.basename(name) for name in self.kept}
        expect(not strange, "nobody dropped %s" % strange)
        says = (self.read("monitor_says") + self.read(".output")).decode("utf-8", "replace")     # the one may fail
        for text in self.said[:-1] if lenient else self.said:      # the last is a job's own, which may have failed
            expect(text in says, "not acted on: %s" % text)
        reads = [line for line in self.read("monitor_reads").splitlines() if line.strip() and not line.startswith(b"#")]
        expect(not reads, "left in monitor_reads: %s" % reads)

    def listing(self):
        """Return path -> inode, size and content of everything but the diary and the test's own files."""
        result = {}
        for place, _, names in os.walk(self.root):
            for path in [os.path.join(place, name) for name in names if name not in ("monitor_says", ".output")]:
                found, digest = os.lstat(path), hashlib.sha256(self.read(path)).hexdigest()
                result[os.path.relpath(path, self.root)] = (found.st_ino, found.st_size, digest)
        return result


def expect(condition, text):
    if not condition:
        raise AssertionError(text)


def record(kind, monitor, before=()):
    """Return [((function, line), times)] of a life of this kind of work, in the order of first meeting, and where
    functions began.

    before: plans that kill earlier Monitors first, so that these are the lines of recovery.
    """
    with Scene(kind, monitor) as scene:
        for plan in before:
            scene.traced(plan)
        scene.traced(record=scene.path("lines.json"))
        lines, landmarks = json.loads(scene.read("lines.json"))
        return [(tuple(key), times) for key, times in lines], landmarks


class Tried:
    """What came of one point: whether it was reached, which disk it left, who was interrupted, and what is wrong."""

    def __init__(self, point, scene, attempt):
        self.point, self.reached, self.interrupted, self.wrong = point, True, [], ""
        try:
            self.interrupted = attempt(self)
        except AssertionError as problem:
            output = scene.read(".output").decode("utf-8", "replace")
            self.wrong = "%s: %s\n%s" % (point, problem, output[-3000:])


def try_tool(point, monitor):
    """Let one call of a tool go wrong; a Monitor that it does not kill has to stay alive and go on."""
    kind, wanted, mode = point
    with Scene(kind, monitor) as scene:
        def attempt(tried):
            scene.wrap(wanted, mode)
            code = scene.wrapped()
            tried.reached = wanted in scene.calls()
            if "kill" not in mode:
                scene.verify_went_on(code)
            # What runs a job, carries its output or judges it may fail; then the job does, too. What moves, copies or
            # looks may not matter.
            job, whole = wanted.split(".")[0] in ("tee", "bash", "grep"), mode in ("kill-then-do", "kill-then-late")
            return scene.verify(lenient=job and not whole)
        return Tried(point, scene, attempt)


def try_call(point, monitor):
    """Let one of the Monitor's own system calls fail, or kill it there; a failure in passing has to be got over."""
    kind, calls, what, when = point
    with Scene(kind, monitor, "durable :: yes\n") as scene:
        def attempt(tried):
            code = scene.injected(calls, what, when)
            if "KILL" not in what:
                scene.verify_went_on(code)
            tried.reached = code != 0 or "KILL" not in what
            return scene.verify()
        return Tried(point, scene, attempt)


def try_lines(point, monitor):
    """Kill at each plan of a point (kind, plans) in turn, perhaps remove .run, then verify."""
    kind, plans = point
    with Scene(kind, monitor) as scene:
        def attempt(tried):
            tried.reached = all([scene.traced(plan) for plan in plans if plan != REMOVED])
            tried.disk = scene.disk()
            if REMOVED in plans:
                shutil.rmtree(scene.path("currently-executing", ".run"), ignore_errors=True)
            return scene.verify(lenient=REMOVED in plans)
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
        interrupted = sum(bool(one.interrupted) for one in tried)
        print("\n%s: %d points swept, %d of them between link and launch (interrupted); %d were not met again"
              % (what, len(reached), interrupted, len(tried) - len(reached)), flush=True)
        wrong = [one.wrong for one in tried if one.wrong]
        if wrong:
            self.fail("%d wrong, such as:\n%s" % (len(wrong), "\n".join(wrong[:3])))
        self.assertGreater(len(reached), share * len(tried))


def copy_of_monitor(directory, *changes):
    """Return the path of a compiled copy of monitor.py, which edits meanwhile do not move; (old, new) break it."""
    text = read_text(MONITOR)
    for old, new in changes:
        expect(text.count(old) == 1, "%r stands %d times in monitor.py; the negative control has to be written anew"
               % (old, text.count(old)))
        text = text.replace(old, new)
    path = os.path.join(directory, "monitor.py")
    with open(path, "w") as file:
        file.write(text)
    py_compile.compile(path, path + "c", doraise=True)
    return path
