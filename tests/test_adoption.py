"""The job outlives the Monitor: through crash, stop and restart, and the next Monitor takes it over.

Each test kills real processes of its own. The ledger is a file that jobs append to: what really ran.
"""
import glob
import os
import pty
import re
import signal
import subprocess
import sys
import time

from tests.helpers import (HOLD, PYTHON, QUEUES, QueueCase, children_of, compiled, environment_of, heavy, is_still,
                           kill_all, need, need_root, processes_with, read_text, stamped_uow, until, uow)


def another_boot(boot_id):
    """Return a command prefix under which the kernel's boot id reads as this file's: as after a reboot."""
    return ("unshare", "-m", "--propagation", "private", "bash", "-c",
            'mount --bind "$1" /proc/sys/kernel/random/boot_id && shift && exec "$@"', "another-boot", boot_id)


class AdoptionCase(QueueCase):
    def go(self):
        self.write("go", "")

    def run_of(self, name):
        """Return the mark of a UOW's last run."""
        return re.findall(r"^==== JOB START \S+ run (\S+)$", self.read(self.where(name)[0], name), re.M)[-1]

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

    def end_on_disk(self, name):
        until(lambda: "==== JOB END" in self.read("currently-executing", name), "an END line of " + name)

    def still_waits(self, name):
        """See that a UOW, ready to run, is not started in two whole cycles of the Monitor."""
        self.stamped(name)
        self.cycles(2)
        self.assertEqual(self.where(name), ["wait-q"], self.output())

    def orphan(self, name, command, header=None):
        """Start a job, kill -9 its Monitor, and leave the job alone."""
        monitor = self.started()
        self.drop(name, uow(command, **(header or {})))
        self.begun(name)
        self.kill9(monitor)

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
             "[ $i = 300 ] && %s\n"
             "[ $((i %% 10)) = 0 ] && sleep 0.02\ndone" % HOLD)

    def check_outlives(self, end):
        """Start a job that prints 400 lines, end its Monitor in the middle, start another, and miss no line."""
        monitor = self.started()
        self.drop("long", uow(self.LINES))
        self.there("half")
        end(monitor)
        self.assertEqual(self.where("long"), ["currently-executing"])
        self.assertTrue(self.marked("long"), "the job has gone with its Monitor")
        monitor = self.start("--until-empty")
        self.said("adopted long")
        self.go()
        self.assertEqual(monitor.wait(60), 0, self.output())
        self.assertEqual(self.where("long"), ["done-q"], self.output())
        self.assertEqual(self.log("long"), b"".join(b"line %d\n" % i for i in range(1, 401)))
        self.assertEqual(self.ledger(), ["ran"])
        self.assertRegex(self.status("long"), r"^done: exit 0 after \d+\.\d s$")
        self.settled()

    def test_kill_9_of_the_monitor(self):
        self.check_outlives(self.kill9)

    def test_sigterm(self):
        self.check_outlives(lambda monitor: self.assertEqual(self.stop(monitor), 0))

    def test_sigterm_twice(self):
        def twice(monitor):
            monitor.terminate()
            monitor.terminate()
            self.assertIn(monitor.wait(20), (0, -signal.SIGTERM))    # the second may come when it is as good as gone
        self.check_outlives(twice)

    @heavy
    def test_a_crash_for_every_tenth_of_a_second(self):
        monitor = self.started()
        self.drop("long", uow("echo ran >> ledger; until [ -e go ]; do i=$((i + 1)); echo line $i; sleep 0.02; done"))
        self.begun("long")
        for number in range(2, 8):
            self.kill9(monitor)
            monitor = self.started()
            self.said("adopted long", count=number - 1)
        self.go()
        self.assertEqual(self.ended("long"), "done-q")
        lines = self.log("long").splitlines()
        self.assertEqual(lines, [b"line %d" % number for number in range(1, len(lines) + 1)])
        self.assertEqual(self.ledger(), ["ran"])

    def test_who_pretends_to_be_a_tee_keeps_no_monitor_from_starting(self):
        """A job may set what it likes in the environment of a process."""
        pretended = {b"SJQ_KEEPER": b"tee", b"SJQ_RUN": b"\xff", b"SJQ_FILE": os.fsencode(self.root)}
        tee = subprocess.Popen(["bash", "-c", "exec 3<>file; exec sleep 600"], cwd=self.root,
                               env={**os.environb, **pretended})
        self.addCleanup(tee.wait)
        self.addCleanup(tee.kill)
        self.there("file")
        self.drop("one", uow("true"))
        self.run_until_empty()
        self.assertEqual(self.where("one"), ["done-q"])


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


