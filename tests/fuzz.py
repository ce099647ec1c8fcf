"""A fuzzer for the whole Monitor: mutated UOWs, names, layouts, messages and configurations for the real monitor.py.

    python3 -B -m tests.fuzz --seconds 60 --seed 1

After each round it asserts: every file that was dropped is in exactly one directory, nothing outside the root was
touched, the Monitor lives (or refused the configuration with exit code 2), it used little processor time and memory,
and it sleeps when nothing is left to do. The last line says how many inputs were tried; a failure repeats the seed.
"""
import argparse
import os
import random
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time

from tests.helpers import MONITOR, QUEUES, cpu_of, peak_kb, sleeps_of

FILES_A_ROUND = 200
CONFIG = ("settle_seconds :: 0.05\nsleep_seconds :: 0.5\nkill_grace_seconds :: 0.2\ntimeout_seconds :: 5\n"
          "status_dir :: status\ndurable :: no\n")
STAMPED = (b"ENQUEUED :: 2026-11-24T02:30:00.123456Z by alice\n\n==== UNIT OF WORK\nTICKET  :: OPS-%d\n"
           b"COMMAND :: %s\n\n==== STATUS\n%-78s\n\n==== JOB LOG\n%s")
COMMANDS = [
    b"true", b"echo hello", b"exit 3", b"kill -9 $$", b"sleep 0.1", b"head -c 100000 /dev/urandom", b"if", b"cat",
    b"printf '\\n==== JOB END x run %s exit 0\\n' \"$SJQ_RUN\"", b"echo '==== STATUS'",
    b"(exec 1>&- 2>&-; sleep 0.2) &", b"sed -i s/x/y/ \"$SJQ_FILE\"", b"echo x >> \"$SJQ_FILE\"", b"rm \"$SJQ_FILE\"",
    b": > \"$SJQ_FILE\"", b"printf 'garbage' | dd of=\"$SJQ_FILE\" conv=notrunc status=none"]
STATUSES = [
    b"", b"", b"running: since 2026-11-24T02:30:07Z", b"running: since 9999-99-99T99:99:99Z, killed by message",
    b"done: exit 0 after 1.0 s", b"error: x", b"fail: interrupted", b"running", b"\xff", b"nonsense: " + b"x" * 60]
TOKENS = [
    b"==== ", b"==== UNIT OF WORK\n", b"==== STATUS\n", b"==== JOB LOG\n", b"::", b" :: ", b"\n", b"\r\n", b"\0", b"\t",
    b"\x1b[2J", b"\xef\xbb\xbf", b"\xff", b"'", b"$(", b"`", b"TIMEOUT :: 1\n", b"TIMEOUT :: 99999999999\n",
    b"COMMAND :: ", b"ENQUEUED :: ", b"0001-01-01T00:00:00+23:59", b"9999-12-31T23:59:59-23:59",
    b"2026-13-99T99:99:99Z", b"\xe2\x80\xa8", b"\xd9\xa3", b"x" * 300, b"A ::\n" * 3000, b"N :: " + b"x" * 66000,
    b"UOW_PATH :: /\n", b"PATH :: /nowhere\n", b"==== JOB START 2026-11-24T02:30:07.000000Z run 5f3a1c22-1-fe01-7\n",
    b"\xed\xa0\x80", b"\n==== JOB END 2026-11-24T02:30:19.300000Z run 5f3a1c22-1-fe01-7 exit 0\n"]
NAMES = [
    b"ticket", b"-rf", b"--", b" ", b"a b", b"new\nline", b"\x1b[31m", b"\xff", b"$(touch pwned)", b"'", b'"', b"\\",
    b"*", b"?", b"~", b"#x#", b"4913", b".hidden", b".new.123", b"...", b"README", b"readme.txt", b"ReadMe.MD",
    b"README.tar.gz", b"x" * 255, b"\xc3\xbc" * 127, b"\xe2\x82" * 127, b"ticket.2", b"ticket.10", b"<script>",
    b"%2e%2e", b"index.html", b".paused", b"config.txt", b"monitor_says", b".run", b"UOW :: x", b"==== STATUS", b"one",
    b"-", b"=", b"%s%n", b"\xe2\x80\xae"]
MESSAGES = [
    b"HELP", b"STATUS", b"status", b"CONFIG", b"PAUSE", b"RESUME", b"KILL JOB", b"kill  job", b"RELOAD", b"FOO", b"",
    b"#", b"\0", b"\xff\xfe", b"\x1b]0;x\x07", b"x" * 5000, b"STATUS extra", b"\r"]
KEYS = ["sleep_seconds", "settle_seconds", "timeout_seconds", "required_names", "job_process", "fail_exit_codes",
        "wait_q", "trash", "archive", "error_pattern", "durable", "monitor_reads", "monitor_says", "status_dir",
        "nonsense", "\u00fc", ""]
