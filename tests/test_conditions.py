"""What lasts is said once when it begins, and once when it is over; meanwhile nothing is lost, and then work goes on.

Here is each condition whose end no other file sees. The others: a directory that is missing in test_moves, one that
cannot be written and a file that cannot be read in test_permissions, a file that is still being written in
test_dropped_files, job_process in test_config, the status page in test_status_page.

Needs root (chattr, bind mounts) and strace, for what a disk or the kernel refuses.
"""
import fcntl
import os
import signal
import subprocess

from tests.helpers import DONE, HOLD, QueueCase, heavy, need, need_root, sleeps_of, stamped_uow, until, uow

RUNS = uow("echo ran >> ledger")


class ConditionCase(QueueCase):
    base = QueueCase.base.replace("sleep_seconds :: 5", "sleep_seconds :: 0.1")     # so often it is tried again

    def tries(self, count=6):
        """Wait until the Monitor has woken so many times more: it tries again at each."""
        monitor = self.monitors[-1].pid
        before = sleeps_of(monitor)
        until(lambda: sleeps_of(monitor) > before + count, "it tries again")

    def lasts(self, text, mend, over=""):
        """See that it is said once however often it is met, and that its end is said once when mend() has ended it."""
        self.said(text)
        self.tries()
        self.assertEqual((self.times_said(text), self.ledger()), (1, []), self.says())
        mend()
        self.said(over or "over: " + text)
        self.tries()
        self.assertEqual((self.times_said(text), self.says().count(over or "over: " + text)), (1, 1), self.says())

    def ran_once(self, name):
        self.assertEqual(self.ended(name), "done-q")
        until(lambda: not self.links(), self.output)
        self.assertEqual(self.ledger(), ["ran"])

    def immutable(self, path):
        """Make a file or directory immutable and return what ends that."""
        need_root()
        need("chattr")
        if subprocess.run(["chattr", "+i", path], stderr=subprocess.DEVNULL).returncode:
            self.skipTest("no immutable files on this file system")

        def mend():
            subprocess.run(["chattr", "-i", path], stderr=subprocess.DEVNULL)

        self.addCleanup(mend)                            # before the root is removed
        return mend

    def refused(self, monitor, call, *paths):
        """Let the kernel answer EIO to a call of a running Monitor, about these paths; return what ends that."""
        need_root()
        return self.traced(monitor, *["--trace-path=" + path for path in paths], "-e", "inject=%s:error=EIO" % call)


