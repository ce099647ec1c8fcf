"""Measure the Monitor against a bare shell loop, nq, task-spooler and itself, and print a table.

    python3 -B tests/bench.py [--quick] [NAME ...]

Machines differ and are never quiet, so ratios count most: both sides of each are measured in turn in the same run, and
the median of five such pairs is printed. Whatever is measured runs in a session of its own, as jobs do, since the
kernel shares processors out among sessions. On a busy machine put `chrt -r 1` before the command: it keeps others out
on both sides. --quick takes two pairs of a tenth of the size. NAME chooses among the measurements (MEASUREMENTS at the
end; all without any). It works below $TMPDIR, which should be on a disk, and needs some 3 GB there.

The README's table is of a run of 2026-11-28 by `chrt -r 1`, on 2 cores of an AMD EPYC; Linux 6.18, ext4, Python 3.11,
bash 5.2, coreutils 9.1, nq 0.3.1, task-spooler 1.0.1. What it does not tell (in brackets the bounds):

    against task-spooler, bash -c true                                   3.5
    STATUS answered meanwhile, median and worst of five                  0.37 and 0.90 s (0.5: missed just after the start)
    of the first hundred after that, over twice the median               4 (0: missed; median 7.1, worst 19 ms)

Later, on 2 cores that took 17 ms for a job of the bare loop instead of 7: 1.32 and 1.51 in the first row, 1.10 for a
job beside 100,000; by itself, without chrt, STATUS in 0.2 to 0.3 s just after the start.
"""
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from tests import helpers

MONITOR = os.environ.get("SJQ_MONITOR") or helpers.MONITOR
QUICK = "--quick" in sys.argv
ROUNDS, SIZE = (2, 100) if QUICK else (5, 1000)
JOBS, FEW, MANY, LOG_BYTES = SIZE, 10 * SIZE, 100 * SIZE, 1_000_000 * SIZE
UOW = "==== UNIT OF WORK\nCOMMAND :: %s\n"
WAITING = ("ENQUEUED :: 2026-11-24T02:30:00.000000Z by root\n\n" + UOW + "\n==== STATUS\n%-78s\n\n==== JOB LOG\n")
RUN = "2026-11-24T02:30:07.000000Z run 5f3a1c22-1-1-1"
FINISHED = WAITING % ("true", "done: exit 0 after 0.0 s") + "==== JOB START %s\n\n==== JOB END %s exit 0\n" % (RUN, RUN)

# What the Monitor does for each job, by hand. Less than it does: no lock, no limit, no marks, no log of what was done.
BARE_LOOP = r"""cd "$1" || exit
export UOW_COMMAND=true
for f in wait-q/*; do
  n=${f##*/}
  { printf 'ENQUEUED :: %s by %s\n\n' "$(date -u +%Y-%m-%dT%H:%M:%S.%6NZ)" "$USER"; cat "$f"
    printf '\n==== STATUS\n%78s\n\n==== JOB LOG\n' ''; } >currently-executing/.new
  mv currently-executing/.new "$f"
  mv -nT "$f" "currently-executing/$n"
  bash -c 'eval "$UOW_COMMAND"' 2>&1 | tee -a "currently-executing/$n" >/dev/null
  mv -nT "currently-executing/$n" "done-q/$n"
done"""


class Queue:
    """A queue of its own in a temporary directory, and the Monitor on it."""

    def __init__(self, config="durable :: no\n"):
        self.root, self.monitor = tempfile.mkdtemp(prefix="sjq-bench-"), None
        for name in [*helpers.QUEUES, "archive", ".staging"]:
            os.mkdir(self.path(name))
        self.write("config.txt", "settle_seconds :: 0\n" + config)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.root)

    def path(self, *parts):
        return os.path.join(self.root, *parts)

    def write(self, name, text):
        with open(self.path(name), "w") as file:
            file.write(text)
        return self.path(name)

    def fill(self, directory, names, text):
        for name in names:
            self.write(os.path.join(directory, name), text)

    def start(self, *flags):
        argv = [sys.executable, "-B", MONITOR, self.path("config.txt"), *flags]
        null = subprocess.DEVNULL
        self.monitor = subprocess.Popen(argv, stdin=null, stdout=null, start_new_session=True)
        return self.monitor

    def ready(self):
        """Start the Monitor and wait until it has settled down; return its pid."""
        self.start()
        wait_for(lambda: b" started: pid " in read(self.path("monitor_says")))
        wait_for(lambda: sleeps(self.monitor.pid))
        return self.monitor.pid

    def stop(self):
        if self.monitor:
            self.monitor.terminate()
            self.monitor.wait()
            self.monitor = None

    def starts(self):
        """Return (when, name) of each job that was started, as monitor_says has it."""
        lines = re.findall(r"^(\S+) started (\S+) run", read(self.path("monitor_says")).decode(), re.M)
        return [(seconds(at), name) for at, name in lines]

    def asked(self):
        """Return how long the Monitor takes to answer STATUS."""
        began, before = time.time(), read(self.path("monitor_says")).count(b" counts: ")
        with open(self.path("monitor_reads"), "a") as file:
            file.write("STATUS\n")
        wait_for(lambda: read(self.path("monitor_says")).count(b" counts: ") > before)
        return time.time() - began


