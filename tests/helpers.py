"""What the tests share: a queue in a temporary root, the real monitor.py as a process, and waiting for conditions."""
import atexit
import functools
import json
import os
import py_compile
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path

CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MONITOR = os.path.join(CHECKOUT, "monitor.py")
README = os.path.join(CHECKOUT, "README.md")
PYTHON = (sys.executable, "-S", "-B")    # monitor.py needs no installed package, and looking for them is half of a start
IN_CI = bool(os.environ.get("SJQ_CI"))
HEAVY = IN_CI or bool(os.environ.get("SJQ_HEAVY"))     # run.py sets it where files are named
QUEUES = ["wait-q", "priority-q", "currently-executing", "done-q", "error-q", "fail-q", "trash"]
FINISHED = ["done-q", "error-q", "fail-q"]
HOLD = "until [ -e go ]; do sleep 0.05; done"            # a job that goes on until the test writes `go`
USED = r"(?:, cpu \d+\.\d s)?(?:, \d+ MiB)?"            # in a STATUS, behind the seconds: where it is known
AFTER = r" after \d+\.\d s" + USED
DONE = "^done: exit 0" + AFTER + "$"
BOOT = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]        # with which each mark of this boot begins

sys.dont_write_bytecode = True
sys.path.insert(0, CHECKOUT)


def lacks(what):
    """Skip the test, since this machine lacks something; in CI (SJQ_CI set) that is a failure."""
    if IN_CI:
        raise AssertionError("CI lacks " + what)
    raise unittest.SkipTest("needs " + what)


def need(*tools):
    missing = [tool for tool in tools if not shutil.which(tool)]
    if missing:
        lacks(", ".join(missing))


def need_root():
    if os.geteuid() != 0:
        lacks("root")


@functools.lru_cache(None)
def as_nobody():
    """Return what runs Python as the user nobody; a Python below a home that only its owner may enter cannot."""
    need_root()
    need("setpriv")
    prefix = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    for python in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        if subprocess.run([*prefix, python, "-c", "import pwd"], stderr=subprocess.DEVNULL, cwd="/").returncode == 0:
            return [*prefix, python, "-B"]
    return lacks("a Python that the user nobody can run")


def heavy(test):
    """Mark a class or a test that a plain run leaves out, since it takes long for what it tells each time."""
    return unittest.skipUnless(HEAVY, "heavy: python3 -B tests/run.py " + test.__module__.rpartition(".")[2])(test)


def in_ci(*rows, plain=1):
    """Return all these rows where heavy tests run, too, and only the first ones in a plain run."""
    return rows if HEAVY else rows[:plain]


def until(condition, what="", seconds=30, step=0.01):
    """Wait until condition() is true and return its value; fail with `what` after some seconds."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("not within %g s: %s" % (seconds, what() if callable(what) else what))
        time.sleep(step)


def uow(command, **header):
    """Return the text of a UOW as a person would write it; NAME=content for more header lines."""
    lines = ["==== UNIT OF WORK"] + ["COMMAND :: " + line for line in command.split("\n")]
    return "\n".join(lines + ["%s :: %s" % item for item in header.items()]) + "\n"


def stamped_uow(text, status="", log=""):
    """Return a UOW as a Monitor would have written it: with a first line, STATUS and its log."""
    line_1 = "ENQUEUED :: 2026-01-02T03:04:05.000000Z by nobody"
    return "%s\n\n%s\n==== STATUS\n%-78s\n\n==== JOB LOG\n%s" % (line_1, text, status, log)


def mark_of(path, boot=BOOT, began=None):
    """Return a mark as a Monitor would give it now to a run of this file."""
    found = os.stat(path)
    return "%s-%d-%x-%d" % (boot, began or time.clock_gettime_ns(time.CLOCK_BOOTTIME), found.st_dev, found.st_ino)


def read_text(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def section(heading):
    """Return the README's text below a heading of either rank, up to the next one of that rank or above it."""
    found = re.search(r"^(###?) %s\n(.*?)(?=^## |^\1 |\Z)" % re.escape(heading), read_text(README), re.M | re.S)
    if not found:
        raise AssertionError("the README has no heading %r" % heading)
    return found.group(2)


def fenced(text):
    """Return the fenced blocks of a text, in order."""
    return re.findall(r"^```\w*\n(.*?)^```$", text, re.M | re.S)


def inode_of(path):
    """Return the inode of a file, 0 where there is none by now."""
    try:
        return os.lstat(path).st_ino
    except FileNotFoundError:
        return 0


