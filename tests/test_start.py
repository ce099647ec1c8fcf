"""Start-up, --until-empty, --check, and the commands that hold a launch back or follow an outcome."""
import os
import shutil
import stat
import subprocess
import sys
import tempfile

from tests.helpers import (HOLD, MONITOR, PYTHON, QUEUES, QueueCase, as_nobody, children_of, lacks, need, need_root, processes_with, ran,
                           stamped_uow, until, uow)

STOCK = b"==== UNIT OF WORK\nCOMMAND :: true\n\n==== STATUS\n%s\n==== JOB LOG\n"


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
        first = self.under_way("x", HOLD)
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
                             (3, "", "monitor.py: another Monitor has %s: pid %d\n" % (self.path("currently-executing"), first.pid)))
        self.assertEqual(self.everything(), before)
        os.rmdir(self.path("error-q"))
        self.write("other.txt", "currently_executing :: %s\nwait_q :: w2\n" % self.path("currently-executing"))
        for config in ("config.txt", "other.txt"):           # the lock is of the directory, not of the root
            self.assertEqual(ran(self.path(config))[0], 3)
        self.assertFalse(os.path.lexists(self.path("error-q")))
        self.assertIsNone(first.poll())

    def test_what_a_dead_monitor_had_begun_is_waited_for(self):
        """It holds the lock that it inherited, which nobody living took."""
        code = ("import fcntl, os, sys; fd = os.open(sys.argv[1], 0); fcntl.flock(fd, 2); os.set_inheritable(fd, True); "
                "os.posix_spawn('/bin/sh', ['sh', '-c', 'until [ -e go ] || ! [ -d wait-q ]; do sleep 0.02; done'], os.environ)")
        subprocess.run([sys.executable, "-c", code, self.path("currently-executing")], check=True, cwd=self.root)
        monitor = self.start()
        until(lambda: "monitor.py: waiting for a command that a dead Monitor had begun in " + self.root in self.output(), self.output)
        self.write("go", "")
        self.said(" started: pid %d" % monitor.pid)


class TestMachine(QueueCase):
    """A machine or a file system that cannot run it is refused in one sentence, and nothing is taken."""

    def refused(self, said, *flags, code=2, **options):
        self.drop("x", uow("true"))
        answer = ran(self.path("config.txt"), *flags, **options)
        self.assertEqual((answer[0], answer[1] + answer[2]), (code, said + "\n"))
        self.assertEqual((self.where("x"), os.path.lexists(self.path("monitor_says"))), (["wait-q"], False))

    def test_an_old_python(self):
        code = "import sys, runpy; sys.version_info = (3, 8, 18); sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
        self.refused("monitor.py: this is Python 3.8; expected 3.9 or newer", python=(*PYTHON, "-c", code), program=MONITOR)

    def test_missing_commands(self):
        python = [os.path.realpath(sys.executable), "-S", "-B"]
        self.refused("monitor.py: no command bash, cat, date, grep, mv, tee in PATH; install bash, coreutils and grep",
                     env={"PATH": ""}, python=python)
        environment = self.commands()
        for left_out in ("bash", "grep"):
            os.rename(self.path(".bin", left_out), self.path(".bin/away"))
            for flags in ((), ("--check",)):
                self.refused("monitor.py: no command %s in PATH; install bash, coreutils and grep" % left_out, *flags, env=environment, python=python)
            os.rename(self.path(".bin/away"), self.path(".bin", left_out))

    def test_no_proc(self):
        need_root()
        need("unshare", "mount")
        prefix = ("unshare", "-m", "sh", "-c", 'mount -t tmpfs none /proc && exec "$0" "$@"')
        self.refused("monitor.py: /proc is missing; mount it", python=(*prefix, *PYTHON))

    def injected(self, call, error):
        need("strace")
        return ("strace", "-o", "/dev/null", "-e", "trace=" + call, "-e", "inject=%s:error=%s" % (call, error), *PYTHON)

    def test_a_file_system_without_locks_or_hard_links(self):
        self.refused("monitor.py: %s: No locks available; --check may tell more" % self.root, python=self.injected("flock", "ENOLCK"))
        self.refused("monitor.py: %s: the file system refuses hard links (Operation not permitted): use another one" % self.root,
                     python=self.injected("link,linkat", "EPERM"))
        self.assertEqual([name for name in os.listdir(self.root) if "check" in name], [])

    def test_check_names_what_the_file_system_refuses_and_the_fallback(self):
        self.configure("durable :: yes\n")
        notices = "inotify (No space left on device): a drop is seen after sleep_seconds only"
        exchange = "the atomic exchange of two files (Invalid argument): UOWs are stamped when they are claimed"
        for call, error, what in (("inotify_init1", "ENOSPC", notices), ("inotify_add_watch", "ENOSPC", notices),
                                  ("renameat2", "EINVAL", exchange), ("renameat2", "ENOSYS", exchange),
                                  ("flock", "ENOLCK", "flock (No locks available): use another one"),
                                  ("link,linkat", "EPERM", "hard links (Operation not permitted): use another one"),
                                  ("fsync", "EINVAL", "fsync of a directory (Invalid argument): set durable :: no, or use another one")):
            with self.subTest(call, error=error):
                self.refused("%s: the file system refuses %s" % (self.root, what), "--check", code=1, python=self.injected(call, error))