def read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""


def wait_for(condition, limit=300, step=0.002):
    helpers.until(condition, "bench.py waited in vain", limit, step)


def writing(path):
    """Append to a file some thousand times a second, while the block runs."""
    def append(_):
        with open(path, "a") as file:
            file.write("x\n")
    return helpers.Writer(append)


def seconds(text):
    """Return seconds since 1970 of `2026-11-24T02:30:00.123456Z`."""
    return datetime.fromisoformat(text[:26] + "+00:00").timestamp()


def cpu(pid):
    """Return the milliseconds of processor time that a process has used so far."""
    return int(read("/proc/%d/schedstat" % pid).split()[0]) / 1e6


def memory(pid, what=b"VmRSS"):
    return int(re.search(what + rb":\s+(\d+)", read("/proc/%d/status" % pid)).group(1)) / 1024


def sleeps(pid):
    """Tell whether a process has done nothing for some time."""
    before = helpers.sleeps_of(pid), cpu(pid)
    time.sleep(0.5)
    return (helpers.sleeps_of(pid), cpu(pid)) == before


def timed(action):
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def pairs(ours, *others, rounds=ROUNDS):
    """Measure each in turn, some rounds; return our median, and for each other its median and that of the ratios."""
    rows, median = [[measure() for measure in (ours, *others)] for _ in range(rounds)], statistics.median
    return median(row[0] for row in rows), [
        (median(row[i] for row in rows), median(row[0] / row[i] for row in rows)) for i in range(1, len(others) + 1)]


def report(what, result, bound=""):
    print("| %s | %s | %s |" % (what, result, bound), flush=True)


def a_job(ours, theirs, ratio, jobs=JOBS):
    return "%.2f (%.1f against %.1f ms a job)" % (ratio, ours / jobs * 1e3, theirs / jobs * 1e3)


# ---- Draining what waits: the same steps as the bare loop

def drained(action, config="durable :: no\n"):
    with Queue(config) as queue:
        queue.fill("wait-q", ["job%05d" % i for i in range(JOBS)], UOW % "true")
        took = timed(lambda: action(queue))
        assert len(os.listdir(queue.path("done-q"))) == JOBS
        return took


def drain():
    def loop(queue):
        subprocess.run(["bash", "-c", BARE_LOOP, "loop", queue.root], check=True, start_new_session=True)

    def ends(queue):
        queue.start("--until-empty").wait()
    for durable, bound in (("no", "1.0"), ("yes", "1.2")):
        ours, [(theirs, ratio)] = pairs(lambda: drained(ends, "durable :: %s\n" % durable), lambda: drained(loop))
        report("%d jobs of `true`, `durable :: %s`, against the bare loop" % (JOBS, durable),
               a_job(ours, theirs, ratio), "at most " + bound)


# ---- Submitting and draining, against other queues

def submit_monitor():
    """Drop as people do: written elsewhere, then moved in, with one mv for all."""
    script = "cd \"$1\"/.staging && for ((i = 0; i < $2; i++)); do printf '%s' \"$3\" >job$i; done; mv job* ../wait-q"
    with Queue() as queue:
        queue.ready()

        def submit():                            # mv looks at what it has moved: now and then the Monitor was quicker
            argv = ["bash", "-c", script, "submit", queue.root, str(JOBS), UOW % "true"]
            subprocess.run(argv, stderr=subprocess.DEVNULL)
            wait_for(lambda: len(os.listdir(queue.path("done-q"))) == JOBS, step=0.02)
        return timed(submit)


