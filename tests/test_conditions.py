"""What lasts is said once when it begins, and once when it is over; meanwhile nothing is lost, and then work goes on.

Needs root (chattr, bind mounts) and strace, for what a disk or the kernel refuses.
"""
import fcntl
import os
import signal
import subprocess

from tests.helpers import DONE, HOLD, QueueCase, heavy, need, need_root, ran, sleeps_of, stamped_uow, until, uow

RUNS = uow("echo ran >> ledger")


class ConditionCase(QueueCase):
    base = QueueCase.base.replace("sleep_seconds :: 5", "sleep_seconds :: 0.1")     # so often it is tried again

    is_traced = False

    def tries(self, count=6):
        """Wait until the Monitor has woken so many times more: it tries again at each."""
        monitor = self.monitors[-1].pid
        before = sleeps_of(monitor)
        until(lambda: sleeps_of(monitor) > before + count, "it tries again")

    def lasts(self, text, mend, over=""):
        """See that it is said once however often it is met, and that its end is said once when mend() has ended it."""
        self.said(text)
        if self.is_traced:                               # each call is a wake then
            self.tries()
        else:
            self.is_quiet(self.monitors[-1], wakes=150)      # it is met ten times
        self.assertEqual((self.times_said(text), self.ledger()), (1, []), self.says())
        mend()
        self.said(over or "over: " + text)
        self.tries()
        self.assertEqual((self.times_said(text), self.says().count(over or "over: " + text)), (1, 1), self.says())

    def ran_once(self, name):
        self.assertEqual(self.ended(name), "done-q")
        until(lambda: not self.links(), self.output)
        self.assertEqual(self.ledger(), ["ran"])

    def refused(self, monitor, call, *paths):
        """Let the kernel answer EIO to a call of a running Monitor, about these paths; return what ends that."""
        need_root()
        self.is_traced = True
        return self.traced(monitor, *["--trace-path=" + path for path in paths], "-e", "inject=%s:error=EIO" % call)


class TestInHand(ConditionCase):
    """What is in currently-executing."""

    def test_uows_that_cannot_be_opened(self):
        """FAULTS 62: what has begun is filed when it can be, what has not waits for the next start, and others go on."""
        mends = [self.immutable(self.drop("fixed", stamped_uow(RUNS), "currently-executing"))]
        self.linked("begun", text=stamped_uow(RUNS, "running: since 2026-11-24T02:30:07Z"))
        mends.append(self.immutable(self.path("currently-executing", "begun")))
        monitor = self.started()
        self.drop("other", uow("true"))
        self.assertEqual(self.ended("other"), "done-q")
        self.lasts("begun began and cannot be opened", mends[1])
        self.assertEqual((self.ended("begun"), self.status("begun")), ("fail-q", "fail: interrupted"))
        text = "fixed stays in currently-executing until the next start: "
        self.assertEqual((self.times_said(text), self.says().count("over: " + text)), (1, 0), self.says())
        mends[0]()
        self.stop(monitor)
        self.started()
        self.ran_once("fixed")

    def test_a_uow_that_cannot_be_started_now(self):
        self.configure("durable :: yes\n")
        monitor = self.started()
        mend = self.refused(monitor, "fdatasync", self.path("currently-executing", "one"))
        self.drop("one", stamped_uow(RUNS))
        self.lasts("no job can be started: Input/output error", mend, "jobs can be started again")
        self.ran_once("one")
        self.assertEqual(self.read("done-q", "one").count("==== JOB START"), 1)

    def test_a_status_that_cannot_be_written_at_the_end(self):
        monitor = self.under_way("one", HOLD + "; echo end")
        mend = self.refused(monitor, "pwrite64", self.path("currently-executing", "one"))
        self.write("go", "")
        self.lasts("one: STATUS cannot be written; it stays in currently-executing: Input/output error", mend,
                   "over: one: STATUS cannot be written; ")
        self.assertEqual((self.ended("one"), self.log("one")), ("done-q", b"end\n"))

    def test_a_uow_that_cannot_be_moved_to_its_queue(self):
        """It is a mount point, as of a container that was given this one file."""
        need_root()
        need("mount", "umount")
        self.under_way("one", HOLD + "; echo end")
        path = self.path("currently-executing", "one")
        subprocess.run(["mount", "--bind", path, path], check=True)

        def mend():
            subprocess.run(["umount", path], stderr=subprocess.DEVNULL)

        self.addCleanup(mend)
        self.write("go", "")
        self.lasts("one stays in currently-executing: ", mend, "one can be filed now")
        self.assertEqual((self.ended("one"), self.log("one")), ("done-q", b"end\n"))


