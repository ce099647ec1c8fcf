"""What may happen to monitor_reads and monitor_says themselves: links, FIFOs, floods and wrong bytes; jobs go on."""
import os
import signal
import stat
import subprocess

from tests.helpers import QueueCase, heavy, need_root, peak_kb, ran, until, uow


class TestMonitorReads(QueueCase):
    def setUp(self):
        super().setUp()
        self.monitor = self.started()
        self.there("monitor_reads")

    def tearDown(self):
        self.assertIsNone(self.monitor.poll(), self.output())
        self.stop(self.monitor)

    def assert_listens(self):
        """The Monitor still answers, and still runs jobs."""
        self.cycles(1)
        self.drop("after", uow("true"))
        self.assertEqual(self.ended("after"), "done-q")

    def test_a_symlink_a_hard_link_a_fifo_and_a_directory_go_to_trash_and_a_fresh_file_is_put_there(self):
        target = self.write("archive/target", "SHUTDOWN\n")

        def as_directory(path):
            os.mkdir(path)
            self.write("monitor_reads/inside", "SHUTDOWN\n")

        kinds = [lambda path: os.symlink(target, path), lambda path: os.link(target, path), os.mkfifo, as_directory]
        for number, make in enumerate(kinds, 1):
            self.monitor.send_signal(signal.SIGSTOP)     # or it is faster with a fresh one
            os.unlink(self.path("monitor_reads"))
            make(self.path("monitor_reads"))
            self.monitor.send_signal(signal.SIGCONT)
            self.said("goes to trash: not a regular file of its own", count=number)
            until(lambda: os.path.isfile(self.path("monitor_reads")) and not os.path.islink(self.path("monitor_reads")),
                  self.output)
        self.assertEqual(self.read("archive/target"), "SHUTDOWN\n")
        self.assert_listens()

    def test_a_device_is_refused_at_the_start_and_by_reload(self):
        """`monitor_reads :: /dev/null` as root: nobody could do without it."""
        need_root()
        device = self.path("device")
        os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        self.configure("monitor_reads :: device\n")
        self.message("RELOAD")
        text = "monitor_reads is a device; expected a place of its own"
        self.said(text)
        self.drop("one", uow("true"))
        self.assertEqual(self.ended("one"), "done-q")
        code, output, errors = ran(self.path("config.txt"), "--check")
        self.assertIn(text, output + errors)
        self.assertTrue(stat.S_ISCHR(os.lstat(device).st_mode))

    def test_a_hundred_megabytes_go_to_trash_and_memory_stays_flat(self):
        with open(self.path("monitor_reads"), "ab") as file:
            file.truncate(100 << 20)
        self.said("goes to trash: more than 1048576 bytes")
        self.assertEqual(os.path.getsize(self.path("trash/monitor_reads")), 100 << 20)
        self.assertLess(peak_kb(self.monitor.pid), 100_000)
        self.assert_listens()

    @heavy
    def test_a_flood_of_messages_is_read_in_portions_and_jobs_go_on(self):
        flood = subprocess.Popen(["bash", "-c", "exec yes nonsense >> " + self.path("monitor_reads")])
        try:
            until(lambda: "goes to trash: more than" in self.says() or self.size_of_reads() > 1 << 20, self.output)
            self.drop("meanwhile", uow("true"))
            self.assertEqual(self.ended("meanwhile"), "done-q")
        finally:
            flood.kill()
            flood.wait()
        self.assertLess(peak_kb(self.monitor.pid), 100_000)
        self.assert_listens()

    def size_of_reads(self):
        try:
            return os.path.getsize(self.path("monitor_reads"))
        except FileNotFoundError:                       # in trash, and that is not said yet
            return 0

    def test_owner_group_and_mode_of_the_message_file_are_kept(self):
        os.chmod(self.path("monitor_reads"), 0o660)
        if os.geteuid() == 0:
            os.chown(self.path("monitor_reads"), -1, 4)
        old = open(self.path("monitor_reads"))           # held, so that its inode number is not used again
        self.addCleanup(old.close)
        was = os.stat(self.path("monitor_reads"))
        self.message("STATUS")
        self.said("counts: ")
        self.tidied()
        self.assertNotEqual(os.stat(self.path("monitor_reads")).st_ino, was.st_ino)
        now = os.stat(self.path("monitor_reads"))
        self.assertEqual((now.st_mode, now.st_uid, now.st_gid), (was.st_mode, was.st_uid, was.st_gid))


