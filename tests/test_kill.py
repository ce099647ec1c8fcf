"""Nothing of a job survives its killing, and nothing but the job is killed; what happens when pieces of a run are killed."""
import os
import re
import shutil
import signal
import subprocess
import sys
import time

from tests.helpers import HOLD, QueueCase, children_of, environment_of, heavy, kill_all, need, processes_with, read_text, until, uow
import monitor

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

THREADS = """
import ctypes, os, threading, time

def go_on():
    with open("thread", "w") as file:
        file.write("/proc/%d/task/%d\\n" % (os.getpid(), threading.get_native_id()))
    while True:
        time.sleep(1)

threading.Thread(target=go_on).start()
ctypes.CDLL(None).pthread_exit(None)     # the first thread alone
"""


class KillCase(QueueCase):
    config = "kill_grace_seconds :: 0.3\n"

    def family(self):
        """Return the pids of what has this test's root in its command line or environment, the Monitor left out."""
        return [pid for pid in processes_with(self.root) if pid not in [monitor.pid for monitor in self.monitors]]

    def keeper(self, role, name="one"):
        run = re.findall(r"==== JOB START \S+ run (\S+)", self.read("currently-executing", name))[-1].encode()
        return until(lambda: [pid for pid in self.family() if b"SJQ_KEEPER=" + role in environment_of(pid) and b"SJQ_RUN=" + run in environment_of(pid)
                              and os.getsid(pid) == pid])[0]

    def job_shell(self):
        """Return the pid of the bash that runs the job's command: the keeper's only child."""
        return children_of(self.keeper(b"bash"))[0]


