"""What lasts is said once when it begins, and `over: ` it when it has ended; meanwhile nothing is lost, and then work goes on.

Here is each condition whose end no other file sees. The others: a directory away in test_moves, one that cannot be written and
a file that cannot be taken in test_permissions, a file that is still being written in test_dropped_files, job_process and
ready_command in test_config, the status page in test_status_page, a clock that was set back in test_clock.

Needs root (chattr, bind mounts) and strace, for what a disk or the kernel refuses.
"""
import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time

from tests.helpers import HOLD, QueueCase, heavy, need, need_root, read_text, stamped_uow, until, uow

HEAD_BYTES = 64 * 1024
RUNS = uow("echo ran >> ledger")


class ConditionCase(QueueCase):
    base = QueueCase.base.replace("sleep_seconds :: 5", "sleep_seconds :: 0.1")      # so often what failed is tried again

    def lasts(self, text, mend):
        """See that it is said once however often it is met, and that its end is said once when mend() has ended it."""
        self.said(text)
        time.sleep(0.4)                                  # some tries more
        self.assertEqual(self.says().count(text), 1, self.says())
        self.assertEqual(self.ledger(), [])
        mend()
        self.said("over: " + text)
        time.sleep(0.2)
        self.assertEqual(self.says().count(text), 2, self.says())

    def ran_once(self, name):
        self.assertEqual(self.ended(name), "done-q")
        self.assertEqual(self.ledger(), ["ran"])

    def impatient(self, seconds="0.3"):
        """Start a Monitor that waits less long for the turn before it says so; everything else is as it is."""
        return self.started(program=self.changed("TURN_PATIENCE = 5 ", "TURN_PATIENCE = %s " % seconds))

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

    def refused(self, monitor, call, path):
        """Let the kernel answer EIO to a call of a running Monitor, about this path alone, and return what ends that."""
        need_root()
        return self.traced(monitor, "-P", path, "-e", "inject=%s:error=EIO" % call)


