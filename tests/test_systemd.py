"""Under a real systemd, booted in namespaces of its own (tests/boot-systemd), as an administrator meets it.

Needs root and systemd; only TestNotify does without. The commands are README's own.
"""
import fcntl
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import time

from tests.helpers import (CHECKOUT, HOLD, MONITOR, QueueCase, fenced, heavy, need, need_root, processes_with, read_text,
                           section, until, uow)

UNIT = os.path.join(CHECKOUT, "simple-job-q.service")
CONFIG = "settle_seconds :: 0.1\nkill_grace_seconds :: 0.5\nstatus_dir ::\ndurable :: no\n"
# 900 lines in 4 seconds, and 100 more once the test writes `go`; `runs` tells how often it was started.
LINES = ("echo $SJQ_RUN >> runs\nfor i in $(seq 1000); do echo line $i; [ $((i %% 10)) != 0 ] || sleep 0.04; "
         "[ $i != 900 ] || %s; done" % HOLD)
# Leaves its parent, its session and its environment, and ignores TERM: only a cgroup still knows whose it is.
ESCAPE = """python3 -c 'import os, signal
for number in (signal.SIGTERM, signal.SIGHUP): signal.signal(number, signal.SIG_IGN)
if os.fork(): %s
os.setsid()
if os.fork(): os._exit(0)
for fd in (0, 1, 2): os.dup2(os.open("/dev/null", os.O_RDWR), fd)
os.execve("/bin/sleep", ["sleep", "%s"], {})'"""


def block(text):
    """Return README's block that contains this text."""
    found = [one for one in fenced(section("Install under systemd")) if text in one]
    if not found:
        raise AssertionError("README.md has no block with %r below `## Install under systemd`" % text)
    return found[0]


def score(path):
    """Return the exposure of a unit file as `systemd-analyze security` gives it."""
    argv = ["systemd-analyze", "security", "--offline=true", "--no-pager", path]
    made = subprocess.run(argv, capture_output=True, text=True)
    return float(re.search(r"Overall exposure level for \S+: ([\d.]+)", made.stdout).group(1))


def uncommented():
    """Return the unit with all its commented settings on."""
    return re.sub(r"^#([A-Z]\w*=)", r"\1", read_text(UNIT), flags=re.M)


