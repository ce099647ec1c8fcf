"""What administrators do to a queue that runs, and odd places to run in: editors, chown -R, mounts, locales."""
import collections
import fcntl
import functools
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from tests.helpers import (FINISHED, HOLD, MONITOR, QUEUES, QueueCase, cpu_of, heavy, need, need_root, processes_with,
                           ran, sleeps_of, stamped_uow, until, uow)

NOBODY = 65534


class OddCase(QueueCase):
    base = QueueCase.base.replace("sleep_seconds :: 5", "sleep_seconds :: 0.5")

    def is_quiet(self, monitor, wakes=20):
        """Prove that a Monitor neither wakes often nor is at work all the time."""
        before, used = sleeps_of(monitor.pid), cpu_of(monitor.pid)
        time.sleep(1)
        self.assertLess(sleeps_of(monitor.pid) - before, wakes)
        self.assertLess(cpu_of(monitor.pid) - used, 0.3)

    def said_once(self, text):
        said = re.findall(r"^\S+Z (?:\S*/)?%s" % re.escape(text), self.output(), re.M)      # none of STATUS's answers
        self.assertEqual(len(said), 1, self.output())


# ---- Editors --------------------------------------------------------------------

def vim(path, text):
    """Save as vim does: try out a file 4913, move the old file aside, write a new one, remove the old one."""
    place = os.path.dirname(path)
    with open(os.path.join(place, "4913"), "w"):
        os.unlink(os.path.join(place, "4913"))
    os.rename(path, path + "~")
    with open(path, "w") as file:
        file.write(text)
    os.unlink(path + "~")


def emacs(path, text):
    """Save as emacs does: a dangling link as the lock, the first old file stays as the backup."""
    locked = os.path.join(os.path.dirname(path), ".#" + os.path.basename(path))
    os.symlink("root@host.1:2", locked)
    os.rename(path, path + "~")
    with open(path, "w") as file:
        file.write(text)
    os.unlink(locked)


def nano(path, text):
    """Save as nano does: truncate the file and write it in place."""
    with open(path, "w") as file:
        file.write(text)


