"""Nothing of a job survives its killing, and nothing but the job is killed; what if pieces of a run are killed."""
import os
import re
import signal
import time

from tests.helpers import (AFTER, HOLD, QueueCase, children_of, cpu_of, environment_of, heavy, in_ci, is_still, kill_all,
                           need, processes_with, read_text, until, uow)

DAEMON = r"""
import os, signal, sys, time
if os.fork():                            # as a daemon of the old school makes itself one
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
for number in range(1, 32):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
for fd in range(3):
    os.close(fd)
open(sys.argv[1], "w").close()
os.chdir("/")
time.sleep(600)
"""


def session_of(pid):
    """Return the session of a process, 0 where it has ended."""
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0


class KillCase(QueueCase):
    config = "kill_grace_seconds :: 0.3\n"

    def family(self):
        """Return the pids of what has this test's root in its command line or environment, but for the Monitors."""
        return [pid for pid in processes_with(self.root) if pid not in [monitor.pid for monitor in self.monitors]]

    def keeper(self, role, name="one"):
        run = re.findall(r"==== JOB START \S+ run (\S+)", self.read("currently-executing", name))[-1].encode()
        words = {b"SJQ_KEEPER=" + role, b"SJQ_RUN=" + run}
        return until(lambda: [pid for pid in self.family() if words <= set(environment_of(pid).split(b"\0"))
                              and session_of(pid) == pid])[0]


class TestKillingReachesEverything(KillCase):
    def setUp(self):
        super().setUp()
        need("setsid", "nohup", "python3", "env")
        self.write("daemon.py", DAEMON)

    def sleeper(self, number):
        return "exec -a %s/sleeper-%d sleep 600" % (self.root, number)

    def check_gone(self, name, command, others=0, message=True, **header):
        """Run a job that touches `ready` when all of it is there; kill it and see that nothing is left of it."""
        self.drop(name, uow(command, **header))
        self.there("ready")
        if message:
            until(lambda: len(self.family()) >= 3 + others, "all of the job's family", step=0.05)
        if "KEEPER" in command:                          # STATUS tells of all, whatever they call themselves
            self.cycles(1)
            self.assertIn("sleeper-1", self.says())
        if message:
            self.message("KILL JOB")
        self.assertEqual(self.ended(name), "fail-q")
        until(lambda: not self.family(), lambda: "the end of what was killed: %s" % self.family(), step=0.05)
        os.unlink(self.path("ready"))

    def test_whatever_a_job_starts(self):
        """Each row is red if what it names is not found, or not ended."""
        endless, one, two = "while :; do sleep 0.1; done", self.sleeper(1), self.sleeper(2)
        rows = [  # what it is, how many processes beside the keepers and the job's shell, the command
            ("process group", 2, "(%s) & (%s) & touch ready; wait" % (one, two)),
            ("ignores TERM", 1, "trap '' TERM; bash -c 'touch ready; %s' %s; %s" % (endless, self.root, endless)),
            ("setsid, nohup", 2, "setsid bash -c '%s' & setsid nohup bash -c 'trap \"\" TERM HUP; touch ready; %s' &>/dev/null & wait" % (one, two)),
            ("a daemon, and the job obeys TERM at once", 1, "python3 daemon.py ready; exec sleep 600"),
            ("without environment in a session of its own, as by sudo", 1,
             "env -i setsid -w bash -c 'trap \"\" TERM; touch {0}/ready; (exec -a {0}/x sleep 600); :' & wait".format(self.root)),
            ("without environment in the job's session", 1, "(env -i bash -c 'trap \"\" TERM; touch %s/ready; %s' &); sleep 600" % (self.root, one)),
            # only that it was held at the TERM tells whose it is
            ("loses its parent between TERM and KILL", 1,
             "bash -c 'env -i setsid -w bash -c \"trap : TERM; touch {0}/ready; {1}\" {0}' & wait".format(self.root, endless)),
            ("calls itself a keeper", 3, "SJQ_KEEPER=tee setsid sleep 600 & SJQ_KEEPER=$'\\xff' setsid sleep 600 & "
             "SJQ_KEEPER=bash setsid bash -c 'touch ready; %s' & wait" % one),
            ("stopped", 0, "touch ready; kill -STOP 0; sleep 600"),
            ("many", 100, "for i in $(seq 100); do sleep 600 & done; touch ready; wait"),
            ("forks without end", 0, "trap '' TERM; f() { touch ready; sleep 0.02; f & }; f; f; f; while :; do sleep 0.05; done"),
        ]
        self.started()
        with self.subTest("a daemon that ignores every signal, by a timeout"):
            self.check_gone("timed", "python3 daemon.py ready; sleep 600", message=False, TIMEOUT="5s")
            self.assertEqual(self.status("timed"), "fail: timed out after 5 s")
        for name, others, command in rows:
            with self.subTest(name):
                self.check_gone(name, command, others)
                self.assertEqual(self.status(name), "fail: killed by message")

    @heavy
    def test_more_than_the_monitor_may_have_files_open(self):
        need("prlimit")
        self.started(prefix=("prlimit", "--nofile=128"))
        self.check_gone("one", "trap '' TERM; for i in $(seq 200); do sleep 600 & done; touch ready; wait", 200)

    def test_a_job_may_tidy_up_at_term_also_where_it_was_stopped(self):
        self.configure("kill_grace_seconds :: 30\n")
        self.started()
        for name, then in (("works", "while :; do sleep 0.05; done"), ("stopped", "kill -STOP $$; sleep 600")):
            self.check_gone(name, "trap 'echo tidied; exit 0' TERM; touch ready; " + then, -1)
            self.assertEqual((self.status(name), self.log(name)[-7:]), ("fail: killed by message", b"tidied\n"))

    def test_the_next_job_starts_after_the_last_process_has_gone(self):
        self.started()
        self.drop("one", uow("python3 daemon.py ready; exec sleep 600"))
        self.there("ready")
        keepers = [self.keeper(b"bash"), self.keeper(b"tee")]

        def daemons():
            return [pid for pid in self.family() if session_of(pid) not in [0, *keepers]]
        until(lambda: len(daemons()) == 1, "those that made it one have ended")
        self.drop("two", uow("grep -q python /proc/%d/cmdline && echo TOGETHER >> ledger\necho two >> ledger" % daemons()[0]))
        self.message("KILL JOB")
        self.assertEqual(self.ended("two"), "done-q")
        self.assertEqual(self.ledger(), ["two"])