class TestFiledByTheRealOutcome(AdoptionCase):
    """The job ended while no Monitor was there: its END line tells how."""

    config = "fail_pattern :: BROKEN\nerror_pattern :: WRONG\nfail_exit_codes :: 4\n"
    ENDS = [("exit 0", "done-q", r"^done: exit 0 after \d"),
            ("exit 3", "error-q", r"^error: exit 3 after \d"),
            ("exit 4", "fail-q", r"^fail: exit 4 after \d"),
            ("echo BROKEN", "fail-q", r"^fail: exit 0 .*fail_pattern"),
            ("echo WRONG", "error-q", r"^error: exit 0 .*error_pattern"),
            ("kill -SEGV $$", "fail-q", r"^fail: killed by SIGSEGV after \d"),
            ("exit 137", "fail-q", r"^fail: killed by SIGKILL after \d")]

    def test_each_outcome(self):
        for number, (command, queue, status) in enumerate(self.ENDS):
            with self.subTest(command=command):
                if os.path.exists(self.path("go")):
                    os.unlink(self.path("go"))
                name = "job-%d" % number
                self.orphan(name, HOLD + "\n" + command)
                self.go()
                self.end_on_disk(name)
                self.gone(name)
                self.run_until_empty()
                self.assertEqual(self.where(name), [queue], self.status(name))
                self.assertRegex(self.status(name), status)
        self.settled()

    def test_ended_while_the_monitor_hung(self):
        monitor = self.started()
        self.drop("one", uow(HOLD + "; exit 3"))
        self.begun("one")
        monitor.send_signal(signal.SIGSTOP)
        self.go()
        self.end_on_disk("one")
        self.kill9(monitor)
        self.run_until_empty()
        self.assertEqual(self.where("one"), ["error-q"])

    def test_an_end_line_after_a_reboot_still_counts(self):
        need_root()
        need("unshare", "mount")
        self.orphan("one", HOLD + "; exit 3")
        self.go()
        self.end_on_disk("one")
        self.gone("one")
        self.run_until_empty(prefix=another_boot(self.write("boot_id", "12345678-aaaa-bbbb-cccc-dddddddddddd\n")))
        self.assertEqual(self.status("one").split(" after")[0], "error: exit 3")


class TestTimeouts(AdoptionCase):
    def seconds(self, name):
        text = self.read(self.where(name)[0], name)
        start, end = re.findall(r"==== JOB (?:START|END) \S+T\d\d:(\d\d):(\d\d\.\d+)Z", text)
        return ((int(end[0]) - int(start[0])) * 60 + float(end[1]) - float(start[1])) % 3600

    def test_counts_from_the_real_start(self):
        began = time.monotonic()
        self.orphan("slow", "sleep 60", {"TIMEOUT": "3s"})
        time.sleep(max(0, began + 2 - time.monotonic()))     # the Monitor is away for most of the job's time
        self.run_until_empty()
        self.assertEqual(self.status("slow"), "fail: timed out after 3 s")
        self.assertLess(self.seconds("slow"), 4.5)           # 5 and more if it counted from the adoption
        self.gone("slow")

    def test_a_limit_that_passed_meanwhile_ends_the_job_at_once(self):
        self.orphan("slow", "sleep 60", {"TIMEOUT": "1s"})
        time.sleep(1.2)                                      # the time that has to pass is the fault itself
        self.run_until_empty()
        self.assertEqual(self.status("slow"), "fail: timed out after 1 s")

    def test_a_job_that_ended_in_time_without_a_monitor_has_not_timed_out(self):
        monitor = self.started()
        self.drop("quick", uow(HOLD, TIMEOUT="2s"))
        self.begun("quick")
        monitor.send_signal(signal.SIGSTOP)
        self.go()
        self.end_on_disk("quick")
        self.kill9(monitor)
        time.sleep(2.1)                                      # longer than its limit, but it had ended before
        self.run_until_empty()
        self.assertEqual(self.where("quick"), ["done-q"])