class TestEditors(OddCase):
    def edited(self, name, save, queue):
        path = self.path(queue, name)
        save(path, self.read(queue, name).replace("COMMAND", "NOTE :: a line more\nCOMMAND", 1))

    def under_way(self):
        """Start a job that goes on until the test writes `go`."""
        monitor = self.started()
        self.drop("job", uow("echo ran >> ledger; echo one; %s; echo two" % HOLD))
        self.begun("job")
        until(lambda: "\none\n" in self.read("currently-executing", "job"), self.output)
        return monitor

    def test_a_waiting_uow_is_run_once_as_it_was_saved(self):
        self.started()
        self.message("PAUSE")
        self.said("paused: ")
        for save in (vim, emacs, nano):
            self.drop(save.__name__, uow("echo %s-$UOW_NOTE >> ledger" % save.__name__))
            self.stamped(save.__name__)
            self.edited(save.__name__, save, "wait-q")
        self.message("RESUME")
        for save in (vim, emacs, nano):
            self.assertEqual(self.ended(save.__name__), "done-q")
        saved = ["emacs-a line more", "nano-a line more", "vim-a line more"]
        self.assertEqual(sorted(self.read("ledger").splitlines()), saved)
        self.assertEqual(os.listdir(self.path("trash")), [])

    def test_a_waiting_uow_that_is_saved_in_two_steps_at_the_last_moment_is_run_whole(self):
        self.configure("settle_seconds :: 1\n")
        monitor = self.started()
        self.message("PAUSE")
        self.said("paused: ")
        self.drop("job", uow("echo ran >> ledger"))
        self.stamped("job")
        until(lambda: time.time() - os.stat(self.path("wait-q", "job")).st_mtime > 2, "it has settled")
        self.asleep(monitor)
        text = self.read("wait-q", "job")
        nano(self.path("wait-q", "job"), "")
        self.message("RESUME")
        self.said("resumed")
        self.cycles(1)
        self.assertEqual(self.where("job"), ["wait-q"], self.output())
        nano(self.path("wait-q", "job"), text)
        self.assertEqual((self.ended("job"), self.ledger()), ("done-q", ["ran"]))

    def test_a_running_uow_is_filed_with_all_its_output_however_it_was_saved(self):
        """By vim and emacs what was saved is another file, and goes to trash; nano has written into the very file."""
        for save, trash in ((vim, ["job"]), (emacs, ["job", "job.2"]), (nano, ["job", "job.2"])):
            with self.subTest(save.__name__):
                monitor = self.under_way()
                self.edited("job", save, "currently-executing")
                self.write("go", "")
                self.ended("job", seconds=3)
                self.said("job: done: exit 0 after ", count=len(self.ledger()))
                self.assertEqual(self.where("job")[0], "done-q")
                self.assertEqual(self.log("job"), b"one\ntwo\n")
                self.assertRegex(self.status("job"), "^done: exit 0 after ")
                self.assertEqual("NOTE" in self.read("done-q", "job"), save is nano)
                self.assertEqual(self.stop(monitor), 0)
                self.assertEqual(sorted(os.listdir(self.path("trash"))), trash)
                self.assertEqual(os.listdir(self.path("currently-executing")), [".run"])
                os.unlink(self.path("go"))
                os.unlink(self.path("done-q", "job"))
        self.assertEqual(self.ledger(), ["ran"] * 3)

    def test_what_took_the_name_of_a_running_uow_never_runs_though_trash_is_away(self):
        monitor = self.under_way()
        before = stamped_uow(uow("echo again >> ledger"))        # as an editor had loaded it before the start
        vim(self.path("currently-executing", "job"), before)
        os.rename(self.path("trash"), self.path("away"))
        self.write("go", "")
        self.said("job stays in currently-executing until ")
        self.is_quiet(monitor)
        self.assertEqual(self.read("currently-executing", "job"), before)
        self.kill9(monitor)
        self.started()                               # makes trash again
        until(lambda: self.where("job") == ["done-q", "trash"], self.output)
        self.assertEqual((self.ledger(), self.log("job")), (["ran"], b"one\ntwo\n"))

    def test_a_running_uow_saved_in_place_without_its_padded_status_is_filed_by_its_exit(self):
        for spoil in (lambda text: re.sub("==== STATUS\n.*\n", "", text), lambda text: re.sub(" +\n", "\n", text)):
            self.under_way()
            nano(self.path("currently-executing", "job"), spoil(self.read("currently-executing", "job")))
            self.write("go", "")
            self.assertEqual((self.ended("job"), self.log("job")), ("done-q", b"one\ntwo\n"))
            self.said("job: its padded STATUS line is gone")
            self.stop(self.monitors[-1])
            os.unlink(self.path("go"))
            os.unlink(self.path("done-q", "job"))
        self.assertEqual(self.ledger(), ["ran"] * 2)

    def test_a_running_uow_whose_old_log_was_cut_off_in_place_is_filed_by_its_end(self):
        old = "==== JOB START 2026-01-02T03:04:06Z run 11111111-1\n" + 3000 * (63 * "x" + "\n")
        for crash in (False, True):
            monitor = self.started()
            self.drop("job", stamped_uow(uow("echo ran >> ledger; echo one; %s; echo two" % HOLD), log=old))
            self.begun("job")
            until(lambda: self.read("currently-executing", "job").endswith("\none\n"), self.output)
            nano(self.path("currently-executing", "job"), self.read("currently-executing", "job").replace(old, ""))
            if crash:
                self.kill9(monitor)
            self.write("go", "")
            until(lambda: set(processes_with(self.root)) <= {monitor.pid}, "all of the job has ended")
            if crash:
                monitor = self.started()
            self.assertEqual((self.ended("job"), self.log("job")), ("done-q", b"one\ntwo\n"))
            self.stop(monitor)
            os.unlink(self.path("go"))
            os.unlink(self.path("done-q", "job"))
        self.assertEqual(self.ledger(), ["ran"] * 2)


# ---- Administrators ----------------------------------------------------------------