class TestInHand(ConditionCase):
    """What is in currently-executing."""

    def test_a_status_that_no_run_wrote(self):
        self.drop("odd", stamped_uow(RUNS, "waiting: for Bob"), "currently-executing")
        self.started()
        self.lasts("odd in currently-executing has the STATUS $'waiting: for Bob', which no run of mine wrote: left there.",
                   lambda: os.rename(self.path("currently-executing", "odd"), self.path("wait-q", "odd")))
        self.ran_once("odd")

    def test_a_uow_that_cannot_be_opened(self):
        mend = self.immutable(self.drop("fixed", stamped_uow(RUNS), "currently-executing"))
        self.started()
        self.drop("other", uow("true"))
        self.assertEqual(self.ended("other"), "done-q")
        self.message("PAUSE")                            # it ends though nothing is done with the file
        self.said("paused: ")
        self.cycles(1)
        self.assertIn(" currently-executing 1, ", self.says().rpartition("counts: ")[2])
        self.lasts("fixed in currently-executing: Operation not permitted; it is left there and tried again", mend)
        self.message("RESUME")
        self.ran_once("fixed")

    def test_a_directory_that_cannot_be_listed(self):
        monitor = self.started()
        mend = self.refused(monitor, "getdents64", self.path("currently-executing"))
        self.drop("one", RUNS)
        self.lasts("%s cannot be listed: Input/output error; nothing is started" % self.path("currently-executing"), mend)
        self.ran_once("one")

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
        mend = self.theirs()
        self.drop("one", RUNS)
        self.lasts("%s is another directory than before, and another Monitor has it: nothing is started"
                   % self.path("currently-executing"), mend)
        self.ran_once("one")

    def test_a_directory_that_another_monitor_has_gets_neither_a_stamp_nor_a_pause(self):
        self.configure("sleep_seconds :: 1\n")           # or it is never still
        monitor = self.started()
        self.there("currently-executing", ".wait_q")     # what a start has to do aside is done
        monitor.send_signal(signal.SIGSTOP)              # it meets all of it in one cycle
        mend = self.theirs()
        self.drop("one", RUNS)
        self.message("PAUSE")
        monitor.send_signal(signal.SIGCONT)
        mark = self.path("currently-executing", ".paused")

        def mend_what_is_untouched():
            self.assertEqual(os.listdir(self.path("currently-executing")), [])
            self.assertEqual(self.read("wait-q", "one"), RUNS)
            mend()

        self.lasts("%s cannot be written or removed (the directory is not this Monitor's now)" % mark, mend_what_is_untouched)
        self.assertTrue(os.path.exists(mark))
        self.message("RESUME")
        self.ran_once("one")

    def test_a_uow_that_cannot_be_started_now(self):
        self.configure("durable :: yes\n")
        monitor = self.started()
        mend = self.refused(monitor, "fdatasync", self.path("currently-executing", "one"))
        self.drop("one", RUNS)
        self.lasts("one cannot be started now (Input/output error); tried again", mend)
        self.ran_once("one")
        self.assertEqual(self.read("done-q", "one").count("==== JOB START"), 1)

    def test_a_status_that_cannot_be_written_at_the_end(self):
        monitor = self.started()
        self.drop("one", uow(HOLD + "; echo end"))
        self.begun("one")
        mend = self.refused(monitor, "pwrite64", self.path("currently-executing", "one"))
        self.write("go", "")
        self.lasts("one: STATUS cannot be written (Input/output error); tried again", mend)
        self.assertEqual((self.ended("one"), self.log("one")), ("done-q", b"end\n"))

    @heavy
    def test_such_a_status_is_tried_again_once_a_second(self):
        self.configure("sleep_seconds :: 5\n")
        place = tempfile.mkdtemp(prefix="sjq-trace-")
        self.addCleanup(shutil.rmtree, place)
        monitor = self.started()
        self.drop("one", uow(HOLD))
        self.begun("one")
        self.traced(monitor, "-ttt", "-P", self.path("currently-executing", "one"), "-e", "trace=pwrite64",
                    "-e", "inject=pwrite64:error=EIO", trace=os.path.join(place, "trace"))
        self.write("go", "")

        def tries():
            return [float(line.split()[0]) for line in read_text(os.path.join(place, "trace")).splitlines() if " pwrite64(" in line]

        _, *later = until(lambda: tries()[3:] and tries())       # the first is said, which may wake the Monitor
        self.assertGreater(min(then - before for before, then in zip(later, later[1:])), 0.6)

    def test_mv_that_cannot_be_found_for_a_uow_that_has_ended(self):
        self.started(env=self.commands())
        self.drop("one", uow(HOLD + "; echo end"))
        self.begun("one")
        mend = self.without("mv")
        self.write("go", "")
        self.lasts("one stays in currently-executing: no command mv in PATH", mend)
        self.assertEqual((self.ended("one"), self.log("one")), ("done-q", b"end\n"))
        self.assertNotIn("took it away", self.says())

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
        self.lasts("one stays in currently-executing: ", mend)
        self.assertEqual((self.ended("one"), self.log("one")), ("done-q", b"end\n"))


class TestWaiting(ConditionCase):
    """What keeps new UOWs from being stamped, trashed and started."""

    def test_no_private_directory_to_stamp_in(self):
        blocks = self.write("currently-executing/.wait_q", "a file\n")
        self.drop("one", RUNS)
        self.started()
        self.lasts("what is new in wait-q cannot be stamped: %s: File exists; tried again" % blocks, lambda: os.unlink(blocks))
        self.ran_once("one")

    def test_what_was_stamped_cannot_be_put_back(self):
        """A crash had left it in the private directory."""
        os.mkdir(self.path("currently-executing", ".wait_q"))
        mend = self.immutable(self.drop("left", stamped_uow(RUNS), "currently-executing/.wait_q"))
        self.started()
        self.lasts("left cannot be put back into wait-q: ", mend)
        self.ran_once("left")

    def test_what_is_no_uow_cannot_be_moved_to_trash(self):
        self.started()
        mend = self.immutable(self.path("trash"))
        self.drop("bad", "nonsense\n")
        self.lasts("%s is no UOW (line 1: nonsense; expected `ENQUEUED :: 2026-11-24T02:30:00Z` or `==== UNIT OF WORK`), but cannot be "
                   "moved to trash: " % self.path("currently-executing", ".wait_q", "bad"), mend)
        self.said("bad in wait-q goes to trash: ")
        self.assertEqual(self.where("bad"), ["trash"])

    def test_another_process_keeps_the_turn(self):
        self.impatient()
        with open(self.path(".turn")) as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            self.drop("one", RUNS)
            self.lasts("another process has the turn among the Monitors, a lock on .turn: nothing is stamped or started until it "
                       "leaves it.", turn.close)
        self.ran_once("one")