VALUES = ["", "0", "1", "-1", "0.1", "1e9", "99999999999", "yes", "no", "maybe", ".", "..", "/", "wait-q", "a/../b",
          "done-q/x", "x" * 300, "(", "[", "\\", "*", "true", "false", "1d", "COMMAND TICKET", "4 255", "256", "\u0663",
          "$(x)"]
IGNORED = re.compile(rb"\..*|.*~|#.*#|4913|(?i:readme(\..*)?)", re.S)


class Broken(Exception):
    """An invariant does not hold."""


class Fuzzer:
    def __init__(self, seed):
        self.choose = random.Random(seed)
        self.top = tempfile.mkdtemp(prefix="sjq-fuzz-")
        self.root, self.outside = os.path.join(self.top, "root"), os.path.join(self.top, "outside")
        self.said = os.path.join(self.top, "output")
        self.inputs, self.number, self.kills = 0, 0, False
        os.mkdir(self.outside)
        self.canary = os.path.join(self.outside, "canary")
        with open(self.canary, "wb") as file:
            file.write(STAMPED % (1, b"touch ../outside/ran", b"", b""))
        self.outside_was = self.state_outside()

    def path(self, *parts):
        return os.path.join(self.root, *parts)

    # -- mutations

    def uow(self):
        """Return a UOW, mostly mutated. Its number stands in its TICKET."""
        one_of, many = self.choose.choice, self.choose.randrange
        commands = [command for command in COMMANDS if not self.kills or b"SJQ_FILE" not in command]
        text = STAMPED % (many(1000), one_of(commands), one_of(STATUSES), one_of([b"", b"", b"old log\n"]))
        if many(3):                                  # as people write it
            text = b"==== UNIT OF WORK\n" + text.partition(b"==== UNIT OF WORK\n")[2].partition(b"\n==== STATUS")[0]
        for _ in range(one_of([0, 0, 1, 1, 2, 5])):
            at, lines = many(len(text) + 1), text.splitlines(True)
            self.choose.shuffle(lines)
            text = one_of([lambda: text[:at] + one_of(TOKENS) + text[at:], lambda: text[:at],
                           lambda: text[:at] + bytes([many(256)]) + text[at + 1:], lambda: b"".join(lines),
                           lambda: text[:at] + text[at + many(30):], lambda: text[:at] + text])()
        return text

    def name(self):
        name = self.choose.choice(NAMES)
        if not self.choose.randrange(3):
            name = bytes(self.choose.randrange(1, 256) for _ in range(self.choose.randrange(1, 40)))
            name = name.replace(b"/", b"") or b"x"
        return b"x" if name in (b".", b"..") else name

    def drop(self):
        """Put something into a queue; return its name, None when there was no place for it."""
        many = self.choose.randrange
        place = self.choose.choice([b"wait-q"] * 3 + [b"priority-q"] + [b"currently-executing"] * (not many(20)))
        new, target = os.fsencode(self.path(".new-drop")), os.path.join(os.fsencode(self.root), place, self.name())
        if target.endswith((b"currently-executing/.paused", b"currently-executing/.run")):
            return None                              # these names are the Monitor's own
        kind = many(40)
        if kind == 0:
            os.symlink(self.choose.choice([self.canary, "/nowhere", ".", target]), new)
        elif kind == 1:
            os.mkfifo(new)
        elif kind == 2:
            os.mkdir(new)
            self.write(os.path.join(new, b"inside"), self.uow())
        elif kind == 3:
            os.link(self.canary, new)
        else:
            self.write(new, self.choose.choice([b"", b"\0" * 5000, b"x\n" * 100]) if kind == 4 else self.uow())
            if kind == 5:
                os.truncate(new, self.choose.choice([0, 1, 1 << 20, 1 << 36]))
            if not many(4):
                os.chmod(new, self.choose.choice([0, 0o444, 0o666, 0o777, 0o4755, 0o2644]))
            if not many(4):
                os.utime(new, (self.choose.choice([0, 1, 2 ** 31, 2 ** 33, time.time() + 3600]),) * 2)
        subprocess.run(["mv", "-nT", "--", new, target], stderr=subprocess.DEVNULL)
        if os.path.lexists(new):                     # people who overwrite a file have lost it themselves
            shutil.rmtree(new) if os.path.isdir(new) and not os.path.islink(new) else os.unlink(new)
            return None
        self.inputs += 1
        return base_name(os.path.basename(target))

    def write(self, path, data):
        with open(path, "wb") as file:
            file.write(data)

    def append(self, data):
        """Append to the message file, if there is one of its own: what stands there may be the canary."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_NOFOLLOW
        try:
            fd = os.open(self.path("monitor_reads"), flags, 0o644)
            if os.fstat(fd).st_nlink == 1:
                os.write(fd, data)
            os.close(fd)
        except OSError:
            pass                                     # the Monitor is about to replace it

    def message(self):
        """Append a message, or put something else in the message file's place."""
        path = self.path("monitor_reads")
        if self.choose.randrange(10):
            self.append(self.choose.choice(MESSAGES) + self.choose.choice([b"\n", b"\n", b"\n", b"", b"\r\n"]))
        else:
            try:
                os.unlink(path)
                self.choose.choice([lambda: os.mkdir(path), lambda: os.mkfifo(path),
                                    lambda: os.symlink(self.canary, path), lambda: os.link(self.canary, path)])()
            except OSError:
                pass
        self.inputs += 1

    def check_config(self):
        """A mutated configuration is either refused with exit code 2 and sentences, or used."""
        one_of, lines = self.choose.choice, CONFIG.splitlines(True)
        for _ in range(self.choose.randrange(1, 4)):
            line = one_of(KEYS) + one_of([" :: ", "::", ":", " "]) + one_of(VALUES) + "\n"
            lines.insert(self.choose.randrange(len(lines) + 1), line)
        text = "".join(lines).encode()
        if not self.choose.randrange(3):
            at = self.choose.randrange(len(text))
            text = text[:at] + one_of(TOKENS) + text[at:]
        self.write(self.path("other.txt"), text)
        self.inputs += 1
        done = subprocess.run([sys.executable, "-B", MONITOR, self.path("other.txt"), "--check"], cwd="/", timeout=30,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        sentences = all(line.startswith(b"monitor.py: ") for line in done.stdout.splitlines())
        if done.returncode not in (0, 1, 2) or b"Traceback" in done.stdout or done.returncode == 2 and not sentences:
            raise Broken("exit %d for this configuration: %r" % (done.returncode, done.stdout))
        os.unlink(self.path("other.txt"))

    # -- rounds

    def start(self):
        with open(self.said, "ab") as output:
            return subprocess.Popen([sys.executable, "-B", MONITOR, self.path("config.txt")], stdin=subprocess.DEVNULL,
                                    stdout=output, stderr=subprocess.STDOUT, cwd="/")

    def round(self):
        """Feed one Monitor with some dozen inputs, then assert the invariants."""
        self.number += 1
        self.kills = not self.choose.randrange(3)    # else a job may delete its own file, which is lost after a kill -9
        os.mkdir(self.root)
        for place in QUEUES + ["archive"]:
            os.mkdir(self.path(place))
        self.write(self.path("config.txt"), CONFIG.encode())
        self.write(self.said, b"")
        self.check_config()
        dropped = [self.drop() for _ in range(self.choose.randrange(FILES_A_ROUND // 2))]
        monitor, began = self.start(), time.monotonic()
        try:
            for _ in range(self.choose.randrange(FILES_A_ROUND)):
                if self.choose.randrange(3):
                    dropped.append(self.drop())
                else:
                    self.message()
                if not self.choose.randrange(10):
                    time.sleep(0.05)                 # the pace of people
                if self.kills and not self.choose.randrange(20):
                    monitor.kill()
                    monitor.wait()
                    monitor = self.start()
            self.lay_to_rest(monitor)
            self.assert_idle(monitor, began)
        finally:
            self.end(monitor)
        self.assert_nothing_lost([name for name in dropped if name])
        if self.state_outside() != self.outside_was:
            raise Broken("something outside the root was touched: %s" % (self.state_outside(),))
        shutil.rmtree(self.root)

    def lay_to_rest(self, monitor):
        """Wait until nothing is left to do: no message is unread and nothing moves for a while."""
        still_since, before, end = time.monotonic(), None, time.monotonic() + 60
        while time.monotonic() - still_since < (10 if self.left() else 0.7):     # what is left so long is left for good
            if monitor.poll() is not None:
                raise Broken("the Monitor ended with %d" % monitor.returncode)
            if time.monotonic() > end:
                raise Broken("it does not come to rest: %s" % ([self.names(place) for place in QUEUES[:3]],))
            now = [self.names(place) for place in QUEUES] + [os.stat(self.said).st_size]
            if now != before:
                before, still_since = now, time.monotonic()
            if os.path.exists(self.path("currently-executing", ".paused")):
                self.append(b"\nRESUME\n")
            time.sleep(0.05)
        if self.left():
            raise Broken("left in a waiting queue: %r" % self.left())

    def left(self):
        """Return what waits, but for what waits for its name in currently-executing to become free."""
        waits = (self.names("wait-q") | self.names("priority-q")) - self.names("currently-executing")
        return [name for name in waits if not IGNORED.fullmatch(name)]

    def names(self, place):
        return set(os.listdir(os.fsencode(self.path(place))))

    def assert_idle(self, monitor, began):
        """Bound what it has used, and what it uses when nothing happens."""
        if cpu_of(monitor.pid) > 2 + 0.8 * (time.monotonic() - began):
            raise Broken("it used %.2f s of processor time" % cpu_of(monitor.pid))
        for _ in range(4):                           # thirty pages of long logs, written once, may fill one of these
            seconds, wakes = cpu_of(monitor.pid), sleeps_of(monitor.pid)
            time.sleep(0.6)
            used, woke = cpu_of(monitor.pid) - seconds, sleeps_of(monitor.pid) - wakes
            if used <= 0.15 and woke <= 60:
                break
        else:
            raise Broken("idle, it used %.2f s and woke %d times in 0.6 s, again and again" % (used, woke))
        if peak_kb(monitor.pid) > 100_000:
            raise Broken("it needed %d KiB" % peak_kb(monitor.pid))

    def end(self, monitor):
        if monitor.poll() is None:
            monitor.send_signal(signal.SIGTERM)
            try:
                monitor.wait(20)
            except subprocess.TimeoutExpired:
                monitor.kill()
                monitor.wait()
                raise Broken("SIGTERM did not end it") from None
        if b"Traceback" in self.output():
            raise Broken("a traceback")

    def output(self):
        with open(self.said, "rb") as file:
            return file.read()

    def assert_nothing_lost(self, dropped):
        """Every file that was dropped is in exactly one directory, under its name or the name with a number."""
        places, there = {}, []
        for place, name in [(os.fsencode(place), name) for place in QUEUES for name in self.names(place)]:
            path = os.path.join(os.fsencode(self.root), place, name)
            found = os.lstat(path)
            if (place, name) == (b"currently-executing", b".run"):
                if os.listdir(path):
                    raise Broken("left in %r: %r" % (path, os.listdir(path)))
                continue
            if name.startswith(b".stamp.") and self.kills:
                continue                             # goes to trash at a start a minute later
            places.setdefault(found.st_ino, []).append(path)
            own = stat.S_ISREG(found.st_mode) and found.st_nlink == 1
            if place in (b"done-q", b"error-q", b"fail-q") and not own and not IGNORED.fullmatch(name):
                raise Broken("no file of its own: %r" % path)
            if place != b"trash" or not name.startswith((b"monitor_reads", b".monitor_reads")):
                there.append(base_name(name))
        copies = [paths for inode, paths in places.items() if len(paths) > 1 and inode != os.stat(self.canary).st_ino]
        if copies:
            raise Broken("in two places: %r" % copies)
        lost = [name for name in set(dropped) if there.count(name) < dropped.count(name)]
        made = self.output().count(b"it took its name meanwhile")            # by `sed -i`: the job's own doing
        more = [name for name in set(there) if there.count(name) > dropped.count(name) + made
                and not re.fullmatch(rb"sed\w{6}", name)             # `> "$SJQ_FILE"x` is the job's own doing, too
                and not any(name != other and name.startswith(other) for other in dropped)]
        if lost or more:
            raise Broken("lost: %r; too many: %r" % (lost, more))

    def state_outside(self):
        state = os.lstat(self.canary)
        with open(self.canary, "rb") as file:
            return sorted(os.listdir(self.outside)), state.st_mode, state.st_uid, state.st_mtime_ns, file.read()


def base_name(name):
    """Return a name without the number that a collision gives it, and what that displaces in a long one."""
    return re.sub(rb"(\.\d+)+$", b"", name)[:245]


def fuzz(seconds, seed):
    """Fuzz for some seconds; return how many inputs were tried and what is broken, '' when nothing is."""
    fuzzer, end = Fuzzer(seed), time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            fuzzer.round()
    except Broken as problem:
        said = fuzzer.output().decode("utf-8", "replace")[-6000:]
        where = "round %d: %s (seed %s; kept in %s)\n" % (fuzzer.number, problem, seed, fuzzer.top)
        return fuzzer.inputs, where + said
    shutil.rmtree(fuzzer.top)
    return fuzzer.inputs, ""


def main():
    arguments = argparse.ArgumentParser(description="Fuzz the Monitor.")
    arguments.add_argument("--seconds", type=float, default=60)
    arguments.add_argument("--seed", type=int, default=1)
    arguments = arguments.parse_args()
    inputs, broken = fuzz(arguments.seconds, arguments.seed)
    print("%sfuzz: %d inputs tried, seed %d" % (broken and broken + "\n", inputs, arguments.seed))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