def other(script, **environment):
    place = tempfile.mkdtemp(prefix="sjq-bench-")
    environment = dict(os.environ, TMPDIR=place, **{key: value % place for key, value in environment.items()})
    try:
        argv = ["bash", "-c", script, "submit", str(JOBS)]
        return timed(lambda: subprocess.run(argv, check=True, start_new_session=True, env=environment))
    finally:
        if "TS_SOCKET" in environment:
            subprocess.run(["tsp", "-K"], env=environment, check=True)
            wait_for(lambda: not os.path.exists(environment["TS_SOCKET"]), 10)
        shutil.rmtree(place, ignore_errors=True)


def submit_tsp(job):
    return other("for ((i = 0; i < $1; i++)); do tsp %s >/dev/null; done; while case $(tsp -l) in "
                 "*queued*|*running*) true;; *) false;; esac; do sleep 0.02; done" % job, TS_SOCKET="%s/socket")


def submit_nq():
    return other("for ((i = 0; i < $1; i++)); do nq -q true; done; nq -q -w", NQDIR="%s")


def submit():
    if not (shutil.which("tsp") and shutil.which("nq")):
        return report("against task-spooler and nq", "not measured: apt-get install task-spooler nq")
    others = {"nq": submit_nq, "task-spooler": lambda: submit_tsp("true"),
              "task-spooler with `bash -c true`": lambda: submit_tsp("bash -c true")}
    ours, against = pairs(submit_monitor, *others.values())
    for name, (theirs, ratio) in zip(others, against):
        report("submit and drain %d jobs of `true`, against %s" % (JOBS, name), a_job(ours, theirs, ratio))


# ---- Latency: from the drop of a file that has settled to its START line

def dropped(queue, awake=False):
    """Return the milliseconds from a drop to JOB START; the Monitor sleeps before, unless something keeps it awake."""
    name = "late%d" % len(queue.starts())
    staged = queue.write(".staging/" + name, UOW % "true")
    os.utime(staged, (1, 1))
    time.sleep(0.5) if awake else wait_for(lambda: sleeps(queue.monitor.pid), 60)
    began = time.time()
    os.rename(staged, queue.path("wait-q", name))
    wait_for(lambda: os.path.exists(queue.path("done-q", name)))
    at = re.search(r"JOB START (\S+)", read(queue.path("done-q", name)).decode()).group(1)
    return (seconds(at) - began) * 1e3


def latency():
    with Queue() as few, Queue() as many:
        many.fill("done-q", ["old%06d" % i for i in range(MANY)], FINISHED)
        few.ready(), many.ready()
        rows = []
        for _ in range(ROUNDS * 3):
            rows.append([dropped(few), dropped(many)])
            with writing(few.path("growing")):
                rows[-1].append(dropped(few, awake=True))
        plain, finished, written = (statistics.median(row[i] for row in rows) for i in range(3))
        report("settled drop to JOB START, idle Monitor", "%.1f ms" % plain, "at most 6")
        report("the same with %d finished UOWs around" % MANY, "%.1f ms" % finished, "at most 6")
        report("the same while another program writes into the root", "%.1f ms" % written, "at most 6")


# ---- Many files: itself with few and with many

def begun(queue, jobs):
    """Start the Monitor; return the seconds to its first job, those of a job from then on, the names, and the MB."""
    before, began = len(queue.starts()), time.time()
    queue.start()
    wait_for(lambda: len(queue.starts()) >= before + jobs, step=0.05)
    most = memory(queue.monitor.pid, b"VmHWM")
    queue.stop()
    starts = queue.starts()[before:before + jobs]
    return starts[0][0] - began, (starts[-1][0] - starts[0][0]) / (jobs - 1), [name for _, name in starts], most