class TestKillJobAfterTheEnd(KillCase):
    """How a job ended is settled once its END line is there and nothing of it is left: KILL JOB comes too late."""

    def test_it_ended_while_the_monitor_was_down_and_left_a_service(self):
        monitor = self.under_way("one", "setsid sleep 600 >/dev/null 2>&1 & echo $! > service; touch ready; %s; exit 3" % HOLD)
        self.there("ready")
        self.stop(monitor)
        self.write("go", "")
        service = int(self.read("service"))
        until(lambda: self.family() == [service], lambda: "the service alone: %s" % self.family())
        self.message("KILL JOB")
        self.started()
        self.said("KILL JOB: one has ended already")
        self.assertEqual(self.ended("one"), "error-q")
        self.assertRegex(self.status("one"), "^error: exit 3 after ")
        self.assertNotIn("TERM now", self.says())
        os.kill(service, 0)


class TestWhatIsLeftRunning(KillCase):
    """A background process that holds the job's output after the command has ended is named, and not waited for."""

    def test_it_is_named_and_goes_on_and_what_it_writes_later_lands_behind_end(self):
        self.configure("kill_grace_seconds :: 30\n")
        monitor = self.started()
        service = "setsid sleep 600 >/dev/null 2>&1 & echo $! > service"
        self.drop("one", uow("sleep 600 & echo $! > holder; (%s; echo late) & %s; echo done" % (HOLD, service)))
        self.drop("two", uow("echo two >> ledger"))
        self.assertEqual([self.ended(name, seconds=10) for name in ("one", "two")], ["done-q", "done-q"])
        self.assertRegex(self.says(), r"one: left running: .*\b%s \(sleep\)" % self.read("holder").strip())
        self.assertEqual(self.says().count("left running"), 1)
        self.assertRegex(self.status("one"), r"^done: exit 0 after \d\.")          # of the 30 s that it would be waited for
        os.kill(int(self.read("service")), 0)            # they were not killed: nobody asked for that
        os.kill(int(self.read("holder")), signal.SIGTERM)
        self.write("go", "")
        until(lambda: self.read("done-q", "one").endswith("late\n"), self.output)
        self.assertEqual(self.log("one"), b"done\n")
        until(lambda: self.cycles(1) or not children_of(monitor.pid), "its tee, which outlived the run, is no zombie", 10)

    def test_an_adopted_run_whose_output_is_held(self):
        monitor = self.under_way("one", HOLD + "; sleep 600 & exit 3")
        self.kill9(monitor)
        self.write("go", "")
        until(lambda: "==== JOB END" in self.read("currently-executing", "one"))
        self.run_until_empty()
        self.assertEqual(self.where("one"), ["error-q"])


