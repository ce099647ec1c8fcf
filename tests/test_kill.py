"""Nothing of a job survives its killing, and nothing but the job is killed; what if pieces of a run are killed."""
import os
import re
import signal
import subprocess
import sys
import time

from tests.helpers import (AFTER, HOLD, QueueCase, children_of, cpu_of, environment_of, heavy, is_still, kill_all,
                           need, processes_with, read_text, until, uow)
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
        """Return the pids of what has this test's root in its command line or environment, but for the Monitors."""
        return [pid for pid in processes_with(self.root) if pid not in [monitor.pid for monitor in self.monitors]]

    def keeper(self, role, name="one"):
        run = re.findall(r"==== JOB START \S+ run (\S+)", self.read("currently-executing", name))[-1].encode()
        words = {b"SJQ_KEEPER=" + role, b"SJQ_RUN=" + run}
        return until(lambda: [pid for pid in self.family() if words <= set(environment_of(pid).split(b"\0"))
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
        until(lambda: not self.family(), lambda: "the end of what was killed: %s" % self.family(), 5)

    def test_the_process_group(self):
        self.check_gone("(%s) & (%s) & touch ready; wait" % (self.sleeper(1), self.sleeper(2)), 2)
        self.assertEqual(self.status("one"), "fail: killed by message")

    def test_what_ignores_term(self):
        endless = "while :; do sleep 0.1; done"
        self.check_gone("trap '' TERM; bash -c 'touch ready; %s' %s; %s" % (endless, self.root, endless), 1)

    def test_what_called_setsid(self):
        self.check_gone("setsid bash -c '%s' &\n"
                        "setsid nohup bash -c 'trap \"\" TERM HUP; touch ready; %s' &>/dev/null &\nwait"
                        % (self.sleeper(1), self.sleeper(2)), 2)

    def test_a_timeout_reaches_a_daemon_that_ignores_every_signal(self):
        self.check_gone("python3 daemon.py ready; sleep 600", 2, message=False, TIMEOUT="2s")
        self.assertEqual(self.status("one"), "fail: timed out after 2 s")

    def test_a_daemon_of_a_job_that_obeys_term_at_once(self):
        """The command is gone after the TERM; what it left behind is killed all the same."""
        self.check_gone("python3 daemon.py ready; exec sleep 600", 1)

    def test_what_dropped_its_environment(self):
        """As sudo does: no mark, a session of its own, but a child of the run."""
        self.check_gone("env -i setsid -w bash -c 'trap \"\" TERM; touch %s/ready; (exec -a %s/x sleep 600); :' & wait"
                        % (self.root, self.root), 1)

    def test_what_dropped_its_environment_in_the_session_of_the_job(self):
        self.check_gone("(env -i bash -c 'trap \"\" TERM; touch %s/ready; %s' &); sleep 600"
                        % (self.root, self.sleeper(1)), 1)

    def test_what_loses_its_parent_between_term_and_kill(self):
        """It has no mark and a session of its own: only that it was held at the TERM tells whose it is."""
        self.check_gone("bash -c 'env -i setsid -w bash -c "
                        "\"trap : TERM; touch %s/ready; while :; do sleep 0.1; done\" %s' &"
                        " wait" % (self.root, self.root), 1)

    def test_what_calls_itself_a_keeper(self):
        need("ps")
        self.check_gone("SJQ_KEEPER=tee setsid sleep 600 & SJQ_KEEPER=$'\\xff' setsid sleep 600 & "
                        "SJQ_KEEPER=bash setsid bash -c 'echo STATUS >> monitor_reads; touch ready; %s' & wait"
                        % self.sleeper(1), 3)
        self.said("counts: ")
        self.assertIn("sleeper-1", self.says())          # it is told among the job's processes, too

    def test_what_is_stopped(self):
        self.check_gone("touch ready; kill -STOP 0; sleep 600", 0)

    def test_what_is_stopped_may_tidy_up_at_term_too(self):
        self.check_gone("trap 'echo tidied; exit 0' TERM; touch ready; kill -STOP $$; sleep 600", -1,
                        grace="kill_grace_seconds :: 30\n")
        self.assertEqual(self.log("one"), b"tidied\n")

    def test_what_forks_without_end(self):
        self.check_gone("trap '' TERM; f() { touch ready; sleep 0.005; f & }; f; f; f; while :; do sleep 0.02; done", 0)

    def test_many(self):
        self.check_gone("for i in $(seq 150); do sleep 600 & done; touch ready; wait", 150)

    @heavy
    def test_more_than_the_monitor_may_have_files_open(self):
        need("prlimit")
        self.check_gone("trap '' TERM; for i in $(seq 200); do sleep 600 & done; touch ready; wait", 200,
                        prefix=("prlimit", "--nofile=128"))

    def test_a_job_may_tidy_up_at_term(self):
        self.check_gone("trap 'echo tidied; exit 0' TERM; touch ready; while :; do sleep 0.05; done",
                        grace="kill_grace_seconds :: 30\n")
        self.assertTrue(self.log("one").endswith(b"tidied\n"), self.log("one"))
        self.assertEqual(self.status("one"), "fail: killed by message")

    def test_the_next_job_starts_after_the_last_process_has_gone(self):
        self.started()
        self.drop("one", uow("python3 daemon.py ready; exec sleep 600"))
        self.there("ready")
        daemon = [pid for pid in self.family() if os.getsid(pid) not in (self.keeper(b"bash"), self.keeper(b"tee"))]
        self.assertEqual(len(daemon), 1)
        self.drop("two", uow("grep -q python /proc/%d/cmdline && echo TOGETHER >> ledger\necho two >> ledger"
                             % daemon[0]))
        self.message("KILL JOB")
        self.assertEqual(self.ended("two"), "done-q")
        self.assertEqual(self.ledger(), ["two"])

    def test_a_process_whose_first_thread_has_ended_while_another_goes_on(self):
        """It looks like a zombie; with a session of its own and no parent, its environment alone tells whose it is."""
        self.write("threads.py", THREADS)
        self.started()
        self.drop("one", uow("(setsid python3 threads.py >/dev/null 2>&1 &); " + HOLD))
        self.there("thread")
        thread = until(lambda: self.read("thread").strip(), "the other thread")
        process = int(thread.split("/")[2])
        self.addCleanup(lambda: os.path.exists(thread) and os.kill(process, signal.SIGKILL))
        self.first_thread_ends(process)
        self.drop("two", uow("[ -e %s ] && echo TOGETHER >> ledger; echo two >> ledger" % thread))
        self.message("KILL JOB")
        self.assertEqual([self.ended(name) for name in ("one", "two")], ["fail-q", "done-q"])
        self.assertEqual(self.ledger(), ["two"])

    def first_thread_ends(self, pid):
        until(lambda: re.search(r"^State:\tZ", read_text("/proc/%d/status" % pid), re.M), "the end of the first thread")

    @heavy
    def test_a_process_whose_first_thread_has_ended_is_seen_at_every_look_while_threads_come_and_go(self):
        churning = THREADS.replace("        time.sleep(1)\n", "        threading.Thread(target=int).start()\n")
        process = subprocess.Popen([sys.executable, "-c", churning], cwd=self.root,
                                   env={**os.environ, "SJQ_RUN": "mark"})
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.first_thread_ends(process.pid)
        for _ in range(2000):
            self.assertIn(b"SJQ_RUN=mark", monitor.read_process(process.pid)[0])

    @heavy
    def test_what_ignores_term_and_cannot_be_looked_at_for_a_while(self):
        monitor = self.started()
        self.drop("one", uow("(trap '' TERM; echo $BASHPID > pid; touch ready; read line <fifo) &>/dev/null & " + HOLD))
        os.mkfifo(self.path("fifo"))
        self.there("ready")
        self.begun("one")
        process = "/proc/" + self.read("pid").strip()
        detach = self.traced(monitor, "-P", process + "/environ", "-e", "inject=openat:error=ENFILE")
        self.drop("two", uow("grep -qa bash %s/cmdline && echo TOGETHER >> ledger; echo two >> ledger" % process))
        self.message("KILL JOB")
        self.said("Too many open files")
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
        self.assertNotIn("TERM now", self.says())

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


class TestWhatIsLeftRunning(KillCase):
    """A background process that holds the job's output after the command has ended is named, and not waited for."""

    def test_it_is_named_and_goes_on_and_what_it_writes_later_lands_behind_end(self):
        self.configure("kill_grace_seconds :: 30\n")
        self.started()
        self.drop("one", uow("sleep 600 & echo $! > holder; (%s; echo late) & echo done" % HOLD))
        self.drop("two", uow("echo two >> ledger"))
        self.assertEqual([self.ended(name, seconds=10) for name in ("one", "two")], ["done-q", "done-q"])
        self.assertRegex(self.says(), r"one: left running: .*\b%s \(sleep\)" % self.read("holder").strip())
        self.assertEqual(self.says().count("left running"), 1)
        self.assertRegex(self.status("one"), "^done: exit 0 after 0")
        os.kill(int(self.read("holder")), 0)             # it was not killed: nobody asked for that
        self.write("go", "")
        until(lambda: self.read("done-q", "one").endswith("late\n"), self.output)
        self.assertEqual(self.log("one"), b"done\n")

    def test_a_service_that_a_job_started_goes_on(self):
        self.started()
        self.drop("one", uow("setsid sleep 600 >/dev/null 2>&1 & echo $! > service"))
        self.assertEqual(self.ended("one"), "done-q")
        os.kill(int(self.read("service")), 0)
        self.assertNotIn("left running", self.says())

    def test_a_tee_that_outlives_its_run_leaves_no_zombie(self):
        monitor = self.started()
        self.drop("one", uow("(%s) &" % HOLD))
        self.assertEqual(self.ended("one"), "done-q")
        until(lambda: len(children_of(monitor.pid)) == 1, "its tee alone is left, and no mv")
        self.write("go", "")
        until(lambda: self.cycles(1) or not children_of(monitor.pid), lambda: children_of(monitor.pid), 10)

    def test_an_adopted_run_whose_output_is_held(self):
        monitor = self.started()
        self.drop("one", uow(HOLD + "; sleep 600 & exit 3"))
        self.begun("one")
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
        self.assertTrue(is_still(keeper[0]))
        used = cpu_of(keeper[0])
        time.sleep(0.5)                              # the time in which nothing may happen
        self.assertLess(cpu_of(keeper[0]) - used, 0.2)
        os.kill(job[0], signal.SIGCONT)
        self.assertEqual((self.ended("one"), self.log("one")), ("done-q", b"before\nafter\n"), self.status("one"))

    def test_a_job_that_has_timed_out_is_filed_as_soon_as_it_has_ended(self):
        self.configure("sleep_seconds :: 60\nkill_grace_seconds :: 60\n")
        self.started()
        for number in range(12):
            self.drop("job-%d" % number, uow("exec sleep 50", TIMEOUT="0.3s"))
        began = time.monotonic()
        for number in range(12):
            self.assertEqual(self.ended("job-%d" % number), "fail-q")
        self.assertLess(time.monotonic() - began, 12)


class TestSlowTee(KillCase):
    """Output on its way to the log is waited for while the log grows; once it has not grown for the grace, no more."""

    def start_one(self, grace):
        """Start a job whose tee is stopped when its command ends; return tee."""
        self.configure("kill_grace_seconds :: %s\n" % grace)
        self.started()
        self.drop("one", uow(HOLD + "; echo deployed"))
        self.begun("one")
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
        left = [pid for pid in self.family() if b"SJQ_RUN=" in environment_of(pid)]      # a `mv` may just end
        self.assertEqual(left, [])

    def test_the_jobs_shell(self):
        self.start_one()
        os.kill(self.job_shell(), signal.SIGKILL)
        self.check("fail-q", "^fail: killed by SIGKILL after")

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
        self.said("waiting for what is left of it", seconds=15)
        self.cycles(2)
        self.assertEqual(self.where("one"), ["currently-executing"])
        self.assertEqual(self.says().count("waiting for what is left of it"), 1)
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
        shell = self.job_shell()
        os.kill(self.keeper(b"bash"), signal.SIGKILL)
        os.killpg(shell, signal.SIGKILL)
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


class TestHowItDied(KillCase):
    """By a signal, by the shell's convention, or by an exit; what a job does to its own group spares the keeper."""

    CASES = [("exit 137", "fail: killed by SIGKILL"), ("exit 143", "fail: killed by SIGTERM"),
             ("kill -9 $$", "fail: killed by SIGKILL"),
             ("sleep 600 & kill -9 $!; wait $!", "fail: killed by SIGKILL"), ("exit 163", "fail: killed by signal 35"),
             ("ulimit -c unlimited; cd $(mktemp -d -p .); bash -c 'kill -ABRT $$'", "fail: killed by SIGABRT"),
             ("exit 129", "error: exit 129"), ("set -o pipefail; yes | head -1", "error: exit 141"),
             ("exit 193", "error: exit 193"), ("exit 255", "error: exit 255"),
             ("kill -USR1 $$", "fail: killed by SIGUSR1"), ("ulimit -t 1; while :; do :; done", "fail: killed by SIG"),
             ("kill 0", "fail: killed by SIGTERM"), ("kill -9 0", "fail: killed by SIGKILL"),
             ("kill -INT 0; sleep 600", "fail: killed by SIGINT"), ("kill -HUP 0", "error: exit 129"),
             ("trap '' TERM; kill 0", "done: exit 0"), ("kill -9 $PPID; exit 3", "fail: killed by SIGKILL")]

    def test_each(self):
        for number, (command, _) in enumerate(self.CASES):
            self.drop("job-%02d" % number, uow("echo before; echo %d >> ledger\n%s" % (number, command)))
        self.run_until_empty()
        for number, (command, status) in enumerate(self.CASES):
            with self.subTest(command):
                name = "job-%02d" % number
                self.assertRegex(self.status(name), "^" + status + (r"\w+" * status.endswith("SIG")) + AFTER + "$")
                self.assertIn("before\n", self.read(self.where(name)[0], name))
                self.assertEqual("==== JOB END" in self.read(self.where(name)[0], name), "PPID" not in command)
        self.assertEqual(self.ledger(), [str(number) for number in range(len(self.CASES))])
