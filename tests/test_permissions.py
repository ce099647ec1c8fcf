"""Who may do what: nobody gets in, what cannot be read or moved rests alone, and what lasts is said once."""
import fcntl
import os
import re
import shutil
import signal
import stat
import subprocess

from tests.helpers import HOLD, MONITOR, QUEUES, QueueCase, as_nobody, heavy, in_ci, need, need_root, ran, read_text, until, uow

NOBODY = 65534


class TestOpenToOthers(QueueCase):
    """Start-up refuses what people could write who could not act as the Monitor's user anyway, and the command that it names mends it."""

    def mended_by_what_it_says(self, name, why, command):
        self.drop("job", uow("true"))
        os.rmdir(self.path("archive"))
        code, output, errors = ran(self.path("config.txt"), program=self.path("monitor.py"))
        self.assertEqual((code, output), (2, ""), errors)
        self.assertEqual(errors, "monitor.py: {0} {1}; mend it with: {2} {0}\n".format(self.path(name) if name else self.root, why, command))
        self.assertEqual(os.listdir(self.path("wait-q")), ["job"])
        self.assertFalse(os.path.lexists(self.path("archive")))
        self.assertEqual(ran(self.path("config.txt"), "--check", program=self.path("monitor.py"))[0], 1)
        subprocess.run(["bash", "-c", errors.partition("mend it with: ")[2]], check=True)
        self.assertEqual(ran(self.path("config.txt"), "--until-empty", program=self.path("monitor.py"))[0], 0)
        self.assertEqual(os.listdir(self.path("wait-q")), [])

    def setUp(self):
        super().setUp()
        shutil.copy(MONITOR, self.path("monitor.py"))
        os.chmod(self.path("monitor.py"), 0o644)

    def tearDown(self):
        self.assertEqual(ran(self.path("config.txt"), "--check", program=self.path("monitor.py"))[:2], (0, "all is well\n"))

    def test_a_root_written_by_everybody(self):
        os.chmod(self.root, 0o707)
        self.mended_by_what_it_says("", "can be written by everybody", "chmod o-w")

    @heavy
    def test_the_rest_written_by_everybody_or_a_group_or_owned_by_somebody_else(self):
        need_root()
        everybody, group = ("can be written by everybody", "chmod o-w"), ("can be written by its group", "chmod g-w")
        for name, mode, owner, said in (("config.txt", 0o646, 0, everybody), ("monitor.py", 0o606, 0, everybody),
                                        ("currently-executing", 0o757, 0, everybody), ("", 0o770, 0, group), ("config.txt", 0o664, 0, group),
                                        ("monitor.py", 0o664, 0, group), ("currently-executing", 0o775, 0, group),
                                        ("config.txt", 0o644, NOBODY, ("belongs to nobody, who could act as the Monitor's user", "chown root")),
                                        ("monitor.py", 0o644, NOBODY, ("belongs to nobody, who could act as the Monitor's user", "chown root"))):
            with self.subTest(name, said=said):
                os.chown(self.path(name), owner, NOBODY if said is group else 0)
                os.chmod(self.path(name), mode)
                self.mended_by_what_it_says(name, *said)

    def test_a_queue_of_another_user_is_told_whose_it_is_and_no_chown_that_breaks_it(self):
        """Asked by root, and by somebody else, for a start and for --check; obeyed, it works."""
        need_root()
        whole = [self.path(name) for name in ("", "config.txt", "monitor.py")] + [self.path(queue) for queue in QUEUES + ["archive"]]
        os.chmod(self.root, 0o755)
        for path in whole:
            os.chown(path, NOBODY, NOBODY)
        copy, nobody = self.path("monitor.py"), as_nobody()
        for user in (nobody[-2:], [word.replace("nobody", "daemon") for word in nobody]):
            for flags, code, start in ((["--check"], 1, ""), ([], 2, "monitor.py: ")):
                answer = ran(self.path("config.txt"), *flags, program=copy, python=user)
                command = " ".join(["sudo -u nobody python3", copy, self.path("config.txt"), *flags])
                said = "%sthis queue belongs to nobody; run it as that user: %s\n" % (start, command)
                self.assertEqual((answer[0], answer[1] + answer[2]), (code, said))
        self.assertEqual(ran(self.path("config.txt"), "--check", program=copy, python=nobody), (0, "all is well\n", ""))
        os.chown(self.path("config.txt"), 1, -1)             # a mend is one that who runs it may do
        answer = ran(self.path("config.txt"), "--check", program=copy, python=nobody)
        said = "{0} belongs to daemon, who could act as the Monitor's user; mend it with: sudo chown nobody {0}\n"
        self.assertEqual(answer[:2], (1, said.format(self.path("config.txt"))))
        for path in whole:
            os.chown(path, 0, 0)

    def test_a_config_txt_that_everybody_can_write_by_now_is_not_read_again(self):
        self.started(program=self.path("monitor.py"))
        self.configure("timeout_seconds :: 77\n")
        os.chmod(self.path("config.txt"), 0o646)
        self.message("RELOAD\nCONFIG")
        self.said("archive :: ")
        refusal = re.search(r"RELOAD refused: (%s can be written by everybody; mend it with: (chmod o-w \S+))\n"
                            % re.escape(self.path("config.txt")), self.says())
        self.assertTrue(refusal, self.says())
        self.assertIn("timeout_seconds :: 86400\n", self.says())
        subprocess.run(["bash", "-c", refusal.group(2)], check=True)
        self.message("RELOAD\nCONFIG")
        self.said("timeout_seconds :: 77\n")

    def test_a_waiting_queue_that_everybody_can_write_to_is_refused_unless_it_is_sticky(self):
        for queue in in_ci("wait-q", "priority-q"):
            os.chmod(self.path(queue), 0o777)
            self.mended_by_what_it_says(queue, "can be written by everybody", "chmod o-w")
            os.chmod(self.path(queue), 0o1777)
            note = "everybody may drop jobs into %s: job_command decides as whom they run\n" % self.path(queue)
            self.assertEqual(ran(self.path("config.txt"), "--check"), (0, note + "all is well\n", ""))
            self.drop("x", uow("true"))
            self.run_until_empty()
            self.assertIn(note, self.says())
            os.chmod(self.path(queue), 0o775)
        os.unlink(self.path("done-q", "x"))