class TestKillingReachesEverything(KillCase):
    def setUp(self):
        super().setUp()
        need("setsid", "nohup", "python3", "env")
        self.write("daemon.py", DAEMON)

    def sleeper(self, number):
        return "exec -a %s/sleeper-%d sleep 600" % (self.root, number)

    def check_gone(self, command, others=0, grace="", message=True, prefix=(), **header):
        """Run a job that touches `ready` when all of it is there; kill it and see that nothing is left of it."""
        self.configure(grace or self.config)
        self.started(prefix=prefix)
        self.drop("one", uow(command, **header))
        self.there("ready")
        until(lambda: len(self.family()) >= 3 + others, "all of the job's family")
        if message:
            self.message("KILL JOB")
        self.assertEqual(self.ended("one"), "fail-q")
        until(lambda: not self.family(), lambda: "the end of what was killed: %s" % self.family(), 5)     # the last to die may not be buried yet

    def test_the_process_group(self):
        self.check_gone("(%s) & (%s) & touch ready; wait" % (self.sleeper(1), self.sleeper(2)), 2)
        self.assertEqual(self.status("one"), "fail: killed by message")

    def test_what_ignores_term(self):
        self.check_gone("trap '' TERM; bash -c 'touch ready; while :; do sleep 0.1; done' %s; while :; do sleep 0.1; done" % self.root, 1)

    def test_what_called_setsid(self):
        self.check_gone("setsid bash -c '%s' & setsid nohup bash -c 'trap \"\" TERM HUP; touch ready; %s' >/dev/null 2>&1 & wait"
                        % (self.sleeper(1), self.sleeper(2)), 2)

    def test_a_daemon_that_ignores_every_signal(self):
        self.check_gone("python3 daemon.py ready; sleep 600", 2)

    def test_its_timeout_reaches_the_daemon_too(self):
        self.check_gone("python3 daemon.py ready; sleep 600", 2, message=False, TIMEOUT="2s")
        self.assertEqual(self.status("one"), "fail: timed out after 2 s")

    def test_a_daemon_of_a_job_that_obeys_term_at_once(self):
        """The command is gone after the TERM; what it left behind is killed all the same, before the next job starts."""
        self.check_gone("python3 daemon.py ready; exec sleep 600", 1)

    def test_what_dropped_its_environment(self):
        """As sudo does: no mark, a session of its own, but a child of the run."""
        self.check_gone("env -i setsid -w bash -c 'trap \"\" TERM; touch %s/ready; (exec -a %s/x sleep 600); :' & wait" % (self.root, self.root), 1)

    def test_what_dropped_its_environment_in_the_session_of_the_job(self):
        self.check_gone("(env -i bash -c 'trap \"\" TERM; touch %s/ready; %s' &); sleep 600" % (self.root, self.sleeper(1)), 1)

    def test_what_calls_itself_a_keeper(self):
        self.check_gone("SJQ_KEEPER=tee setsid sleep 600 & SJQ_KEEPER=bash setsid bash -c 'touch ready; sleep 600; :' & wait", 2)

    def test_what_is_stopped(self):
        self.check_gone("touch ready; kill -STOP $$; sleep 600", 0)

    @heavy
    def test_a_job_that_stopped_its_own_group(self):
        self.check_gone("touch ready; kill -STOP 0; sleep 600", -1)

    def test_what_forks_without_end(self):
        self.check_gone("trap '' TERM; f() { touch ready; sleep 0.005; f & }; f; f; f; while :; do sleep 0.02; done", 0)

    def test_many(self):
        self.check_gone("for i in $(seq 150); do sleep 600 & done; touch ready; wait", 150)

    @heavy
    def test_more_than_the_monitor_may_have_files_open(self):
        need("prlimit")
        self.check_gone("trap '' TERM; for i in $(seq 200); do sleep 600 & done; touch ready; wait", 200,
                        prefix=("prlimit", "--nofile=128"))

    def check_it_is_the_jobs_own(self, word):
        """Check what leads a session, as a keeper does, and says of itself that it is something of the kind."""
        need("ps")
        self.check_gone("SJQ_KEEPER=%s setsid bash -c 'echo STATUS >> monitor_reads; touch ready; %s' & wait" % (word, self.sleeper(1)), 1)
        self.said("counts: ")
        self.assertIn("sleeper-1", self.says())

    def test_a_keeper_by_a_word_that_is_no_text(self):
        self.check_it_is_the_jobs_own(r"$'\xff'")

    def test_a_keeper_by_another_word(self):
        self.check_it_is_the_jobs_own("bash2")

    def test_a_job_may_tidy_up_at_term(self):
        self.check_gone("trap 'echo tidied; exit 0' TERM; touch ready; while :; do sleep 0.05; done", 0, "kill_grace_seconds :: 30\n")
        self.assertTrue(self.log("one").endswith(b"tidied\n"), self.log("one"))
        self.assertEqual(self.status("one"), "fail: killed by message")

    def test_the_next_job_starts_after_the_last_process_has_gone(self):
        self.started()
        self.drop("one", uow("python3 daemon.py ready; exec sleep 600"))
        self.there("ready")
        daemon = [pid for pid in self.family() if os.getsid(pid) not in (self.keeper(b"bash"), self.keeper(b"tee"))]
        self.assertEqual(len(daemon), 1)
        self.drop("two", uow("grep -q python /proc/%d/cmdline && echo TOGETHER >> ledger; echo two >> ledger" % daemon[0]))
        self.message("KILL JOB")
        self.assertEqual(self.ended("two"), "done-q")
        self.assertEqual(self.ledger(), ["two"])

    def test_a_process_whose_first_thread_has_ended_while_another_goes_on(self):
        """It looks like a zombie."""
        self.write("threads.py", THREADS)
        self.started()
        self.drop("one", uow("python3 threads.py >/dev/null 2>&1 & " + HOLD))
        self.there("thread")
        thread = until(lambda: self.read("thread").strip(), "the other thread")
        process = int(thread.split("/")[2])
        self.addCleanup(lambda: os.path.exists(thread) and os.kill(process, signal.SIGKILL))
        until(lambda: re.search(r"^State:\tZ", read_text("/proc/%d/status" % process), re.M), "the end of the first thread")
        self.drop("two", uow("[ -e %s ] && echo TOGETHER >> ledger; echo two >> ledger" % thread))
        self.message("KILL JOB")
        self.assertEqual([self.ended(name) for name in ("one", "two")], ["fail-q", "done-q"])
        self.assertEqual(self.ledger(), ["two"])

    @heavy
    def test_a_process_whose_first_thread_has_ended_is_seen_at_every_look_while_threads_come_and_go(self):
        churning = THREADS.replace("        time.sleep(1)\n", "        threading.Thread(target=int).start()\n")
        process = subprocess.Popen([sys.executable, "-c", churning], cwd=self.root, env={**os.environ, "SJQ_RUN": "mark"})
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        until(lambda: re.search(r"^State:\tZ", read_text("/proc/%d/status" % process.pid), re.M), "the end of the first thread")
        for _ in range(2000):
            self.assertIn(b"SJQ_RUN=mark", monitor.proc_facts(process.pid)[0])

    @heavy
    def test_what_ignores_term_and_cannot_be_looked_at_for_a_while(self):
        monitor = self.started()
        self.drop("one", uow("(trap '' TERM; echo $BASHPID > pid; touch ready; read line <fifo) >/dev/null 2>&1 & " + HOLD))
        os.mkfifo(self.path("fifo"))
        self.there("ready")
        self.begun("one")
        process = "/proc/" + self.read("pid").strip()
        detach = self.traced(monitor, "-P", process + "/environ", "-e", "inject=openat:error=ENFILE")
        self.drop("two", uow("grep -qa bash %s/cmdline && echo TOGETHER >> ledger; echo two >> ledger" % process))
        self.message("KILL JOB")
        until(lambda: "the cycle was cut short: Too many open files" in self.says() or self.where("one") == ["fail-q"], self.output)
        detach()
        self.assertEqual([self.ended(name) for name in ("one", "two")], ["fail-q", "done-q"])
        self.assertEqual(self.ledger(), ["two"])

    @heavy
    def test_term_is_sent_at_the_next_try_where_the_processes_could_not_be_listed(self):
        self.configure("kill_grace_seconds :: 10\n")
        monitor = self.started()
        self.drop("one", uow("trap 'echo tidied >> ledger; exit 1' TERM; touch ready; " + HOLD))
        self.there("ready")
        self.begun("one")
        self.asleep(monitor)
        self.traced(monitor, "-P", "/proc", "-e", "inject=openat:error=ENFILE:when=1")
        self.message("KILL JOB")
        self.assertEqual((self.ended("one"), self.ledger()), ("fail-q", ["tidied"]))
        self.assertIn("Too many open files in system", self.says())

    def test_a_bystander_with_the_root_in_its_command_line_lives(self):
        bystander = subprocess.Popen(["bash", "-c", "sleep 600; :", self.root], start_new_session=True)
        self.addCleanup(bystander.wait)
        self.addCleanup(os.killpg, bystander.pid, signal.SIGKILL)     # its `sleep`, too
        self.started()
        self.drop("one", uow("sleep 600"))
        self.begun("one")
        self.message("KILL JOB")
        self.assertEqual(self.ended("one"), "fail-q")
        self.assertIsNone(bystander.poll())