def environment_of(pid):
    """Return the environment of a process, empty where it has ended."""
    try:
        with open("/proc/%s/environ" % pid, "rb") as file:
            return file.read()
    except OSError:
        return b""


def processes_with(text):
    """Return the pids of living processes whose environment or command line contains this text."""
    wanted, found = os.fsencode(text), []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/cmdline" % pid, "rb") as file:
                line = file.read()
            with open("/proc/%s/stat" % pid, "rb") as file:
                state = file.read().rpartition(b")")[2].split()[0]
        except OSError:
            continue
        if state != b"Z" and int(pid) != os.getpid() and (wanted in line or wanted in environment_of(pid)):
            found.append(int(pid))
    return found


def kill_all(pids):
    """Kill processes; one that has ended meanwhile is no matter."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def children_of(pid):
    """Return the pids of a process's children, in the order of their start."""
    return [int(child) for child in read_text("/proc/%d/task/%d/children" % (pid, pid)).split()]


def sleeps_of(pid):
    """Return how often a process has gone to sleep so far: an upper limit of how often it woke."""
    return int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", read_text("/proc/%d/status" % pid), re.M).group(1))


def is_still(pid):
    """Tell whether a process sleeps, and not for a moment only."""
    before = sleeps_of(pid)
    time.sleep(0.3)
    return sleeps_of(pid) == before


