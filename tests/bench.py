"""Measure the Monitor against a bare shell loop, task-spooler, nq and itself, and print a table of ratios.

    python3 -B tests/bench.py [--quick] [NAME ...]

Machines differ and are never quiet, so only ratios count: both sides of each are measured in turn in
the same run, and the median of at least five such pairs is printed. Whatever is measured runs in a session of its own, as jobs
do, since the kernel shares processors out among sessions. --quick takes two pairs of a tenth
of the size. NAME chooses among the measurements (all without any): see MEASUREMENTS at the end.
It works below $TMPDIR, which should be on a disk rather than in memory, and needs some 3 GB there.
"""
import hashlib
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

MONITOR = os.environ.get("SJQ_MONITOR") or os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "monitor.py")
QUICK = "--quick" in sys.argv
ROUNDS, LOG_ROUNDS, JOBS, MANY, LOG_BYTES = (2, 2, 100, 10_000, 100_000_000) if QUICK else (5, 9, 1000, 100_000, 1_000_000_000)
DIRECTORIES = ["wait-q", "priority-q", "currently-executing", "done-q", "error-q", "fail-q", "trash", "archive"]
UOW = "==== UNIT OF WORK\nCOMMAND :: %s\n"

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


# The steps of a job that the design asks for, and nothing else: no stamp, no START, no END, no STATUS, no Monitor.
# What no Monitor of this design can be faster than, so it tells which bounds are within reach on a machine.
CARD_STEPS = r"""
import os, shutil, sys
mv, bash, tee = map(shutil.which, ("mv", "bash", "tee"))
def spawn(*argv, files=()):
    return os.posix_spawn(argv[0], argv, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, fd, n) for fd, n in files])
os.chdir(sys.argv[1])
null = os.open(os.devnull, os.O_WRONLY)
for name in sys.argv[2:]:
    os.waitpid(spawn(mv, "-nT", "wait-q/" + name, "currently-executing/" + name), 0)
    read, write = os.pipe()
    jobs = [spawn(tee, "-a", "currently-executing/" + name, files=[(read, 0), (null, 1)]), spawn(bash, "-c", "true", files=[(write, 1)])]
    os.close(read), os.close(write)
    for pid in jobs:
        os.waitpid(pid, 0)
    os.waitpid(spawn(mv, "-nT", "currently-executing/" + name, "done-q/" + name), 0)
"""