class TestKillJobAfterTheEnd(KillCase):
    """How a job ended is settled once its END line is there and nothing of it is left: KILL JOB comes too late."""

    def check(self, queue, status):
        self.said("KILL JOB: one has ended already")
        self.assertEqual(self.ended("one"), queue)
        self.assertRegex(self.status("one"), status)
        self.assertNotIn("ending one", self.says())

    def test_it_ended_while_the_monitor_was_down(self):
        monitor = self.started()
        self.drop("one", uow(HOLD + "; exit 3"))
        self.begun("one")
        self.stop(monitor)
        self.write("go", "")
        until(lambda: not self.family(), lambda: self.family())
        self.message("KILL JOB")
        self.started()
        self.check("error-q", "^error: exit 3 after ")

    def test_it_ended_while_the_monitor_was_down_and_left_a_service(self):
        monitor = self.started()
        self.drop("one", uow("setsid sleep 600 >/dev/null 2>&1 & echo $! > service; %s; echo deployed" % HOLD))
        self.begun("one")
        self.stop(monitor)
        self.write("go", "")
        service = int(until(lambda: os.path.exists(self.path("service")) and self.read("service"), "the service"))
        until(lambda: self.family() == [service], lambda: "the service alone: %s" % self.family())
        self.message("KILL JOB")
        self.started()
        self.check("done-q", "^done: exit 0 after ")
        os.kill(service, 0)

    def test_its_log_is_searched_for_a_pattern(self):
        """That search, which hangs, is what it ends."""
        self.configure("error_pattern :: FAILED\n")
        self.started(env=self.executable("tail", "#!/bin/sh\ntouch %s/searching\nsleep 600\n" % self.root))
        self.drop("one", uow("echo well; exit 3"))
        self.there("searching")
        self.message("KILL JOB")
        self.said("KILL JOB: one has ended already; the search in its output is ended")
        self.check("error-q", "^error: exit 3 after ")
        until(lambda: not self.family(), lambda: "the end of the search: %s" % self.family(), 5)

    def test_what_holds_its_output_is_still_there(self):
        self.configure("kill_grace_seconds :: 30\n")
        self.started()
        self.drop("one", uow("sleep 600 & echo done"))
        self.said("one: the command has ended, but its output is held by ")
        self.message("KILL JOB")
        self.assertEqual(self.ended("one"), "fail-q")
        self.assertEqual(self.status("one"), "fail: killed by message")
        until(lambda: not self.family(), lambda: self.family(), 5)


