"""What administrators do to a queue that runs, and odd places to run in: editors, chown -R, mounts, locales."""
import collections
import os
import shutil
import subprocess
import tempfile

from tests.helpers import HOLD, MONITOR, QUEUES, QueueCase, as_nobody, heavy, need, need_root, ran, read_text, stamped_uow, until, uow

NOBODY = 65534


class OddCase(QueueCase):
    base = QueueCase.base.replace("sleep_seconds :: 5", "sleep_seconds :: 0.5")


def vim(path, text):
    """Save as vim does: try out a file 4913, move the old file aside, write a new one, remove the old one."""
    open(os.path.join(os.path.dirname(path), "4913"), "w").close()
    os.unlink(os.path.join(os.path.dirname(path), "4913"))
    os.rename(path, path + "~")
    in_place(path, text)
    os.unlink(path + "~")


def emacs(path, text):
    """Save as emacs does: a dangling link as the lock, the first old file stays as the backup."""
    locked = os.path.join(os.path.dirname(path), ".#" + os.path.basename(path))
    os.symlink("root@host.1:2", locked)
    os.rename(path, path + "~")
    in_place(path, text)
    os.unlink(locked)


def in_place(path, text):
    """Save as nano does: truncate the file and write it anew."""
    with open(path, "w") as file:
        file.write(text)


class TestEditors(OddCase):
    JOB = "echo ran >> ledger; echo one; %s; echo two" % HOLD

    def test_a_waiting_uow_is_run_once_as_it_was_saved(self):
        self.paused()
        for save in (vim, emacs, in_place):
            path = self.drop(save.__name__, uow("echo %s-$UOW_NOTE >> ledger" % save.__name__))
            self.stamped(save.__name__)
            save(path, read_text(path).replace("COMMAND", "NOTE :: more\nCOMMAND", 1))
        self.message("RESUME")
        for save in (vim, emacs, in_place):
            self.assertEqual(self.ended(save.__name__), "done-q")
        self.assertEqual(sorted(self.ledger()), ["emacs-more", "in_place-more", "vim-more"])
        self.assertEqual(os.listdir(self.path("trash")), [])

    def test_a_waiting_uow_that_is_saved_in_two_steps_at_the_last_moment_is_run_whole(self):
        self.configure("settle_seconds :: 5\n")
        monitor = self.paused()
        self.drop("job", uow("echo ran >> ledger"))
        self.stamped("job")
        os.utime(self.path("wait-q", "job"), (1, 1))             # it has settled
        self.asleep(monitor)
        text = self.read("wait-q", "job")
        in_place(self.path("wait-q", "job"), "")
        self.message("RESUME")
        self.said("resumed")
        self.cycles(1)
        self.assertEqual(self.where("job"), ["wait-q"], self.output())
        in_place(self.path("wait-q", "job"), text)
        self.assertEqual((self.ended("job"), self.ledger()), ("done-q", ["ran"]))

    def test_what_took_the_name_of_a_running_uow_never_runs_though_trash_is_away(self):
        monitor = self.under_way("job", self.JOB)
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


class TestDirectoriesThatGo(OddCase):
    def test_while_currently_executing_is_away_it_is_not_made_nothing_starts_and_a_timeout_still_counts(self):
        monitor = self.under_way("job", "sleep 60", TIMEOUT="2")
        self.asleep(monitor)
        os.rename(self.path("currently-executing"), self.path("aside"))
        self.said("currently-executing is missing: no job starts")
        self.said("job: timed out after 2 s")
        self.drop("next", uow("true"))
        self.stamped("next")
        self.is_quiet(monitor)
        self.assertEqual((self.where("next"), os.path.lexists(self.path("currently-executing"))), (["wait-q"], False))
        os.rename(self.path("aside"), self.path("currently-executing"))
        self.assertEqual([self.ended("job"), self.ended("next")], ["fail-q", "done-q"])
        self.assertEqual(self.times_said("currently-executing is missing"), 1)

    def test_a_job_that_deletes_currently_executing_loses_no_output(self):
        self.configure("durable :: yes\n")
        remove = "until [ -e remove ]; do sleep 0.02; done; rm -rf currently-executing; echo ran >> ledger"
        monitor = self.under_way("job", "echo one; %s; %s; echo two" % (remove, HOLD))
        self.asleep(monitor)
        self.write("remove", "")
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