class TestInHand(ConditionCase):
    """What is in currently-executing."""

    def test_a_uow_that_cannot_be_opened(self):
        os.mkdir(self.path("currently-executing", ".run"), 0o700)
        mend = self.immutable(self.drop("fixed", stamped_uow(RUNS), "currently-executing"))
        monitor = self.started()
        self.drop("other", uow("true"))
        self.assertEqual(self.ended("other"), "done-q")
        text = "fixed stays in currently-executing until the next start: "
        self.tries()
        self.assertEqual((self.times_said(text), self.says().count("over: ")), (1, 0), self.says())
        mend()
        self.stop(monitor)
        self.started()
        self.ran_once("fixed")

    @heavy
    def test_a_begun_uow_that_cannot_be_opened(self):
        self.linked("fixed", text=stamped_uow(RUNS, "running: since 2026-11-24T02:30:07Z"))
        mend = self.immutable(self.path("currently-executing", "fixed"))
        self.started()
        self.drop("other", uow("true"))
        self.assertEqual(self.ended("other"), "done-q")
        self.lasts("fixed began and cannot be opened", mend)
        self.assertEqual((self.ended("fixed"), self.status("fixed")), ("fail-q", "fail: interrupted"))

    def theirs(self):
        """Put a directory that another Monitor has in place of currently-executing and return what ends that."""
        os.mkdir(self.path(".theirs"))
        theirs = os.open(self.path(".theirs"), os.O_RDONLY)
        fcntl.flock(theirs, fcntl.LOCK_EX)
        os.rename(self.path("currently-executing"), self.path(".mine"))
        os.rename(self.path(".theirs"), self.path("currently-executing"))
        return lambda: os.close(theirs)

    def test_another_directory_that_another_monitor_has(self):
        self.started()
        self.there("currently-executing/.run")           # what a start has to do there is done
        mend = self.theirs()
        self.drop("one", RUNS)
        self.lasts("another Monitor has the directory that is ", mend, "the work goes on")
        self.ran_once("one")

    def test_a_uow_that_cannot_be_started_now(self):
        self.configure("durable :: yes\n")
        monitor = self.started()
        mend = self.refused(monitor, "fdatasync", self.path("currently-executing", "one"))
        self.drop("one", stamped_uow(RUNS))
        self.lasts("no job can be started: Input/output error", mend, "jobs can be started again")
        self.ran_once("one")
        self.assertEqual(self.read("done-q", "one").count("==== JOB START"), 1)

    def test_a_status_that_cannot_be_written_at_the_end(self):
        monitor = self.started()
        self.drop("one", uow(HOLD + "; echo end"))
        self.begun("one")
        mend = self.refused(monitor, "pwrite64", self.path("currently-executing", "one"))
        self.write("go", "")
        self.lasts("one: STATUS cannot be written; it stays in currently-executing: Input/output error", mend,
                   "over: one: STATUS cannot be written; ")
        self.assertEqual((self.ended("one"), self.log("one")), ("done-q", b"end\n"))

    def test_mv_that_cannot_be_found_for_a_uow_that_has_ended(self):
        self.started(env=self.commands())
        self.drop("one", uow(HOLD + "; echo end"))
        self.begun("one")
        mend = self.without("mv")
        self.write("go", "")
        self.lasts("one stays in currently-executing: no command mv in PATH", mend, "one can be filed now")
        self.assertEqual((self.ended("one"), self.log("one")), ("done-q", b"end\n"))

    def test_a_uow_that_cannot_be_moved_to_its_queue(self):
        """It is a mount point, as of a container that was given this one file."""
        need_root()
        need("mount", "umount")
        self.started()
        self.drop("one", uow(HOLD + "; echo end"))
        self.begun("one")
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

    def test_one_that_cannot_be_stamped_or_taken_keeps_no_other_waiting(self):
        for name, text, said in (("new", RUNS, "new in wait-q cannot be stamped"),
                                 ("old", stamped_uow(RUNS), "old cannot be claimed")):
            with self.subTest(name):
                self.write("ledger", "")
                staged = self.drop(name, text, ".staging")
                self.started()
                self.message("PAUSE")
                self.said("paused: ")
                os.rename(staged, self.path("wait-q", name))
                mend = self.immutable(self.path("wait-q", name))
                self.message("RESUME")
                self.drop("after-" + name, uow("true"))
                self.assertEqual(self.ended("after-" + name), "done-q")
                self.lasts(said, mend)
                self.ran_once(name)
                self.stop(self.monitors[-1])

    def test_what_is_not_valid_cannot_be_moved_to_trash(self):
        self.started()
        mend = self.immutable(self.path("trash"))
        self.drop("bad", "nonsense\n")
        self.drop("good", uow("true"))
        self.assertEqual(self.ended("good"), "done-q")
        trash = self.path("trash")
        self.lasts(trash + " cannot be read and written by root", mend, trash + " is back")
        self.said("bad in wait-q goes to trash: ")
        self.assertEqual(self.where("bad"), ["trash"])

    def impatient(self):
        """Start a Monitor that waits less long for the lock before it says so, and that has once had it."""
        self.started(program=self.changed("TURN_PATIENCE = 5 ", "TURN_PATIENCE = 0.3 "))
        self.drop("first", uow("true"))
        self.ended("first")

    def test_another_process_keeps_the_turn(self):
        self.impatient()
        with open(self.path(".turn")) as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            self.drop("one", RUNS)
            self.lasts("another Monitor has held the lock on .turn", turn.close, "the lock on .turn is free again")
        self.ran_once("one")

    def test_nothing_wants_the_turn_any_more(self):
        self.impatient()
        with open(self.path(".turn")) as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            path = self.drop("one", RUNS)
            self.lasts("another Monitor has held the lock on .turn", lambda: os.unlink(path),
                       "the lock on .turn is not needed any more")

    def test_a_turn_file_that_cannot_be_opened(self):
        self.started()
        os.unlink(self.path(".turn"))
        os.mkdir(self.path(".turn"))
        self.drop("one", RUNS)
        self.lasts("%s cannot be locked: nothing is stamped or started: Is a directory" % self.path(".turn"),
                   lambda: os.rmdir(self.path(".turn")), "the lock on .turn is free again")
        self.ran_once("one")

    def test_a_turn_that_the_file_system_refuses(self):
        monitor = self.started()
        mend = self.refused(monitor, "flock", self.path(".turn"))
        self.drop("one", RUNS)
        self.lasts("%s cannot be locked: nothing is stamped or started: Input/output error" % self.path(".turn"), mend,
                   "the lock on .turn is free again")
        self.ran_once("one")

    def test_nothing_waits_for_ready_command_any_more(self):
        self.configure("ready_command :: false\n")
        self.started()
        path = self.drop("one", RUNS)
        self.lasts("waiting: ready_command refuses (exit 1)", lambda: os.unlink(path), "nothing waits any more")

    @heavy
    def test_timeout_that_cannot_be_found_for_ready_command(self):
        self.configure("ready_command :: true\nstatus_dir :: status\n")
        self.started(env=self.commands())
        mend = self.without("timeout")
        self.drop("one", RUNS)
        self.said("no command timeout in PATH")
        written = self.posted()["written"]
        until(lambda: self.posted()["written"] != written, lambda: "the pages go on\n" + self.output(), 10)
        self.lasts("ready_command cannot be started: no command timeout in PATH", mend)
        self.ran_once("one")

    def test_what_could_not_be_read_is_gone_also_where_the_configuration_is_read_again(self):
        """Somebody takes it away before the next try."""
        monitor, path = self.started(), self.path("wait-q", "one")
        for reload in (False, True):
            with self.subTest(reload=reload):
                staged = self.drop("one", RUNS, ".staging")
                mend = self.refused(monitor, "openat", path)
                os.rename(staged, path)
                self.said("one in wait-q cannot be read: ", count=1 + 2 * reload)
                monitor.send_signal(signal.SIGSTOP)
                mend()
                os.unlink(path)
                if reload:
                    self.message("RELOAD")
                monitor.send_signal(signal.SIGCONT)
                self.said("over: one in wait-q cannot be read: ", count=1 + reload)


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
        with open(self.path("box/monitor_reads"), "a") as file:
            file.write("STATUS\n")
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
    def test_an_after_command_that_cannot_be_started_for_a_moment_is_run(self):
        self.configure("after_command :: echo after >> ledger\nsleep_seconds :: 5\n")
        monitor = self.started()
        self.drop("one", uow(HOLD))
        self.begun("one")
        self.asleep(monitor)
        calls = "clone,clone3,vfork"                     # the first is that of mv
        detach = self.traced(monitor, "-e", "trace=" + calls, "-e", "inject=%s:error=EAGAIN:when=2" % calls)
        self.write("go", "")
        self.said("after_command for one cannot be started: Resource temporarily unavailable")
        detach()
        self.said("over: after_command for one cannot be started")
        until(lambda: self.ledger() == ["after"], self.output)

    @heavy
    def test_a_waiting_queue_that_cannot_be_listed(self):
        """Meanwhile the limit of the running job is kept, and the other queue is served."""
        monitor = self.started()
        self.drop("long", uow("sleep 600", TIMEOUT="2"))
        self.begun("long")
        mend = self.refused(monitor, "getdents64", self.path("wait-q"))
        self.drop("README", "changes the directory\n")
        self.drop("other", uow("true"), "priority-q")
        self.assertEqual((self.ended("long", seconds=15), self.ended("other")), ("fail-q", "done-q"))
        self.assertEqual(self.status("long"), "fail: timed out after 2 s")
        self.lasts("%s cannot be listed: its jobs wait: Input/output error" % self.path("wait-q"), mend)
        self.drop("one", RUNS)
        self.ran_once("one")

    def test_an_error_that_no_step_expected_cuts_the_cycle_short_and_harms_no_job(self):
        monitor = self.started()
        self.drop("one", uow(HOLD + "; echo end"))
        self.begun("one")
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

    def paused(self):
        monitor = self.started()
        self.message("PAUSE")
        self.said("paused: no more jobs")
        self.there("currently-executing/.paused")
        return monitor

    def next_start_is_paused(self, monitor):
        self.stop(monitor)
        self.drop("two", RUNS)
        self.started()
        self.assertRegex(self.output().splitlines()[-1], " started: .*paused")
        self.stamped("two")
        self.assertEqual(self.ledger(), [])

    def next_start_runs(self, monitor):
        self.stop(monitor)
        self.drop("two", RUNS)
        self.started()
        self.ran_once("two")

    def test_pause(self):
        monitor = self.started()
        self.drop("one", uow(HOLD))
        self.begun("one")
        mend = self.immutable(self.path("currently-executing"))
        self.message("PAUSE\nKILL JOB")
        self.said("one: killed by message")
        self.lasts(self.unknown, mend)
        self.assertEqual(self.ended("one"), "fail-q")
        self.assertEqual(self.says().count("paused: no more jobs"), 1, self.says())
        self.next_start_is_paused(monitor)

    def test_pause_before_currently_executing_is_another_directory(self):
        """As it was restored, say, without the mark of the pause."""
        monitor = self.paused()
        os.rename(self.path("currently-executing"), self.path(".away"))
        os.mkdir(self.path("currently-executing"), 0o755)
        self.said("currently-executing is another directory than before")
        self.there("currently-executing/.paused")
        self.next_start_is_paused(monitor)

    def test_resume(self):
        monitor = self.paused()
        os.unlink(self.path("currently-executing/.paused"))
        os.mkdir(self.path("currently-executing/.paused"))
        self.message("RESUME")
        self.drop("one", uow("true"))
        self.assertEqual(self.ended("one"), "done-q")
        self.lasts(self.unknown, lambda: os.rmdir(self.path("currently-executing/.paused")))
        self.next_start_runs(monitor)

    def test_resume_while_currently_executing_is_away(self):
        monitor = self.paused()
        os.rename(self.path("currently-executing"), self.path(".away"))
        self.message("RESUME")
        self.said("resumed")
        self.lasts(self.unknown, lambda: os.rename(self.path(".away"), self.path("currently-executing")))
        self.next_start_runs(monitor)

    def test_shutdown_behind_a_pause_while_currently_executing_is_away(self):
        monitor = self.started()
        self.there("monitor_reads")
        os.rename(self.path("currently-executing"), self.path(".away"))
        self.message("PAUSE\nSHUTDOWN")
        self.assertEqual(monitor.wait(10), 0)
        self.assertEqual(self.times_said("message PAUSE"), 1, self.says())