class TestHeldOutput(KillCase):
    """A background process that holds the job's output after the command has ended is named, and waited for within the grace only."""

    def test_it_is_named_and_not_waited_for_any_longer(self):
        self.configure("kill_grace_seconds :: 1.5\n")
        self.started()
        self.drop("one", uow("sleep 600 & echo $! > holder; echo done"))
        self.drop("two", uow("echo two >> ledger"))
        began = time.monotonic()
        self.assertEqual(self.ended("one"), "done-q")
        self.assertLess(time.monotonic() - began, 20)
        self.said("one: the command has ended, but its output is held by %s (sleep)" % self.read("holder").strip())
        self.said("one: output is still held; not waited for any longer")
        self.assertEqual(self.log("one"), b"done\n")
        self.assertEqual(self.ended("two"), "done-q")
        self.assertEqual(self.says().count("is held by"), 1)
        os.kill(int(self.read("holder")), 0)             # it was not killed: nobody asked for that
        self.assertRegex(self.status("one"), r"^done: exit 0 after 0\.\d s$")

    def test_what_ends_within_the_grace_is_in_the_log(self):
        self.configure("kill_grace_seconds :: 30\n")
        self.started()
        self.drop("one", uow("(%s; echo late) & echo early" % HOLD))
        self.said("its output is held by")
        self.assertEqual(self.where("one"), ["currently-executing"])
        self.write("go", "")
        self.assertEqual(self.ended("one"), "done-q")
        self.assertIn("late\n", self.read("done-q", "one"))

    def test_the_limit_does_not_count_for_held_output(self):
        """The command ended in time: that somebody holds its output past the limit makes it no timeout."""
        self.configure("kill_grace_seconds :: 3\n")
        self.started()
        self.drop("one", uow("sleep 600 & exit 3", TIMEOUT="1.5s"))
        self.assertEqual(self.ended("one"), "error-q")
        self.assertRegex(self.status("one"), r"^error: exit 3 after 0\.\d s$")

    def test_a_service_that_a_job_started_goes_on(self):
        self.started()
        self.drop("one", uow("setsid sleep 600 >/dev/null 2>&1 & echo $! > service"))
        self.assertEqual(self.ended("one"), "done-q")
        os.kill(int(self.read("service")), 0)
        self.assertNotIn("held", self.says())

    def test_a_tee_that_outlives_its_run_leaves_no_zombie(self):
        monitor = self.started()
        self.drop("one", uow("(%s) &" % HOLD))
        self.assertEqual(self.ended("one"), "done-q")
        until(lambda: len(children_of(monitor.pid)) == 1, "its tee alone is left, and no mv")
        self.write("go", "")
        until(lambda: self.cycles(1) or not children_of(monitor.pid), lambda: "no child is left: %s" % children_of(monitor.pid), 10)

    def test_an_adopted_run_whose_output_is_held(self):
        monitor = self.started()
        self.drop("one", uow(HOLD + "; sleep 600 & exit 3"))
        self.begun("one")
        self.kill9(monitor)
        self.write("go", "")
        until(lambda: "==== JOB END" in self.read("currently-executing", "one"))
        self.run_until_empty()
        self.assertEqual(self.where("one"), ["error-q"])
        self.assertIn("its output is held by", self.says())