@heavy
class TestAdministrators(OddCase):
    def work(self, seed, until_time):
        """Move UOWs about, contradict the other's messages, start a second Monitor: as who thinks to be alone."""
        dice = random.Random(seed)
        self.codes.append(ran(self.path("config.txt"))[0])
        while time.monotonic() < until_time:
            place = dice.choice(["wait-q", "priority-q", "done-q", "error-q", "archive"])
            names = [name for name in os.listdir(self.path(place)) if name.startswith("job")]
            if names:
                target = dice.choice(["wait-q", "priority-q", "error-q", "archive"])
                source = self.path(place, dice.choice(names))
                subprocess.run(["mv", "-n", source, self.path(target)], stderr=subprocess.DEVNULL)
            if dice.random() < 0.3:
                self.message(dice.choice(["PAUSE", "RESUME", "RESUME", "STATUS", "KILL JOB", "RELOAD"]))
            if dice.random() < 0.1:
                ran(self.path("config.txt"), "--check")

    def test_two_at_once_lose_nothing_and_what_ran_is_in_the_logs(self):
        self.codes = []
        names = ["job%d" % number for number in range(40)]
        for name in names:
            self.drop(name, uow("echo %s >> ledger; sleep 0.02" % name))
        monitor = self.started()
        end = time.monotonic() + 1.5
        people = [threading.Thread(target=self.work, args=(seed, end)) for seed in (1, 2)]
        for person in people:
            person.start()
        for person in people:
            person.join()
        self.message("RESUME")
        rest = set(FINISHED + ["archive"])
        until(lambda: all(any(os.path.exists(self.path(queue, name)) for queue in rest) for name in names), self.output)
        self.assertIsNone(monitor.poll(), self.output())
        self.assertEqual(self.codes, [3, 3])
        runs = collections.Counter(self.ledger())
        for name in names:
            there = [queue for queue in QUEUES + ["archive"] if os.path.exists(self.path(queue, name))]
            self.assertEqual(len(there), 1, name)
            text = self.read(there[0], name)
            starts = re.findall(r"^==== JOB START \S+ run (\S+)$", text, re.M)
            self.assertIn("COMMAND :: echo %s >> ledger; sleep 0.02\n" % name, text)
            self.assertEqual(len(starts), len(set(starts)))
            self.assertLessEqual(runs[name], len(starts))