class TestTheCycle(ConditionCase):
    def test_a_message_file_that_cannot_be_renewed(self):
        self.configure("monitor_reads :: box/monitor_reads\n")
        os.mkdir(self.path("box"))
        self.started()
        self.there("box/monitor_reads")
        os.rename(self.path("box"), self.path(".away"))
        self.drop("other", uow("true"))
        self.assertEqual(self.ended("other"), "done-q")
        self.lasts("%s cannot be read or renewed: No such file or directory; tried again" % self.path("box/monitor_reads"),
                   lambda: os.rename(self.path(".away"), self.path("box")))
        with open(self.path("box/monitor_reads"), "a") as file:
            file.write("STATUS\n")
        self.said("counts: ")

    def test_a_message_that_cannot_be_marked_is_not_acted_on_until_it_can(self):
        """Or one KILL JOB would end each job in turn."""
        monitor = self.started()
        self.tidied()
        mend = self.refused(monitor, "pwrite64", self.path("monitor_reads"))
        self.message("STATUS")
        self.lasts("%s cannot be read or renewed: Input/output error; tried again" % self.path("monitor_reads"), lambda: (
            self.assertNotIn("message STATUS", self.says()), mend()))
        self.assertEqual(self.says().count("message STATUS"), 1)

    @heavy
    def test_a_ready_command_that_has_ended_while_the_cycle_is_cut_short_is_no_hot_loop(self):
        self.configure("ready_command :: touch asked; until [ -e go ]; do sleep 0.02; done; touch over\n")
        monitor = self.started()
        self.drop("first", stamped_uow(RUNS))
        self.there("asked")
        place = tempfile.mkdtemp(prefix="sjq-trace-")
        self.addCleanup(shutil.rmtree, place)
        trace = os.path.join(place, "trace")
        mend = self.traced(monitor, "-P", self.path(".turn"), "-e", "inject=flock:error=EIO", trace=trace)
        self.drop("one", RUNS)
        self.said("the cycle was cut short: Input/output error; tried again")
        self.write("go", "")
        self.there("over")
        before = read_text(trace).count("INJECTED")      # once in each cycle
        time.sleep(1)
        self.assertLess(read_text(trace).count("INJECTED") - before, 40)
        mend()
        until(lambda: self.ledger() == ["ran", "ran"], self.output)

    @heavy
    def test_an_after_command_that_cannot_be_started_for_a_moment_is_run(self):
        self.configure("after_command :: echo after >> ledger\nsleep_seconds :: 5\n")
        monitor = self.started()
        self.drop("one", uow(HOLD))
        self.begun("one")
        self.asleep(monitor)
        detach = self.traced(monitor, "-e", "trace=clone,clone3,vfork", "-e", "inject=clone,clone3,vfork:error=EAGAIN:when=2")     # the first is mv
        self.write("go", "")
        self.said("after_command for one could not be started: Resource temporarily unavailable; tried again")
        detach()
        self.said("over: after_command for one could not be started")
        until(lambda: self.ledger() == ["after"], self.output)

    @heavy
    def test_a_waiting_queue_that_cannot_be_listed(self):
        """Meanwhile the limit of the running job is kept, and the other queue is served."""
        monitor = self.started()
        self.drop("long", uow("sleep 600", TIMEOUT="2"))
        self.begun("long")
        mend = self.refused(monitor, "getdents64", self.path("wait-q"))
        self.drop("one", RUNS)
        self.drop("other", uow("true"), "priority-q")
        self.assertEqual((self.ended("long", seconds=15), self.ended("other")), ("fail-q", "done-q"))
        self.assertEqual(self.status("long"), "fail: timed out after 2 s")
        self.lasts("%s cannot be listed: Input/output error" % self.path("wait-q"), mend)
        self.ran_once("one")

    def test_a_turn_file_that_cannot_be_opened(self):
        self.started()
        os.unlink(self.path(".turn"))
        os.mkdir(self.path(".turn"))
        self.drop("one", RUNS)
        self.lasts("%s cannot be opened (Is a directory): nothing is stamped or started until it can" % self.path(".turn"),
                   lambda: os.rmdir(self.path(".turn")))
        self.ran_once("one")

    @heavy
    def test_a_new_file_that_cannot_be_looked_at_for_a_moment_is_seen_later(self):
        monitor, path = self.started(), self.path("wait-q", "one")
        place = tempfile.mkdtemp(prefix="sjq-trace-")
        self.addCleanup(shutil.rmtree, place)
        calls, trace = "lstat,newfstatat,statx", os.path.join(place, "trace")
        detach = self.traced(monitor, "-P", path, "-e", "trace=" + calls, "-e", "inject=%s:error=ENOMEM" % calls, trace=trace)
        self.drop("one", stamped_uow(RUNS))
        until(lambda: "INJECTED" in read_text(trace), self.output)
        until(lambda: time.time() - os.stat(self.path("wait-q")).st_mtime > 0.1, "a listing that may be kept")
        self.cycles(2)
        self.assertEqual(self.where("one"), ["wait-q"])
        detach()
        self.assertEqual(self.ended("one", seconds=15), "done-q")
        self.assertEqual(self.ledger(), ["ran"])

    @heavy
    def test_timeout_that_cannot_be_found_for_ready_command(self):
        self.configure("ready_command :: true\nstatus_dir :: status\n")
        self.started(env=self.commands())
        mend = self.without("timeout")
        self.drop("one", RUNS)
        self.said("no command timeout in PATH")
        written = self.posted()["written"]
        until(lambda: self.posted()["written"] != written, lambda: "the pages go on\n" + self.output(), 10)
        self.lasts("waiting: job_process or ready_command cannot be asked: no command timeout in PATH", mend)
        self.ran_once("one")

    def test_a_cycle_that_is_cut_short(self):
        monitor = self.started()
        mend = self.refused(monitor, "flock", self.path(".turn"))
        self.drop("one", RUNS)
        self.lasts("the cycle was cut short: Input/output error; tried again", mend)
        self.assertEqual(self.output().count("Traceback"), 1, self.output())
        self.ran_once("one")