class Queue:
    """A queue of its own in a temporary directory, and the Monitors on it."""

    def __init__(self, config=""):
        self.root, self.monitors = tempfile.mkdtemp(prefix="sjq-bench-"), []
        for name in DIRECTORIES + [".staging"]:
            os.mkdir(self.path(name))
        self.config = "settle_seconds :: 0\n" + config

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

    def start(self, worker=1, *flags):
        own = "" if worker == 1 else ("currently_executing :: currently-executing-%d\nmonitor_reads :: monitor_reads-%d\n"
                                      "monitor_says :: monitor_says-%d\nstatus_dir :: status-%d\n" % ((worker,) * 4))
        path = self.write("worker-%d.txt" % worker, self.config + own)
        monitor = subprocess.Popen([sys.executable, "-B", MONITOR, path, *flags], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self.monitors.append(monitor)
        return monitor

    def ready(self, worker=1):
        """Start a Monitor and wait until it has settled down."""
        monitor = self.start(worker)
        wait_for(lambda: b" started: pid " in read(self.path("monitor_says" if worker == 1 else "monitor_says-%d" % worker)))
        wait_for(lambda: sleeps(monitor.pid), 60)
        return monitor

    def stop(self):
        for monitor in self.monitors:
            monitor.terminate()
        for monitor in self.monitors:
            monitor.wait()
        self.monitors = []

    def fill(self, directory, names, text):
        for name in names:
            self.write(os.path.join(directory, name), text)

    def starts(self):
        """Return when jobs were started, in seconds, as monitor_says has it."""
        return [seconds(line.split()[0]) for line in read(self.path("monitor_says")).decode().splitlines() if re.match(r"\S+ started \S+ run", line)]


def read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""


def seconds(text):
    """Return seconds since 1970 of `2026-11-24T02:30:00.123456Z`."""
    import calendar
    return calendar.timegm(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S")) + float("0" + text[19:-1])


def wait_for(condition, limit=120, step=0.002):
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() > end:
            raise SystemExit("bench.py: waited in vain for %g s" % limit)
        time.sleep(step)


def switches(pid):
    """Return how often a process has gone to sleep so far."""
    return int(re.search(rb"\nvoluntary_ctxt_switches:\s+(\d+)", read("/proc/%d/status" % pid)).group(1))


def cpu(pid):
    """Return the seconds of processor time that a process has used so far."""
    return int(read("/proc/%d/schedstat" % pid).split()[0]) / 1e9


def memory(pid, what=b"VmRSS"):
    return int(re.search(what + rb":\s+(\d+)", read("/proc/%d/status" % pid)).group(1)) / 1024


def sleeps(pid):
    """Tell whether a process has done nothing for some time."""
    before = switches(pid), cpu(pid)
    time.sleep(0.5)
    return (switches(pid), cpu(pid)) == before


def timed(action):
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def pairs(ours, *others, rounds=ROUNDS):
    """Measure each in turn, some rounds; return our median and for each other its median and that of the ratios."""
    rows = [[measure() for measure in (ours, *others)] for _ in range(rounds)]
    return statistics.median(row[0] for row in rows), [
        (statistics.median(row[i] for row in rows), statistics.median(row[0] / row[i] for row in rows)) for i in range(1, len(others) + 1)]


def report(what, result, bound=""):
    print("| %s | %s | %s |" % (what, result, bound), flush=True)


# ---- Draining what waits: the same steps as the bare loop

def drain_monitor(durable):
    with Queue("durable :: %s\n" % durable) as queue:
        queue.fill("wait-q", ["job%05d" % i for i in range(JOBS)], UOW % "true")
        took = timed(lambda: queue.start(1, "--until-empty").wait())
        assert len(os.listdir(queue.path("done-q"))) == JOBS
        return took


def drain_loop():
    with Queue() as queue:
        queue.fill("wait-q", ["job%05d" % i for i in range(JOBS)], UOW % "true")
        took = timed(lambda: subprocess.run(["bash", "-c", BARE_LOOP, "loop", queue.root], check=True, start_new_session=True))
        assert len(os.listdir(queue.path("done-q"))) == JOBS
        return took


def drain():
    for durable, bound in (("no", "1.15"), ("yes", "1.4")):
        ours, [(loop, ratio)] = pairs(lambda: drain_monitor(durable), drain_loop)
        report("%d jobs of `true`, `durable :: %s`, against the bare loop" % (JOBS, durable),
               "%.2f (%.1f against %.1f ms a job)" % (ratio, ours / JOBS * 1e3, loop / JOBS * 1e3), "at most " + bound)


# ---- Submitting and draining, against other queues

def submit_monitor(workers):
    """Drop as people do: written elsewhere, then moved in, with one mv for all."""
    with Queue("durable :: no\n") as queue:
        for worker in range(1, workers + 1):
            queue.ready(worker)
        script = "cd \"$1\"/.staging && for ((i = 0; i < $2; i++)); do printf '%s' \"$3\" >job$i; done && mv job* ../wait-q"

        def submit():
            subprocess.run(["bash", "-c", script, "submit", queue.root, str(JOBS), UOW % "true"],
                           stderr=subprocess.DEVNULL)        # mv looks at what it has moved: now and then the Monitor was quicker
            wait_for(lambda: len(os.listdir(queue.path("done-q"))) == JOBS, step=0.02)
        return timed(submit)


def submit_steps(workers):
    """Run the design's own steps alone, for as many jobs, by as many processes at a time."""
    with Queue() as queue:
        names = ["job%05d" % i for i in range(JOBS)]
        queue.fill("wait-q", names, UOW % "true")

        def work():
            running = [subprocess.Popen([sys.executable, "-I", "-S", "-c", CARD_STEPS, queue.root, *names[i::workers]]) for i in range(workers)]
            assert not any([process.wait() for process in running])
        took = timed(work)
        assert len(os.listdir(queue.path("done-q"))) == JOBS
        return took


def other(script, **environment):
    place = tempfile.mkdtemp(prefix="sjq-bench-")
    try:
        environment = {key: value % place for key, value in environment.items()}
        return timed(lambda: subprocess.run(["bash", "-c", script, "submit", str(JOBS)], check=True, start_new_session=True, env=dict(os.environ, TMPDIR=place, **environment)))
    finally:
        if "TS_SOCKET" in environment:
            subprocess.run(["tsp", "-K"], env=dict(os.environ, **environment), check=True)
            wait_for(lambda: not os.path.exists(environment["TS_SOCKET"]), 10)
        shutil.rmtree(place, ignore_errors=True)


def submit_tsp(slots, job):
    return other("tsp -S %d; for ((i = 0; i < $1; i++)); do tsp %s >/dev/null; done; "
                 "while case $(tsp -l) in *queued*|*running*) true;; *) false;; esac; do sleep 0.02; done" % (slots, job), TS_SOCKET="%s/socket")


def submit_nq():
    return other("for ((i = 0; i < $1; i++)); do nq -q true; done; nq -q -w", NQDIR="%s")


def submit():
    if not (shutil.which("tsp") and shutil.which("nq")):
        report("against task-spooler and nq", "not measured: apt-get install task-spooler nq")
        return
    def table(what, ours, others):
        measured, against = pairs(ours, *(measure for _, _, measure in others))
        for (name, bound, _), (theirs, ratio) in zip(others, against):
            report("%s, against %s" % (what, name), "%.2f (%.1f against %.1f ms a job)" % (ratio, measured / JOBS * 1e3, theirs / JOBS * 1e3),
                   bound and "at most " + bound)
    table("submit and drain %d jobs of `true`, one Monitor" % JOBS, lambda: submit_monitor(1), [
        ("nq", "0.5", submit_nq), ("task-spooler", "1.6", lambda: submit_tsp(1, "true")),
        ("task-spooler with `bash -c true`", "", lambda: submit_tsp(1, "bash -c true")),
        ("the design's own steps alone", "", lambda: submit_steps(1))])
    table("the design's own steps alone, one after another", lambda: submit_steps(1), [
        ("nq", "", submit_nq), ("task-spooler", "", lambda: submit_tsp(1, "true"))])
    table("submit and drain with two Monitors", lambda: submit_monitor(2), [
        ("task-spooler", "1", lambda: submit_tsp(1, "true")), ("task-spooler with two slots", "", lambda: submit_tsp(2, "true")),
        ("the same with `bash -c true`", "", lambda: submit_tsp(2, "bash -c true")), ("one Monitor", "", lambda: submit_monitor(1)),
        ("the design's own steps alone, two at a time", "", lambda: submit_steps(2))])
    table("the design's own steps alone, two at a time", lambda: submit_steps(2), [("task-spooler", "", lambda: submit_tsp(1, "true"))])


# ---- Latency: from the drop of a file that has settled to its START line

def latency_of(queue, count):
    found = []
    for i in range(count):
        staged = queue.write(".staging/late%d" % i, UOW % "true")
        os.utime(staged, (1, 1))
        monitor = queue.monitors[0]
        wait_for(lambda: sleeps(monitor.pid), 60)
        began = time.time()
        os.rename(staged, queue.path("wait-q", "late%d" % i))
        wait_for(lambda: os.path.exists(queue.path("done-q", "late%d" % i)))
        text = read(queue.path("done-q", "late%d" % i)).decode()
        found.append(seconds(re.search(r"JOB START (\S+)", text).group(1)) - began)
        os.unlink(queue.path("done-q", "late%d" % i))
    return statistics.median(found) * 1e3


def latency():
    with Queue("durable :: no\n") as few, Queue("durable :: no\n") as many:
        many.fill("done-q", ["old%06d" % i for i in range(MANY)], finished())
        few.ready()
        many.ready()
        rows = [(latency_of(few, 5), latency_of(many, 5)) for _ in range(ROUNDS)]
        report("settled drop to JOB START, idle Monitor, median", "%.1f ms" % statistics.median(row[0] for row in rows), "under 10 ms")
        report("the same with %d finished UOWs around" % MANY, "%.1f ms, ratio %.2f" % (
            statistics.median(row[1] for row in rows), statistics.median(row[1] / row[0] for row in rows)), "does not grow")


def waiting(at="2026-11-24T02:30:00.000000Z"):
    return "ENQUEUED :: %s by root\n\n%s\n==== STATUS\n%s\n\n==== JOB LOG\n" % (at, UOW % "true", " " * 78)


def finished():
    run = "==== JOB START 2026-11-24T02:30:07.000000Z run 5f3a1c22-1\n\n==== JOB END 2026-11-24T02:30:07.000000Z run 5f3a1c22-1 exit 0\n"
    return waiting().replace(" " * 78, "done: exit 0 after 0.0 s".ljust(78)) + run


# ---- Itself with few files and with many

def per_job(queue, jobs):
    """Start the Monitor and return the seconds a job takes, once it is under way."""
    before = len(queue.starts())
    queue.start()
    wait_for(lambda: len(queue.starts()) >= before + jobs, step=0.05)
    queue.stop()
    starts = queue.starts()[before + jobs // 10:before + jobs]
    return (starts[-1] - starts[0]) / (len(starts) - 1)


def many():
    some = max(100, JOBS // 4)
    with Queue("durable :: no\n") as small, Queue("durable :: no\n") as big:
        big.fill("done-q", ["old%06d" % i for i in range(MANY)], finished())
        big.fill("wait-q", ["job%06d" % i for i in range(MANY)], waiting())
        small.fill("done-q", ["old%06d" % i for i in range(100)], finished())
        rounds = iter(range(100))

        def cost_small():
            mark = next(rounds)
            small.fill("wait-q", ["job%d-%05d" % (mark, i) for i in range(some + 100)], waiting())
            took = per_job(small, some)
            for directory in ("wait-q", "done-q"):
                for name in os.listdir(small.path(directory)):
                    if name.startswith("job"):
                        os.unlink(small.path(directory, name))
            return took
        ours, [(few, ratio)] = pairs(lambda: per_job(big, some), cost_small)
        report("cost of a job with %d waiting and %d finished, against 100 of each" % (MANY, MANY),
               "%.2f (%.1f against %.1f ms)" % (ratio, ours * 1e3, few * 1e3), "at most 1.2")


def arrival():
    with Queue("durable :: no\n") as queue:
        os.mkdir(queue.path(".new"))
        queue.fill(".new", ["j%06d" % i for i in range(MANY)], UOW % "true")
        queue.ready()
        mover = subprocess.Popen(["bash", "-c", 'cd "$1"/.new && printf "%s\\0" * | xargs -0 -n 200000 -s 2000000 mv -t ../wait-q --', "move", queue.root])
        began = time.time()
        mover.wait()
        moved = time.time() - began
        wait_for(lambda: queue.starts(), step=0.02)
        first = queue.starts()[0] - began
        asked, answers = time.time(), []
        for _ in range(ROUNDS):
            asked = time.time()
            before = read(queue.path("monitor_says")).count(b" counts: ")
            with open(queue.path("monitor_reads"), "a") as file:
                file.write("STATUS\n")
            wait_for(lambda: read(queue.path("monitor_says")).count(b" counts: ") > before)
            answers.append(time.time() - asked)
        report("%d new files by one `mv` (it took %.1f s): first JOB START" % (MANY, moved), "%.1f s after the mv began" % first, "3 s")
        report("STATUS answered meanwhile, worst of %d" % ROUNDS, "%.2f s" % max(answers), "")


# ---- Idle

def memory_used():
    with Queue("durable :: no\n") as queue:
        monitor = queue.ready()
        idle = memory(monitor.pid)
        queue.stop()
        queue.write("currently-executing/.paused", "")               # so that all of them are judged and none is run
        queue.fill("wait-q", ["job%06d" % i for i in range(MANY)], waiting())
        monitor = queue.start()
        wait_for(lambda: read(queue.path("monitor_says")).count(b" started: pid ") == 2 and sleeps(monitor.pid), 300)
        report("memory, idle / most with %d waiting" % MANY, "%.0f / %.0f MB" % (idle, memory(monitor.pid, b"VmHWM")), "30 / 150 MB")


def idle():
    with Queue("durable :: no\nsleep_seconds :: 30\n") as queue:
        queue.fill("done-q", ["old%06d" % i for i in range(MANY)], finished())
        monitor = queue.ready()
        time.sleep(2)
        wait_for(lambda: sleeps(monitor.pid), 60)
        before, used = switches(monitor.pid), cpu(monitor.pid)
        time.sleep(5)
        report("idle with %d finished, 5 s: wakes, CPU" % MANY, "%d, %.3f ms" % (switches(monitor.pid) - before, (cpu(monitor.pid) - used) * 1e3), "0, 0")
        costs = []
        for i in range(ROUNDS * 2):
            used = cpu(monitor.pid)
            os.mkdir(queue.path("wait-q", ".poke%d" % i))            # a change that brings nothing
            time.sleep(1.2)
            costs.append((cpu(monitor.pid) - used) * 1e3)
        report("CPU of one wake with %d finished, status page included" % MANY, "%.1f ms" % statistics.median(costs), "under 20 ms")


def storm():
    for place in ("", "wait-q", "currently-executing"):
        with Queue("durable :: no\n") as queue:
            monitor, ended = queue.ready(), threading.Event()

            def write():
                while not ended.is_set():
                    for _ in range(100):
                        with open(queue.path(place, ".growing"), "a") as file:
                            file.write("x\n")
                    ended.wait(0.005)
            thread = threading.Thread(target=write)
            thread.start()
            time.sleep(1)
            before, began = switches(monitor.pid), time.monotonic()
            time.sleep(5)
            rate = (switches(monitor.pid) - before) / (time.monotonic() - began)
            ended.set()
            thread.join()
            lines = os.path.getsize(queue.path(place, ".growing")) / 2 / 6
            report("a file in %s appended to %.0f times a second: wakes a second" % (place or "the root", lines), "%.1f" % rate, "at most 10")


# ---- A long log

def log():
    command = "head -c %d /dev/zero | tr '\\0' x" % LOG_BYTES
    with Queue("durable :: no\n") as queue:
        monitor = queue.ready()
        before, filing, checked = memory(monitor.pid), {"long": [], "short": []}, []

        def job(name, text):
            os.sync()                                # or each pays for what the one before it left unwritten
            os.rename(queue.write(".staging/" + name, UOW % (text + "; date +%s.%N >.ended")), queue.path("wait-q", name))
            path = queue.path("done-q", name)
            wait_for(lambda: os.path.exists(path), 600, 0.001)
            ended = float(read(queue.path(".ended")))
            filing[name].append(time.time() - ended)
            with open(path, "rb") as file:
                head = file.read(4096)
                begin = head.index(b"\n", head.index(b"==== JOB START")) + 1
                if name == "long" and not checked:
                    checked.append(digest(file, begin))
            os.unlink(path)
            return ended - seconds(head[:begin].split()[-3].decode())

        def bare():
            queue.write(".bare", waiting())          # a UOW, too: blocks that do not begin with the log cost a tenth more
            os.sync()
            took = timed(lambda: subprocess.run(["bash", "-c", command + " | tee -a \"$0\" >/dev/null", queue.path(".bare")], check=True, start_new_session=True))
            os.unlink(queue.path(".bare"))
            return took
        ours, [(theirs, ratio)] = pairs(lambda: job("long", command), bare, rounds=LOG_ROUNDS)       # disks are noisier still
        for _ in range(ROUNDS):
            job("short", "printf 0123456789")
        assert checked == [same_bytes()], "the log is not what the job wrote"
        report("a job that writes %d MB, against the bare `cmd \\| tee -a`" % (LOG_BYTES // 1_000_000),
               "%.2f (%.2f against %.2f s), bytes exact" % (ratio, ours, theirs), "at most 1.1")
        report("end of the command to its file in done-q, against a job of ten bytes",
               "%.1f against %.1f ms" % (statistics.median(filing["long"]) * 1e3, statistics.median(filing["short"]) * 1e3), "not slower")
        report("the Monitor's memory grew by", "%.1f MB" % (memory(monitor.pid) - before), "flat")


def digest(file, begin):
    """Return the hash of what the job wrote, as far as it should reach."""
    file.seek(begin)
    exact = hashlib.sha256()
    for _ in range(LOG_BYTES // 1_000_000):
        exact.update(file.read(1_000_000))
    assert file.read(200).startswith(b"\n==== JOB END "), "the log is longer than what the job wrote"
    return exact.digest()


def same_bytes():
    exact, block = hashlib.sha256(), b"x" * 1_000_000
    for _ in range(LOG_BYTES // 1_000_000):
        exact.update(block)
    return exact.digest()


def machine():
    def first_line(*argv):
        try:
            return subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout.decode().splitlines()[0]
        except (OSError, IndexError):
            return argv[0] + " is missing"
    model = re.search(r"model name\s*: (.*)", read("/proc/cpuinfo").decode())
    system = first_line("stat", "-f", "-c", "%T", tempfile.gettempdir())
    print("%s, %d cores, Linux %s, %s on %s; Python %s, %s, %s, %s; load %.1f, %s\n" % (
        model.group(1) if model else platform.machine(), os.cpu_count(), platform.release(), system, tempfile.gettempdir(), platform.python_version(),
        first_line("bash", "--version").split("(")[0], first_line("mv", "--version"), first_line("tsp", "-V").split(" - ")[0],
        os.getloadavg()[0], time.strftime("%Y-%m-%d")))
    print("Repeat it with `python3 -B tests/bench.py`: medians of %d pairs.\n" % ROUNDS)


MEASUREMENTS = {measure.__name__: measure for measure in (drain, submit, latency, many, arrival, memory_used, idle, storm, log)}


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
