"""The job outlives the Monitor: through crash, stop and restart, and the next Monitor takes it over.

Each test kills real processes of its own. The ledger is a file that jobs append to: what really ran.
"""
import os
import pty
import re
import signal
import subprocess
import sys
import time

from tests.helpers import HOLD, PYTHON, QUEUES, QueueCase, compiled, environment_of, heavy, kill_all, need, processes_with, until, uow


def another_boot(boot_id):
    """Return a command prefix under which the kernel's boot id reads as this file's: as after a reboot."""
    return ("unshare", "-m", "--propagation", "private", "bash", "-c",
            'mount --bind "$1" /proc/sys/kernel/random/boot_id && shift && exec "$@"', "another-boot", boot_id)


class AdoptionCase(QueueCase):
    def run_of(self, name):
        """Return the mark of a UOW's last run."""
        return re.findall(r"^==== JOB START \S+ run (\S+)$", self.text(name), re.M)[-1]

    def marked(self, name, role=None):
        """Return the pids of a run's processes; of its keepers only, where a role is given."""
        mark = b"\0SJQ_RUN=" + self.run_of(name).encode() + b"\0"
        found = [pid for pid in processes_with(self.root) if mark in b"\0" + environment_of(pid)]
        return [pid for pid in found if b"SJQ_KEEPER=" + role in environment_of(pid)] if role else found

    def gone(self, name):
        until(lambda: not self.marked(name), lambda: "processes of %s: %s" % (name, self.marked(name)))

    def crash(self, name):
        """Kill everything of a run, as a power cut does."""
        def left():
            kill_all(self.marked(name))
            return self.marked(name)
        until(lambda: not left(), lambda: "gone: %s" % self.marked(name))

    def still_waits(self, name):
        """See that a UOW, ready to run, is not started in two whole cycles of the Monitor."""
        self.stamped(name)
        self.cycles(2)
        self.assertEqual(self.where(name), ["wait-q"], self.output())

    def orphan(self, name, command, **header):
        """Start a job, kill -9 its Monitor, and leave the job alone."""
        self.kill9(self.under_way(name, command, **header))

    def tree(self):
        """Return every visible file of the queues with its content."""
        return {(queue, name): self.read(queue, name) for queue in QUEUES for name in os.listdir(self.path(queue))
                if os.path.isfile(self.path(queue, name)) and not name.startswith(".")}

    def settled(self):
        """Restart once more and see that it changes nothing: recovery twice is recovery once."""
        before = self.tree()
        self.run_until_empty()
        self.assertEqual((self.tree(), self.links()), (before, []))


class TestTheJobGoesOn(AdoptionCase):
    LINES = ("echo ran >> ledger\nfor i in $(seq 1 400); do\necho line $i\n[ $i = 200 ] && touch half\n"
             "[ $i = 300 ] && %s\n[ $((i %% 10)) = 0 ] && sleep 0.02\ndone" % HOLD)

    def twice(self, monitor):
        monitor.terminate()
        monitor.terminate()
        self.assertIn(monitor.wait(20), (0, -signal.SIGTERM))    # the second may come when it is as good as gone

    def test_a_job_outlives_every_end_of_its_monitor_and_no_line_is_lost(self):
        """Killed, stopped, stopped twice. No job starts beside it, and no other process is taken for a part of it."""
        pretended = {b"SJQ_KEEPER": b"tee", b"SJQ_RUN": b"\xff", b"SJQ_FILE": os.fsencode(self.root)}       # as any job may
        self.process("bash", "-c", "exec 3<>file; exec sleep 600", cwd=self.root, env={**os.environb, **pretended})
        monitor = self.started()
        self.drop("long", uow(self.LINES))
        self.there("half")
        self.drop("second", uow("echo second >> ledger"))
        for count, end in enumerate((self.kill9, lambda monitor: self.assertEqual(self.stop(monitor), 0), self.twice, self.kill9), 1):
            end(monitor)
            self.assertEqual(self.where("long"), ["currently-executing"])
            self.assertTrue(self.marked("long"), "the job has gone with its Monitor")
            monitor = self.start("--until-empty")
            self.said("adopted long", count=count)
        self.still_waits("second")
        self.write("go", "")
        self.assertEqual(monitor.wait(60), 0, self.output())
        self.assertEqual((self.where("long"), self.where("second"), self.ledger()), (["done-q"], ["done-q"], ["ran", "second"]))
        self.assertEqual(self.log("long"), b"".join(b"line %d\n" % i for i in range(1, 401)))
        self.assertRegex(self.status("long"), r"^done: exit 0 after \d+\.\d s$")
        self.settled()