@heavy
class TestSlowTee(KillCase):
    """Output that nobody holds is on its way to the log, however slow the disk: it is waited for, with any grace."""

    def start_one(self, grace, env=None):
        self.configure("kill_grace_seconds :: %s\n" % grace)
        self.started(env=env)
        self.drop("one", uow(HOLD + "; echo deployed"))
        self.begun("one")

    def stopped_tee(self):
        tee = self.keeper(b"tee")
        os.kill(tee, signal.SIGSTOP)
        return tee

    def still_written(self):
        """See that the Monitor says once, long after the grace, that tee is slow, and waits."""
        self.said("one: the command has ended, and tee still writes its output")
        self.cycles(2)
        self.assertEqual(self.where("one"), ["currently-executing"])
        self.assertEqual(self.says().count("tee still writes its output"), 1)
        self.assertNotIn("held", self.says())

    def whole(self):
        self.assertEqual((self.ended("one"), self.log("one")), ("done-q", b"deployed\n"))
        self.assertRegex(self.status("one"), r"^done: exit 0 after \d\.\d s$")

    def test_without_a_grace(self):
        tee = "#!/bin/sh\nuntil [ -e %s/flow ]; do sleep 0.02; done\nexec %s \"$@\"\n" % (self.root, shutil.which("tee"))
        self.start_one(0, self.executable("tee", tee))
        self.write("go", "")
        self.still_written()
        self.write("flow", "")
        self.whole()

    def test_it_is_stopped_for_longer_than_the_grace(self):
        self.start_one(0.5)
        tee = self.stopped_tee()
        self.write("go", "")
        self.still_written()
        os.kill(tee, signal.SIGCONT)
        self.whole()

    def test_kill_job_ends_the_wait(self):
        self.start_one(0.5)
        tee, shell = self.stopped_tee(), self.keeper(b"bash")
        self.write("go", "")
        until(lambda: shell not in self.family(), "the end of the command")
        self.message("KILL JOB")
        self.assertEqual(self.ended("one", seconds=10), "fail-q")
        self.assertEqual(self.status("one"), "fail: killed by message")
        self.assertNotIn("is held by", self.says())
        os.kill(tee, signal.SIGCONT)
        until(lambda: not self.family(), lambda: self.family())