class TestWaiting(ConditionCase):
    """What keeps UOWs from being stamped, trashed and started."""

    def test_the_turn(self):
        """Another process keeps it, nothing wants it any more, and what bears its name cannot be opened."""
        self.started(program=self.changed("TURN_PATIENCE = 5 ", "TURN_PATIENCE = 0.3 "))
        self.drop("first", uow("true"))
        self.ended("first")                              # it has once had it
        for mend, over in ((lambda turn, path: turn.close(), "the lock on .turn is free again"),
                           (lambda turn, path: os.unlink(path), "the lock on .turn is not needed any more")):
            with open(self.path(".turn")) as turn:
                fcntl.flock(turn, fcntl.LOCK_EX)
                path = self.drop("one", RUNS)
                self.lasts("another Monitor has held the lock on .turn", lambda: mend(turn, path), over)
            if "free" in over:
                self.ran_once("one")
                os.unlink(self.path("done-q", "one"))
            for name in ("ledger", "monitor_says"):
                self.write(name, "")
        os.unlink(self.path(".turn"))
        os.mkdir(self.path(".turn"))
        self.drop("one", RUNS)
        self.lasts("%s cannot be locked: nothing is stamped or started: Is a directory" % self.path(".turn"),
                   lambda: os.rmdir(self.path(".turn")), "the lock on .turn is free again")
        self.ran_once("one")

    def test_directories_that_nobody_can_change(self):
        """FAULTS 19: neither what is not valid nor what has ended is moved, and all others go on."""
        self.started()
        mends = [self.immutable(self.path(queue)) for queue in ("trash", "done-q")]
        self.drop("bad", "nonsense\n")
        self.drop("fine", uow("true"))
        self.drop("wrong", uow("exit 1"), "priority-q")
        self.assertEqual(self.ended("wrong"), "error-q")
        self.said(self.path("done-q") + " cannot be read and written by root")
        self.lasts(self.path("trash") + " cannot be read and written by root", lambda: [mend() for mend in mends], self.path("trash") + " is back")
        self.said("bad in wait-q goes to trash: ")
        self.assertEqual((self.where("bad"), self.ended("fine")), (["trash"], "done-q"))

    def test_one_that_cannot_be_stamped_or_taken_keeps_no_other_waiting(self):
        for name, text, said, over in (("new", RUNS, "new in wait-q cannot be stamped", "new can be stamped now"),
                                       ("old", stamped_uow(RUNS), "old cannot be claimed", "")):
            with self.subTest(name):
                self.write("ledger", "")
                monitor = self.paused()
                monitor.send_signal(signal.SIGSTOP)      # or it is faster
                mend = self.immutable(self.drop(name, text))
                monitor.send_signal(signal.SIGCONT)
                self.message("RESUME")
                self.drop("after-" + name, uow("true"))
                self.assertEqual(self.ended("after-" + name), "done-q")
                self.lasts(said, mend, over)
                self.ran_once(name)
                self.stop(monitor)

    def test_nothing_waits_for_ready_command_any_more(self):
        self.configure("ready_command :: false\n")
        self.started()
        path = self.drop("one", RUNS)
        self.lasts("waiting: ready_command refuses (exit 1)", lambda: os.unlink(path), "nothing waits any more")


