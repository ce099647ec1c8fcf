"""Start-up, --until-empty, --check, and the commands that hold a launch back or follow an outcome."""
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
import unittest

from tests.helpers import (HOLD, IN_CI, MONITOR, PYTHON, QUEUES, QueueCase, children_of, cpu_of, heavy, need, need_root,
                           processes_with, ran, stamped_uow, until, uow)

STOCK = b"==== UNIT OF WORK\nCOMMAND :: true\n\n==== STATUS\n%s\n==== JOB LOG\n"


def as_nobody():
    """Return what runs Python as the user nobody; skip where that cannot be (a Python below a home that only its owner may enter)."""
    need_root()
    need("setpriv")
    prefix = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    for python in (sys.executable, "/usr/bin/python3"):
        if subprocess.run(prefix + [python, "-c", "import pwd"], stderr=subprocess.DEVNULL).returncode == 0:
            return prefix + [python, "-B"]
    if IN_CI:
        raise AssertionError("CI has no Python that the user nobody can run")
    raise unittest.SkipTest("needs a Python that the user nobody can run")


class TestOneInstance(QueueCase):
    def everything(self):
        """Return what a change of anything below the root would change."""
        found = {}
        for place, _, names in os.walk(self.root):
            for path in [place] + [os.path.join(place, name) for name in names]:
                is_file = stat.S_ISREG(os.lstat(path).st_mode)
                found[path] = (os.lstat(path).st_ino, os.lstat(path).st_mode, os.lstat(path).st_mtime_ns, self.read(path) if is_file else "")
        return found

    def test_a_second_monitor_exits_3_and_touches_nothing(self):
        self.drop("x", uow(HOLD))
        first = self.started()
        self.running("x")
        self.message("PAUSE")
        self.said("paused: ")
        self.drop("y", uow("true"))
        self.drop("bad", "nonsense\n")
        self.said("bad in wait-q goes to trash")
        self.stamped("y")
        self.asleep(first)
        before = self.everything()
        for flags in ([], ["--until-empty"]):
            self.assertEqual(ran(self.path("config.txt"), *flags),
                             (3, "", "monitor.py: another Monitor has %s\n" % self.path("currently-executing")))
        self.assertEqual(self.everything(), before)
        os.rmdir(self.path("error-q"))
        self.assertEqual(ran(self.path("config.txt"))[0], 3)
        self.assertFalse(os.path.lexists(self.path("error-q")))
        self.assertIsNone(first.poll())

    def test_another_root_with_the_same_currently_executing_is_refused_too(self):
        self.started()
        self.write("other.txt", "currently_executing :: %s\nwait_q :: w2\n" % self.path("currently-executing"))
        self.assertEqual(ran(self.path("other.txt"))[0], 3)

    def test_a_job_that_outlives_its_monitor_does_not_hold_the_lock(self):
        self.drop("x", uow(HOLD))
        first = self.started()
        self.said(" started x run ")                     # earlier nobody knows whether it began
        self.kill9(first)
        self.started()
        self.said("adopted x run ")
        self.write("go", "")
        self.assertEqual(self.ended("x"), "done-q")


    @heavy
    def test_a_file_system_without_locks_is_refused_with_a_sentence(self):
        need("strace")
        without = ("strace", "-o", "/dev/null", "-e", "trace=flock", "-e", "inject=flock:error=ENOLCK")
        code, output, errors = ran(self.path("config.txt"), python=(*without, *PYTHON))
        self.assertEqual((code, output, errors.count("\n")), (2, "", 1), errors)
        self.assertRegex(errors, "^monitor.py: .*%s.*No locks available" % self.path("currently-executing"))