class TestPiecesOfARun(KillCase):
    """kill -9 of each piece of `keeper | tee`, of several and of all: filed as what is known, run once, nothing beside it."""

    def start_one(self, command="echo ran >> ledger; echo before; %s; echo after" % HOLD):
        monitor = self.started()
        self.drop("one", uow(command))
        until(lambda: self.ledger() and self.read("currently-executing", "one").endswith("\nbefore\n"), self.output)
        return monitor

    def check(self, queue, status):
        self.drop("two", uow("echo two >> ledger"))
        self.assertEqual(self.ended("two"), "done-q")
        self.assertEqual(self.where("one"), [queue])
        self.assertRegex(self.status("one"), status)
        self.assertIn("before\n", self.read(queue, "one"))
        self.assertEqual(self.ledger(), ["ran", "two"])
        self.assertEqual([pid for pid in self.family() if b"SJQ_RUN=" in environment_of(pid)], [])      # a `mv` may just end

    def test_the_jobs_shell(self):
        self.start_one()
        os.kill(self.job_shell(), signal.SIGKILL)
        self.check("fail-q", "^fail: killed by SIGKILL after")

    def test_the_jobs_shell_segfaults(self):
        self.start_one()
        os.kill(self.job_shell(), signal.SIGSEGV)
        self.check("fail-q", "^fail: killed by SIGSEGV after")

    def test_tee(self):
        self.start_one()
        os.kill(self.keeper(b"tee"), signal.SIGKILL)
        self.write("go", "")
        self.check("fail-q", r"^fail: exit \d+, log incomplete$")

    def test_tee_of_a_job_that_says_nothing_more(self):
        self.start_one("echo ran >> ledger; echo before; " + HOLD)
        os.kill(self.keeper(b"tee"), signal.SIGKILL)
        self.write("go", "")
        self.check("fail-q", "^fail: exit 0, log incomplete$")

    def test_the_keeper(self):
        """Its job lives on and counts as the job until it has gone."""
        self.start_one()
        os.kill(self.keeper(b"bash"), signal.SIGKILL)
        self.drop("early", uow("echo early >> ledger"), "priority-q")
        self.stamped("early", "priority-q")
        self.cycles(2)
        self.assertEqual(self.ledger(), ["ran"])
        self.write("go", "")
        self.assertEqual(self.ended("early"), "done-q")
        self.assertEqual(self.status("one").split(" after")[0], "fail: killed by SIGKILL")
        self.assertIn("after\n", self.read("fail-q", "one"))
        self.assertEqual(self.ledger(), ["ran", "early"])

    def without_shells(self, left):
        """Kill both shells of a run; what it left in the background is waited for, which is said once."""
        self.start_one("echo ran >> ledger; echo before; %s & wait" % left)
        kill_all([self.keeper(b"bash"), self.job_shell()])
        self.said("one: its shell has ended without a word of how; waiting for what is left of it", seconds=15)
        self.cycles(2)
        self.assertEqual((self.where("one"), self.says().count("waiting for what is left of it")), (["currently-executing"], 1))
        self.write("go", "")
        self.check("fail-q", "^fail: killed by SIGKILL after")

    def test_the_keeper_and_the_jobs_shell(self):
        self.without_shells("(%s; echo after)" % HOLD)
        self.assertIn("after\n", self.read("fail-q", "one"))

    def test_the_keeper_and_the_jobs_shell_where_nobody_holds_the_output(self):
        self.without_shells("(%s) >/dev/null 2>&1" % HOLD)

    @heavy
    def test_a_job_without_its_keeper_is_timed_out_too(self):
        monitor = self.started()
        self.drop("one", uow("echo ran >> ledger; while :; do sleep 0.1; done", TIMEOUT="2s"))
        until(self.ledger, self.output)
        os.kill(self.keeper(b"bash"), signal.SIGKILL)
        self.assertEqual(self.ended("one"), "fail-q")
        self.assertEqual(self.status("one"), "fail: timed out after 2 s")
        until(lambda: not self.family(), lambda: self.family())
        self.assertIsNone(monitor.poll())

    def test_the_whole_process_group(self):
        self.start_one()
        os.killpg(self.keeper(b"bash"), signal.SIGKILL)
        self.check("fail-q", "^fail: killed by SIGKILL after")

    def test_everything_but_the_monitor(self):
        self.start_one()
        kill_all(self.family())
        self.check("fail-q", "^fail: killed by SIGKILL after")

    def test_everything_and_the_monitor(self):
        monitor = self.start_one()
        kill_all([monitor.pid] + self.family())
        monitor.wait()
        self.started()
        self.check("fail-q", "^fail: interrupted$")

    @heavy
    def test_a_job_that_signals_its_own_group(self):
        for number, (command, status) in enumerate([("kill 0", "^fail: killed by SIGTERM after"), ("kill -9 0", "^fail: killed by SIGKILL after"),
                                                    ("kill -INT 0; sleep 600", "^fail: killed by SIGINT after"), ("kill -HUP 0", "^fail: killed by SIGHUP after"),
                                                    ("trap '' TERM; kill 0", "^done: exit 0 after"), ("kill -9 $PPID; exit 3", "^fail: killed by SIGKILL after")]):
            with self.subTest(command=command):
                name = "job-%d" % number
                self.drop(name, uow("echo before; echo %s >> ledger; %s" % (name, command)))
                self.run_until_empty()
                self.assertRegex(self.status(name), status)
                self.assertIn("before\n", self.read(self.where(name)[0], name))
        self.assertEqual(len(self.ledger()), 6)