class TestPauseThatTheDiskDoesNotKnow(ConditionCase):
    """Where `.paused` cannot be written or removed, the Monitor obeys all the same, hears what comes next, and tries again."""

    def unknown(self):
        return "%s cannot be written or removed (" % self.path("currently-executing", ".paused")

    def test_pause(self):
        monitor = self.started()
        self.drop("one", uow(HOLD))
        self.begun("one")
        mend = self.immutable(self.path("currently-executing"))
        self.message("PAUSE\nKILL JOB")
        self.said("ending one: killed by message")
        self.lasts(self.unknown(), mend)
        self.assertEqual(self.ended("one"), "fail-q")
        self.assertEqual(self.says().count("paused: no more jobs"), 1, self.says())
        self.still_paused(monitor)

    def still_paused(self, monitor):
        """See that the next start knows of the pause."""
        self.stop(monitor)
        self.drop("two", RUNS)
        self.started()
        self.assertRegex(self.output().splitlines()[-1], " started: .*, paused$")
        self.stamped("two")
        self.assertEqual(self.ledger(), [])

    def test_whatever_has_the_name_of_the_mark_is_one(self):
        os.mkfifo(self.path("currently-executing", ".paused"))
        monitor = self.started()
        for _ in range(2):
            self.message("PAUSE")
            self.cycles(1)
        self.assertNotIn("cannot be written", self.says())
        self.message("RESUME")
        until(lambda: not os.path.exists(self.path("currently-executing", ".paused")), self.output)
        self.assertEqual(self.stop(monitor), 0)

    def test_pause_before_currently_executing_is_another_directory(self):
        """As it was restored, say, without the mark of the pause."""
        monitor = self.started()
        self.message("PAUSE")
        self.said("paused: no more jobs")
        os.rename(self.path("currently-executing"), self.path(".away"))
        os.mkdir(self.path("currently-executing"), 0o755)
        self.said("currently-executing is another directory than before: locked anew")
        self.there("currently-executing/.paused", seconds=4)
        self.still_paused(monitor)

    def test_resume(self):
        monitor = self.started()
        self.message("PAUSE")
        self.said("paused: no more jobs")
        self.there("currently-executing/.paused")
        os.unlink(self.path("currently-executing/.paused"))
        os.mkdir(self.path("currently-executing/.paused"))
        self.message("RESUME\nSTATUS")
        self.said("counts: ")
        self.drop("one", uow("true"))
        self.assertEqual(self.ended("one"), "done-q")
        self.lasts(self.unknown(), lambda: os.rmdir(self.path("currently-executing/.paused")))
        self.stop(monitor)
        self.drop("two", RUNS)
        self.started()
        self.ran_once("two")

    def test_resume_while_currently_executing_is_away(self):
        monitor = self.started()
        self.message("PAUSE")
        self.said("paused: no more jobs")
        self.there("currently-executing/.paused")
        os.rename(self.path("currently-executing"), self.path(".away"))
        self.message("RESUME")
        self.said("resumed")
        self.lasts(self.unknown(), lambda: os.rename(self.path(".away"), self.path("currently-executing")))
        self.stop(monitor)
        self.drop("one", RUNS)
        self.started()
        self.ran_once("one")

    def test_shutdown_behind_a_pause_while_currently_executing_is_away(self):
        monitor = self.started()
        self.there("monitor_reads")
        os.rename(self.path("currently-executing"), self.path(".away"))
        self.message("PAUSE")
        self.said(self.unknown())
        self.message("SHUTDOWN")
        self.assertEqual(monitor.wait(10), 0)
        self.assertEqual(self.says().count("message PAUSE"), 1, self.says())