class TestWhereItStarts(QueueCase):
    def test_the_root_is_where_the_configuration_is_and_it_need_not_be_there_beside_monitor_py(self):
        shutil.copy(MONITOR, self.path("monitor.py"))
        for name, arguments, options in (("relative", ["config.txt"], {"cwd": self.root}),
                                         ("none", [], {"program": self.path("monitor.py"), "cwd": "/"}),
                                         ("missing", [], {"program": self.path("monitor.py")})):
            self.drop(name, uow("pwd"))
            self.assertEqual(ran(*arguments, "--until-empty", **options)[0], 0)
            self.assertEqual(self.log(name), self.root.encode() + b"\n")
            if name == "none":
                os.unlink(self.path("config.txt"))
        self.assertTrue(os.path.exists(self.path("status", "status.json")))                 # the defaults hold

    def test_what_is_said_is_on_standard_output_too(self):
        self.drop("x", uow("true"))
        _, output, errors = ran(self.path("config.txt"), "--until-empty")
        self.assertEqual((output, errors), (self.says(), ""))
        self.assertEqual(len(output.splitlines()), 4, output)
        for line in output.splitlines():
            self.assertRegex(line, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z \S")

    def test_closed_standard_streams_harm_nothing(self):
        for closed in (">&-", "<&- >&- 2>&-"):
            self.drop("x", uow("echo out; echo err >&2"))
            self.run_until_empty(prefix=["bash", "-c", 'exec "$@" ' + closed, "bash"])
            self.assertEqual((self.where("x"), self.log("x")), (["done-q"], b"out\nerr\n"))
            os.unlink(self.path("done-q", "x"))
        self.assertIn("done: exit 0", self.says())


class TestDirectories(QueueCase):
    def test_missing_ones_are_named_by_check_and_made_by_a_start(self):
        for queue in QUEUES + ["archive"]:
            os.rmdir(self.path(queue))
        missing = ["%s %s is missing; a start makes it\n" % (queue.replace("-", "_"), self.path(queue)) for queue in QUEUES + ["archive"]]
        self.assertEqual(ran(self.path("config.txt"), "--check"), (1, "".join(missing), ""))
        self.assertEqual([queue for queue in QUEUES + ["archive"] if os.path.lexists(self.path(queue))], [])
        self.run_until_empty()
        for queue in QUEUES + ["archive"]:
            self.assertTrue(os.path.isdir(self.path(queue)), queue)
            self.assertEqual(stat.S_IMODE(os.stat(self.path(queue)).st_mode) & 0o022, 0, queue)
            self.assertIn("%s was missing: made %s\n" % (queue.replace("-", "_"), self.path(queue)), self.says())

    def refused(self, *words):
        code, output, errors = ran(self.path("config.txt"))
        self.assertEqual((code, output, errors.count("\n")), (2, "", len(words)), errors)
        for word in words:
            self.assertIn(word, errors)
        self.assertFalse(os.path.lexists(self.path("monitor_says")))

    def test_a_symlink_and_a_file_are_refused(self):
        for queue in ("wait-q", "currently-executing", "trash"):
            with self.subTest(queue):
                os.rename(self.path(queue), self.path("real"))
                os.symlink("real", self.path(queue))
                self.refused("%s is a symbolic link; expected a real directory for %s" % (self.path(queue), queue.replace("-", "_")))
                os.unlink(self.path(queue))
                self.write(queue, "")
                self.refused("%s is not a directory; expected a real directory for %s" % (self.path(queue), queue.replace("-", "_")))
                os.unlink(self.path(queue))
                os.rename(self.path("real"), self.path(queue))

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
            lacks("/dev/shm on another file system than the temporary directory")
        place = tempfile.mkdtemp(prefix="sjq-", dir=other)
        self.addCleanup(shutil.rmtree, place)
        self.configure("error_q :: %s\n" % place)
        self.refused("error_q %s is on another file system than %s; expected all on one" % (place, self.root))
        for queue in ("done-q", "fail-q"):
            os.rmdir(self.path(queue))
        self.configure("error_q :: %s\n" % os.path.join(place, "a", "b"))
        self.refused("error_q %s is on another file system than %s; expected all on one" % (os.path.join(place, "a", "b"), self.root))
        self.assertEqual((os.listdir(place), os.path.lexists(self.path("done-q"))), ([], False))     # none is made by a start that is refused

    def test_all_that_cannot_be_written_or_made_is_told_in_one_go_by_a_start_and_by_check(self):
        python, copy = as_nobody(), shutil.copy(MONITOR, self.path("monitor.py"))
        subprocess.run(["chown", "-R", "nobody", self.root], check=True)
        os.chown(self.path("currently-executing"), 0, 0)
        os.chmod(self.path("done-q"), 0o300)
        os.mkdir(self.path("roots"), 0o755)
        self.configure("error_q :: roots/error\n")
        os.rmdir(self.path("trash"))
        os.symlink("nowhere", self.path("trash"))
        path = self.path("currently-executing"), self.path("done-q"), self.path("roots/error"), self.path("trash"), self.path("config.txt")
        wanted = ["currently_executing {0} cannot be listed and written by nobody; mend it with: sudo chown nobody {0}",
                  "done_q {1} cannot be listed and written by nobody; mend it with: chmod u+rwx {1}",
                  "error_q {2} cannot be made by nobody; mend it with: sudo install -d -o nobody {2}",
                  "{3} is a symbolic link; expected a real directory for trash: move it away, or name another in {4}"]
        for flags, code in (((), 2), (("--check",), 1)):
            answer = ran(self.path("config.txt"), *flags, program=copy, python=python)
            found = [line.replace("monitor.py: ", "") for line in (answer[1] + answer[2]).splitlines() if "a start makes it" not in line]
            self.assertEqual((answer[0], sorted(found)), (code, sorted(line.format(*path) for line in wanted)), answer)


class TestUntilEmpty(QueueCase):
    def test_what_has_not_settled_is_waited_for_and_what_is_never_run_is_not(self):
        self.configure("settle_seconds :: 1\n")
        for name in ("README", ".hidden", "x~"):
            self.drop(name, uow("true"))
        self.drop("x", uow("true"), settled=False)
        self.drop("bad", "nonsense\n", "priority-q", settled=False)
        self.run_until_empty()
        self.assertEqual((self.where("x"), self.where("bad"), self.where("x~")), (["done-q"], ["trash"], ["wait-q"]))

    def test_paused_it_keeps_waiting(self):
        self.message("PAUSE")
        self.drop("x", uow("true"))
        process = self.start("--until-empty")
        self.said("paused: ")
        self.stamped("x")
        self.cycles(1)
        self.assertIsNone(process.poll())
        self.message("RESUME")
        self.assertEqual(process.wait(30), 0)
        self.assertEqual(self.where("x"), ["done-q"])

    def test_held_back_it_keeps_waiting_and_for_after_command_too(self):
        self.configure("ready_command :: echo x >> asked; test -e ready\nsleep_seconds :: 0.1\nafter_command :: sleep 0.3; touch after\n")
        self.drop("x", uow("true"))
        process = self.start("--until-empty")
        until(lambda: os.path.exists(self.path("asked")) and self.read("asked").count("x") >= 3)
        self.assertIsNone(process.poll())
        self.write("ready", "")
        self.assertEqual(process.wait(30), 0)
        self.assertTrue(os.path.exists(self.path("after")))


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

    def test_required_names_are_asked_of_what_waits_alone(self):
        """What has ended, or has begun, was judged by those of its day."""
        for name, text in (("done-q/a", "done: exit 0 after 1.0 s"), ("error-q/b", "error: exit 3 after 1.0 s"),
                           ("fail-q/c", "fail: interrupted"), ("currently-executing/g", "running: since 2026-11-24T02:30:07Z"),
                           ("archive/d", "done: exit 0 after 1.0 s")):
            self.write(name, stamped_uow(uow("true"), text))
        self.write("wait-q/e", uow("true"))
        self.write("priority-q/f", uow("true", TICKET=""))
        self.configure("required_names :: COMMAND TICKET\n")
        self.check("wait-q/e is not a valid UOW: line 2: the header ends without TICKET",
                   "priority-q/f is not a valid UOW: line 3: the header ends with an empty TICKET")
        self.configure("required_names :: COMMAND\n")
        self.check()

    def test_what_is_no_uow_or_not_where_its_status_says_or_in_two_places(self):
        for queue, name, status in (("done-q", "a", b"error: exit 3 after 1.0 s"), ("error-q", "b", b"error: exit 3 after 1.0 s"),
                                    ("fail-q", "c", b""),
                                    ("done-q", "d", b"done: exit 0 after 1.0 s"), ("wait-q", "d", b"done: exit 0 after 1.0 s")):
            self.write(queue + "/" + name, STOCK % status)
        os.link(self.write("wait-q/one", uow("true")), self.path("wait-q/two"))
        self.write("wait-q/bad\n", "nonsense\n")
        os.symlink("/etc/passwd", self.path("done-q", "link"))
        os.mkfifo(self.path("error-q", "fifo"))
        os.mkdir(self.path("fail-q", "directory"))
        self.check("wait-q/bad\\n' is not a valid UOW: line 1: nonsense; expected", "wait-q/one is not a valid UOW: 2 hard links",
                   "wait-q/two is not a valid UOW: 2 hard links", "%s has the STATUS error; expected done there" % self.path("done-q/a"),
                   "done-q/link is not a valid UOW: not a regular file",
                   "error-q/fifo is not a valid UOW: not a regular file", "%s has no STATUS; expected fail there" % self.path("fail-q/c"),
                   "fail-q/directory is not a valid UOW: not a regular file", "d is in wait-q and in done-q; move one of them to archive")

    def test_beside_a_monitor_with_a_job_also_where_a_backup_links_to_what_runs_or_has_ended(self):
        """Nor is it a finding that a new UOW, which waits, has the name of one that has ended."""
        self.drop("ended", uow("true"))
        self.drop("runs", uow(HOLD))
        self.started()
        self.ended("ended")
        self.begun("runs")
        self.check()
        for queue, name in (("done-q", "ended"), ("currently-executing", "runs")):
            os.link(self.path(queue, name), self.path("archive", name))
        self.write("wait-q/ended", uow("true"))
        self.check()


class TestBesideTheJob(QueueCase):
    def quick(self, seconds="1"):
        """Return a Monitor whose commands have this limit; everything else is as it is."""
        return self.changed("HOOK_SECONDS = 60 ", "HOOK_SECONDS = %s " % seconds)

    def test_ready_command_is_asked_before_each_launch_and_not_for_an_empty_queue(self):
        self.configure("ready_command :: echo x >> asked\nsleep_seconds :: 0.1\n")
        process = self.started()
        self.cycles(1)
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
        self.said("paused: ")
        self.write("go", "")
        until(lambda: not [pid for pid in processes_with(self.root) if pid != monitor.pid], "ready_command has ended")
        self.is_quiet(monitor)
        self.message("RESUME")
        self.assertEqual(self.ended("x"), "done-q")

    def test_a_ready_command_that_is_changed_or_taken_away_while_it_runs_is_ended_and_its_answer_counts_no_more(self):
        process, files = self.started(), []
        for name, then in (("changed", "ready_command :: touch other\n"), ("away", "")):
            self.configure("ready_command :: touch %s; sleep 600; exit 1\n" % self.path("asked-" + name))
            self.message("RELOAD")
            self.said("RELOAD: configuration read", count=2 * len(files) + 1)
            self.drop(name, uow("true"))
            self.there("asked-" + name)
            self.configure(then)
            self.message("RELOAD")
            self.assertEqual(self.ended(name), "done-q")
            until(lambda: not children_of(process.pid), lambda: "no child is left: %s" % children_of(process.pid), 10)
            until(lambda: not processes_with(self.path("asked-" + name)), "its processes have ended", 10)
            self.asleep(process)
            files.append(len(os.listdir("/proc/%d/fd" % process.pid)))
        self.there("other")
        self.assertEqual(files[0], files[1])
        self.assertNotIn("refuses", self.says())

    def test_ready_command_that_never_ends_is_a_refusal(self):
        self.configure("ready_command :: test -e ready || sleep 600\nsleep_seconds :: 0.2\n")
        self.drop("x", uow("true"))
        self.started(program=self.quick())
        self.said("waiting: ready_command refuses (ran longer than 1 s)")
        self.message("HELP")
        self.said("message HELP")                        # the cycle goes on beside it
        self.write("ready", "")
        self.assertEqual(self.ended("x"), "done-q")

    def test_after_command_that_fails_is_reported_or_ended_and_jobs_go_on(self):
        self.configure("after_command :: trap '' TERM; [ $SJQ_NAME = a ] && exit 3; sleep 600 & sleep 601\n")
        for name in ("a", "b"):
            self.drop(name, uow("true"))
        self.run_until_empty(program=self.quick())
        for text in ("after_command for a: exit 3\n", "after_command for b: ran longer than 1 s\n"):
            self.assertEqual(self.says().count(text), 1)
        self.assertEqual((self.where("a"), self.where("b")), (["done-q"], ["done-q"]))
        until(lambda: not processes_with("SJQ_FILE=" + self.path("done-q", "b")), "nothing of it left")