class TestTheCycle(ConditionCase):
    def test_a_message_file_that_cannot_be_renewed(self):
        self.configure("monitor_reads :: box/monitor_reads\n")
        os.mkdir(self.path("box"))
        self.started()
        self.there("box/monitor_reads")
        os.rename(self.path("box"), self.path(".away"))
        self.drop("other", uow("true"))
        self.assertEqual(self.ended("other"), "done-q")
        self.lasts("%s cannot be read or renewed: No such file or directory" % self.path("box/monitor_reads"),
                   lambda: os.rename(self.path(".away"), self.path("box")))
        self.message("STATUS", "box/monitor_reads")
        self.said("counts: ")

    def test_a_message_that_cannot_be_marked_is_not_acted_on_until_it_can(self):
        """Or one KILL JOB would end each job in turn."""
        monitor = self.started()
        self.tidied()
        mend = self.refused(monitor, "pwrite64", self.path("monitor_reads"), self.path(".monitor_reads.taken"))
        self.message("STATUS")
        self.lasts("%s cannot be read or renewed: Input/output error" % self.path("monitor_reads"), lambda: (
            self.assertNotIn("message STATUS", self.says()), mend()))
        self.assertEqual(self.says().count("message STATUS"), 1)

    @heavy
    def test_a_waiting_queue_that_cannot_be_listed(self):
        """Meanwhile the limit of the running job is kept, and the other queue is served."""
        monitor = self.under_way("long", "sleep 600", TIMEOUT="2")
        mend = self.refused(monitor, "getdents64", self.path("wait-q"))
        self.drop("README", "changes the directory\n")
        self.drop("other", uow("true"), "priority-q")
        self.assertEqual((self.ended("long"), self.ended("other")), ("fail-q", "done-q"))
        self.assertEqual(self.status("long"), "fail: timed out after 2 s")
        self.lasts("%s cannot be listed: its jobs wait: Input/output error" % self.path("wait-q"), mend)
        self.drop("one", RUNS)
        self.ran_once("one")

    def test_an_error_that_no_step_expected_cuts_the_cycle_short_and_harms_no_job(self):
        monitor = self.under_way("one", HOLD + "; echo end")
        mend = self.refused(monitor, "getdents64", self.path("currently-executing"))
        self.write("currently-executing/odd", "")
        self.lasts("the work was cut short and begins again from disk: ", mend, "the work goes on")
        self.write("go", "")
        self.assertEqual((self.ended("one"), self.log("one")), ("done-q", b"end\n"))
        self.assertRegex(self.status("one"), DONE)
        self.assertEqual(self.says().count("started one "), 1)


class TestPauseThatTheDiskDoesNotKnow(ConditionCase):
    """Where `.paused` cannot be written or removed, the Monitor obeys all the same, and tries again."""

    unknown = "the next start would not know of PAUSE or RESUME"

    def next_start_is_paused(self, monitor):
        self.stop(monitor)
        self.drop("two", RUNS)
        self.started()
        self.assertRegex(self.output().splitlines()[-1], " started: .*paused")
        self.stamped("two")
        self.assertEqual(self.ledger(), [])

    def test_pause(self):
        monitor = self.under_way("one", HOLD)
        mend = self.immutable(self.path("currently-executing"))
        self.message("PAUSE\nKILL JOB")
        self.said("one: killed by message")
        self.lasts(self.unknown, mend)
        self.assertEqual(self.ended("one"), "fail-q")
        self.assertEqual(self.says().count("paused: no more jobs"), 1, self.says())
        self.next_start_is_paused(monitor)

    def test_currently_executing_is_replaced_after_a_pause(self):
        """As it was restored, say, without the mark of the pause. It is still for one Monitor."""
        monitor = self.paused()
        self.there("currently-executing/.paused")
        os.rename(self.path("currently-executing"), self.path(".away"))
        os.mkdir(self.path("currently-executing"), 0o755)
        self.said("currently-executing is another directory than before")
        self.there("currently-executing/.paused")
        self.assertEqual(ran(self.path("config.txt"), "--until-empty")[0], 3)
        self.next_start_is_paused(monitor)

    def test_resume_while_currently_executing_is_away(self):
        monitor = self.paused()
        self.there("currently-executing/.paused")
        os.rename(self.path("currently-executing"), self.path(".away"))
        self.message("RESUME")
        self.said("resumed")
        self.lasts(self.unknown, lambda: os.rename(self.path(".away"), self.path("currently-executing")))
        self.stop(monitor)
        self.drop("two", RUNS)
        self.started()
        self.ran_once("two")