class TestWithdrawn(ConditionCase):
    """What lasted because of a file ends when somebody has taken the file away."""

    def ends(self, text):
        self.said("over: " + text, seconds=4)

    def held_turn(self, seconds="0.3"):
        """Start an impatient Monitor and see it through its first stamp; then take the turn and return it, open."""
        self.impatient(seconds)
        self.drop("first", uow("true"))
        self.ended("first")
        self.cycles(2)
        turn = open(self.path(".turn"))
        self.addCleanup(turn.close)
        fcntl.flock(turn, fcntl.LOCK_EX)
        return turn

    @heavy
    def test_nothing_wants_the_turn_any_more(self):
        turn = self.held_turn()
        path = self.drop("one", RUNS)
        self.said("another process has the turn")
        os.unlink(path)
        turn.close()
        self.ends("another process has the turn")

    def gone(self, text, reload=False, opened=True):
        """See what is said of a file that cannot be opened or taken end, when somebody takes it away before the next try."""
        monitor = self.started()
        staged, path = self.drop("one", text, ".staging"), self.path("wait-q", "one")
        monitor.send_signal(signal.SIGSTOP)
        os.rename(staged, path)
        mend = self.immutable(path) if opened else self.refused(monitor, "openat", path)
        monitor.send_signal(signal.SIGCONT)
        self.said("one in wait-q: ")
        monitor.send_signal(signal.SIGSTOP)
        mend()
        os.unlink(path)
        if reload:
            self.message("RELOAD")
        monitor.send_signal(signal.SIGCONT)
        self.ends("one in wait-q: ")

    def test_what_could_not_be_taken_to_be_stamped_is_gone(self):
        self.gone(RUNS)

    def test_what_could_not_be_claimed_is_gone(self):
        self.gone(stamped_uow(RUNS))

    def test_what_could_not_be_opened_is_gone(self):
        self.gone(RUNS, opened=False)

    def test_what_could_not_be_opened_is_gone_and_the_configuration_is_read_anew(self):
        self.gone(RUNS, reload=True, opened=False)

    def test_what_could_not_be_taken_is_gone_and_the_configuration_is_read_anew(self):
        self.gone(RUNS, reload=True)

    def test_nothing_waits_for_ready_command_any_more(self):
        self.configure("ready_command :: false\n")
        self.started()
        path = self.drop("one", RUNS)
        self.said("waiting: ready_command refuses (exit 1)")
        os.unlink(path)
        self.ends("waiting: ready_command refuses (exit 1)")

    def test_what_could_not_be_put_back_is_gone(self):
        os.mkdir(self.path("currently-executing", ".wait_q"))
        path = self.drop("left", stamped_uow(RUNS), "currently-executing/.wait_q")
        mend = self.immutable(path)
        monitor = self.started()
        self.said("left cannot be put back into wait-q: ")
        monitor.send_signal(signal.SIGSTOP)              # it is not to be put back meanwhile
        mend()
        os.unlink(path)
        monitor.send_signal(signal.SIGCONT)
        self.ends("left cannot be put back into wait-q: ")