def many():
    some, seen = max(100, JOBS // 4), []
    with Queue() as small, Queue() as big:
        big.fill("done-q", ["old%06d" % i for i in range(MANY)], FINISHED)
        big.fill("wait-q", ["job%06d" % i for i in range(MANY)], WAITING % ("true", ""))
        small.fill("done-q", ["old%06d" % i for i in range(100)], FINISHED)

        def cost_small():
            small.fill("wait-q", ["job%05d" % i for i in range(some + 100)], WAITING % ("true", ""))
            took = begun(small, some)[1]
            for directory in ("wait-q", "done-q"):
                for name in filter(re.compile("job").match, os.listdir(small.path(directory))):
                    os.unlink(small.path(directory, name))
            return took

        def cost_big():
            seen.append(begun(big, some))
            return seen[-1][1]
        ours, [(theirs, ratio)] = pairs(cost_big, cost_small)
        names = [name for row in seen for name in row[2]]
        assert names == sorted(names), "not in order"
        report("%d waiting and %d finished: start to first job" % (MANY, MANY),
               "%.1f s, all in exact order" % statistics.median(row[0] for row in seen), "at most 5 s")
        report("cost of a job from then on, against 100 of each", a_job(ours, theirs, ratio, 1), "at most 1.2")
        big.start()
        wait_for(lambda: len(big.starts()) > len(names))
        answers = [big.asked() for _ in range(ROUNDS)]
        report("STATUS answered meanwhile, median / worst of %d" % ROUNDS,
               "%.2f / %.2f s" % (statistics.median(answers), max(answers)), "at most 0.5 s")
        small.ready()
        report("memory, idle / most with these",
               "%.0f / %.0f MB" % (memory(small.monitor.pid), max(row[3] for row in seen)), "at most 100 MB")


def arrival():
    script = 'cd "$1"/.new && printf "%s\\0" * | xargs -0 -n 200000 -s 2000000 mv -t ../wait-q --'
    with Queue() as queue:
        os.mkdir(queue.path(".new"))
        queue.fill(".new", ["j%06d" % i for i in range(MANY)], UOW % "true")
        queue.ready()
        began = time.time()
        took = timed(lambda: subprocess.run(["bash", "-c", script, "move", queue.root], check=True))
        wait_for(lambda: len(queue.starts()) > 250, step=0.02)
        starts = [at for at, _ in queue.starts()]
        gaps = [after - before for before, after in zip(starts, starts[1:])]
        judging = gaps.index(max(gaps))              # all that came meanwhile is judged before the next one
        first, usual = gaps[judging + 1:judging + 101], statistics.median(gaps[judging + 101:])
        report("%d new files by one `mv` (it took %.1f s): first job" % (MANY, took),
               "%.1f s after the mv began; %.1f s when all were judged" % (
                   starts[0] - began, starts[judging + 1] - began),
               "at most 8 s")
        slow = sum(gap > 2 * usual for gap in first)
        report("of the first hundred after that took more than twice the median of those behind them",
               "%d (median %.1f, worst %.1f, behind %.1f ms)" % (
                   slow, statistics.median(first) * 1e3, max(first) * 1e3, usual * 1e3), "0")
        report("STATUS answered meanwhile, worst of %d" % ROUNDS, "%.2f s" % max(queue.asked() for _ in range(ROUNDS)))


# ---- Idle

def idle():
    with Queue() as queue:
        queue.fill("done-q", ["old%06d" % i for i in range(FEW)], FINISHED)
        pid = queue.ready()
        time.sleep(2)                                # by then all is listed for good
        wait_for(lambda: sleeps(pid), 60)
        costs = []
        for i in range(ROUNDS * 2):
            used = cpu(pid)
            queue.write("wait-q/poke%d.tmp" % i, "")             # a change that brings nothing
            time.sleep(1.2)
            costs.append(cpu(pid) - used)
        report("CPU of one wake with %d finished, status page included" % FEW,
               "%.2f ms" % statistics.median(costs), "at most 1 ms")
        if not shutil.which("strace"):
            return report("system calls between wakes", "not measured: no strace")
        before = helpers.sleeps_of(pid)
        wait_for(lambda: helpers.sleeps_of(pid) > before, 60)             # the next wake is sleep_seconds after this one
        wait_for(lambda: sleeps(pid), 60)
        argv = ["timeout", "-s", "INT", "10", "strace", "-f", "-p", str(pid)]
        trace = subprocess.run(argv, stderr=subprocess.PIPE).stderr
        calls = [line for line in trace.splitlines() if b"strace:" not in line and b"detached" not in line]
        report("system calls in 10 s between wakes", str(len(calls)), "0")


def storm():
    for place in ("", "wait-q", "currently-executing"):
        with Queue() as queue:
            pid, path = queue.ready(), queue.path(place, ".growing")
            with writing(path):
                time.sleep(1)
                before, began, size = helpers.sleeps_of(pid), time.monotonic(), os.path.getsize(path)
                time.sleep(5)
                rate = (helpers.sleeps_of(pid) - before) / (time.monotonic() - began)
                lines = (os.path.getsize(path) - size) / 10
            what = "%s written to %.0f times a second: wakes a second"
            report(what % (place or "the root", lines), "%.1f" % rate, "at most 10")


# ---- A long log

def log():
    command = "head -c %d /dev/zero | tr '\\0' x" % LOG_BYTES
    with Queue() as queue:
        pid = queue.ready()
        before, filing = memory(pid), {"long": [], "short": []}

        def job(name, text):
            """Run a job; return its seconds from START to the end of its command, and note how long its filing took."""
            os.sync()                                # or each pays for what the one before it left unwritten
            staged = queue.write(".staging/" + name, UOW % (text + "; date +%s.%N >.ended"))
            os.rename(staged, queue.path("wait-q", name))
            path = queue.path("done-q", name)
            wait_for(lambda: os.path.exists(path), 600, 0.0005)
            filed, ended = time.time(), float(read(queue.path(".ended")))
            filing[name].append((filed - ended) * 1e3)
            with open(path, "rb") as file:
                head = file.read(4096)
                begin = head.index(b"\n", head.index(b"==== JOB START")) + 1
                if name == "long" and len(filing[name]) == 1:
                    check_bytes(file, begin)
            run = queue.path("currently-executing", ".run")
            wait_for(lambda: not os.listdir(run))    # else it is filed once more
            os.unlink(path)
            return ended - seconds(head[:begin].split()[-3].decode())

        def bare():
            queue.write(".bare", WAITING % ("", ""))     # blocks that do not begin with the log cost a tenth more
            os.sync()
            argv = ["bash", "-c", command + " | tee -a \"$0\" >/dev/null", queue.path(".bare")]
            took = timed(lambda: subprocess.run(argv, check=True, start_new_session=True))
            os.unlink(queue.path(".bare"))
            return took
        ours, [(theirs, ratio)] = pairs(lambda: job("long", command), bare)
        for _ in range(ROUNDS * 2):
            job("short", "printf 0123456789")
        long, short = (statistics.median(filing[name]) for name in ("long", "short"))
        report("a job that writes %d MB, against the bare `cmd \\| tee -a`" % (LOG_BYTES // 1_000_000),
               "%.2f (%.2f against %.2f s), bytes exact" % (ratio, ours, theirs), "at most 1.1")
        report("end of the command to its file in done-q, against a job of ten bytes",
               "%.1f ms later (%.1f against %.1f)" % (long - short, long, short), "at most 2 ms later")
        report("the Monitor's memory grew by", "%.1f MB" % (memory(pid) - before), "")


def check_bytes(file, begin):
    """See that the log is what the job wrote, and no more."""
    file.seek(begin)
    piece = b"x" * 1_000_000
    assert all(file.read(len(piece)) == piece for _ in range(LOG_BYTES // len(piece))), "the log is not what the job wrote"
    assert file.read(200).startswith(b"\n==== JOB END "), "the log is longer than what the job wrote"


def machine():
    def first_line(*argv):
        return subprocess.run(argv, capture_output=True, text=True).stdout.partition("\n")[0] if shutil.which(argv[0]) else argv[0] + " is missing"
    model = re.search(r"model name\s*: (.*)", helpers.read_text("/proc/cpuinfo"))
    print("%s, %d cores, Linux %s, %s on %s; Python %s, %s, %s, %s; load %.1f, %s; medians of %d pairs\n" % (
        model.group(1) if model else platform.machine(), os.cpu_count(), platform.release(),
        first_line("stat", "-f", "-c", "%T", tempfile.gettempdir()), tempfile.gettempdir(), platform.python_version(),
        first_line("bash", "--version").split("(")[0], first_line("mv", "--version"),
        first_line("tsp", "-V").split(" - ")[0], os.getloadavg()[0], time.strftime("%Y-%m-%d"), ROUNDS))


MEASUREMENTS = {measure.__name__: measure for measure in (drain, submit, latency, many, arrival, idle, storm, log)}


def main():
    chosen = [word for word in sys.argv[1:] if not word.startswith("-")]
    if set(chosen) - set(MEASUREMENTS) or set(sys.argv[1:]) - set(chosen) - {"--quick"}:
        raise SystemExit("usage: bench.py [--quick] [%s]" % " ".join(MEASUREMENTS))
    machine()
    print("| measured | result | bound |\n|---|---|---|", flush=True)
    for name in chosen or MEASUREMENTS:
        MEASUREMENTS[name]()


if __name__ == "__main__":
    main()