class TestKillOfAnAdoptedJob(AdoptionCase):
    FAMILY = "trap '' TERM; sleep 600 & setsid sleep 601 & (setsid sleep 602 &) ; wait"

    def test_kill_job_reaches_all_of_it(self):
        self.orphan("family", self.FAMILY)
        until(lambda: len(self.marked("family")) >= 6, lambda: self.marked("family"))
        self.started()
        self.said("adopted family")
        self.message("KILL JOB")
        self.assertEqual(self.ended("family"), "fail-q")
        self.assertEqual(self.status("family"), "fail: killed by message")
        self.assertEqual(self.marked("family"), [])

    def test_kill_job_written_while_no_monitor_was_there(self):
        self.orphan("one", "sleep 600")
        self.message("KILL JOB")
        self.run_until_empty()
        self.assertEqual(self.status("one"), "fail: killed by message")

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

    def test_an_orphan_is_waited_for(self):
        self.orphan("first", self.ALONE % ("first", HOLD))
        for name in ("second", "third"):
            self.drop(name, uow(self.ALONE % (name, ":")))
        self.started()
        self.said("adopted first")
        self.still_waits("second")
        self.go()
        for name in ("first", "second", "third"):
            self.assertEqual(self.ended(name), "done-q")
        self.assertEqual(self.ledger(), ["first", "second", "third"])

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
        self.go()
        self.assertEqual(self.ended("first"), "fail-q")
        self.assertEqual(self.status("first"), "fail: interrupted")
        self.assertEqual(self.ended("second"), "done-q")
        self.assertEqual(self.ledger(), ["first", "second"])

    def test_a_job_that_edited_its_own_file_is_adopted_with_all_its_output(self):
        """sed -i gives the name to another file; tee goes on with the one that was run."""
        self.check_own_file('sed -i s/before/BEFORE/ "$SJQ_FILE"')

    def test_a_job_that_deleted_its_own_file_is_adopted_with_all_its_output(self):
        self.check_own_file('rm "$SJQ_FILE"')

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

    def check_own_file(self, command, **options):
        monitor = self.started()
        self.drop("own", uow("echo own >> ledger; echo before; %s; touch changed; %s; echo after" % (command, HOLD)))
        self.there("changed")
        self.kill9(monitor)
        self.drop("second", uow("echo second >> ledger"))
        self.started(**options)
        self.still_waits("second")
        self.go()
        self.assertEqual(self.ended("second"), "done-q")
        self.assertEqual(self.ledger(), ["own", "second"])
        self.assertEqual(self.where("own")[0], "done-q", self.output())
        self.assertEqual(self.log("own"), b"before\nafter\n")

    def test_what_a_filed_run_left_behind_is_not_adopted_beside_the_next_of_its_name(self):
        """A daemon holds the output of a run that is filed: its tee lives on, with the name of a UOW in hand."""
        monitor = self.started()
        self.drop("one", uow("sleep 1000 & echo $! > daemon; echo first"))
        self.assertEqual(self.ended("one"), "done-q")
        self.drop("one", uow("until [ -e go ]; do sleep 0.02; done"), settled=True)
        self.begun("one")
        self.drop("third", uow("[ -e go ] && echo after >> ledger"))
        self.stop(monitor)
        monitor = self.started()
        self.said("adopted one run")
        self.cycles(2)
        self.assertEqual((self.where("third"), os.listdir(self.path("trash"))), (["wait-q"], []))
        self.write("go", "")
        self.assertEqual(self.ended("third"), "done-q")
        self.assertEqual(self.where("one.2"), ["done-q"])
        os.kill(int(self.read("daemon")), signal.SIGKILL)

    def test_an_editor_that_replaces_a_uow_which_a_backup_links_to_costs_no_output(self):
        """`cp -al` has made a second link, so the inode is not gone with its name."""
        monitor = self.started()
        for name, change in (("edited", "sed -i s/^COMMAND/COMMAND/ %s"), ("removed", "rm %s")):
            with self.subTest(name):
                self.drop(name, uow("echo begin; until [ -e go-%s ]; do sleep 0.02; done; echo important" % name))
                self.begun(name)
                running = self.path("currently-executing", name)
                os.link(running, self.path(".backup-" + name))
                subprocess.run(change % running, shell=True, check=True)
                self.write("go-" + name, "")
                self.said(name + ": done: exit 0 after ")
                filed = ["done-q"] if name == "removed" else ["done-q", "trash"]
                self.assertEqual(self.where(name), filed, self.output())
                self.assertEqual(self.log(name), b"begin\nimportant\n")
        self.stop(monitor)