@heavy
class TestStopped(KillCase):
    def test_a_job_that_was_stopped_for_a_while_ends_as_it_ends(self):
        """`wait` in the keeper must not return at a stop: it would spin, and tell the stop as the job's end."""
        monitor = self.started()
        self.drop("one", uow("echo before\nkill -STOP $$\necho after"))
        until(lambda: self.where("one") == ["currently-executing"] and "\nbefore\n" in self.read("currently-executing", "one"),
              self.output)
        keeper, job = [], []
        until(lambda: keeper.extend(pid for pid in children_of(monitor.pid) if b"SJQ_KEEPER=bash" in environment_of(pid)) or keeper)
        until(lambda: job.extend(children_of(keeper[0])) or job)
        until(lambda: read_text("/proc/%d/stat" % job[0]).rpartition(")")[2].split()[0] == "T")
        until(lambda: is_still(keeper[0]), "the keeper sleeps", 5)
        used = cpu_of(keeper[0])
        time.sleep(0.5)                              # the time in which nothing may happen
        self.assertLess(cpu_of(keeper[0]) - used, 0.2)
        os.kill(job[0], signal.SIGCONT)
        self.assertEqual((self.ended("one"), self.log("one")), ("done-q", b"before\nafter\n"), self.status("one"))


class TestSlowTee(KillCase):
    """Output on its way to the log is waited for while the log grows; once it has not grown for the grace, no more."""

    def start_one(self, grace):
        """Start a job whose tee is stopped when its command ends; return tee."""
        self.configure("kill_grace_seconds :: %s\n" % grace)
        self.under_way("one", HOLD + "; echo deployed")
        tee, shell = self.keeper(b"tee"), self.keeper(b"bash")
        os.kill(tee, signal.SIGSTOP)
        self.write("go", "")
        until(lambda: shell not in self.family(), "the end of the command")
        return tee

    def test_within_the_grace_all_of_it_is_in_the_log(self):
        tee = self.start_one(30)
        self.cycles(2)
        self.assertEqual(self.where("one"), ["currently-executing"])
        os.kill(tee, signal.SIGCONT)
        self.assertEqual((self.ended("one"), self.log("one")), ("done-q", b"deployed\n"))
        self.assertRegex(self.status("one"), "^done: exit 0 after ")

    def test_after_the_grace_the_log_is_incomplete_and_the_queue_goes_on(self):
        self.start_one(0.5)
        self.drop("two", uow("true"))
        self.assertEqual([self.ended("one", seconds=10), self.ended("two")], ["fail-q", "done-q"])
        self.assertEqual(self.status("one"), "fail: exit 0, log incomplete")