@heavy
class TestTheWholeTree(OddCase):
    """Somebody runs chown -R or chmod -R on the root of a Monitor that is not root's, and puts it right later."""

    def setUp(self):
        self.python = as_nobody()
        super().setUp()
        self.program = shutil.copy(MONITOR, self.path(".monitor.py"))
        subprocess.run(["chown", "-R", "%d:%d" % (NOBODY, NOBODY), self.root], check=True)

    def drop(self, name, text, queue="wait-q"):
        os.chown(self.write(".dropped", text), NOBODY, NOBODY)
        os.rename(self.path(".dropped"), self.path(queue, name))

    def test_chown_or_chmod_of_everything(self):
        for spoil, mend in ((["chown", "-R", "daemon:daemon"], ["chown", "-R", "%d:%d" % (NOBODY, NOBODY)]),
                            (["chmod", "-R", "000"], ["chmod", "-R", "u+rwX"])):
            with self.subTest(spoil):
                monitor, before = self.started(python=self.python, program=self.program), len(self.output().splitlines())
                os.mkfifo(self.path("go"))
                os.chown(self.path("go"), NOBODY, NOBODY)
                self.drop("runs", uow("exec 3<>go; echo one; read -r -u 3; echo two"))
                until(lambda: "\none\n" in self.text("runs"), self.output)
                self.drop("waits", uow("echo waits"))
                subprocess.run([*spoil, self.root], check=True)
                self.drop("came", uow("echo came"))
                self.write("go", "\n")
                until(lambda: "==== JOB END" in self.text("runs"), self.output)
                until(self.is_silent, self.output)
                self.is_quiet(monitor)
                for line, times in collections.Counter(line[28:] for line in self.output().splitlines()[before:]).items():
                    self.assertEqual(times, 1, line)
                subprocess.run([*mend, self.root], check=True)
                for name in ("runs", "waits", "came"):
                    self.assertEqual(self.ended(name), "done-q")
                self.assertEqual(self.log("runs"), b"one\ntwo\n")
                self.stop(monitor)
                for name in ("done-q/runs", "done-q/waits", "done-q/came", "go"):
                    os.unlink(self.path(name))


@heavy
class TestEnvironment(OddCase):
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
        for environment in ({"LC_ALL": "C"}, self.german()):     # one has nothing else, as under cron
            with self.subTest(environment["LC_ALL"]):
                self.drop(self.NAME, uow('printf %s "$SJQ_NAME"; printf "\u2192\u00e4%s" "$UOW_X"', X="\u20ac!"))
                self.run_until_empty(env=environment)
                self.assertEqual(self.where(self.NAME), ["done-q"])
                self.assertEqual(self.log(self.NAME), os.fsencode(self.NAME + "\u2192\u00e4\u20ac!"))
                os.unlink(self.path("done-q", self.NAME))

    def test_a_configuration_in_utf_8_and_a_header_whose_last_byte_is_white_space_elsewhere(self):
        self.configure('job_command :: echo "\u2192 \u00e4"; eval "$UOW_COMMAND"\ntrash :: m\u00fcll\n')
        self.drop("job", uow("printf %s \"$UOW_X\"; printf voil\u00e0", X="\u00c5"))
        self.run_until_empty(env=self.german())
        self.assertEqual(self.log("job"), "\u2192 \u00e4\n\u00c5voil\u00e0".encode())
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

    def test_a_queue_that_is_a_mount_of_the_same_file_system_is_refused(self):
        subprocess.run(["mount", "--bind", self.path("done-q"), self.path("done-q")], check=True)
        try:
            code, _, errors = ran(self.path("config.txt"), "--until-empty")
        finally:
            subprocess.run(["umount", self.path("done-q")], check=True)
        self.assertEqual(code, 2, errors)