class TestFilesKept(QueueCase):
    def test_a_setuid_bit_is_not_kept_and_an_owner_without_a_name_is_named_by_number(self):
        need_root()
        os.chown(self.drop("theirs", uow("true")), 12345, 54321)
        os.chmod(self.path("wait-q", "theirs"), 0o6640)
        self.run_until_empty()
        self.assertEqual(stat.S_IMODE(os.stat(self.path("done-q", "theirs")).st_mode), 0o640)
        self.assertRegex(self.read("done-q", "theirs"), r"^ENQUEUED :: \S+ by uid 12345\n")

    def test_whatever_the_umask_others_can_write_nothing_and_messages_jobs_and_pages_work(self):
        self.configure("status_dir :: status\n")
        for umask in ("0", "077"):
            with self.subTest(umask):
                for directory in ("done-q", "trash"):
                    shutil.rmtree(self.path(directory))
                self.drop("job", uow("umask; : > made; chmod go-w made"))
                self.drop("bad", "nonsense\n")
                monitor = self.started(prefix=["bash", "-c", 'umask %s; exec "$@"' % umask, "bash"])
                self.cycles(1)
                self.assertEqual((self.ended("job"), int(self.log("job"), 8)), ("done-q", int(umask, 8)))
                self.there("trash/bad")
                until(lambda: self.posted()["queues"]["done_q"] == 1, self.output)
                self.assertEqual(self.stop(monitor), 0)
                self.assertEqual(ran(self.path("config.txt"), "--check")[:2], (0, "all is well\n"))
        for place, directories, files in os.walk(self.root):
            for name in directories + files:
                found = os.lstat(os.path.join(place, name))
                self.assertFalse(found.st_mode & 0o022, "%s has the mode %o" % (os.path.join(place, name), found.st_mode))


class RestsCase(QueueCase):
    """One bad file harms only itself."""

    config = "sleep_seconds :: 0.3\n"

    def others_run(self, number=0):
        self.drop("other-%d" % number, uow("true"))
        self.assertEqual(self.ended("other-%d" % number), "done-q")

    def said_once(self, text, over, ends=""):
        """It was said once though it was met many times; mended by over(), it ends once."""
        self.said(text)
        self.is_quiet(self.monitors[-1], wakes=60)       # it is met three times, as often as sleep_seconds tells
        self.others_run(1)
        self.assertEqual(self.times_said(text), 1, self.says())
        over()
        self.said(ends or "over: " + text)
        self.others_run(2)
        self.assertEqual(self.times_said(text), 1, self.says())

    def held(self, hold, release):
        monitor = self.paused()
        self.drop("held", uow("echo held"))
        self.stamped("held")
        handle = hold(self.path("wait-q", "held"))
        self.message("RESUME")
        self.said("resumed")
        self.others_run()                            # at once, not after the kernel's 45 s
        self.said_once("held in wait-q waits: another process has it open for writing, or has a lease on it",
                       lambda: release(handle), "held in wait-q can be read now")
        self.assertEqual(self.ended("held"), "done-q")
        self.stop(monitor)