def cpu_of(pid, children=False):
    """Return the processor seconds that a process has used; those of the commands that it has run, too, if asked."""
    with open("/proc/%d/stat" % pid, "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    return sum(map(int, fields[11:15 if children else 13])) / os.sysconf("SC_CLK_TCK")


def peak_kb(pid):
    """Return the most memory that a process has had, in KiB."""
    return int(re.search(r"VmHWM:\s*(\d+)", read_text("/proc/%d/status" % pid)).group(1))


@functools.lru_cache(None)
def compiled():
    """Return monitor.py as this Python compiles it, which it otherwise does anew at every start; for the whole run once."""
    if "SJQ_COMPILED" in os.environ:
        return os.environ["SJQ_COMPILED"]
    place = tempfile.mkdtemp(prefix="sjq-compiled-")
    os.chmod(place, 0o755)                               # some tests start it as another user
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return py_compile.compile(MONITOR, os.path.join(place, "monitor.pyc"), doraise=True)


def ran(*arguments, python=PYTHON, program=None, **options):
    """Run the Monitor to its end and return exit code, what stdout had, what stderr had."""
    answer = subprocess.run([*python, program or compiled(), *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                            text=True, errors="replace", timeout=60, **options)
    return answer.returncode, answer.stdout, answer.stderr


class Writer:
    """Write again and again, in a thread, until the block ends: a thousand times a second, or once in `every` seconds."""

    def __init__(self, write, every=0.0):
        self.write, self.every, self.count, self.ended = write, every, 0, threading.Event()
        self.thread = threading.Thread(target=self.work)

    def work(self):
        while not self.ended.wait(self.every or 0.002):
            for _ in range(1 if self.every else 5):
                self.write(self.count)
                self.count += 1

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()


class QueueCase(unittest.TestCase):
    """A test with a queue of its own. Nothing of it is left behind: no process, no file."""

    config = ""                  # added to config.txt
    base = "settle_seconds :: 0.1\nsleep_seconds :: 5\nkill_grace_seconds :: 0.5\nstatus_dir ::\ndurable :: no\n"

    def setUp(self):
        self.root = self.make_root()
        self.addCleanup(self.clean)
        self.monitors = []
        self.configure(self.config)
        for queue in QUEUES + ["archive", ".staging"]:
            os.mkdir(self.path(queue))

    def make_root(self):
        return tempfile.mkdtemp(prefix="sjq-")

    def clean(self):
        for monitor in self.monitors:
            if monitor.poll() is None:
                monitor.kill()
            monitor.wait()
            monitor.stdout.close()
        for _ in range(100):
            left = processes_with(self.root)
            kill_all(left)
            if not left:
                break
            time.sleep(0.02)
        shutil.rmtree(self.root, ignore_errors=True)

    def path(self, *parts):
        return os.path.join(self.root, *parts)

    def configure(self, text=""):
        """Write config.txt: quick settings for tests, where `text` does not say otherwise."""
        given = set(re.findall(r"^(\w+) ::", text, re.M))
        kept = [line for line in self.base.splitlines() if line.split(" ::")[0] not in given]
        self.write("config.txt", "\n".join(kept) + "\n" + text)

    def write(self, name, text):
        with open(self.path(name), "wb") as file:
            file.write(text if isinstance(text, bytes) else os.fsencode(text))
        return self.path(name)

    def executable(self, name, text):
        """Put a program where it is found first; returns the environment that finds it."""
        os.makedirs(self.path(".bin"), exist_ok=True)
        os.chmod(self.write(".bin/" + name, text), 0o755)
        return dict(os.environ, PATH=self.path(".bin") + ":" + os.environ["PATH"])

    def commands(self):
        """Return an environment in which only those commands are found that the Monitor and plain jobs need."""
        os.makedirs(self.path(".bin"), exist_ok=True)
        for name in ("bash", "cat", "date", "grep", "mv", "sleep", "tee", "timeout"):
            os.symlink(shutil.which(name), self.path(".bin", name))
        return dict(os.environ, PATH=self.path(".bin"))

    def in_locale(self, name, charmap="UTF-8"):
        """Return an environment in a locale, which is made in the root, whatever the machine has."""
        need("localedef")
        locale = "%s.%s" % (name, charmap)
        subprocess.run(["localedef", "-i", name, "-f", charmap, self.path(locale)], capture_output=True)
        if not os.path.exists(self.path(locale, "LC_CTYPE")):     # its exit code does not tell: 1 may be a mere warning
            need("the source of the locale " + name)
        return {**os.environ, "LOCPATH": self.root, "LC_ALL": locale}

    def read(self, *parts):
        with open(self.path(*parts), "rb") as file:
            return file.read().decode("utf-8", "surrogateescape")

    def start(self, *flags, config="config.txt", env=None, python=PYTHON, prefix=(), program=None, stdout=None):
        """Start the real Monitor on this root and return its process; its output goes to .output, or where stdout says."""
        output = open(self.path(".output"), "ab")
        argv = [*prefix, *python, program or compiled(), self.path(config), *flags]
        monitor = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=stdout or output, stderr=output, cwd="/", env=env)
        monitor.stdout = output
        self.monitors.append(monitor)
        return monitor

    def changed(self, old, new):
        """Return a copy of monitor.py in which one piece of its text is another; everything else is as it is."""
        text = read_text(MONITOR)
        self.assertEqual(text.count(old), 1)
        return self.write("monitor.py", text.replace(old, new))

    def process(self, *argv, **options):
        """Start another process, which ends with the test."""
        process = subprocess.Popen(argv, **options)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def started(self, *flags, **options):
        """Start the Monitor and wait until it listens."""
        before = self.output().count(" started: pid ")
        monitor = self.start(*flags, **options)
        until(lambda: self.output().count(" started: pid ") > before or monitor.poll() is not None, self.output)
        return monitor

    def paused(self, **options):
        """Start the Monitor and pause it."""
        monitor = self.started(**options)
        self.message("PAUSE")
        self.said("paused: ")
        return monitor

    def under_way(self, name, command, **header):
        """Start the Monitor and a job, and return the Monitor when the job's processes are there."""
        monitor = self.started()
        self.drop(name, uow(command, **header))
        self.begun(name)
        return monitor

    def run_until_empty(self, *flags, seconds=60, **options):
        """Run the Monitor until nothing waits or runs; it must end with 0."""
        monitor = self.start("--until-empty", *flags, **options)
        try:
            code = monitor.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError("the Monitor did not end within %g s:\n%s" % (seconds, self.output())) from None
        self.assertEqual(code, 0, self.output())

    def kill9(self, monitor):
        monitor.kill()
        monitor.wait(20)

    def stop(self, monitor, number=signal.SIGTERM, seconds=20):
        """Stop a Monitor that this test started and return its exit code."""
        if monitor.poll() is None:
            monitor.send_signal(number)
        return monitor.wait(seconds)

    def output(self):
        return self.read(".output") if os.path.exists(self.path(".output")) else ""

    def says(self):
        return self.read("monitor_says") if os.path.exists(self.path("monitor_says")) else ""

    def said(self, text, seconds=30, count=1):
        """Wait until monitor_says contains this text."""
        until(lambda: self.says().count(text) >= count,
              lambda: "%r in monitor_says:\n%s" % (text, self.says()), seconds)

    def times_said(self, text):
        """Return how many lines of monitor_says begin with this text, behind their time: STATUS repeats what is wrong."""
        return len(re.findall(r"^\S+Z " + re.escape(text), self.says(), re.M))

    def there(self, *parts, seconds=30):
        """Wait until a file is there."""
        until(lambda: os.path.exists(self.path(*parts)),
              lambda: "%s is there\n%s" % (self.path(*parts), self.output()), seconds)

    def posted(self):
        """Return status.json as it is now, or as it is first posted."""
        self.there("status", "status.json")
        return json.loads(self.read("status", "status.json"))

    def ledger(self):
        """Return the words that jobs have appended to `ledger`: what really ran, whatever the queue says."""
        return self.read("ledger").split() if os.path.exists(self.path("ledger")) else []

    def message(self, line, to="monitor_reads", end="\n"):
        with open(self.path(to), "a") as file:
            file.write(line + end)

    def reads(self):
        """Return what is in the message file, None in the moment in which there is none."""
        try:
            return self.read("monitor_reads")
        except FileNotFoundError:
            return None

    def tidied(self):
        """Wait until the message file holds its comment block and nothing else, and no other is beside it."""
        import monitor                                   # few tests ask, and to compile it takes a while
        until(lambda: self.reads() == monitor.howto().decode(), self.reads)
        until(lambda: not [name for name in os.listdir(self.root) if name.startswith((".monitor_reads", ".new."))])

    def drop(self, name, text, queue="wait-q", settled=True):
        """Put a UOW into a queue as people should: written elsewhere a while ago, then moved in. Returns its path."""
        staged = self.write(".staging/" + os.fsdecode(name)[:200].replace("/", "_"), text)
        if settled:                                      # of several none must wait when the first is taken
            os.utime(staged, (time.time() - 60, time.time() - 60))
        target = self.path(queue, os.fsdecode(name))
        os.rename(staged, target)
        return target

    def linked(self, name, run="", text=None):
        """Let a UOW in currently-executing have begun: it gets its link, and is written first if a text is given; its mark."""
        path = self.path("currently-executing", name) if text is None else self.write("currently-executing/" + name, text)
        run = run or mark_of(path)
        os.makedirs(self.path("currently-executing", ".run"), 0o700, exist_ok=True)
        os.link(path, self.path("currently-executing", ".run", run + "." + name))
        return run

    def links(self):
        """Return the names in .run: one for each run that has begun and is not filed."""
        place = self.path("currently-executing", ".run")
        return sorted(os.listdir(place)) if os.path.isdir(place) else []

    def text(self, name, *queues):
        """Return what a UOW holds wherever it is by now; the queues are in the order in which it moves, so it is not missed."""
        for queue in queues or QUEUES:
            try:
                return self.read(queue, os.fsdecode(name))
            except FileNotFoundError:
                pass
        return ""

    def where(self, name):
        """Return the directories in which a file of this name is."""
        return [queue for queue in QUEUES if os.path.lexists(self.path(queue, os.fsdecode(name)))]

    def ended(self, name, seconds=30):
        """Wait until a UOW is filed, in one of the finished queues and its link gone, and return which."""
        def filed():
            for queue in FINISHED:
                inode = inode_of(self.path(queue, os.fsdecode(name)))
                if inode:
                    links = [inode_of(self.path("currently-executing", ".run", link)) for link in self.links()]
                    return inode not in links and queue
        return until(filed, lambda: "%r ended; it is in %s\n%s" % (name, self.where(name), self.output()), seconds)

    def running(self, name):
        """Wait until the job of a UOW has started: its START line is there, though it may have ended since."""
        until(lambda: "==== JOB START" in self.text(name, "currently-executing", *FINISHED),
              lambda: "%r runs; it is in %s\n%s" % (name, self.where(name), self.output()))

    def begun(self, name):
        """Wait until the processes of a run are there: its START line is on disk a moment before."""
        self.running(name)
        self.said("started %s run " % name)

    def held(self, *pieces):
        """Start a Monitor that waits behind the Nth of these pieces of its text while `hold-N` is there; `held-N` tells that it does."""
        text = read_text(MONITOR)
        for number, piece in enumerate(pieces):
            self.assertEqual(text.count(piece), 1)
            before, after = text.split(piece)
            wait = ('if os.path.exists("hold-N"):', '    open("held-N", "w").close()',
                    '    while os.path.exists("hold-N"):', '        time.sleep(0.002)', '    os.unlink("held-N")')
            lines = [re.match(" *", after).group() + line.replace("-N", "-%d" % number) + "\n" for line in wait]
            text = before + piece + "".join(lines) + after
        return self.started(program=self.write("monitor.py", text))

    def copies(self):
        """Return the stamped copies that are being made in wait-q."""
        return [name for name in os.listdir(self.path("wait-q")) if name.startswith(".stamp.")]

    def traced(self, monitor, *options, trace="/dev/null"):
        """Attach strace to a running Monitor and return what detaches it; a trace that is read lies outside of the root."""
        need("strace")
        strace = subprocess.Popen(["strace", "-o", trace, *options, "-p", str(monitor.pid)], stderr=subprocess.PIPE, text=True)

        def detach():
            if strace.poll() is None:
                strace.send_signal(signal.SIGINT)        # it lets go of the Monitor
                strace.communicate(timeout=20)

        self.addCleanup(detach)
        if not any(" attached" in line for line in iter(strace.stderr.readline, "")):        # from here on no call escapes it
            need_root()
            self.fail("strace did not attach")
        return detach

    def asleep(self, monitor):
        """Wait until the Monitor sleeps, and not for a moment only."""
        until(lambda: is_still(monitor.pid), "the Monitor sleeps")

    def is_quiet(self, monitor, wakes=20):
        """See that a Monitor neither wakes often nor is at work all the time."""
        before, used = sleeps_of(monitor.pid), cpu_of(monitor.pid)
        time.sleep(1)                                    # the time in which next to nothing may happen
        self.assertLess(sleeps_of(monitor.pid) - before, wakes)
        self.assertLess(cpu_of(monitor.pid) - used, 0.3)

    def is_silent(self):
        """Tell whether the Monitor says nothing for a while."""
        said = self.output()
        time.sleep(0.5)
        return self.output() == said

    def immutable(self, path):
        """Let nobody change or move a file or directory; return what ends that."""
        need_root()
        need("chattr")
        if subprocess.run(["chattr", "+i", path], stderr=subprocess.DEVNULL).returncode:
            self.skipTest("no immutable files on this file system")
        mend = functools.partial(subprocess.run, ["chattr", "-i", path], stderr=subprocess.DEVNULL)
        self.addCleanup(mend)                            # before the root is removed
        return mend

    def cycles(self, count):
        """Let the Monitor go through so many whole cycles: each answers two messages at most, one of them a late one."""
        for _ in range(2 * count + 1):
            before = self.says().count("counts:")
            self.message("STATUS")
            self.said("counts:", count=before + 1)

    def stamped(self, name, queue="wait-q", seconds=30):
        """Wait until a waiting UOW has its first line and its titles, and is back in its queue."""
        def look():
            try:
                return re.match(r"ENQUEUED|\d{4}-", self.read(queue, name)) and "==== JOB LOG" in self.read(queue, name)
            except FileNotFoundError:
                return False                             # in hand at this moment
        until(look, lambda: "%r is stamped; it is in %s\n%s" % (name, self.where(name), self.output()), seconds)

    def status(self, name):
        """Return the STATUS line of a UOW, wherever it is."""
        return self.text(name).partition("==== STATUS\n")[2].split("\n")[0].rstrip()

    def log(self, name, run=-1):
        """Return what the job of a UOW wrote: the bytes between this run's START line and the newline before END."""
        text = self.text(name).encode("utf-8", "surrogateescape")
        runs = re.findall(rb"==== JOB START \S+ run \S+\n(.*?)\n==== JOB END \S* run \S+ exit \d+[^\n]*\n", text, re.S)
        return runs[run]


class MountedCase(QueueCase):
    """A root on a file system of its own, which `mount` makes; what the Monitor writes and the ledger lie outside of it."""

    def make_root(self):
        need_root()
        need("mount", "umount")
        self.outside = tempfile.mkdtemp(prefix="sjq-outside-")
        self.addCleanup(shutil.rmtree, self.outside)
        self.ledger_path = os.path.join(self.outside, "ledger")
        root = tempfile.mkdtemp(prefix="sjq-")
        self.addCleanup(os.rmdir, root)
        self.mount(root)
        self.addCleanup(self.unmount, root)
        return root

    def mount(self, root):
        raise NotImplementedError

    def unmount(self, root):
        until(lambda: subprocess.run(["umount", root], stderr=subprocess.DEVNULL).returncode == 0, "umount " + root)

    def setUp(self):
        super().setUp()
        open(os.path.join(self.outside, "output"), "w").close()
        os.symlink(os.path.join(self.outside, "output"), self.path(".output"))

    def ledger(self):
        return read_text(self.ledger_path).split() if os.path.exists(self.ledger_path) else []