class TestTheTerminalIsClosed(AdoptionCase):
    def test_it_ends_the_monitor_and_not_the_job(self):
        pid, terminal = pty.fork()
        if pid == 0:
            os.execv(sys.executable, [*PYTHON, compiled(), self.path("config.txt")])
        self.addCleanup(kill_all, [pid])
        self.drop("job", uow(HOLD + "; echo done"))
        self.begun("job")
        os.close(terminal)
        ended = []
        until(lambda: ended.append(os.waitpid(pid, os.WNOHANG)) or ended[-1][0], self.says)
        self.assertEqual(ended[-1], (pid, 0))
        self.said("SHUTDOWN by signal HUP: the terminal was closed")
        self.write("go", "")
        self.run_until_empty()
        self.assertEqual((self.where("job"), self.log("job")), (["done-q"], b"done\n"))


class TestTimeouts(AdoptionCase):
    def test_counts_from_the_real_start(self):
        import monitor                                       # few tests ask, and to compile it takes a while
        self.orphan("slow", "sleep 60", TIMEOUT="5s")
        time.sleep(4)                                        # the Monitor is away for most of the job's time
        self.run_until_empty()
        self.assertEqual(self.status("slow"), "fail: timed out after 5 s")
        adopted, killed = (monitor.read_time(re.search(r"^(\S+) %s" % said, self.says(), re.M).group(1))
                           for said in ("adopted slow", "slow: timed out"))
        self.assertLess(killed - adopted, 5e6)               # at least that if it counted from the adoption
        self.gone("slow")


class TestKillOfAnAdoptedJob(AdoptionCase):
    FAMILY = "trap '' TERM; sleep 600 & setsid sleep 601 & (setsid sleep 602 &) ; wait"

    def test_kill_job_written_while_no_monitor_was_there_reaches_all_of_it(self):
        self.orphan("family", self.FAMILY)
        until(lambda: len(self.marked("family")) >= 6, lambda: self.marked("family"))
        pids = self.marked("family")
        self.message("KILL JOB")
        self.run_until_empty()
        self.assertEqual(self.status("family"), "fail: killed by message")
        self.assertEqual([pid for pid in pids if environment_of(pid)], [])

    @heavy
    def test_a_start_that_cannot_list_the_processes_tries_again_before_it_reads_the_message(self):
        need("strace")
        self.orphan("one", "sleep 600")
        self.message("KILL JOB")
        self.run_until_empty(prefix=("strace", "-qq", "-o", "/dev/null", "-P", "/proc",
                                     "-e", "inject=openat:error=ENFILE:when=1..2"))
        self.assertIn("the work was cut short", self.output())
        self.assertEqual(self.status("one"), "fail: killed by message")

    def test_the_decision_outlives_the_monitor(self):
        self.configure("kill_grace_seconds :: 60\n")
        monitor = self.started()
        self.drop("stubborn", uow("trap '' TERM; echo ran >> ledger; while :; do sleep 0.05; done"))
        until(self.ledger, "the job itself")
        self.message("KILL JOB")
        self.said("stubborn: killed by message")
        self.tidied()                                        # only STATUS tells the next Monitor
        self.kill9(monitor)
        self.configure("kill_grace_seconds :: 0.5\n")
        self.run_until_empty()
        self.assertEqual(self.status("stubborn"), "fail: killed by message")
        self.gone("stubborn")