class TestDirectoriesThatGo(OddCase):
    def test_a_running_uow_of_which_a_backup_has_a_hard_link_waits_for_its_queue_and_is_filed_by_its_end(self):
        """`cp -al` of the root has made the link."""
        monitor = self.started()
        self.drop("job", uow("echo one; %s; echo two" % HOLD))
        self.begun("job")
        os.link(self.path("currently-executing", "job"), self.path("archive", ".backup"))
        os.rename(self.path("done-q"), self.path("away"))
        self.write("go", "")
        self.said("done-q is missing")
        until(lambda: self.status("job").startswith("done: "), self.output, 5)
        self.kill9(monitor)
        os.rename(self.path("away"), self.path("done-q"))
        self.started()
        self.assertEqual((self.ended("job"), self.log("job")), ("done-q", b"one\ntwo\n"))
        self.assertEqual(os.listdir(self.path("trash")), [])

    @heavy
    def test_a_root_that_is_moved_away_is_not_made_anew(self):
        self.configure("status_dir :: status\n")
        monitor, moved = self.started(), self.root + ".moved"
        self.there("status/index.html")
        self.there("monitor_reads")
        os.rename(self.root, moved)
        try:
            end = time.monotonic() + 2.5                 # in which it posts, and has something to say
            while time.monotonic() < end and not os.path.lexists(self.root):
                monitor.send_signal(signal.SIGHUP)
                time.sleep(0.1)
            self.assertFalse(os.path.lexists(self.root))
            self.assertIsNone(monitor.poll())
        finally:
            monitor.send_signal(signal.SIGSTOP)
            shutil.rmtree(self.root, ignore_errors=True)
            os.rename(moved, self.root)
            monitor.send_signal(signal.SIGCONT)
        self.drop("job", uow("true"))
        self.assertEqual(self.ended("job"), "done-q")

    def test_a_job_that_deletes_currently_executing_loses_no_output(self):
        self.configure("durable :: yes\n")
        monitor = self.started()
        self.drop("job", uow("echo one; rm -rf currently-executing; echo ran >> ledger; %s; echo two" % HOLD))
        until(lambda: self.ledger(), self.output)
        self.drop("next", uow("true"))
        self.said("currently-executing is missing")
        self.write("go", "")
        self.said("job stays in currently-executing")
        self.is_quiet(monitor)
        os.mkdir(self.path("currently-executing"))
        self.assertEqual([self.ended("job"), self.ended("next")], ["done-q", "done-q"])
        self.assertEqual(self.log("job"), b"one\ntwo\n")
        self.assertEqual(sorted(os.listdir(self.path("done-q"))), ["job", "next"])

    def test_a_currently_executing_that_is_away_is_not_made_anew_and_nothing_starts(self):
        monitor = self.started()
        self.cycles(1)
        os.rename(self.path("currently-executing"), self.path("aside"))
        self.said("currently-executing is missing: no job starts")
        self.drop("job", uow("true"))
        self.stamped("job")
        self.cycles(2)
        self.is_quiet(monitor)
        self.assertFalse(os.path.lexists(self.path("currently-executing")))
        os.rename(self.path("aside"), self.path("currently-executing"))
        self.assertEqual(self.ended("job"), "done-q")
        self.said_once("currently-executing is missing")

    def test_a_job_that_deletes_the_finished_queues_is_filed_when_they_are_back(self):
        monitor = self.started()
        self.drop("job", uow("echo one; rm -rf done-q error-q fail-q trash archive .turn monitor_reads"))
        self.said("done-q is missing: jobs that end stay in currently-executing")
        self.is_quiet(monitor)
        self.said_once("done-q is missing")
        for queue in FINISHED:
            os.mkdir(self.path(queue))
        self.assertEqual((self.ended("job"), self.log("job")), ("done-q", b"one\n"))

    def test_while_currently_executing_is_away_a_timeout_still_counts(self):
        self.started()
        self.drop("job", uow("echo ran >> ledger; sleep 60", TIMEOUT="0.5"))
        until(lambda: self.ledger(), self.output)
        os.rename(self.path("currently-executing"), self.path("aside"))
        self.said("job: timed out after 0.5 s", seconds=3)
        until(lambda: set(processes_with(self.root)) == {self.monitors[0].pid}, self.output)
        os.rename(self.path("aside"), self.path("currently-executing"))
        self.assertEqual(self.ended("job"), "fail-q")

    def test_a_currently_executing_that_was_replaced_is_still_for_one_monitor(self):
        self.started()
        os.rename(self.path("currently-executing"), self.path("aside"))
        os.mkdir(self.path("currently-executing"))
        self.said("currently-executing is another directory than before")
        self.assertEqual(ran(self.path("config.txt"), "--until-empty")[0], 3)


# ---- What lasts -----------------------------------------------------------------