class TestAfterACrash(QueueCase):
    def test_each_message_is_acted_on_once_and_what_was_is_a_comment_before_the_file_goes(self):
        """The crash came between two messages: the first is marked, the second is not."""
        self.write(".monitor_reads.taken", "#ELP\nCONFIG\n")
        self.drop("x", uow("true"))
        self.message("PAUSE")
        self.started()
        self.said("message PAUSE")
        self.tidied()
        self.assertEqual([self.says().count("message " + word) for word in ("HELP", "CONFIG", "PAUSE")], [0, 1, 1])
        self.assertNotIn("is not known", self.says())
        self.cycles(1)
        self.assertEqual(self.where("x"), ["wait-q"])

    def test_a_late_writer_keeps_what_was_taken_and_no_message_is_lost(self):
        """It has the file open that was taken from under it, also past a kill -9 of the Monitor."""
        self.write("monitor_reads", "")
        with open(self.path("monitor_reads"), "a", buffering=1) as late:
            monitor = self.started()
            self.message("HELP")
            self.there(".monitor_reads.taken")
            late.write("CONFIG\n")
            self.said("message CONFIG")
            until(lambda: "#ONFIG" in self.read(".monitor_reads.taken"), "it is marked: a kill before may repeat it")
            self.kill9(monitor)
            late.write("STATUS\nKILL")
            self.started()
            self.said("message STATUS")
            late.write(" JOB")
        self.said("message KILL JOB")                    # the last line counts once the file is closed and quiet
        self.tidied()
        self.assertEqual([self.says().count("message " + word) for word in ("HELP", "CONFIG", "STATUS")], [1, 1, 1])
        self.assertNotIn("is not known", self.says())

    def test_a_file_that_was_taken_and_is_none_goes_to_trash(self):
        self.message("CONFIG")
        os.symlink("monitor_says", self.path(".monitor_reads.taken"))
        self.started()
        self.said("goes to trash: not a regular file of its own")
        self.said("message CONFIG")
        self.tidied()


class TestStandardOutput(QueueCase):
    def test_one_that_nobody_reads_holds_up_nothing(self):
        """A pager that shows its first page, a terminal after Ctrl-S: a pipe takes 64 KiB, and no more."""
        read, write = os.pipe()
        self.addCleanup(os.close, read)
        monitor = self.start(stdout=write)
        os.close(write)
        self.said(" started: pid ")
        self.write("monitor_reads", "CONFIG\n" * 90)
        self.said("message CONFIG", count=90)
        self.assertGreater(os.stat(self.path("monitor_says")).st_size, 65536)
        self.drop("job", uow("true"))
        self.assertEqual(self.ended("job"), "done-q")
        self.assertEqual(self.stop(monitor), 0)
        os.set_blocking(read, False)
        lines = os.read(read, 200_000).splitlines()
        self.assertTrue(all(line.startswith(b"20") for line in lines))    # none is cut in two


class TestMonitorSays(QueueCase):
    def fifo_that_nobody_empties(self, path):
        os.mkfifo(path)
        self.addCleanup(os.close, os.open(path, os.O_RDONLY | os.O_NONBLOCK))

    def test_whatever_is_in_its_place_jobs_go_on_and_standard_output_has_it(self):
        """A link is neither followed nor written to. It is said once when it begins, and once when it ends."""
        target, path, monitor = self.write("archive/target", ""), self.path("monitor_says"), self.started()
        ways = [("Is a directory", os.mkdir), ("Too many levels of", lambda path: os.symlink(target, path)),
                ("not a regular file of its own", lambda path: os.link(target, path)), ("No such device or address", os.mkfifo),
                ("not a regular file of its own", self.fifo_that_nobody_empties)]
        for number, (reason, put) in enumerate(ways, 1):
            with self.subTest(reason):
                monitor.send_signal(signal.SIGSTOP)      # or it makes a fresh one
                os.unlink(path)
                put(path)
                monitor.send_signal(signal.SIGCONT)
                for name in ("one-%d" % number, "two-%d" % number):
                    self.drop(name, uow("true"))
                    self.assertEqual(self.ended(name), "done-q")
                    until(lambda: name + ": done: exit 0" in self.output(), self.output)
                self.assertEqual(self.output().count(" cannot be written ("), number)
                self.assertIn(reason, self.output())
                os.rmdir(path) if put == os.mkdir else os.unlink(path)
                self.drop("last-%d" % number, uow("true"))
                until(lambda: self.output().count("monitor_says can be written again") == number, self.output)
                self.said(" last-%d: done: exit 0" % number)
                self.assertEqual(self.read("archive/target"), "")