class TestNeverASecondJobBesideIt(AdoptionCase):
    ALONE = "mkdir alone || echo TOGETHER >> ledger; echo %s >> ledger; sleep 0.1; %s; rmdir alone"

    def test_an_orphan_without_its_keeper_is_waited_for(self):
        monitor = self.started()
        self.drop("first", uow(self.ALONE % ("first", HOLD)))
        self.running("first")
        until(lambda: "first" in self.ledger(), "the job itself")
        self.kill9(monitor)
        for role in (b"bash", b"tee"):
            kill_all(self.marked("first", role))
        until(lambda: not self.marked("first", b"bash") + self.marked("first", b"tee"), "the keepers gone")
        self.drop("second", uow(self.ALONE % ("second", ":")))
        self.started()
        self.still_waits("second")
        self.write("go", "")
        self.assertEqual(self.ended("first"), "fail-q")
        self.assertEqual(self.status("first"), "fail: interrupted")
        self.assertEqual(self.ended("second"), "done-q")
        self.assertEqual(self.ledger(), ["first", "second"])

    @heavy
    def test_an_orphan_whose_processes_cannot_be_looked_at_for_a_while_is_waited_for(self):
        os.mkfifo(self.path("fifo"))
        self.orphan("first", "touch ready; read line <fifo; echo first >> ledger")
        self.there("ready")
        monitor = self.started()
        self.said("adopted first")
        self.drop("second", uow("echo second >> ledger"))
        self.stamped("second")
        processes = [word for pid in self.marked("first") for word in ("-P", "/proc/%d/environ" % pid)]
        detach = self.traced(monitor, *processes, "-e", "inject=openat:error=ENFILE")
        self.message("STATUS")
        self.said("Too many open files")
        detach()
        self.write("fifo", "\n")
        self.assertEqual([self.ended(name) for name in ("first", "second")], ["done-q", "done-q"])
        self.assertEqual(self.ledger(), ["first", "second"])

    def test_a_uow_which_a_backup_links_to_and_that_is_replaced_or_removed_costs_no_output(self):
        """`cp -al` has made a second link, so the inode is not gone with its name."""
        self.started()
        for name, change, filed in (("edited", "sed -i s/^COMMAND/COMMAND/ %s", ["done-q", "trash"]), ("removed", "rm %s", ["done-q"])):
            with self.subTest(name):
                self.drop(name, uow("echo begin; until [ -e go-%s ]; do sleep 0.02; done; echo important" % name))
                self.begun(name)
                running = self.path("currently-executing", name)
                os.link(running, self.path(".backup-" + name))
                subprocess.run(change % running, shell=True, check=True)
                self.write("go-" + name, "")
                self.said(name + ": done: exit 0 after ")
                self.assertEqual((self.where(name), self.log(name)), (filed, b"begin\nimportant\n"))


class TestSignalsAtAnyMoment(AdoptionCase):
    """Moments here and there; test_crash_sweep takes every line of the Monitor."""

    config = "settle_seconds :: 0\ndurable :: yes\n"

    def test_kill_9_loses_nothing_and_nothing_runs_twice(self):
        names = ["job-%d" % step for step in range(10)]
        for step, name in enumerate(names):
            self.drop(name, uow("echo %s >> ledger; sleep 0.05; echo output" % name))
            monitor = self.started()
            time.sleep(0.01 * step)                      # the moment of the kill
            self.kill9(monitor)
        self.run_until_empty()
        for name in names:
            with self.subTest(name):
                if self.where(name) == ["fail-q"]:       # killed between its link and its launch
                    self.assertEqual((self.status(name), self.ledger().count(name)), ("fail: interrupted", 0))
                else:
                    self.assertEqual((self.where(name), self.log(name)), (["done-q"], b"output\n"))
                    self.assertEqual(self.ledger().count(name), 1)

    @heavy
    def test_what_runs_is_run_once_whenever_the_signals_come(self):
        """Signals at another moment each time, through start-up, stamp, claim, launch and filing."""
        for step in range(16):
            name = "job-%d" % step
            self.drop(name, uow("echo %s >> ledger; echo output" % name))
            monitor = self.start()
            time.sleep(0.04 + 0.012 * step)              # the moment that the signals hit
            for number in (signal.SIGHUP, [signal.SIGTERM, signal.SIGINT][step % 2], signal.SIGTERM, signal.SIGHUP):
                monitor.send_signal(number)
            ends = (0, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP)      # before it listens, they end it
            self.assertIn(monitor.wait(20), ends, self.output())
            self.assertNotIn("Traceback", self.output())
        self.run_until_empty()
        for step in range(16):
            name = "job-%d" % step
            self.assertEqual(self.where(name), ["done-q"], self.output())
            self.assertEqual(self.ledger().count(name), 1)
            self.assertEqual(self.log(name), b"output\n")