@heavy
class TestNamesThatAreCutAlike(AdoptionCase):
    def test_each_is_filed_under_its_own(self):
        """A link's name is cut to 255 bytes: then it fits two names in currently-executing."""
        monitor = self.started()
        run, other = "L" * 240 + "_2", "L" * 240 + "_1"
        self.drop(run, uow(HOLD))
        self.begun(run)
        self.kill9(monitor)
        self.drop(other, stamped_uow(uow("true")), "currently-executing")
        self.started()
        self.said("adopted " + run)
        self.write("go", "")
        self.assertEqual(self.ended(run), "done-q")
        self.assertEqual(self.where(other), ["currently-executing"], self.output())


class TestWhatAnAdoptionCosts(AdoptionCase):
    def test_it_holds_the_uow_once_and_each_process_once_after_tries_that_failed(self):
        need("strace")
        self.orphan("one", "exec sleep 600")
        until(lambda: len(self.marked("one")) == 3, "two keepers and the job")
        for number in range(1, 4):                       # looks at /proc: for its processes, and again with pidfds
            with self.subTest(number):
                strace = self.started(prefix=("strace", "-qq", "-o", "/dev/null", "-P", "/proc",
                                              "-e", "inject=openat:error=ENFILE:when=%d" % number))
                self.message("STATUS")                   # it is read when the UOW is adopted
                self.said("running: one since ", count=number)
                monitor, = children_of(strace.pid)
                until(lambda: is_still(monitor), "the Monitor sleeps")
                held = [os.readlink(fd) for fd in glob.glob("/proc/%d/fd/*" % monitor)]
                kill_all([monitor])
                strace.wait(20)
                self.assertEqual(sum(name.endswith("one") for name in held), 1, held)
                self.assertEqual(sum("pidfd" in name for name in held), 3, held)

    def test_the_long_log_of_a_run_without_keepers_is_not_read_again_and_again(self):
        size = 50 << 20
        self.orphan("one", "head -c %d /dev/zero; touch written; %s" % (size, HOLD))
        until(lambda: os.path.getsize(self.path("currently-executing", "one")) > size, "the log")
        self.there("written")
        kill_all(self.marked("one", b"bash") + self.marked("one", b"tee"))
        until(lambda: not self.marked("one", b"bash") + self.marked("one", b"tee"), "the keepers gone")
        monitor = self.started()
        self.said("waiting for what is left of it")      # it has been read once
        before = self.bytes_read(monitor)
        self.cycles(5)
        self.assertLess(self.bytes_read(monitor) - before, size)
        self.go()
        self.assertEqual((self.ended("one"), self.status("one")), ("fail-q", "fail: interrupted"))

    def bytes_read(self, monitor):
        return int(re.search("rchar: (.*)", read_text("/proc/%d/io" % monitor.pid))[1])


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