class TestTrashIsBack(ConditionCase):
    def readmes(self, queue, mend):
        """Put two READMEs into a queue while trash is away; mend() ends what is said of the older one."""
        self.started()
        os.rename(self.path("trash"), self.path(".away"))
        os.utime(self.write(queue + "/README", "old\n"), (1, 1))
        self.write(queue + "/README.md", "new\n")
        self.lasts("%s is no UOW (an older README of %s; one per directory is kept), but cannot be moved to trash: "
                   % (self.path(queue, "README"), queue), mend)

    def readme(self, queue):
        self.readmes(queue, lambda: os.rename(self.path(".away"), self.path("trash")))
        self.assertEqual((self.where("README"), self.where("README.md")), (["trash"], [queue]))

    def test_an_older_readme_of_wait_q_goes_there(self):
        self.readme("wait-q")

    def test_an_older_readme_of_done_q_goes_there(self):
        self.readme("done-q")

    def test_an_older_readme_stays_where_the_newer_one_was_removed_meanwhile(self):
        self.readmes("wait-q", lambda: os.unlink(self.path("wait-q/README.md")))
        os.rename(self.path(".away"), self.path("trash"))
        self.said("over: %s is no longer a directory" % self.path("trash"))
        self.cycles(2)
        self.assertEqual(self.where("README"), ["wait-q"])

    def directory_for_messages(self):
        """Put a directory in place of the message file while trash is away, and return what is said of it."""
        monitor = self.started()
        self.there("monitor_reads")
        os.rename(self.path("trash"), self.path(".away"))
        monitor.send_signal(signal.SIGSTOP)
        os.unlink(self.path("monitor_reads"))
        os.mkdir(self.path("monitor_reads"))
        monitor.send_signal(signal.SIGCONT)
        text = ("%s is no UOW (not a regular file of its own; expected the message file), but cannot be moved to trash: "
                % self.path("monitor_reads"))
        self.said(text)
        time.sleep(0.3)                                  # some looks more
        return text

    def test_a_directory_in_place_of_the_message_file_goes_there(self):
        """Until it does, no message is read."""
        self.directory_for_messages()
        os.rename(self.path(".away"), self.path("trash"))
        until(lambda: os.path.isfile(self.path("monitor_reads")), self.output, 4)

    def test_a_directory_in_place_of_the_message_file_is_removed_by_hand(self):
        text = self.directory_for_messages()
        os.rmdir(self.path("monitor_reads"))
        self.said("over: " + text, seconds=4)
        self.assertEqual(self.says().count(text), 2, self.says())
        self.cycles(1)