class SystemdCase(QueueCase):
    """A booted systemd for the class, in which README's commands have installed the unit; a root for each test."""

    @classmethod
    def setUpClass(cls):
        need("systemctl", "systemd-analyze", "unshare", "nsenter", "setpriv")
        need_root()
        boot = os.path.join(CHECKOUT, "tests", "boot-systemd")
        cls.boot = subprocess.Popen([boot], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        cls.addClassCleanup(cls.end_boot)
        cls.init = int(cls.boot.stdout.readline() or 0)
        if not cls.init:
            raise AssertionError("systemd did not boot")
        cls.outside = "/proc/%d/root" % cls.init
        cls.shell(cls.install("/srv/jobs").replace("enable --now", "enable"))
        cls.configure_unit("[Service]\nRestartSec=300ms\nWatchdogSec=2\n")

    @classmethod
    def end_boot(cls):
        cls.boot.stdin.close()
        cls.boot.wait()
        cls.boot.stdout.close()

    @classmethod
    def inside(cls, *argv, check=False):
        made = subprocess.run(["nsenter", "-t", str(cls.init), "-m", "-p", "-u", "-i", "-C", "--", *argv],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if check and made.returncode:
            raise AssertionError("%s: exit %d\n%s%s" % (" ".join(argv), made.returncode, made.stdout, made.stderr))
        return made

    @classmethod
    def shell(cls, text):
        """Run a block of README in the checkout, as root, so that sudo is nothing but the command."""
        sudo = 'sudo() { if [ "$1" = -u ]; then runuser -u "$2" -- "${@:3}"; else "$@"; fi; }\n'
        return cls.inside("bash", "-ec", sudo + "cd /mnt\n" + text, check=True)

    @staticmethod
    def install(path):
        return block("useradd").replace('"/srv/jobs"', shlex.quote(path))

    @classmethod
    def configure_unit(cls, text):
        os.makedirs(cls.outside + "/etc/systemd/system/simple-job-q@.service.d", exist_ok=True)
        with open(cls.outside + "/etc/systemd/system/simple-job-q@.service.d/tests.conf", "w") as file:
            file.write(text)
        cls.inside("systemctl", "daemon-reload", check=True)

    def setUp(self):
        self.monitors = []
        self.use("/srv/jobs")
        self.addCleanup(self.clean)

    def use(self, inner):
        """Make a root that README's commands have installed the one of this test, and start it."""
        self.inner, self.root = inner, self.outside + inner
        escape = ("systemd-escape", "--path", "--template=simple-job-q@.service", inner)
        self.unit = self.inside(*escape, check=True).stdout.strip()
        self.write("config.txt", CONFIG + self.config)
        os.makedirs(self.path(".staging"), exist_ok=True)
        self.systemctl("start")

    def clean(self):
        units = self.inside("systemctl", "list-units", "--plain", "--no-legend", "--all", "simple-job-q@*").stdout
        for unit in re.findall(r"^\S+", units, re.M):
            self.inside("systemctl", "kill", "--kill-who=all", "-s", "KILL", unit)
            self.inside("systemctl", "stop", unit)
            self.inside("systemctl", "reset-failed", unit)       # killed, it is listed as failed
        self.shell("cd %s; rm -rf *-q/[!R]* currently-executing/{*,.paused,.run/*} runs" % shlex.quote(self.inner))

    def systemctl(self, *words, check=True):
        return self.inside("systemctl", *words, self.unit, check=check)

    def show(self, name):
        return self.inside("systemctl", "show", "-P", name, self.unit, check=True).stdout.strip()

    def journal(self):
        """Return what the unit has in the journal since its last start, as (priority, text)."""
        self.inside("journalctl", "--sync")
        lines = self.inside("journalctl", "_SYSTEMD_INVOCATION_ID=" + self.show("InvocationID"), "-o", "json").stdout
        return [(int(entry["PRIORITY"]), entry["MESSAGE"]) for entry in map(json.loads, lines.splitlines())]

    def journal_of_all(self):
        """Return what the journal has of this unit from all its starts."""
        return self.inside("journalctl", "-u", self.unit, "-o", "cat").stdout

    def status_is(self, pattern):
        """Wait until `systemctl status` shows this."""
        until(lambda: re.search('Status: "%s' % pattern, self.systemctl("status", check=False).stdout),
              lambda: self.systemctl("status", check=False).stdout)

    def output(self):
        return "\n".join("<%d>%s" % entry for entry in self.journal())

    def let_go(self):
        """Let the job that holds go on, and none of another test."""
        self.write("go", "")
        self.addCleanup(lambda path=self.path("go"): os.path.exists(path) and os.unlink(path))

    def cgroup(self, *parts):
        return os.path.join(self.outside, "sys/fs/cgroup", self.show("ControlGroup").lstrip("/"), *parts)

    def runs(self):
        return [name for name in os.listdir(self.cgroup()) if name.startswith("run-")]

    def run_through(self, name, meanwhile):
        """Run a job of 1,000 lines, end its Monitor in the middle, and see that another adopts it, that it ran once and kept every line."""
        self.drop(name, uow(LINES))
        until(lambda: "line 200\n" in self.text(name), "line 200")
        meanwhile()
        self.said("adopted " + name)
        self.let_go()
        self.assertEqual(self.ended(name), "done-q")
        self.assertEqual(self.log(name), b"".join(b"line %d\n" % i for i in range(1, 1001)))
        self.assertEqual(len(self.read("runs").split()), 1)
        self.assertEqual(self.read("done-q", name).count("==== JOB START"), 1)


@heavy
class TestInstalled(SystemdCase):
    def test_a_job_runs_and_systemctl_and_the_journal_tell_of_it(self):
        self.drop("two words", uow("echo hello\nwhoami"))
        self.drop("bad", uow(HOLD + "; exit 3"))
        self.drop("later", uow("true"))
        self.status_is(r'running bad since \d\d:\d\d:\d\d; 1 waiting"')
        self.let_go()
        self.assertEqual((self.ended("two words"), self.ended("later")), ("done-q", "done-q"))
        self.assertEqual(self.log("two words"), b"hello\nsimple-job-q\n")
        self.assertEqual(self.ended("bad"), "error-q")
        self.status_is('idle; 0 waiting"')
        told = self.journal()
        for priority, wanted in ((6, r"started \$'two words' run \S+"),
                                 (6, r"\$'two words': done: exit 0 after .* -> done-q"),
                                 (4, r"bad: error: exit 3 after .* -> error-q"), (5, r"started: pid .*")):
            self.assertEqual([entry[0] for entry in told if re.fullmatch(wanted, entry[1])], [priority], wanted)
        self.assertNotRegex("\n".join(text for _, text in told), r"\d{4}-\d\d-\d\dT")      # the journal has the time

    def restarted(self):
        self.systemctl("restart")

    def stopped_and_started(self):
        self.systemctl("stop")
        self.assertEqual(self.show("ActiveState"), "inactive")
        self.systemctl("start")

    def upgraded(self):
        """By the README's commands."""
        self.shell(block("monitor.py \"/srv/jobs\""))

    def killed(self):
        self.systemctl("kill", "--kill-who=main", "--signal=KILL")

    def hung(self):
        """Until the watchdog ends it."""
        before = self.show("MainPID")
        self.systemctl("kill", "--kill-who=main", "--signal=STOP")
        until(lambda: self.show("MainPID") not in (before, "0"), "a new Monitor")

    def test_whatever_becomes_of_the_monitor_in_the_middle_of_a_job_another_adopts_it(self):
        for do in (self.restarted, self.stopped_and_started, self.upgraded, self.killed, self.hung):
            with self.subTest(do.__name__):
                before = self.show("MainPID")
                self.run_through(do.__name__, do)
                self.assertNotEqual(self.show("MainPID"), before)
                os.unlink(self.path("runs"))
                os.unlink(self.path("go"))
                if do == self.stopped_and_started:
                    for noise in ("Control process exited", "write error", "Invalid URL", "Failed"):
                        self.assertNotIn(noise, self.journal_of_all().rpartition("started stopped_and_started run")[2])
        self.assertIn("Watchdog timeout", self.journal_of_all())
        before = self.show("MainPID")
        time.sleep(3)                                # nothing happens for longer than WatchdogSec, and it is fed
        self.assertEqual((self.show("MainPID"), self.show("ActiveState")), (before, "active"))

    def test_a_crash_loop_neither_spins_nor_is_given_up(self):
        whole = read_text(MONITOR)
        self.addCleanup(self.write, "monitor.py", whole)
        self.systemctl("stop")
        self.write("monitor.py", "raise SystemExit(1)\n")
        self.inside("systemctl", "start", "--no-block", self.unit)
        began = time.monotonic()
        until(lambda: int(self.show("NRestarts")) >= 7, "7 restarts")
        self.assertGreater(time.monotonic() - began, 7 * 0.3)
        self.write("monitor.py", whole)
        until(lambda: self.show("ActiveState") == "active", "a mended Monitor runs again")

    def test_reload_fails_for_whatever_the_monitor_refuses_and_the_old_configuration_stays(self):
        before = self.show("MainPID")
        for line, mode, wanted in (("wait_q :: other-q\n", 0o644, "wait_q"), ("", 0o666, "chmod"),
                                   ("monitor_reads :: other\n", 0o644, "monitor_reads"),
                                   ("sleep :: 3\n", 0o644, "RELOAD refused: %s/config.txt line 5: " % self.inner)):
            self.write("config.txt", CONFIG + line)
            os.chmod(self.path("config.txt"), mode)
            self.assertNotEqual(self.systemctl("reload", check=False).returncode, 0, line)
            until(lambda wanted=wanted: wanted in self.journal_of_all(), self.output)
        until(lambda: "unknown key sleep" in self.show("StatusText"), lambda: self.show("StatusText"))
        self.assertIn(3, [priority for priority, text in self.journal() if "RELOAD refused: " in text])
        self.drop("after", uow("echo still"))
        self.assertEqual(self.ended("after"), "done-q")
        self.write("config.txt", CONFIG + "required_names :: COMMAND TICKET\n")
        self.systemctl("reload")
        self.said("RELOAD: configuration read")
        until(lambda: self.show("StatusText") == "idle; 0 waiting", lambda: self.show("StatusText"))
        self.assertEqual((self.show("MainPID"), self.show("ActiveState")), (before, "active"))

    def refused_for_good(self, *said):
        """See that a start fails at once, says why, and is not tried again."""
        self.assertNotEqual(self.systemctl("start", check=False).returncode, 0)
        status = self.systemctl("status", check=False).stdout
        for text in said:
            self.assertIn(text, status)
        time.sleep(1)                                # three times RestartSec
        self.assertEqual((self.show("ActiveState"), self.show("NRestarts")), ("failed", "0"))

    def test_a_bad_configuration_at_start_fails_at_once_and_says_why(self):
        self.systemctl("stop")
        self.write("config.txt", "sleep_seconds :: -3\n")
        self.refused_for_good("config.txt line 1: sleep_seconds :: -3; expected", "status=2",
                              'Status: "%s/config.txt line 1: ' % self.inner)
        self.inside("systemctl", "reset-failed")

    def test_a_second_monitor_on_the_root_is_not_tried_again(self):
        self.systemctl("stop")
        first = os.open(self.path("currently-executing"), os.O_RDONLY)
        self.addCleanup(os.close, first)
        fcntl.flock(first, fcntl.LOCK_EX)
        self.refused_for_good("another Monitor has", "status=3")


@heavy
class TestCgroups(SystemdCase):
    def test_the_job_has_a_cgroup_of_its_own_and_the_monitor_keeps_out_of_it(self):
        self.drop("job", uow("cat /proc/self/cgroup\necho ready\nsleep 30"))
        self.running("job")
        until(lambda: "\nready\n" in self.read("currently-executing", "job"), "ready")
        run = re.search(r"run (\S+)", self.read("currently-executing", "job").partition("JOB START")[2]).group(1)
        self.assertIn("0::%s/run-%s\n" % (self.show("ControlGroup"), run), self.read("currently-executing", "job"))
        with open(self.cgroup("monitor", "cgroup.procs")) as file:
            beside = file.read().split()
        self.assertEqual(len(beside), 3, "the Monitor, the keeper and tee")
        self.message("KILL JOB")
        self.assertEqual(self.ended("job"), "fail-q")
        self.assertEqual(self.status("job"), "fail: killed by message")
        until(lambda: not self.runs(), self.runs)

    def escape(self, name, **header):
        """Run a job that leaves a daemon behind which nothing but its cgroup tells; return when that runs."""
        seconds = "98765.%d" % os.getpid()
        self.drop(name, uow(ESCAPE % ("os.waitpid(-1, 0); signal.pause()", seconds), **header))
        until(lambda: processes_with("sleep\0" + seconds), self.output)
        return seconds

    def test_nothing_is_left_of_a_job_that_hides_after_a_restart_a_kill_job_or_a_timeout(self):
        for name, header, status in (("hidden", {}, "fail: killed by message"), ("late", {"TIMEOUT": "5s"}, "fail: timed out after 5 s")):
            with self.subTest(name):
                seconds = self.escape(name, **header)
                if name == "hidden":
                    self.systemctl("restart")
                    self.said("adopted hidden")
                    self.message("KILL JOB")
                self.assertEqual((self.ended(name), self.status(name)), ("fail-q", status))
                until(lambda: not processes_with(seconds), lambda: processes_with(seconds))
                until(lambda: not self.runs(), self.runs)

    def test_kill_job_ends_what_runs_as_another_user(self):
        """As after sudo: no signal of the Monitor's reaches it, only cgroup.kill does."""
        self.drop("mixed", uow("sleep 1000"))
        self.running("mixed")
        until(self.runs, "its cgroup")
        seconds = "87654.%d" % os.getpid()
        self.process("nsenter", "-t", str(self.init), "-m", "-p", "-C", "--", "sleep", seconds)
        until(lambda: len(processes_with(seconds)) == 2, "root's sleep, a child of nsenter")
        for pid in processes_with(seconds):
            with open(self.cgroup(self.runs()[0], "cgroup.procs"), "w") as file:
                file.write(str(pid))
        self.message("KILL JOB")
        self.assertEqual(self.ended("mixed"), "fail-q")
        until(lambda: not processes_with(seconds), lambda: processes_with(seconds))

    def test_a_job_without_memory_fails_and_the_monitor_goes_on(self):
        before = self.show("MainPID")
        self.assertEqual(self.show("OOMPolicy"), "continue")
        self.drop("greedy", uow("%s\npython3 -c 'x = bytearray(400 << 20)'" % self.limit()))
        self.assertEqual(self.ended("greedy"), "fail-q", self.output)
        self.assertRegex(self.status("greedy"), "^fail: killed by SIGKILL after")
        self.assertEqual((self.show("MainPID"), self.show("ActiveState")), (before, "active"))
        self.drop("next", uow("true"))
        self.assertEqual(self.ended("next"), "done-q")

    def limit(self):
        """Limit memory to 100 MiB: of the unit, or where that controller is in a cgroup v1, of a group for the job."""
        if self.has("memory"):
            limits = ("systemctl", "set-property", "--runtime", self.unit)
            self.inside(*limits, "MemoryMax=100M", "MemorySwapMax=0", check=True)
            self.addCleanup(self.inside, *limits, "MemoryMax=infinity")
            return "true"
        place, group = "/run/memory", "/run/memory/sjq-%d" % os.getpid()
        self.inside("bash", "-ec", "mkdir -p $0; mount -t cgroup -o memory memory $0; mkdir $1; "
                    "echo 100M >$1/memory.limit_in_bytes; chown -R simple-job-q $1", place, group, check=True)
        self.addCleanup(self.inside, "bash", "-c", "until rmdir $1; do sleep 0.1; done; umount $0", place, group)
        return "echo $$ >%s/cgroup.procs" % group

    def has(self, controller):
        with open(self.outside + "/sys/fs/cgroup/cgroup.controllers") as file:
            return controller in file.read().split()


@heavy
class TestPlaces(SystemdCase):
    def test_two_queues_run_side_by_side(self):
        self.shell(self.install("/srv/nightly builds").split("sudo systemctl")[0])
        first = self.root, self.unit
        self.drop("one", uow("until [ -e '/srv/nightly builds/met' ]; do sleep 0.05; done\ntouch met"))
        self.use("/srv/nightly builds")
        self.drop("two", uow("touch met\nuntil [ -e /srv/jobs/met ]; do sleep 0.05; done"))
        self.assertEqual(self.ended("two"), "done-q")
        self.inside("systemctl", "is-active", first[1], self.unit, check=True)
        self.assertNotEqual(first[1], self.unit)
        self.root = first[0]
        self.assertEqual(self.ended("one"), "done-q")

    def second_slot(self):
        """Make the README's second slot and return its unit."""
        made, unit = fenced(section("Several jobs at a time"))
        made = "cd /srv/jobs\n" + made.replace("python3 monitor.py worker-2.txt\n", "")
        self.inside("runuser", "-u", "simple-job-q", "--", "bash", "-ec", made, check=True)
        self.shell(unit)
        return "simple-job-q-worker@2"

    def test_two_slots_on_one_queue(self):
        worker = self.second_slot()
        self.addCleanup(self.shell, "systemctl disable --now %s\nrm /etc/systemd/system/simple-job-q-worker@.service\n"
                        "cd /srv/jobs\nrm -rf worker-? currently-executing-? monitor_*-? status-? met-*" % worker)
        for name in ("one", "two"):
            meet = "touch met-%s\nuntil [ -e met-one -a -e met-two ]; do sleep 0.05; done" % name
            self.drop(name, uow(meet, TIMEOUT=30))
        self.assertEqual([self.ended(name, 40) for name in ("one", "two")], ["done-q"] * 2)
        self.inside("systemctl", "reload", worker, check=True)
        checked = self.inside("runuser", "-u", "simple-job-q", "--", "bash", "-c", "cd %s; python3 -B monitor.py "
                              "config.txt worker-2.txt --check" % shlex.quote(self.inner))
        self.assertEqual(checked.stdout, "all is well\n")
        self.assertIn("simple-job-q worker 2 in /srv/jobs", self.inside("systemctl", "status", worker).stdout)
        self.assertIn(" simple-job-q-worker@2[", self.inside("journalctl", "-u", worker).stdout)

    def test_installing_twice_harms_nothing(self):
        self.write("config.txt", CONFIG + "# mine\n")
        self.write("done-q/hers", "a job of alice\n")
        os.chown(self.path("done-q/hers"), 54321, 54321)
        self.message("PAUSE")
        self.said("paused")
        before = self.show("MainPID"), self.read("monitor_says")
        self.shell(self.install("/srv/jobs"))
        self.assertIn("# mine", self.read("config.txt"))
        self.assertEqual(os.stat(self.path("done-q/hers")).st_uid, 54321)
        self.assertEqual((self.show("MainPID"), self.read("monitor_says")), before)
        self.assertFalse(os.path.exists(self.path("tests")) or os.path.exists(self.path(".git")))

    def test_a_root_of_any_name(self):
        inner = "/srv/it's 100% \"of\" ${HOME} $$, é -x/jobs"
        self.inside("mkdir", "-p", os.path.dirname(inner), check=True)
        self.shell(self.install(inner).replace("enable --now", "enable"))
        self.use(inner)
        self.drop("here", uow("pwd"))
        self.assertEqual(self.ended("here"), "done-q")
        self.assertEqual(self.log("here").decode(), inner + "\n")
        self.systemctl("reload")
        self.run_through("restarted", lambda: self.systemctl("restart"))

    def test_with_every_line_of_the_sandbox_on(self):
        with open(self.outside + "/etc/systemd/system/simple-job-q@.service", "w") as file:
            file.write(uncommented())
        install = next(line for line in block("useradd").splitlines() if "install -m" in line)
        self.addCleanup(self.shell, install + "\nsystemctl daemon-reload")
        self.systemctl("stop")
        self.inside("systemctl", "daemon-reload", check=True)
        self.systemctl("start")
        self.run_through("confined", lambda: self.systemctl("restart"))
        self.drop("facts", uow("grep NoNewPrivs /proc/self/status"))
        self.ended("facts")
        self.assertEqual(self.log("facts").split()[-1], b"1")        # as shipped it is 0: jobs may use sudo

    def test_removal_leaves_the_job_the_files_and_other_queues(self):
        self.shell(self.install("/srv/other"))
        self.addCleanup(self.inside, "systemctl", "disable", "--now", "simple-job-q@srv-other")
        self.drop("last", uow("until [ -e removed ]; do sleep 0.05; done", TIMEOUT=60))
        self.running("last")
        self.shell(block("disable --now"))
        self.assertNotEqual(self.systemctl("is-enabled", check=False).returncode, 0)
        for word in ("is-active", "is-enabled", "restart"):
            self.inside("systemctl", word, "simple-job-q@srv-other", check=True)
        self.write("removed", "")
        self.addCleanup(os.remove, self.path("removed"))
        until(lambda: "exit 0" in self.read("currently-executing", "last").partition("JOB END")[2], "JOB END")

    def test_uninstalling_leaves_nothing_but_the_root(self):
        self.addCleanup(self.configure_unit, "[Service]\nRestartSec=300ms\nWatchdogSec=2\n")
        again = self.install("/srv/jobs").replace("enable --now", "enable")
        self.addCleanup(self.shell, again + "chown -R simple-job-q: /srv/*\n")
        self.second_slot()
        self.shell(block("userdel"))
        self.shell("rm -rf /srv/jobs/worker-? /srv/jobs/currently-executing-? /srv/jobs/monitor_*-? /srv/jobs/status-?")
        left = self.inside("bash", "-c", "find /etc /var/lib -name '*simple-job-q*'; getent passwd simple-job-q; "
                           "systemctl list-units --all --plain 'simple-job-q*' | grep service").stdout
        self.assertEqual(left, "")
        self.assertTrue(os.path.exists(self.path("monitor.py")))


class TestUnitFile(QueueCase):
    def setUp(self):
        need("systemd-analyze")
        super().setUp()

    @heavy
    def test_verify_finds_nothing(self):
        for name, text in (("a@.service", None), ("b@.service", uncommented())):
            self.write(name, text or read_text(UNIT))
            made = subprocess.run(["systemd-analyze", "verify", self.path(name)], capture_output=True, text=True)
            self.assertEqual((made.returncode, made.stdout + made.stderr), (0, ""))

    @heavy
    def test_the_score_is_not_worse_than_the_unit_says(self):
        said = re.search(r"`systemd-analyze security` gives ([\d.]+) .*?, ([\d.]+) .*? and ([\d.]+) ", read_text(UNIT))
        bare = self.write("bare.service", "[Service]\nExecStart=/usr/bin/python3 monitor.py\n")
        strict = self.write("strict.service", uncommented())
        self.assertAlmostEqual(score(bare), float(said.group(1)), delta=0.2)
        self.assertLessEqual(score(UNIT), float(said.group(2)))
        self.assertLessEqual(score(strict), float(said.group(3)))


class TestNotify(QueueCase):
    """What the Monitor tells systemd, with this test as systemd: no root is needed."""

    def setUp(self):
        super().setUp()
        self.ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.ear.close)
        self.ear.bind(self.path(".notify"))
        self.ear.settimeout(30)
        self.heard = []

    def hear(self, text):
        """Wait for a datagram with this line and return it."""
        while True:
            self.heard.append(self.ear.recv(4096).decode())
            if text in self.heard[-1].split("\n"):
                return self.heard[-1]

    def environment(self, **more):
        return dict(os.environ, NOTIFY_SOCKET=self.path(".notify"), **more)

    def test_ready_status_reloading_stopping(self):
        self.drop("job", uow("until [ -e go ]; do sleep 0.05; done"))
        self.write("wait-q/bad", "no UOW\n")
        monitor_ = self.start(env=self.environment())
        self.hear("READY=1")
        self.running("job")
        while "\nSTATUS=running job since " not in self.heard[-1]:
            self.heard.append(self.ear.recv(4096).decode())
        monitor_.send_signal(signal.SIGHUP)
        self.assertRegex(self.hear("RELOADING=1"), r"\nMONOTONIC_USEC=\d+$")
        self.hear("READY=1")
        self.write("go", "")
        self.hear("STATUS=idle; 0 waiting")
        monitor_.terminate()
        self.hear("STOPPING=1")
        self.assertEqual(monitor_.wait(20), 0)
        lines = [one for one in self.heard if "STATUS=" in one]
        self.assertLessEqual(len(lines), len(set(lines)) + 1, "a STATUS line only when it changes")

    def test_the_watchdog_is_fed_in_less_than_half_its_time(self):
        self.start(env=self.environment(WATCHDOG_USEC="12000000"))
        self.hear("READY=1")
        times = [time.monotonic()]
        for _ in range(2):
            self.hear("WATCHDOG=1")
            times.append(time.monotonic())
        self.assertLess(max(later - earlier for earlier, later in zip(times, times[1:])), 6)
        self.assertGreater(times[-1] - times[0], 2, "no flood")

    def test_a_job_sees_nothing_of_it(self):
        self.drop("job", uow("env"))
        only_ours = dict(WATCHDOG_USEC="2000000", SYSTEMD_EXEC_PID="1", JOURNAL_STREAM="1:2", INVOCATION_ID="x")
        self.run_until_empty(env=self.environment(**only_ours))
        for name in ["NOTIFY_SOCKET", *only_ours]:
            self.assertNotIn(name.encode(), self.log("job"))