class TestWhatLasts(OddCase):
    def test_a_turn_that_another_keeps_is_waited_for_quietly(self):
        monitor = self.started()
        self.drop("one", uow("true"))
        self.ended("one")
        with open(self.path(".turn")) as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)             # as of a Monitor that was stopped, or hangs in an fsync
            self.drop("two", uow("true"))
            time.sleep(0.3)
            self.is_quiet(monitor, wakes=50)
        self.assertEqual(self.ended("two"), "done-q")

    def immutable(self, path):
        """Let nobody change or move a file or directory, until the test ends or this is called again."""
        need_root()
        need("chattr")
        if subprocess.run(["chattr", "+i", path], stderr=subprocess.DEVNULL).returncode:
            self.skipTest("no immutable files on this file system")
        mend = functools.partial(subprocess.run, ["chattr", "-i", path], stderr=subprocess.DEVNULL)
        self.addCleanup(mend)
        return mend

    def test_an_immutable_uow_in_hand_or_waiting_is_said_once_and_others_go_on(self):
        hand = self.write("currently-executing/begun", stamped_uow(uow("true"), "running: since 2026-01-02T03:04:05Z"))
        self.linked("begun")
        monitor, mends = None, [self.immutable(hand)]
        for stamped in (False, True):
            text = uow("true")
            path = self.drop("fixed-%d" % stamped, stamped_uow(text) if stamped else text)
            mends.append(self.immutable(path))
        monitor = self.started()
        self.drop("next", uow("true"))
        self.assertEqual(self.ended("next", seconds=10), "done-q")
        time.sleep(1.5)
        self.is_quiet(monitor, wakes=50)                 # three conditions, each tried again twice a second
        for name in ("begun", "fixed-0", "fixed-1"):
            self.assertEqual(len(re.findall("^.* %s .*ot permitted" % name, self.says(), re.M)), 1, self.says())
        for mend in mends:
            mend()
        for name, queue in (("begun", "fail-q"), ("fixed-0", "done-q"), ("fixed-1", "done-q")):
            self.assertEqual(self.ended(name), queue)

    def test_a_done_q_that_cannot_be_written_is_said_once(self):
        monitor = self.started()
        mend = self.immutable(self.path("done-q"))
        for name in ("one", "two"):
            self.drop(name, uow("echo %s >> ledger" % name))
        self.said("done-q cannot be read and written by root")
        until(lambda: "one" in self.ledger(), self.output)
        time.sleep(1.5)
        self.is_quiet(monitor)
        self.assertEqual(self.says().count("cannot be read and written"), 1, self.says())
        mend()
        self.assertEqual([self.ended("one"), self.ended("two"), self.ledger()], ["done-q", "done-q", ["one", "two"]])