class TestHowItDied(KillCase):
    """A real signal against an exit code that looks like one."""

    def test_each(self):
        cases = [("exit 137", "error: exit 137"), ("bash -c 'exit 137'", "error: exit 137"), ("kill -9 $$", "fail: killed by SIGKILL"),
                 ("sleep 600 & kill -9 $!; wait $!", "fail: killed by SIGKILL"), ("bash -c 'kill -9 $$'", "fail: killed by SIGKILL"),
                 ("ulimit -c unlimited; cd $(mktemp -d -p .); bash -c 'kill -ABRT $$'", "fail: killed by SIGABRT"),
                 ("echo 'line 1: 12 Killed'; exit 3", "error: exit 3"), ("exit 255", "error: exit 255"), ("kill -USR1 $$", "fail: killed by SIGUSR1"),
                 ("python3 -c 'import os; os.abort()'", "fail: killed by SIGABRT"), ("ulimit -t 1; while :; do :; done", "fail: killed by SIG")]
        for number, (command, status) in enumerate(cases):
            self.drop("job-%d" % number, uow(command))
        self.run_until_empty()
        for number, (command, status) in enumerate(cases):
            with self.subTest(command=command):
                self.assertTrue(self.status("job-%d" % number).startswith(status), self.status("job-%d" % number))

    @heavy
    def test_what_bash_says_when_it_starts_is_no_note_of_a_death(self):
        """A locale that is not installed, and whatever a file named by BASH_ENV writes or sets: the job has it, the keeper not."""
        cases = [dict(LC_ALL="xx_YY.UTF-8")]
        for number, text in enumerate(("echo a word >&2", "printf half >&2", "echo >&2; echo a word >&2", "seq 40000 >&2", "set -e", "exec 3</dev/null 2>&1")):
            cases.append(dict(BASH_ENV=self.write("env-%d" % number, text + "\n")))
        for case in cases:
            with self.subTest(case):
                self.drop("exits", uow("exit 137"))
                self.drop("dies", uow("kill -9 $$"))
                self.run_until_empty(seconds=20, env={**os.environ, **case})
                self.assertRegex(self.status("exits"), "^error: exit 137 after")
                self.assertRegex(self.status("dies"), "^fail: killed by SIGKILL after")
                os.unlink(self.path("error-q", "exits"))
                os.unlink(self.path("fail-q", "dies"))

    def test_a_long_line_of_digits_is_judged_at_once(self):
        """The search for bash's note of a death, in the last of the output, was of the fourth power."""
        self.drop("digits", uow("printf %03000d 1; exit 137"))
        self.run_until_empty(seconds=20)
        self.assertRegex(self.status("digits"), "^error: exit 137 after")
