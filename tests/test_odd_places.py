"""What administrators do to a queue that runs, and odd places to run in: editors, backups, chown -R, mounts, locales."""
import collections
import datetime
import fcntl
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

from tests.helpers import (FINISHED, HOLD, MONITOR, QUEUES, QueueCase, compiled, cpu_of, heavy, kill_all, need, need_root,
                           processes_with, ran, sleeps_of, stamped_uow, until, uow)

NOBODY = 65534
STATUS_WIDTH = 78


class OddCase(QueueCase):
    base = QueueCase.base.replace("sleep_seconds :: 5", "sleep_seconds :: 0.5")

    def is_quiet(self, monitor, wakes=20):
        """Prove that a Monitor neither wakes often nor is at work all the time."""
        before, used = sleeps_of(monitor.pid), cpu_of(monitor.pid)
        time.sleep(1)
        self.assertLess(sleeps_of(monitor.pid) - before, wakes)
        self.assertLess(cpu_of(monitor.pid) - used, 0.3)

    def said_once(self, text):
        self.assertEqual(self.output().count(text), 1 + self.output().count("over: " + text), self.output())


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

    def under_way(self, save, **options):
        """Start a job, and save its UOW with one header line more while it runs."""
        monitor = self.started(**options)
        self.drop("job", uow("echo ran >> ledger; echo one; %s; echo two" % HOLD))
        self.begun("job")
        until(lambda: self.ledger(), self.output)
        self.edited("job", save, "currently-executing")
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

    @heavy
    def test_a_waiting_uow_that_ran_before_and_lost_its_trailing_blanks_is_run_after_a_shortage(self):
        need("strace")
        monitor = self.started()
        self.drop("job", uow("echo ran >> ledger"))
        self.ended("job")
        self.message("PAUSE")
        self.said("paused: ")
        os.rename(self.path("done-q", "job"), self.path("wait-q", "job"))
        self.stamped("job")
        self.asleep(monitor)
        nano(self.path("wait-q", "job"), re.sub(" +\n", "\n", self.read("wait-q", "job")))
        detach = self.traced(monitor, "-e", "trace=fchmod", "-P", self.path("currently-executing/.wait_q", ".new.job"),
                             "-e", "inject=fchmod:error=ENOSPC")
        self.message("RESUME")
        self.said("job in wait-q: No space left on device")
        detach()
        until(lambda: self.ledger() == ["ran", "ran"], self.output)

    def test_vim_on_a_running_uow_loses_no_output(self):
        self.under_way(vim)
        self.write("go", "")
        self.assertEqual(self.ended("job"), "done-q")
        self.assertEqual(self.log("job"), b"one\ntwo\n")
        self.assertNotIn("NOTE", self.read("done-q", "job"))
        self.assertIn("NOTE", self.read("trash", "job"))

    def test_emacs_on_a_running_uow_does_not_keep_it_from_its_queue(self):
        self.under_way(emacs)
        self.write("go", "")
        self.assertEqual(self.ended("job", seconds=2), "done-q")
        self.assertEqual(self.log("job"), b"one\ntwo\n")

    def while_trash_is_away(self, save):
        """See that neither what ran nor what was saved is written or moved over, and that both are filed when trash is back."""
        monitor = self.under_way(save)
        os.rename(self.path("trash"), self.path("away"))
        self.write("go", "")
        texts = ("job was replaced by another file while it ran: the other one goes to trash",
                 "%s is no UOW (not the file that was run), but cannot be moved to trash" % self.path("currently-executing", "job"),
                 "job: STATUS cannot be written (another file has its name); tried again")
        for text in texts:
            self.said(text)
        self.is_quiet(monitor)
        for text in texts:
            self.said_once(text)
        self.assertIn("NOTE", self.read("currently-executing", "job"))
        self.assertEqual([queue for queue in FINISHED if os.listdir(self.path(queue))], [])
        os.rename(self.path("away"), self.path("trash"))
        self.assertEqual(self.ended("job"), "done-q")
        self.assertRegex(self.status("job"), "^done: exit 0 after ")
        self.assertEqual(self.log("job"), b"one\ntwo\n")
        self.assertNotIn("NOTE", self.read("done-q", "job"))
        self.assertIn("NOTE", self.read("trash", "job"))
        for text in texts[1:]:
            self.said("over: " + text)

    def test_vim_on_a_running_uow_while_trash_is_away_overwrites_nothing(self):
        self.while_trash_is_away(vim)

    def test_emacs_on_a_running_uow_while_trash_is_away_files_the_right_one(self):
        """What was run has its backup's name meanwhile."""
        self.while_trash_is_away(emacs)

    def test_nano_on_a_running_uow_does_not_spoil_its_header(self):
        self.under_way(nano)
        self.write("go", "")
        self.assertEqual(self.ended("job"), "done-q")
        header = "NOTE :: a line more\nCOMMAND :: echo ran >> ledger; echo one; %s; echo two\n" % HOLD
        self.assertIn(header, self.read("done-q", "job"))
        self.assertRegex(self.status("job"), "^done: exit 0 after ")

    def spoiled(self, command, spoil):
        """Save the UOW of a running job in place, spoiled; let it end while done-q is away, and see it filed when that is back."""
        monitor = self.started()
        self.drop("job", uow("echo ran >> ledger; echo one; %s; %s" % (HOLD, command)))
        self.begun("job")
        until(lambda: "\none\n" in self.read("currently-executing", "job"), self.output)
        nano(self.path("currently-executing", "job"), spoil(self.read("currently-executing", "job")))
        os.rename(self.path("done-q"), self.path("away"))
        self.write("go", "")
        self.said("done-q is no longer a directory")
        self.is_quiet(monitor)
        for line, times in collections.Counter(line[28:] for line in self.says().splitlines()).items():
            self.assertEqual(times, 1, line)
        self.assertEqual(self.where("job"), ["currently-executing"], self.output())
        os.rename(self.path("away"), self.path("done-q"))
        self.assertEqual(self.ended("job"), "done-q", self.output())
        self.assertEqual(self.ledger(), ["ran"])
        self.assertRegex(self.read("done-q", "job"), r"\n==== STATUS\n(?=.{%d}\n)done: exit 0 after \d\.\d s +\n" % STATUS_WIDTH)
        self.assertEqual(ran(self.path("config.txt"), "--check")[:2], (0, "all is well\n"))

    def test_a_running_uow_saved_without_its_status_runs_once_and_gets_one(self):
        self.spoiled("seq 200", lambda text: re.sub("==== STATUS\n.*\n", "", text))
        self.assertEqual(self.log("job"), b"one\n" + b"".join(b"%d\n" % number for number in range(1, 201)))

    def test_a_running_uow_saved_without_trailing_blanks_is_filed_by_its_exit(self):
        self.spoiled("echo two", lambda text: re.sub(" +\n", "\n", text))
        self.assertEqual(self.log("job"), b"one\ntwo\n")

    @heavy
    def test_a_running_uow_saved_without_trailing_blanks_that_writes_much_more_is_filed_by_its_exit(self):
        self.spoiled("seq 200", lambda text: re.sub(" +\n", "\n", text))
        self.assertEqual(self.log("job"), b"one\n" + b"".join(b"%d\n" % number for number in range(1, 201)))

    def shortened(self, crash):
        """Cut the old log off a running UOW in place, so that it ends before where STATUS says that START is."""
        old = "==== JOB START 2026-01-02T03:04:06Z run 11111111-1\n" + 3000 * (63 * "x" + "\n")
        monitor = self.started()
        self.drop("job", stamped_uow(uow("echo ran >> ledger; echo one; %s; echo two" % HOLD), log=old))
        self.begun("job")
        until(lambda: self.read("currently-executing", "job").endswith("\none\n"), self.output)
        nano(self.path("currently-executing", "job"), self.read("currently-executing", "job").replace(old, ""))
        if crash:
            self.kill9(monitor)
        self.write("go", "")
        until(lambda: not [pid for pid in processes_with(self.root) if pid != monitor.pid], "all of the job has ended")
        if crash:
            self.run_until_empty()
        self.assertEqual(self.ended("job"), "done-q", self.output())
        self.assertEqual((self.ledger(), self.log("job")), (["ran"], b"one\ntwo\n"))

    def test_a_running_uow_whose_old_log_was_cut_off_is_filed_by_its_end(self):
        self.shortened(crash=False)

    def test_a_running_uow_whose_old_log_was_cut_off_is_filed_by_its_end_after_a_crash(self):
        self.shortened(crash=True)

    def without_its_status(self, end):
        """Save the UOW of a running job in place without its STATUS, kill its Monitor, end the job, and start another."""
        monitor = self.started()
        self.drop("job", uow("echo ran >> ledger; echo one; %s" % HOLD))
        self.begun("job")
        until(lambda: "\none\n" in self.read("currently-executing", "job"), self.output)
        nano(self.path("currently-executing", "job"), re.sub("==== STATUS\n.*\n", "", self.read("currently-executing", "job")))
        self.kill9(monitor)
        end()
        until(lambda: not processes_with(self.root), "all of the job has ended")
        self.run_until_empty()
        self.assertEqual(self.ledger(), ["ran"])

    def test_a_running_uow_saved_without_its_status_that_ended_while_no_monitor_was_there_does_not_run_again(self):
        self.without_its_status(lambda: self.write("go", ""))
        self.assertEqual((self.where("job"), self.status("job"), self.log("job")), (["fail-q"], "fail: interrupted", b"one\n"))

    def test_a_running_uow_saved_without_its_status_that_a_crash_ended_is_interrupted(self):
        self.without_its_status(lambda: kill_all(processes_with(self.root)))
        self.assertEqual((self.where("job"), self.status("job")), (["fail-q"], "fail: interrupted"))

    def check_a_restart(self, before_end):
        monitor = self.under_way(nano)
        self.kill9(monitor)
        if before_end:
            self.started()
        self.drop("next", uow("echo next >> ledger"))
        self.write("go", "")
        if not before_end:
            until(lambda: "==== JOB END" in self.read("currently-executing", "job"), "the job ends")
            self.started()
        self.ended("job")
        self.ended("next")
        self.assertEqual(self.ledger(), ["ran", "next"], self.output())

    def test_nano_on_a_running_uow_and_a_restart_is_no_second_run(self):
        self.check_a_restart(before_end=True)

    def test_nano_on_a_running_uow_that_ended_before_the_restart_is_no_second_run(self):
        self.check_a_restart(before_end=False)

    def spoilt_start(self, **header):
        """Start a job that ignores TERM, spoil its START in place, and let grep be missing."""
        self.configure("kill_grace_seconds :: 0.5\n")
        monitor = self.started(env=self.commands())
        self.drop("job", uow("(trap '' TERM; while :; do sleep 0.05; done) & echo ran >> ledger; " + HOLD, **header))
        self.begun("job")
        until(self.ledger, self.output)
        with open(self.path("currently-executing", "job"), "r+b") as file:
            at = file.read().index(b"==== JOB START")
            os.pwrite(file.fileno(), b"#", at)
        self.without("grep")
        return monitor

    def all_of_it_ends(self, monitor):
        until(lambda: set(processes_with(self.root)) <= {monitor.pid}, self.output, 10)

    @heavy
    def test_kill_job_where_start_is_spoilt_and_grep_cannot_be_found(self):
        monitor = self.spoilt_start()
        self.message("KILL JOB")
        self.said("ending job: killed by message")
        self.all_of_it_ends(monitor)
        self.assertEqual(self.says().count("message KILL JOB"), 1)

    @heavy
    def test_a_timeout_where_start_is_spoilt_and_grep_cannot_be_found(self):
        monitor = self.spoilt_start(TIMEOUT=2)
        self.said("ending job: timed out after 2 s")
        self.all_of_it_ends(monitor)

    def test_a_restart_that_cannot_find_grep_adopts_what_nobody_has_edited(self):
        env = self.commands()
        monitor = self.started(env=env)
        self.drop("job", uow(HOLD))
        self.begun("job")
        self.kill9(monitor)
        self.without("grep")
        self.started(env=env)
        self.said("adopted job")
        self.message("STATUS")
        self.said("counts: ")
        self.write("go", "")
        self.assertEqual(self.ended("job"), "done-q")

    def before_its_start(self, name):
        """Save a running UOW as an editor had loaded it before its start: without START, and with an empty STATUS."""
        text = re.sub("(?<=\n==== STATUS\n).*", " " * STATUS_WIDTH, self.read("currently-executing", name))
        nano(self.path("currently-executing", name), text.partition("==== JOB START")[0])

    def ended_with_its_monitor_while_it_was_killed(self, before=lambda: None, after=lambda: None):
        """Run a job, edit its UOW before or after KILL JOB, and let a crash end all of it; the next start files it."""
        self.configure("kill_grace_seconds :: 60\n")
        monitor = self.started()
        self.drop("job", uow("trap '' TERM; echo ran >> ledger; exec >/dev/null 2>&1; while :; do sleep 0.05; done"))
        self.begun("job")
        until(self.ledger, self.output)
        before()
        self.message("KILL JOB")
        until(lambda: ", killed by message" in self.status("job"), self.output)
        self.kill9(monitor)
        until(lambda: not kill_all(processes_with(self.root)) and not processes_with(self.root), "all of the job has ended")
        after()
        self.drop("next", uow("echo next >> ledger"))
        self.started()
        self.assertEqual((self.ended("job", seconds=10), self.ended("next"), self.ledger()), ("fail-q", "done-q", ["ran", "next"]))

    def test_a_running_uow_saved_as_it_was_before_its_start_that_a_crash_ended_while_it_was_killed_does_not_run_again(self):
        self.ended_with_its_monitor_while_it_was_killed(before=lambda: self.before_its_start("job"))

    def test_a_running_uow_that_lost_its_log_and_that_a_crash_ended_while_it_was_killed_holds_up_nothing(self):
        path = self.path("currently-executing", "job")
        self.ended_with_its_monitor_while_it_was_killed(after=lambda: nano(path, self.read(path).partition("==== JOB LOG")[0]))

    def adopted_before_its_start(self):
        """Adopt a job that starts a service, and save its UOW as it was before its start."""
        monitor = self.started()
        self.drop("job", uow("setsid sleep 600 >/dev/null 2>&1 & echo $! > service; echo ran >> ledger; " + HOLD))
        self.begun("job")
        until(self.ledger, self.output)
        self.kill9(monitor)
        monitor = self.started()
        self.said("adopted job")
        self.before_its_start("job")
        return monitor

    def filed_at_once(self):
        self.assertEqual(self.ended("job", seconds=10), "done-q")
        self.assertRegex(self.status("job"), "^done: exit 0 after ")
        os.kill(int(self.read("service")), 0)

    def test_an_adopted_uow_saved_as_it_was_before_its_start_is_filed_at_once_though_a_service_is_left(self):
        self.adopted_before_its_start()
        self.write("go", "")
        self.filed_at_once()

    def test_an_adopted_uow_saved_as_it_was_before_its_start_has_ended_when_kill_job_comes_though_a_service_is_left(self):
        monitor = self.adopted_before_its_start()
        self.asleep(monitor)                             # the message is read before the job is looked at again
        monitor.send_signal(signal.SIGSTOP)
        self.write("go", "")
        until(lambda: set(processes_with(self.root)) == {monitor.pid, int(self.read("service"))}, "the service alone is left")
        self.message("KILL JOB")
        monitor.send_signal(signal.SIGCONT)
        self.said("message KILL JOB")
        self.filed_at_once()
        self.assertIn("KILL JOB: job has ended already", self.says())


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