class TestWhereItStarts(QueueCase):
    def test_without_an_argument_the_root_is_where_monitor_py_is(self):
        shutil.copy(MONITOR, self.path("monitor.py"))
        self.drop("x", uow("pwd"))
        self.assertEqual(ran("--until-empty", program=self.path("monitor.py"), cwd="/")[0], 0)
        self.assertEqual(self.log("x"), self.root.encode() + b"\n")

    def test_a_relative_config_file(self):
        self.drop("x", uow("pwd"))
        self.assertEqual(ran("config.txt", "--until-empty", cwd=self.root)[0], 0)
        self.assertEqual(self.log("x"), self.root.encode() + b"\n")

    def test_without_a_config_txt_the_defaults_hold(self):
        os.unlink(self.path("config.txt"))
        shutil.copy(MONITOR, self.path("monitor.py"))
        self.drop("x", uow("true"))
        self.assertEqual(ran("--until-empty", program=self.path("monitor.py"))[0], 0)
        self.assertEqual(self.where("x"), ["done-q"])
        self.assertTrue(os.path.exists(self.path("status", "status.json")))

    def test_what_is_said_is_on_standard_output_too(self):
        self.drop("x", uow("true"))
        _, output, errors = ran(self.path("config.txt"), "--until-empty")
        self.assertEqual((output, errors), (self.says(), ""))
        self.assertEqual(len(output.splitlines()), 4, output)
        for line in output.splitlines():
            self.assertRegex(line, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z \S")

    def test_standard_output_that_is_gone_harms_nothing(self):
        self.drop("x", uow("true"))
        subprocess.run(["bash", "-c", '"$0" -B "$1" "$2" --until-empty >&-', sys.executable, MONITOR, self.path("config.txt")], check=True, timeout=60)
        self.assertEqual(self.where("x"), ["done-q"])
        self.assertIn("done: exit 0", self.says())


class TestDirectories(QueueCase):
    def test_missing_ones_are_made_and_said(self):
        for queue in QUEUES + ["archive"]:
            os.rmdir(self.path(queue))
        self.run_until_empty()
        for queue in QUEUES + ["archive"]:
            self.assertTrue(os.path.isdir(self.path(queue)), queue)
            self.assertEqual(stat.S_IMODE(os.stat(self.path(queue)).st_mode) & 0o022, 0, queue)
            self.assertIn("%s was missing: made %s\n" % (queue.replace("-", "_"), self.path(queue)), self.says())

    def refused(self, *words):
        code, output, errors = ran(self.path("config.txt"))
        self.assertEqual((code, output, errors.count("\n")), (2, "", 1), errors)
        for word in words:
            self.assertIn(word, errors)
        self.assertFalse(os.path.lexists(self.path("monitor_says")))

    def test_a_symlink_is_refused(self):
        for queue in ("wait-q", "currently-executing", "trash"):
            with self.subTest(queue):
                os.rename(self.path(queue), self.path("real"))
                os.symlink("real", self.path(queue))
                self.refused("%s %s is no directory but a symbolic link; expected a real directory" % (queue.replace("-", "_"), self.path(queue)))
                os.unlink(self.path(queue))
                os.rename(self.path("real"), self.path(queue))

    def test_a_file_in_its_place_is_refused(self):
        os.rmdir(self.path("done-q"))
        self.write("done-q", "")
        self.refused("done_q %s is no directory; expected a real directory" % self.path("done-q"))


    def test_one_directory_by_two_paths(self):
        """A link above it hides from the words of config.txt that it is the same."""
        os.symlink(".", self.path("alias"))
        os.symlink("wait-q", self.path("pages"))
        for line, what in (("done_q :: alias/wait-q", "done_q is the same as wait_q"),
                           ("status_dir :: pages", "status_dir is the same as wait_q"),
                           ("status_dir :: alias/done-q/x", "status_dir is inside done_q"),
                           ("monitor_reads :: alias/trash/reads", "monitor_reads is inside trash")):
            with self.subTest(line):
                self.configure(line + "\n")
                self.refused("%s; expected a place of its own" % what)

    def test_a_fifo_that_has_the_name_of_the_turn_is_not_waited_for(self):
        os.mkfifo(self.path(".turn"))
        self.drop("one", uow("true"))
        self.run_until_empty(seconds=20)
        self.assertEqual(self.where("one"), ["done-q"])

    def test_another_file_system_is_refused(self):
        other = "/dev/shm"
        if not os.access(other, os.W_OK) or os.stat(other).st_dev == os.stat(self.root).st_dev:
            if IN_CI:
                raise AssertionError("CI has no second file system at /dev/shm")
            self.skipTest("needs /dev/shm on another file system than the temporary directory")
        place = tempfile.mkdtemp(prefix="sjq-", dir=other)
        self.addCleanup(shutil.rmtree, place)
        self.configure("error_q :: %s\n" % place)
        self.refused("error_q %s is on another file system than %s; expected all on one" % (place, self.root))
        for queue in ("done-q", "fail-q"):
            os.rmdir(self.path(queue))
        self.configure("error_q :: %s\n" % os.path.join(place, "a", "b"))
        self.refused("error_q %s is on another file system than %s; expected all on one" % (os.path.join(place, "a", "b"), self.root))
        self.assertEqual((os.listdir(place), os.path.lexists(self.path("done-q"))), ([], False))     # none is made by a start that is refused

    def test_one_that_cannot_be_made_is_refused(self):
        self.write("file", "")
        os.rmdir(self.path("priority-q"))
        self.configure("done_q :: file/done\n")
        self.refused("done_q %s cannot be made: Not a directory" % self.path("file/done"))
        self.assertFalse(os.path.lexists(self.path("priority-q")))

    def test_currently_executing_that_cannot_be_written_is_refused(self):
        python, copy = as_nobody(), shutil.copy(MONITOR, self.path("monitor.py"))
        subprocess.run(["chown", "-R", "nobody", self.root], check=True)
        os.chown(self.path("currently-executing"), 0, 0)
        code, _, errors = ran(self.path("config.txt"), program=copy, python=python)
        self.assertEqual((code, errors.count("\n")), (2, 1), errors)
        path = self.path("currently-executing")
        self.assertEqual(errors, "monitor.py: currently_executing %s cannot be listed and written by nobody; mend it with: chown nobody %s\n" % (path, path))


class TestUntilEmpty(QueueCase):
    def test_with_nothing_to_do_it_ends_at_once(self):
        began = time.monotonic()
        self.run_until_empty()
        self.assertLess(time.monotonic() - began, 4)      # sleep_seconds is 5

    def test_what_has_not_settled_yet_is_run_first(self):
        self.configure("settle_seconds :: 1\n")
        self.drop("x", uow("true"), settled=False)
        self.drop("bad", "nonsense\n", "priority-q", settled=False)
        self.run_until_empty()
        self.assertEqual((self.where("x"), self.where("bad")), (["done-q"], ["trash"]))

    def test_what_a_job_drops_is_run_too(self):
        self.write("child", uow("true"))
        self.drop("parent", uow("cp child .c; mv .c wait-q/child"))
        self.run_until_empty()
        self.assertEqual((self.where("parent"), self.where("child")), (["done-q"], ["done-q"]))

    def test_a_job_left_by_another_monitor_is_waited_for(self):
        self.drop("x", uow(HOLD))
        first = self.started()
        self.running("x")
        self.stop(first)
        second = self.start("--until-empty")
        self.said("adopted x run ")
        self.assertIsNone(second.poll())
        self.write("go", "")
        self.assertEqual(second.wait(30), 0)
        self.assertEqual(self.where("x"), ["done-q"])

    def test_paused_it_keeps_waiting(self):
        self.message("PAUSE")
        self.drop("x", uow("true"))
        process = self.start("--until-empty")
        self.said("paused: ")
        self.stamped("x")
        self.message("HELP")
        self.said("message HELP")
        self.assertIsNone(process.poll())
        self.message("RESUME")
        self.assertEqual(process.wait(30), 0)
        self.assertEqual(self.where("x"), ["done-q"])

    def test_held_back_it_keeps_waiting(self):
        self.configure("ready_command :: echo x >> asked; test -e ready\nsleep_seconds :: 0.1\n")
        self.drop("x", uow("true"))
        process = self.start("--until-empty")
        until(lambda: os.path.exists(self.path("asked")) and self.read("asked").count("x") >= 3)
        self.assertIsNone(process.poll())
        self.write("ready", "")
        self.assertEqual(process.wait(30), 0)

    def test_after_command_is_waited_for(self):
        self.configure("after_command :: sleep 0.5; touch after\n")
        self.drop("x", uow("true"))
        self.run_until_empty()
        self.assertTrue(os.path.exists(self.path("after")))

    def test_readmes_and_hidden_files_are_nothing_to_wait_for(self):
        for name in ("README", ".hidden", "x~"):
            self.drop(name, uow("true"))
        self.run_until_empty()


class TestCheck(QueueCase):
    def check(self, *findings):
        """Run --check; each finding is one line, and there are no others."""
        code, output, errors = ran(self.path("config.txt"), "--check")
        self.assertEqual(errors, "")
        lines = output.splitlines()
        self.assertEqual(code, 1 if findings else 0, output)
        self.assertEqual(len(lines), max(1, len(findings)), output)
        for finding, line in zip(findings or ["all is well"], lines):
            self.assertIn(finding, line)

    def test_all_is_well_and_nothing_is_run_or_changed(self):
        self.drop("x", uow("touch ran"))
        self.write("archive/notes", "anything\n")
        self.write("trash/bad", "nonsense\n")
        self.write("wait-q/README", "a queue\n")
        self.check()
        self.assertEqual(self.read("wait-q", "x"), uow("touch ran"))
        self.assertEqual(os.listdir(self.path("currently-executing")), [])
        self.assertFalse(os.path.lexists(self.path("monitor_says")))
        self.assertFalse(os.path.lexists(self.path("monitor_reads")))

    def test_beside_a_monitor_with_a_job(self):
        self.drop("x", uow(HOLD))
        self.started()
        self.running("x")
        self.check()
        self.write("go", "")
        self.assertEqual(self.ended("x"), "done-q")

    def test_after_outcomes_of_every_kind(self):
        self.configure("fail_exit_codes :: 4\n")
        for code in (0, 3, 4):
            self.drop("exit-%d" % code, uow("exit %d" % code))
        self.run_until_empty()
        self.check()

    def test_required_names_are_asked_of_what_waits_alone(self):
        """What has ended, or has begun, was judged by those of its day."""
        for name, text in (("done-q/a", "done: exit 0 after 1.0 s"), ("error-q/b", "error: exit 3 after 1.0 s"),
                           ("fail-q/c", "fail: interrupted"), ("currently-executing/g", "running: 00000000-1 at 200"),
                           ("archive/d", "done: exit 0 after 1.0 s")):
            self.write(name, stamped_uow(uow("true"), text))
        self.write("wait-q/e", uow("true"))
        self.write("priority-q/f", uow("true", TICKET=""))
        self.configure("required_names :: COMMAND TICKET\n")
        self.check("wait-q/e is no valid UOW: line 2: the header ends without TICKET",
                   "priority-q/f is no valid UOW: line 3: the header ends with an empty TICKET")
        self.configure("required_names :: COMMAND\n")
        self.check()

    def test_status_and_directory_that_disagree(self):
        self.write("done-q/a", STOCK % b"error: exit 3 after 1.0 s")
        self.write("error-q/b", STOCK % b"error: exit 3 after 1.0 s")
        self.write("fail-q/c", STOCK % b"")
        self.check("%s has the STATUS error; expected done there" % self.path("done-q/a"), "%s has no STATUS; expected fail there" % self.path("fail-q/c"))

    def test_a_uow_in_two_places(self):
        self.write("done-q/a", STOCK % b"done: exit 0 after 1.0 s")
        self.write("wait-q/a", STOCK % b"done: exit 0 after 1.0 s")
        self.check("a is in wait-q and in done-q")

    def test_a_hard_link_and_a_status_that_no_monitor_wrote(self):
        os.link(self.write("wait-q/one", uow("true")), self.path("wait-q/two"))
        self.write("currently-executing/odd", STOCK % b"resting")
        self.check("wait-q/one is no valid UOW: 2 hard links", "wait-q/two is no valid UOW: 2 hard links", "currently-executing/odd has the STATUS resting, which no Monitor wrote")

    def test_two_new_ones_of_one_name_are_in_no_two_places(self):
        for queue in ("wait-q", "priority-q"):
            self.drop("x", uow("echo " + queue), queue)
        self.check()

    def test_a_backup_that_links_to_what_runs_or_has_ended_is_no_finding(self):
        self.drop("ended", uow("true"))
        self.drop("runs", uow(HOLD))
        self.started()
        self.ended("ended")
        self.begun("runs")
        for queue, name in (("done-q", "ended"), ("currently-executing", "runs")):
            os.link(self.path(queue, name), self.path("archive", name))
        self.check()

    def test_a_new_uow_may_have_the_name_of_a_finished_one(self):
        self.write("done-q/a", b"ENQUEUED :: 2026-01-01T00:00:00Z\n" + STOCK % b"done: exit 0 after 1.0 s")
        self.write("wait-q/a", uow("true"))
        self.check()

    def test_what_is_no_uow(self):
        self.write("wait-q/bad\n", "nonsense\n")
        os.symlink("/etc/passwd", self.path("done-q", "link"))
        os.mkfifo(self.path("error-q", "fifo"))
        os.mkdir(self.path("fail-q", "directory"))
        self.check("wait-q/bad\\n' is no valid UOW: line 1: nonsense; expected", "done-q/link", "error-q/fifo is no valid UOW: not a regular file", "fail-q/directory is no valid UOW: not a regular file")

    def test_a_missing_directory_is_found_and_not_made(self):
        os.rmdir(self.path("archive"))
        self.check("archive %s is missing; a start of the Monitor makes it" % self.path("archive"))
        self.assertFalse(os.path.lexists(self.path("archive")))

    def test_each_of_several_missing_directories_is_found(self):
        for queue in QUEUES + ["archive"]:
            os.rmdir(self.path(queue))
        keys = ("wait_q", "priority_q", "currently_executing", "done_q", "error_q", "fail_q", "trash", "archive")
        self.check(*["%s %s is missing; a start of the Monitor makes it" % (key, self.path(queue))
                     for key, queue in zip(keys, QUEUES + ["archive"])])

    def test_a_bad_configuration_exits_2(self):
        self.write("config.txt", "nonsense\n")
        code, output, errors = ran(self.path("config.txt"), "--check")
        self.assertEqual((code, output), (2, ""))
        self.assertIn("config.txt line 1: nonsense; expected", errors)

    def test_a_directory_that_cannot_be_written(self):
        python, copy = as_nobody(), shutil.copy(MONITOR, self.path("monitor.py"))
        subprocess.run(["chown", "-R", "nobody", self.root], check=True)
        for queue in ("done-q", "currently-executing"):
            with self.subTest(queue):
                os.chown(self.path(queue), 0, 0)
                code, output, _ = ran(self.path("config.txt"), "--check", program=copy, python=python)
                self.assertEqual(code, 1, output)
                self.assertIn(self.path(queue), output)
                os.chown(self.path(queue), 65534, -1)
        self.write("error-q/odd", "nonsense\n")
        for queue, mode in (("wait-q", 0o300), ("done-q", 0o300), ("done-q", 0), ("currently-executing", 0o300)):
            with self.subTest("%s of mode %o" % (queue, mode)):
                os.chmod(self.path(queue), mode)
                code, output, errors = ran(self.path("config.txt"), "--check", program=copy, python=python)
                os.chmod(self.path(queue), 0o755)
                self.assertEqual((code, errors), (1, ""))
                self.assertIn("%s cannot be listed and written by nobody" % self.path(queue), output)
                self.assertIn("error-q/odd is no valid UOW", output)


class TestBesideTheJob(QueueCase):
    def quick(self, seconds="1"):
        """Return a Monitor whose commands have this limit; everything else is as it is."""
        return self.changed("HOOK_SECONDS = 60 ", "HOOK_SECONDS = %s " % seconds)

    def test_job_process_matches_the_whole_name_only(self):
        need("pgrep")
        self.configure("job_process :: sjq-whole\n")
        os.symlink("/bin/sleep", self.path("sjq-whole-not"))
        other = subprocess.Popen([self.path("sjq-whole-not"), "60"])
        try:
            self.drop("x", uow("true"))
            self.run_until_empty()
        finally:
            other.kill()
            other.wait()
        self.assertNotIn("waiting:", self.says())

    def test_ready_command_is_asked_before_each_launch_and_not_for_an_empty_queue(self):
        self.configure("ready_command :: echo x >> asked\nsleep_seconds :: 0.1\n")
        process = self.started()
        self.message("HELP")
        self.said("message HELP")
        self.assertFalse(os.path.exists(self.path("asked")))
        for name in ("a", "b", "c"):
            self.drop(name, uow("true"))
            self.ended(name)
        self.assertEqual(self.stop(process), 0)
        self.assertEqual(self.read("asked"), "x\n" * 3)

    def test_a_ready_command_that_ends_while_nothing_may_start_is_no_hot_loop(self):
        self.configure("ready_command :: touch asked; until test -e go; do sleep 0.02; done\n")
        monitor = self.started()
        self.drop("x", uow("true"))
        self.there("asked")
        self.message("PAUSE")
        self.said(" paused: ")
        self.write("go", "")
        until(lambda: not [pid for pid in processes_with(self.root) if pid != monitor.pid], "ready_command has ended")
        before = cpu_of(monitor.pid)
        time.sleep(1)                                        # the time in which nothing may happen
        self.assertLess(cpu_of(monitor.pid) - before, 0.3)
        self.message("RESUME")
        self.assertEqual(self.ended("x"), "done-q")

    def test_a_ready_command_that_refuses_and_is_taken_away_refuses_no_longer(self):
        self.configure("ready_command :: false\n")
        self.started()
        self.drop("x", uow("true"))
        self.said("waiting: ready_command refuses (exit 1)")
        self.configure()
        self.message("RELOAD")
        self.assertEqual(self.ended("x"), "done-q")
        self.said("over: waiting: ready_command refuses (exit 1)")

    def test_a_ready_command_that_is_changed_or_taken_away_while_it_runs_is_ended_and_its_answer_counts_no_more(self):
        process, files = self.started(), []
        for name, then in (("changed", "ready_command :: touch other\n"), ("away", "")):
            self.configure("ready_command :: touch asked-%s; sleep 600; exit 1\n" % name)
            self.message("RELOAD")
            self.said("RELOAD: configuration read", count=2 * len(files) + 1)
            self.drop(name, uow("true"))
            self.there("asked-" + name)
            self.configure(then)
            self.message("RELOAD")
            self.assertEqual(self.ended(name), "done-q")
            until(lambda: not children_of(process.pid), lambda: "no child is left: %s" % children_of(process.pid), 10)
            until(lambda: not processes_with("asked-" + name), "its processes have ended", 10)
            files.append(len(os.listdir("/proc/%d/fd" % process.pid)))
        self.there("other")
        self.assertEqual(files[0], files[1])
        self.assertNotIn("refuses", self.says())

    def test_an_exit_124_of_their_own_is_no_time_that_ran_out(self):
        self.configure("ready_command :: test -e ready || exit 124\nafter_command :: exit 124\nsleep_seconds :: 0.2\n")
        self.drop("x", uow("true"))
        self.started(program=self.quick())
        self.said("waiting: ready_command refuses (exit 124)")
        self.write("ready", "")
        self.said("after_command for x: exit 124")
        self.assertNotIn("ran longer", self.says())

    def test_what_one_command_complains_of_is_not_the_reason_of_another(self):
        self.configure("job_process :: sjq-none\n")
        os.mkdir(self.path("tools"))
        for tool, script in (("mv", 'echo noise >&2; exec %s "$@"' % shutil.which("mv")), ("pgrep", "exit 3")):
            os.chmod(self.write("tools/" + tool, "#!/bin/sh\n" + script + "\n"), 0o755)
        self.drop("x", uow("true"))
        self.started(env={**os.environ, "PATH": self.path("tools") + ":" + os.environ["PATH"]})
        self.said("waiting: pgrep for job_process failed (exit 3: no reason given)")

    def test_ready_command_that_never_ends_is_a_refusal(self):
        self.configure("ready_command :: test -e ready || sleep 600\nsleep_seconds :: 0.2\n")
        self.drop("x", uow("true"))
        self.started(program=self.quick())
        self.said("waiting: ready_command refuses (ran longer than 1 s)")
        self.message("HELP")
        self.said("message HELP")                        # the cycle goes on beside it
        self.write("ready", "")
        self.assertEqual(self.ended("x"), "done-q")

    def test_after_command_knows_the_outcome(self):
        self.configure("after_command :: printf '%s|%s|%s\\n' \"$SJQ_NAME\" \"$SJQ_STATUS\" \"$SJQ_FILE\" >> after; readlink /proc/self/fd/0 >> stdin\n")
        for name, command in (("a", "true"), ("b", "exit 3"), ("c", "kill -KILL $$")):
            self.drop(name, uow(command))
        self.run_until_empty()
        wanted = {"%s|%s|%s" % (name, self.status(name), self.path(queue, name)) for name, queue in (("a", "done-q"), ("b", "error-q"), ("c", "fail-q"))}
        self.assertEqual(set(self.read("after").splitlines()), wanted)
        self.assertEqual(self.read("stdin"), "/dev/null\n" * 3)

    def test_after_command_that_fails_is_reported_and_jobs_go_on(self):
        self.configure("after_command :: exit 3\n")
        for name in ("a", "b"):
            self.drop(name, uow("true"))
        self.run_until_empty()
        self.assertEqual(self.says().count("after_command for a: exit 3\n"), 1)
        self.assertEqual(self.says().count("after_command for b: exit 3\n"), 1)
        self.assertEqual((self.where("a"), self.where("b")), (["done-q"], ["done-q"]))

    def test_after_command_that_never_ends_is_ended(self):
        self.configure("after_command :: trap '' TERM; sleep 600 & sleep 601\n")
        self.drop("x", uow("true"))
        self.run_until_empty(program=self.quick())
        self.assertIn("after_command for x: ran longer than 1 s\n", self.says())
        until(lambda: not processes_with("SJQ_FILE=" + self.path("done-q", "x")), "nothing of it left")

    def test_no_job_starts_while_after_command_runs(self):
        self.configure("after_command :: echo begin >> trace; sleep 0.3; echo end >> trace\n")
        for name in ("a", "b"):
            self.drop(name, uow("echo job >> trace"))
        self.run_until_empty()
        self.assertEqual(self.read("trace").split(), ["job", "begin", "end"] * 2)

    def test_what_cannot_be_started_for_lack_of_a_command_says_so_and_is_not_lost(self):
        """No bash in PATH, whatever else is in it; the Monitor goes on."""
        need("pgrep", "ps")
        environment = self.commands("sh", "tee", "mv", "cat", "date", "grep", "tail", "head", "pgrep", "ps")
        for name, end in (("x", ""), ("y", ":/etc/passwd")):
            self.drop(name, uow("true"))
            self.run_until_empty(env=dict(environment, PATH=environment["PATH"] + end))
            self.assertEqual(self.where(name), ["fail-q"])
            self.assertEqual(self.status(name), "fail: could not start: no command bash in PATH")