class TestRests(RestsCase):
    def test_a_file_that_somebody_opens_for_writing_when_it_is_due_does_not_hold_up_the_others(self):
        self.held(lambda path: os.open(path, os.O_WRONLY), os.close)

    def test_a_lease_on_a_file_does_not_hold_up_the_others(self):
        self.addCleanup(signal.signal, signal.SIGIO, signal.signal(signal.SIGIO, lambda *_: None))

        def lease(path):
            fd = os.open(path, os.O_RDONLY)
            fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            return fd

        self.held(lease, os.close)


@heavy
class TestAsNobody(RestsCase):
    """The Monitor of a user who is not root, and whom the file system therefore refuses something."""

    def setUp(self):
        as_nobody()                                      # or skip
        super().setUp()
        os.mkdir(self.path(".program"))
        self.program = shutil.copy(MONITOR, self.path(".program", "monitor.py"))
        for place, _, files in os.walk(self.root):
            for path in [place] + [os.path.join(place, name) for name in files]:
                os.chown(path, NOBODY, NOBODY)

    def start(self, *flags, **options):
        return super().start(*flags, prefix=self.limits, python=as_nobody(), program=self.program, **options)

    limits = ()

    def restarted_beside(self, change):
        """Change the UOW of a running job, restart, and drop another, which must not start beside it."""
        monitor = self.under_way("first", HOLD)
        change(self.path("currently-executing", "first"))
        self.message("SHUTDOWN")
        self.assertEqual(monitor.wait(20), 0)
        self.started()
        self.drop("second", uow("echo second >> ledger"))
        self.stamped("second")
        self.cycles(2)
        self.assertEqual((self.where("second"), self.ledger()), (["wait-q"], []), self.says())
        self.write("go", "")
        self.assertEqual(self.ended("second"), "done-q")

    def test_a_running_uow_that_is_made_read_only_is_adopted(self):
        self.restarted_beside(lambda path: os.chmod(path, 0o444))
        self.assertEqual(self.where("first"), ["done-q"])
        self.assertIn("adopted first run ", self.says())

    def test_a_running_uow_that_is_given_to_somebody_else_is_waited_for(self):
        self.restarted_beside(lambda path: (os.chown(path, 0, 0), os.chmod(path, 0o600)))
        self.assertEqual(self.where("first"), ["currently-executing"])
        self.said("first began and cannot be opened: ")

    def test_an_unreadable_file_is_said_once_and_left_where_it_is(self):
        path = self.drop("secret", uow("echo secret"))
        os.chmod(path, 0o600)
        mine = self.drop("mode-0", uow("echo mode 0"))
        os.chown(mine, NOBODY, NOBODY)
        os.chmod(mine, 0)
        monitor = self.started()
        self.others_run()
        self.said_once("secret in wait-q cannot be read by nobody", lambda: os.chmod(path, 0o644), "secret in wait-q can be read now")
        self.assertEqual(self.ended("secret"), "done-q")
        self.assertRegex(self.read("done-q", "secret"), r"^ENQUEUED :: \S+ by root\n")
        self.assertEqual(self.where("mode-0"), ["wait-q"])
        self.assertEqual(len(re.findall("Z mode-0 in wait-q cannot be read by nobody", self.says())), 1)
        os.unlink(mine)
        self.said("over: mode-0 in wait-q")
        self.stop(monitor)

    def test_a_file_that_becomes_unreadable_when_it_is_due_does_not_hold_up_the_others(self):
        self.held(lambda path: os.chmod(path, 0) or path, lambda path: os.chmod(path, 0o600))

    def held(self, hold, release):
        self.said_once = lambda text, over, ends: (self.said("held in wait-q cannot be read "), self.others_run(1), over())
        super().held(hold, release)

    def test_a_job_that_ends_while_currently_executing_cannot_be_reached_is_filed_when_it_can(self):
        """It is not taken for deleted."""
        self.under_way("first", HOLD)
        os.chmod(self.path("currently-executing"), 0)
        self.write("go", "")
        self.said("first stays in currently-executing: Permission denied")
        os.chmod(self.path("currently-executing"), 0o755)
        self.assertEqual(self.ended("first"), "done-q")
        self.assertNotIn("was deleted", self.says())

    def test_messages_that_root_wrote_before_the_start_are_acted_on(self):
        self.write("monitor_reads", "STATUS\nwhatever\n")
        os.chown(self.path("monitor_reads"), 0, 0)
        monitor = self.started()
        self.said("counts: ")
        self.said("message whatever is not known")
        until(lambda: os.stat(self.path("monitor_reads")).st_uid == NOBODY, self.output)
        self.assertEqual(self.says().count("counts: "), 1)
        self.stop(monitor)

    def test_a_message_file_that_cannot_be_read_stays_where_people_see_it(self):
        """As `sudo sed -i` leaves it under a strict umask; what was appended meanwhile is not lost."""
        self.started()
        self.there("monitor_reads")
        os.chmod(self.write(".staging/reads", "STATUS\n"), 0o600)
        os.rename(self.path(".staging/reads"), self.path("monitor_reads"))
        self.said_once("%s cannot be read or renewed: Permission denied" % self.path("monitor_reads"),
                       lambda: os.chmod(self.path("monitor_reads"), 0o644))
        self.said("counts: ")

    def test_a_start_without_processes_is_refused_with_a_sentence(self):
        """fork: EAGAIN, and a pattern that grep is to judge."""
        need("prlimit", "pgrep")
        until(lambda: subprocess.run(["pgrep", "-u", str(NOBODY)], stdout=subprocess.DEVNULL).returncode == 1,
              "what an earlier test left to init is gone, too: it counts")
        self.configure("error_pattern :: ERROR\n")
        self.limits = ["prlimit", "--nproc=1"]
        self.assertEqual(self.start().wait(20), 2)
        self.assertRegex(self.output(), "monitor.py: .*config.txt: Resource temporarily unavailable; expected a configuration")

    def test_a_message_file_of_another_user_is_not_taken_from_under_who_writes_it(self):
        """The kernel tells nobody of other people's writers: what was opened before the file was taken over may still be written."""
        monitor = self.started()
        self.there("monitor_reads")
        monitor.send_signal(signal.SIGSTOP)              # it is to meet the file when it is complete, and open
        os.unlink(self.path("monitor_reads"))
        self.write("monitor_reads", "STATUS\n")
        with open(self.path("monitor_reads"), "ab", buffering=0) as writer:
            monitor.send_signal(signal.SIGCONT)
            self.there(".monitor_reads.taken")
            writer.write(b"CONFIG\n")
        self.said("message STATUS")
        self.said("message CONFIG")
        self.assertEqual(self.says().count("message "), 2)

    def test_what_a_job_runs_as_root_is_named_once_and_waited_for(self):
        """As through sudo: KILL is refused, and the Monitor stays calm until it has ended."""
        if os.statvfs(self.root).f_flag & os.ST_NOSUID:
            self.skipTest("no setuid on this file system")
        self.configure("kill_grace_seconds :: 0.1\nsleep_seconds :: 0.3\n")
        sudo = shutil.copy(shutil.which("setpriv"), self.path("sudo"))
        os.chmod(sudo, 0o4755)
        monitor = self.started()
        self.drop("one", uow("./sudo --reuid=0 --clear-groups bash -c 'echo $$ > /proc/self/cwd/pid; exec sleep 600'"))
        until(lambda: os.path.exists(self.path("pid")) and self.read("pid").strip(), self.output)
        pid = int(self.read("pid"))
        until(lambda: read_text("/proc/%d/comm" % pid) == "sleep\n")
        self.message("KILL JOB")
        self.said("one: KILL has not ended %d (sleep); waiting for it\n" % pid)
        self.is_quiet(monitor, wakes=30)
        self.assertEqual(self.says().count("KILL has not ended"), 1, self.says())
        self.assertEqual(self.where("one"), ["currently-executing"])
        os.kill(pid, signal.SIGKILL)
        self.assertEqual(self.ended("one"), "fail-q")
        self.assertEqual(self.status("one"), "fail: killed by message")
        self.stop(monitor)