class TestPiecesOfARun(KillCase):
    """kill -9 of each piece of `keeper | tee`, of several and of all: filed as what is known, and run once."""

    def test_each_piece_and_several(self):
        """Whatever is left of it counts as the job until it has gone. Red if another starts beside it, or is held up for ever."""
        killed, lines = "^fail: killed by SIGKILL after", HOLD + "; echo after"
        rows = [  # the pieces that are killed, what the job does, whether something of it goes on, its STATUS
            (["shell"], lines, False, killed), (["tee"], HOLD, True, "^fail: exit 0, log incomplete$"), (["keeper"], lines, True, killed),
            (["keeper", "shell"], "(%s) & wait" % lines, True, killed), (["keeper", "shell"], "(%s) >/dev/null 2>&1 & wait" % HOLD, True, killed),
            (["keeper", "group"], lines, False, killed), (["keeper", "shell", "tee"], "sleep 0; " + lines, False, killed)]
        waits = ": what writes JOB END was killed; waiting for the rest of the job"
        self.started()
        for number, (pieces, command, goes_on, status) in enumerate(rows):
            with self.subTest(pieces=pieces, command=command):
                name, later = "one-%d" % number, "later-%d" % number
                self.drop(name, uow("echo ran >> ledger; echo before; " + command))
                until(lambda: len(self.ledger()) == 1 and self.read("currently-executing", name).endswith("\nbefore\n"), self.output)
                pids = {"keeper": self.keeper(b"bash", name), "tee": self.keeper(b"tee", name)}
                pids["shell"], = children_of(pids["keeper"])
                pids["group"] = -pids["shell"]
                kill_all(pids[piece] for piece in pieces)
                self.drop(later, uow("echo later >> ledger"), "priority-q")
                if "keeper" in pieces and goes_on:
                    self.said(name + waits, seconds=15)
                if goes_on:
                    self.stamped(later, "priority-q")
                    self.cycles(2)
                    self.assertEqual((self.where(name), self.ledger()), (["currently-executing"], ["ran"]))
                    self.assertEqual(self.says().count(name + waits), "keeper" in pieces)
                    self.write("go", "")
                self.assertEqual((self.ended(later), self.where(name)), ("done-q", ["fail-q"]))
                self.assertRegex(self.status(name), status)
                self.assertIn("\nbefore\n", self.read("fail-q", name))
                self.assertEqual("\nafter\n" in self.read("fail-q", name), goes_on and "after" in command)
                self.assertEqual(self.ledger(), ["ran", "later"])
                until(lambda: not [pid for pid in self.family() if b"SJQ_RUN=" in environment_of(pid)], self.family)     # tee may just end
            for name in ("go", "ledger"):
                if os.path.exists(self.path(name)):
                    os.unlink(self.path(name))

    @heavy
    def test_a_job_without_its_keeper_is_timed_out_too(self):
        monitor = self.started()
        self.drop("one", uow("echo ran >> ledger; while :; do sleep 0.1; done", TIMEOUT="5s"))
        until(self.ledger, self.output)
        os.kill(self.keeper(b"bash"), signal.SIGKILL)
        self.assertEqual(self.ended("one"), "fail-q")
        self.assertEqual(self.status("one"), "fail: timed out after 5 s")
        until(lambda: not self.family(), lambda: self.family())
        self.assertIsNone(monitor.poll())


class TestHowItDied(KillCase):
    """By a signal, by the shell's convention, or by an exit; what a job does to its own group spares the keeper."""

    CASES = [("exit 137", "fail: killed by SIGKILL"), ("exit 143", "fail: killed by SIGTERM"),
             ("kill -9 $$", "fail: killed by SIGKILL"),
             ("sleep 600 & kill -9 $!; wait $!", "fail: killed by SIGKILL"), ("exit 163", "fail: killed by signal 35"),
             ("ulimit -c unlimited; cd $(mktemp -d -p .); bash -c 'kill -ABRT $$'", "fail: killed by SIGABRT"),
             ("exit 129", "error: exit 129"), ("set -o pipefail; yes | head -1", "error: exit 141"),
             ("exit 193", "error: exit 193"), ("exit 255", "error: exit 255"),
             ("kill -USR1 $$", "fail: killed by SIGUSR1"),
             ("kill 0", "fail: killed by SIGTERM"), ("kill -9 0", "fail: killed by SIGKILL"),
             ("kill -INT 0; sleep 600", "fail: killed by SIGINT"), ("kill -HUP 0", "error: exit 129"),
             ("trap '' TERM; kill 0", "done: exit 0"), ("kill -9 $PPID; exit 3", "fail: killed by SIGKILL")]
    CASES += in_ci(("ulimit -t 1; while :; do :; done", "fail: killed by SIG"), plain=0)

    def test_each(self):
        for number, (command, _) in enumerate(self.CASES):
            self.drop("job-%02d" % number, uow("echo before; echo %d >> ledger\n%s" % (number, command)))
        self.run_until_empty()
        for number, (command, status) in enumerate(self.CASES):
            with self.subTest(command):
                name = "job-%02d" % number
                self.assertRegex(self.status(name), "^" + status + (r"\w+" * status.endswith("SIG")) + AFTER + "$")
                self.assertIn("before\n", self.text(name))
                self.assertEqual("==== JOB END" in self.text(name), "PPID" not in command)
        self.assertEqual(self.ledger(), [str(number) for number in range(len(self.CASES))])