class TestRestoredFromABackup(OddCase):
    def test_an_older_state_unpacked_over_the_root_starts_nothing_by_itself_and_harms_no_job(self):
        need("tar")
        self.started()
        self.drop("old", uow("echo old >> ledger; " + HOLD))
        self.begun("old")
        until(lambda: self.ledger(), self.output)
        backup = self.path("archive", "backup.tar")
        left_out = ["--exclude=./" + name for name in ("archive", ".output", "monitor_says")]
        subprocess.run(["tar", "-C", self.root, *left_out, "-cf", backup, "."], check=True)
        self.write("go", "")
        self.assertEqual(self.ended("old"), "done-q")
        os.unlink(self.path("go"))
        self.drop("now", uow("echo now; %s; echo end" % HOLD))
        self.begun("now")
        subprocess.run(["tar", "-C", self.root, "-xf", backup], check=True)
        self.write("go", "")
        self.assertEqual(self.ended("now"), "done-q")
        self.assertEqual(self.log("now"), b"now\nend\n")
        until(lambda: self.where("old") == ["done-q", "fail-q"], self.output)
        self.assertIn("fail: interrupted", self.read("fail-q", "old"))      # of that copy nobody knows more
        self.assertEqual(self.ledger(), ["old"])

    def linked(self):
        """Start a job, and give its UOW a second link as `cp -al` of the root does for a backup."""
        monitor = self.started()
        self.drop("job", uow("echo one; %s; echo two" % HOLD))
        self.begun("job")
        os.link(self.path("currently-executing", "job"), self.path("archive", "backup"))
        return monitor

    def filed(self):
        self.assertEqual(self.ended("job"), "done-q")
        self.assertRegex(self.status("job"), "^done: exit 0 after ")
        self.assertEqual((self.log("job"), os.listdir(self.path("trash"))), (b"one\ntwo\n", []))

    def test_a_running_uow_of_which_a_backup_has_a_hard_link_is_filed_with_its_outcome(self):
        self.linked()
        self.write("go", "")
        self.filed()

    def test_a_running_uow_of_which_a_backup_has_a_hard_link_waits_for_its_queue(self):
        self.linked()
        os.rename(self.path("done-q"), self.path("away"))
        self.write("go", "")
        self.said("done-q is no longer a directory")
        until(lambda: self.where("job") != ["currently-executing"] or self.status("job").startswith("done: "), self.output, 5)
        self.cycles(2)
        os.rename(self.path("away"), self.path("done-q"))
        self.filed()

    def test_a_uow_with_a_hard_link_that_ended_while_no_monitor_was_there_is_filed_by_its_end(self):
        self.kill9(self.linked())
        self.write("go", "")
        until(lambda: "==== JOB END" in self.read("currently-executing", "job"), "the job ends")
        self.started()
        self.filed()

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
        self.started()
        self.drop("job", uow("echo one; rm -rf currently-executing; echo ran >> ledger; %s; echo two" % HOLD))
        until(lambda: self.ledger(), self.output)
        self.write("go", "")
        self.said("tried again")
        os.mkdir(self.path("currently-executing"))
        self.assertEqual(self.ended("job"), "done-q")
        self.assertEqual(self.log("job"), b"one\ntwo\n")

    def test_a_job_that_deletes_the_finished_queues_is_filed_when_they_are_back(self):
        monitor = self.started()
        self.drop("job", uow("echo one; rm -rf done-q error-q fail-q trash archive .turn monitor_reads"))
        self.said("done-q is no longer a directory")
        self.is_quiet(monitor)
        self.said_once("%s is no longer a directory" % self.path("done-q"))
        for queue in FINISHED:
            os.mkdir(self.path(queue))
        self.assertEqual(self.ended("job"), "done-q")
        self.assertEqual(self.log("job"), b"one\n")

    def test_how_a_job_ended_that_spoilt_its_uow_is_known_while_both_directories_are_away(self):
        self.started()
        self.drop("job", uow('rmdir done-q; echo junk > "$SJQ_FILE"'))
        self.said("done-q is no longer a directory")
        os.rename(self.path("currently-executing"), self.path(".away"))
        self.said("currently-executing is no longer a directory")
        self.cycles(1)
        os.rename(self.path(".away"), self.path("currently-executing"))
        os.mkdir(self.path("done-q"))
        self.said("job: done: exit 0 after ")
        until(lambda: self.where("job") == ["done-q"], self.output)

    def test_a_job_that_deletes_the_private_directories_stops_no_queue(self):
        self.started()
        self.drop("job", uow("rm -rf currently-executing/.wait_q currently-executing/.priority_q"))
        self.ended("job")
        for number in range(3):
            self.drop("later-%d" % number, uow("true"))
        self.assertEqual(self.ended("later-2", seconds=2), "done-q")

    def test_while_currently_executing_is_away_a_timeout_still_counts(self):
        self.started()
        self.drop("job", uow("echo ran >> ledger; sleep 60", TIMEOUT="0.5"))
        until(lambda: self.ledger(), self.output)
        os.rename(self.path("currently-executing"), self.path("aside"))
        try:
            until(lambda: "ending job: timed out" in self.output(), "it is ended", seconds=2)
        finally:
            os.rename(self.path("aside"), self.path("currently-executing"))

    def test_a_currently_executing_that_was_replaced_is_still_for_one_monitor(self):
        self.started()
        os.rename(self.path("currently-executing"), self.path("aside"))
        os.mkdir(self.path("currently-executing"))
        self.said("currently-executing is another directory than before: locked anew")
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

    def test_a_uow_that_cannot_be_claimed_is_said_once(self):
        need_root()
        need("chattr")
        self.started()
        self.message("PAUSE")
        self.said("paused: ")
        path = self.drop("fixed", uow("true"))
        self.stamped("fixed")
        if subprocess.run(["chattr", "+i", path], stderr=subprocess.DEVNULL).returncode:
            self.skipTest("no immutable files on this file system")
        try:
            self.message("RESUME")
            self.said("fixed in wait-q: ")
            time.sleep(2)
            self.assertEqual(self.output().count("over: fixed in wait-q: "), 0, self.output())
        finally:
            subprocess.run(["chattr", "-i", path], check=True)
            self.ended("fixed")

    def test_a_done_q_that_cannot_be_written_is_said_once_and_not_tried_for_each_uow(self):
        need_root()
        need("chattr")
        self.started()
        if subprocess.run(["chattr", "+i", self.path("done-q")], stderr=subprocess.DEVNULL).returncode:
            self.skipTest("no immutable files on this file system")
        try:
            for number in range(10):
                self.drop("job-%d" % number, uow("true"))
            for number in range(5):
                self.there("currently-executing", "job-%d" % number)
            self.said("done-q cannot be read and written by root: it rests until it can")
            self.assertEqual(self.says().count("cannot be read and written"), 1, self.says())
            self.assertNotIn("tried again", self.says())
        finally:
            subprocess.run(["chattr", "-i", self.path("done-q")], check=True)

    def test_a_file_system_that_shows_a_removed_link_for_a_second_is_no_storm(self):
        """As FUSE does (bindfs, sshfs): what is cached of a file says 2 links for as long as it is cached."""
        self.write(".caching.py", """
import os, runpy, sys, time
link, lstat, linked = os.link, os.lstat, {}

class Cached:
    st_nlink = 2
    def __init__(self, found):
        self.found = found
    def __getattr__(self, name):
        return getattr(self.found, name)

def cached_lstat(path, **options):
    found = lstat(path, **options)
    return Cached(found) if time.monotonic() < linked.get(found.st_ino, 0) else found

def cached_link(source, target, **options):
    linked[lstat(source).st_ino] = time.monotonic() + 1
    link(source, target, **options)

os.link, os.lstat = cached_link, cached_lstat
runpy.run_path(%r, run_name="__main__")
""" % compiled())
        self.started(program=self.path(".caching.py"))
        self.message("STATUS")
        self.said("counts: ")
        time.sleep(1)
        self.assertEqual(os.listdir(self.path("trash")), [], self.output()[-1000:])


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

    @heavy
    def test_chmod_that_leaves_it_readable(self):
        self.check(["chmod", "-R", "a-w"], ["chmod", "-R", "u+w"])


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

    def test_a_job_that_sends_shutdown(self):
        monitor = self.started()
        self.drop("job", uow("echo SHUTDOWN >> monitor_reads; %s; echo end" % HOLD))
        self.assertEqual(monitor.wait(20), 0)
        self.assertEqual(self.where("job"), ["currently-executing"])
        self.write("go", "")
        self.run_until_empty()
        self.assertEqual((self.where("job"), self.log("job")), (["done-q"], b"end\n"))

    def test_a_job_that_stops_itself_is_ended_by_kill_job(self):
        self.started()
        self.drop("job", uow("kill -STOP $$"))
        self.begun("job")
        self.message("KILL JOB")
        self.assertEqual(self.ended("job"), "fail-q")

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

    def test_an_empty_path_is_said_once_and_nothing_is_lost(self):
        monitor = self.started(env={"PATH": ""})
        self.drop("job", uow("true"))
        self.said("no command mv in PATH")
        self.is_quiet(monitor)
        self.assertEqual((self.output().count("no command mv in PATH"), self.where("job")), (1, ["wait-q"]))
        self.stop(monitor)
        self.run_until_empty()
        self.assertEqual(self.where("job"), ["done-q"])

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
        environment = {**self.german(), "PATH": self.executable("mv", "#!/bin/sh\nprintf 'n\\344e\\n' >&2\nexit 1\n")["PATH"]}
        self.drop("one", uow("true"))
        monitor = self.started(env=environment)
        self.said("one in wait-q: mv exit 1: ")
        self.cycles(1)
        self.assertEqual(self.stop(monitor), 0)

    def test_a_mark_with_a_letter_of_another_encoding_is_none(self):
        """No Monitor writes such a START line; it ended at each start."""
        for environment in (None, self.german()):
            with self.subTest(environment and environment["LC_ALL"]):
                self.write("currently-executing/job", uow("echo end").encode() + b"==== STATUS\n\n==== JOB LOG\n"
                           b"==== JOB START 2026-11-24T02:30:00Z run \xe9x\n")
                self.run_until_empty(env=environment)
                self.assertEqual(self.where("job"), ["done-q"])
                os.unlink(self.path("done-q", "job"))

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
        self.said("later in wait-q: No space left on device")
        os.unlink(self.path("archive", str(numbers.pop())))
        os.rename(self.write(".staging/x", ""), self.path("go"))
        self.assertEqual(self.ended("runs"), "done-q")
        self.is_quiet(monitor)
        for number in numbers:
            os.unlink(self.path("archive", str(number)))
        self.assertEqual(self.ended("later"), "done-q")
        self.said_once("later in wait-q: No space left on device; it is left there and tried again")

    def at_whole_seconds(self):
        """Go on where times are whole seconds, as on ext3."""
        need("mkfs.ext4")
        image = self.write("image", b"")
        os.truncate(image, 8 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-I", "128", image], capture_output=True, check=True)
        self.at(self.mounted("-t", "ext4", "-o", "loop", image))

    @heavy
    def test_what_was_written_at_the_end_of_a_second_where_times_are_whole_seconds_keeps_still_for_the_quiet_time(self):
        self.at_whole_seconds()
        self.configure("settle_seconds :: 1\n")
        self.started()
        until(lambda: time.time() % 1 > 0.8, "the end of a second", step=0.002)
        before = time.time()
        self.write("wait-q/good", uow("true"))
        self.drop("bad", "==== UNIT OF")                 # of this one the time of its move counts
        self.assertEqual(self.ended("good"), "done-q")
        self.said("bad in wait-q goes to trash")
        for said in (" started good run ", " bad in wait-q goes to trash"):
            when = re.search(r"^(\S+)Z" + said, self.says(), re.M).group(1)
            self.assertGreaterEqual(datetime.datetime.fromisoformat(when + "+00:00").timestamp() - before, 0.9, said)

    def test_a_drop_in_the_second_of_the_last_change_where_times_are_whole_seconds(self):
        """The time of the directory does not tell it."""
        self.at_whole_seconds()
        self.configure("sleep_seconds :: 1\n")
        self.started()
        for number in range(3):
            until(lambda: time.time() % 1 < 0.1, "the beginning of a second", step=0.002)
            for name in ("early-%d" % number, "late-%d" % number):
                self.drop(name, stamped_uow(uow("true")))
                self.assertEqual(self.ended(name, seconds=10), "done-q")
                self.cycles(2)                           # the queue is listed behind the claim

    def test_a_queue_that_is_a_mount_of_the_same_file_system_is_refused(self):
        subprocess.run(["mount", "--bind", self.path("done-q"), self.path("done-q")], check=True)
        try:
            code, _, errors = ran(self.path("config.txt"), "--until-empty")
        finally:
            subprocess.run(["umount", self.path("done-q")], check=True)
        self.assertEqual(code, 2, errors)


if __name__ == "__main__":
    unittest.main()