class TestTrashIsBack(ConditionCase):
    def test_an_older_readme_goes_there(self):
        self.started()
        os.rename(self.path("trash"), self.path(".away"))
        for queue in ("wait-q", "done-q"):
            os.utime(self.write(queue + "/README", queue), (1, 1))
            self.write(queue + "/README.md", "new\n")
        trash = self.path("trash")
        self.lasts("trash is missing: ", lambda: os.rename(self.path(".away"), trash), trash + " is back")
        until(lambda: len(os.listdir(self.path("trash"))) == 2, self.output)
        self.assertEqual((self.where("README"), self.where("README.md")), (["trash"], ["wait-q", "done-q"]))

    def test_a_directory_in_place_of_the_message_file_goes_there(self):
        """Until it does, no message is read."""
        monitor = self.started()
        self.there("monitor_reads")
        os.rename(self.path("trash"), self.path(".away"))
        monitor.send_signal(signal.SIGSTOP)
        os.unlink(self.path("monitor_reads"))
        os.mkdir(self.path("monitor_reads"))
        monitor.send_signal(signal.SIGCONT)
        self.said("trash is missing: ")
        self.tries()
        os.rename(self.path(".away"), self.path("trash"))
        until(lambda: os.path.isfile(self.path("monitor_reads")), self.output)
        self.cycles(1)