@heavy
class TestTheWholeTree(OddCase):
    """Somebody runs chown -R or chmod -R on the root of a Monitor that is not root's, and puts it right later."""

    def setUp(self):
        need_root()
        need("setpriv", "chown", "chmod")
        super().setUp()
        self.program = shutil.copy(MONITOR, self.path(".monitor.py"))
        subprocess.run(["chown", "-R", "%d:%d" % (NOBODY, NOBODY), self.root], check=True)

    def drop(self, name, text, queue="wait-q"):
        os.chown(self.write(".dropped", text), NOBODY, NOBODY)
        os.rename(self.path(".dropped"), self.path(queue, name))

    def as_nobody(self):
        nobody = ["setpriv", "--reuid=%d" % NOBODY, "--regid=%d" % NOBODY, "--clear-groups"]
        python = next(path for path in [sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"]
                      if subprocess.run(nobody + [path, "-c", ""], stderr=subprocess.DEVNULL, cwd="/").returncode == 0)
        return self.started(prefix=nobody, python=[python, "-B"], program=self.program)

    def check(self, spoil, mend):
        monitor = self.as_nobody()
        self.drop("runs", uow("echo one; sleep 0.7; echo two"))
        self.begun("runs")
        self.drop("waits", uow("echo waits"))
        subprocess.run([*spoil, self.root], check=True)
        self.drop("came", uow("echo came"))
        time.sleep(1)                                    # the job ends meanwhile
        self.assertIsNone(monitor.poll(), self.output())
        self.is_quiet(monitor)
        for line, times in collections.Counter(line[28:] for line in self.output().splitlines()).items():
            self.assertEqual(times, 1, line)
        subprocess.run([*mend, self.root], check=True)
        for name in ("runs", "waits", "came"):
            self.assertEqual(self.ended(name), "done-q")
        self.assertEqual(self.log("runs"), b"one\ntwo\n")

    def test_chown(self):
        self.check(["chown", "-R", "daemon:daemon"], ["chown", "-R", "%d:%d" % (NOBODY, NOBODY)])

    def test_chmod_of_everything(self):
        self.check(["chmod", "-R", "000"], ["chmod", "-R", "u+rwX"])


# ---- Jobs ------------------------------------------------------------------------

@heavy
class TestJobsAndTheirMonitor(OddCase):
    def test_a_job_that_sends_kill_job(self):
        self.started()
        self.drop("job", uow("echo KILL JOB >> monitor_reads; sleep 60"))
        self.assertEqual(self.ended("job"), "fail-q")
        self.assertEqual(self.status("job"), "fail: killed by message")

    def test_a_job_that_sends_finish(self):
        monitor = self.started()
        self.drop("job", uow("echo FINISH >> monitor_reads; sleep 0.3; echo end"))
        self.assertEqual(monitor.wait(20), 0)
        self.assertEqual((self.where("job"), self.log("job")), (["done-q"], b"end\n"))

    def test_a_job_that_stops_its_monitor_for_a_while(self):
        monitor = self.started()
        self.drop("job", uow("kill -STOP %d; echo stopped >> ledger; %s" % (monitor.pid, HOLD)))
        until(lambda: self.ledger(), self.output)
        self.drop("next", uow("true"))
        self.assertEqual(ran(self.path("config.txt"))[0], 3)
        self.write("go", "")
        monitor.send_signal(signal.SIGCONT)
        self.assertEqual((self.ended("job"), self.ended("next")), ("done-q", "done-q"))

    def test_a_job_that_submits_itself_for_ever_stands_in_nobodys_way(self):
        self.started()
        self.drop("again", uow('echo again >> ledger; cp "$SJQ_FILE" wait-q/.again; mv wait-q/.again wait-q/again'))
        until(lambda: len(self.ledger()) > 3, self.output)
        self.drop("other", uow("true"))
        self.assertEqual(self.ended("other"), "done-q")
        self.message("PAUSE")
        self.said("paused: ")
        self.stamped("again")

    def test_a_timeout_of_a_millisecond(self):
        self.drop("job", uow("sleep 60", TIMEOUT="0.001"))
        self.run_until_empty()
        self.assertEqual((self.where("job"), self.status("job")), (["fail-q"], "fail: timed out after 0.001 s"))

    @heavy
    def test_thousands_of_header_lines(self):
        self.drop("lines", "==== UNIT OF WORK\n" + "COMMAND::\n" * 5000 + "COMMAND::echo end\n")
        names = "".join("N%d::\n" % number for number in range(5000))
        self.drop("names", "==== UNIT OF WORK\nCOMMAND::env | grep -c ^UOW_\n" + names)
        self.run_until_empty()
        self.assertEqual((self.log("lines"), self.log("names")), (b"end\n", b"5001\n"))


# ---- Environment -----------------------------------------------------------------

@heavy
class TestEnvironment(OddCase):
    def test_none_at_all_as_under_cron(self):
        self.drop("job", uow("echo $PWD; date >/dev/null"))
        self.run_until_empty(env={})
        self.assertEqual((self.where("job"), self.log("job")), (["done-q"], os.fsencode(self.root) + b"\n"))

    def test_closed_standard_streams(self):
        for closed in ("0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"):
            with self.subTest(closed):
                self.drop("job", uow("echo out; echo err >&2"))
                self.run_until_empty(prefix=["bash", "-c", 'exec "$@" ' + closed, "bash"])
                self.assertEqual((self.where("job"), self.log("job")), (["done-q"], b"out\nerr\n"))
                os.unlink(self.path("done-q", "job"))

    def test_without_stderr_what_after_command_leaves_running_holds_no_lock(self):
        self.configure("after_command :: sleep 60 </dev/null >/dev/null & echo >> ledger\n")
        monitor = self.start(prefix=["bash", "-c", 'exec "$@" 2>&-', "bash"])
        self.drop("job", uow("true"))
        self.there("ledger")
        self.kill9(monitor)
        before = self.output().count(" started: pid ")
        self.start()
        until(lambda: self.output().count(" started: pid ") > before, self.output, seconds=2)

    def test_no_file_descriptor_is_lost_when_there_are_few(self):
        monitor = self.started()
        self.drop("first", uow("true"))
        self.ended("first")
        self.asleep(monitor)
        def count():
            return len(os.listdir("/proc/%d/fd" % monitor.pid))
        before, limits = count(), resource.prlimit(monitor.pid, resource.RLIMIT_NOFILE)
        self.drop("job", uow("true"))
        for more in range(3, 6):                         # at one of these a job gets its first pipe and not its second
            resource.prlimit(monitor.pid, resource.RLIMIT_NOFILE, (before + more, limits[1]))
            time.sleep(0.6)
        resource.prlimit(monitor.pid, resource.RLIMIT_NOFILE, limits)
        self.assertEqual(self.ended("job"), "done-q")
        self.asleep(monitor)
        self.assertLessEqual(count(), before)

    def test_a_limit_of_file_size_ends_the_log_and_not_the_monitor(self):
        self.drop("job", uow("head -c 100000 /dev/zero | tr '\\0' x"))
        self.drop("small", uow("echo small"))
        self.run_until_empty(prefix=["bash", "-c", 'ulimit -f 20; exec "$@"', "bash"])
        self.assertEqual((self.where("job"), self.where("small")), (["fail-q"], ["done-q"]))
        self.assertRegex(self.status("job"), "^fail: exit 141, log incomplete$")

    @heavy
    def test_roots_of_any_name(self):
        outer = self.root
        try:
            for name in ("-a\nb", "$(touch x)'\"", "\udcff\u00e4"):
                with self.subTest(name):
                    self.root = os.path.join(outer, name)
                    os.mkdir(self.root)
                    self.configure('after_command :: echo "$SJQ_FILE" >> filed\nerror_pattern :: X\n')
                    for queue in QUEUES + [".staging"]:
                        os.mkdir(self.path(queue))
                    monitor = self.started()
                    self.drop("job", uow("%s; echo \"$SJQ_FILE\"" % HOLD))
                    self.begun("job")
                    self.kill9(monitor)
                    self.write("go", "")
                    self.run_until_empty()
                    self.assertEqual(self.log("job"), os.fsencode(self.path("currently-executing", "job")) + b"\n")
                    self.assertEqual(self.read("filed"), self.path("done-q", "job") + "\n")
                    self.assertEqual(os.listdir(self.path("trash")), [])
        finally:
            self.root = outer


class TestLanguage(OddCase):
    """Locales that are not UTF-8."""

    NAME = os.fsdecode(b"\xff\xe4 \x80\x85\xa0n\xc3\xa4\n")

    def german(self):
        return self.in_locale("de_DE", "ISO-8859-1")

    def test_names_and_commands_of_any_bytes(self):
        for environment in ({**os.environ, "LC_ALL": "C"}, {**os.environ, "LC_ALL": "POSIX"}, self.german()):
            with self.subTest(environment["LC_ALL"]):
                self.drop(self.NAME, uow('printf %s "$SJQ_NAME"; printf "\u2192\u00e4%s" "$UOW_X"', X="\u20ac!"))
                self.run_until_empty(env=environment)
                self.assertEqual(self.where(self.NAME), ["done-q"])
                self.assertEqual(self.log(self.NAME), os.fsencode(self.NAME + "\u2192\u00e4\u20ac!"))
                os.unlink(self.path("done-q", self.NAME))

    def test_a_configuration_in_utf_8(self):
        self.configure('job_command :: echo "\u2192 \u00e4"; eval "$UOW_COMMAND"\ntrash :: m\u00fcll\n')
        self.drop("job", uow("echo end"))
        self.run_until_empty(env=self.german())
        self.assertEqual(self.log("job"), "\u2192 \u00e4\nend\n".encode())
        self.assertTrue(os.path.isdir(self.path("m\u00fcll")))

    def test_a_complaint_in_another_encoding_is_said(self):
        """U+FFFD, which stands for its letters, has no sign in the Monitor's own: it ended at each start."""
        mv = self.executable("mv", "#!/bin/sh\nprintf 'n\\344e\\n' >&2\nexit 1\n")
        environment = {**self.german(), "PATH": mv["PATH"]}
        self.drop("one", uow("true"))
        monitor = self.started(env=environment)
        self.said("mv exit 1: ")
        self.cycles(1)
        self.assertEqual(self.stop(monitor), 0)

    def test_a_header_whose_last_byte_is_white_space_elsewhere(self):
        self.drop("job", uow("printf %s \"$UOW_X\"; printf voil\u00e0", X="\u00c5"))
        self.run_until_empty(env=self.german())
        self.assertEqual(self.log("job"), "\u00c5voil\u00e0".encode())


# ---- File systems -------------------------------------------------------------------

@heavy
class TestFileSystems(OddCase):
    def make_root(self):
        need_root()
        need("mount", "umount")
        return super().make_root()

    def mounted(self, *arguments):
        """Mount something and return where; what is mounted is gone before the root is."""
        place = tempfile.mkdtemp(prefix="sjq-mounted-")
        self.addCleanup(os.rmdir, place)
        if subprocess.run(["mount", *arguments, place], stderr=subprocess.DEVNULL).returncode:
            self.skipTest("this machine mounts no " + arguments[1])
        def unmounted():
            return subprocess.run(["umount", place], stderr=subprocess.DEVNULL).returncode == 0
        self.addCleanup(until, unmounted, "umount " + place)
        return place

    def at(self, place):
        """Go on with a root in another place, and clean up both."""
        self.addCleanup(setattr, self, "root", self.root)
        self.root = os.path.join(place, "root")
        if not os.path.exists(self.root):
            os.mkdir(self.root)
            for queue in QUEUES + ["archive", ".staging"]:
                os.mkdir(self.path(queue))
        self.addCleanup(self.clean)
        self.configure("durable :: yes\n")

    def check_it_works(self):
        monitor = self.started()
        for number in range(3):
            self.drop("job-%d" % number, uow("echo out"))
        self.drop("bad", "nonsense\n")
        for number in range(3):
            self.assertEqual(self.ended("job-%d" % number), "done-q")
            self.assertEqual(self.log("job-%d" % number), b"out\n")
        until(lambda: self.where("bad") == ["trash"], self.output)
        self.assertEqual(self.stop(monitor), 0)
        self.assertEqual(ran(self.path("config.txt"), "--check")[:2], (0, "all is well\n"))

    def test_mounted_with_noexec_nodev_nosuid_sync_noatime(self):
        self.at(self.mounted("-t", "tmpfs", "-o", "noexec,nodev,nosuid,sync,noatime,size=4m", "none"))
        self.check_it_works()

    def test_overlayfs_with_what_waits_in_the_layer_below(self):
        layers = self.mounted("-t", "tmpfs", "none")
        for name in ("upper", "work"):
            os.mkdir(os.path.join(layers, name))
        os.mkdir(os.path.join(layers, "lower"))
        self.at(os.path.join(layers, "lower"))
        self.drop("below", uow("echo below"))
        os.mkdir(self.path("wait-q", "directory"))
        options = "lowerdir={0}/lower,upperdir={0}/upper,workdir={0}/work".format(layers)
        self.at(self.mounted("-t", "overlay", "-o", options, "none"))
        self.check_it_works()
        self.assertEqual((self.where("below"), self.log("below")), (["done-q"], b"below\n"))
        until(lambda: self.where("directory") == ["trash"], self.output)

    def test_no_inode_left_is_said_once_and_ends(self):
        self.at(self.mounted("-t", "tmpfs", "-o", "nr_inodes=60", "none"))
        monitor = self.started()
        self.drop("runs", uow(HOLD + "; echo end"))
        self.begun("runs")
        staged = self.write(".staging/later", uow("echo later"))
        numbers = []
        with self.assertRaises(OSError):
            for number in range(100):
                self.write("archive/%d" % number, "")
                numbers.append(number)
        os.rename(staged, self.path("wait-q", "later"))
        self.said("later in wait-q cannot be stamped: No space left on device")
        os.unlink(self.path("archive", str(numbers.pop())))
        os.rename(self.write(".staging/x", ""), self.path("go"))
        self.assertEqual(self.ended("runs"), "done-q")
        self.is_quiet(monitor)
        for number in numbers:
            os.unlink(self.path("archive", str(number)))
        self.assertEqual(self.ended("later"), "done-q")
        self.said_once("later in wait-q cannot be stamped: No space left on device")

    def test_a_queue_that_is_a_mount_of_the_same_file_system_is_refused(self):
        subprocess.run(["mount", "--bind", self.path("done-q"), self.path("done-q")], check=True)
        try:
            code, _, errors = ran(self.path("config.txt"), "--until-empty")
        finally:
            subprocess.run(["umount", self.path("done-q")], check=True)
        self.assertEqual(code, 2, errors)


if __name__ == "__main__":
    unittest.main()
