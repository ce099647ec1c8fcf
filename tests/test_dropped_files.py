"""What people drop into wait-q, careless or hostile: each harms only itself."""
import glob
import os
import re
import signal
import socket
import subprocess
import time

from tests.helpers import QueueCase, peak_kb, until, uow

TITLE = b"==== UNIT OF WORK\n"


class TestDroppedFiles(QueueCase):
    def canary(self):
        """Return the path of a valid UOW outside the root's queues, which tells when it is read, changed or run."""
        path = self.write("archive/canary", uow("touch %s" % self.path("ran")))
        os.utime(path, (1, 2))                       # an access time before the last change: any read moves it
        return path

    def assert_untouched(self, canary, links=1):
        found = os.stat(canary)
        self.assertEqual((found.st_atime, found.st_mtime, found.st_nlink), (1, 2, links), "read or written")
        self.assertFalse(os.path.exists(self.path("ran")), "the target was run")

    def assert_trashed(self, name, reason, times=1):
        self.assertEqual(self.where(name), ["trash"], self.output())
        said = [line for line in self.says().splitlines() if " %s in wait-q goes to trash: " % name in line]
        self.assertEqual(len(said), times, self.says())
        self.assertIn(reason, said[0])

    def test_what_is_no_file_of_its_own_goes_to_trash_and_nothing_is_read_run_or_waited_for(self):
        self.configure("sleep_seconds :: 0.5\n")
        canary, never = self.canary(), uow("touch %s" % self.path("ran"))
        linked, links = self.write("archive/linked", never), {"absolute": canary, "shadow": "/etc/shadow", "dangling": "/nowhere", "itself": "."}
        os.utime(linked, (1, 2))
        for name, target in links.items():
            os.symlink(target, self.path("wait-q", name))
        os.symlink("../archive/canary", self.path("priority-q", "relative"))
        os.link(linked, self.path("wait-q", "linked"))
        os.mkfifo(self.path("wait-q", "fifo"))
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(self.path("wait-q", "socket"))
        names = ["fifo", "socket", "tree", "empty"]
        if os.geteuid() == 0:
            os.mknod(self.path("wait-q", "device"), 0o600 | 0o020000, os.makedev(5, 0))     # /dev/tty
            names.append("device")
        os.makedirs(self.path("wait-q", "tree", "deep"))
        self.write("wait-q/tree/deep/inside", never)
        os.mkdir(self.path("wait-q", "empty"))
        self.drop("real", uow("echo ran"))
        self.run_until_empty()
        for name in [*links, *names]:
            self.assert_trashed(name, "not a regular file")
        for name in [*links, "relative"]:
            self.assertTrue(os.path.islink(self.path("trash", name)), "the link itself")
        self.assert_trashed("linked", "2 hard links; expected a file of its own (use cp)")
        self.assertEqual((self.read("trash", "tree", "deep", "inside"), self.where("real")), (never, ["done-q"]))
        self.assert_untouched(canary)
        os.utime(linked, (1, os.stat(linked).st_mtime))      # its STATUS may be read: a run has two links, too
        self.assert_untouched(linked, links=2)

    def test_hidden_files_and_leftovers_are_never_run_and_of_several_readmes_the_newest_stays(self):
        names = [".ticket.swp", "ticket~", "#ticket#", "4913", ".nfs0001", ".new.123", "...", "up.filepart", "up.part", "up.tmp"]
        readmes = ["README", "readme.md", "ReadMe.TXT", "Readme"]
        never = uow("touch %s" % self.path("ran"))
        for number, name in enumerate(readmes + names):
            os.utime(self.write("wait-q/" + name, never), (number, number))
        alike = ["README-not", "READMEs", "49134", "a4913", "#ticket", "~ticket", "part", "up.tmp.txt"]
        for name in alike:
            self.drop(name, uow("true"))
        self.run_until_empty()
        for name in names:
            self.assertEqual((self.where(name), self.read("wait-q", name)), (["wait-q"], never))
        self.assertEqual([self.where(name) for name in readmes], [["trash"]] * 3 + [["wait-q"]])
        self.assertEqual((sorted(os.listdir(self.path("done-q"))), os.path.exists(self.path("ran"))), (sorted(alike), False))

    def test_a_hard_link_that_is_taken_away_when_it_has_been_opened_is_not_read(self):
        """The file that it led to has one link again then, as a UOW has."""
        canary = self.write("canary", "not for everybody\n")
        os.utime(canary, (1, 2))
        monitor = self.started()
        path = self.path("wait-q", "link")
        detach = self.traced(monitor, "-P", path, "-e", "trace=openat", "-e", "inject=openat:signal=STOP")     # each open is the last
        os.link(canary, path)
        until(lambda: path in map(os.path.realpath, glob.glob("/proc/%d/fd/*" % monitor.pid)), self.output)
        os.unlink(path)
        detach()
        monitor.send_signal(signal.SIGCONT)
        self.cycles(1)
        self.assertEqual(os.stat(canary).st_atime, 1)

    def test_a_file_that_a_stalled_writer_holds_open_is_neither_taken_nor_trashed(self):
        monitor = self.started()
        with open(self.path("wait-q", "slow"), "w") as valid, open(self.path("wait-q", "slower"), "w") as unfinished:
            valid.write(uow("echo half"))
            valid.flush()
            unfinished.write("==== UNIT OF")
            unfinished.flush()
            inode = os.fstat(valid.fileno()).st_ino
            for number in range(3):                  # ten quiet times pass, and others are run meanwhile
                self.drop("other-%d" % number, uow("sleep 0.3"))
                self.assertEqual(self.ended("other-%d" % number), "done-q")
            self.assertEqual(self.where("slow") + self.where("slower"), ["wait-q", "wait-q"], self.output())
            self.assertEqual(os.stat(self.path("wait-q", "slow")).st_ino, inode, "not even stamped")
            self.said("slow in wait-q waits: another process has it open for writing")
            valid.write("COMMAND :: echo whole\n")
            unfinished.write(" WORK\nCOMMAND :: echo late\n")
        self.assertEqual(self.ended("slow"), "done-q")
        self.assertEqual(self.log("slow"), b"half\nwhole\n")
        self.assertEqual(self.ended("slower"), "done-q")
        self.said("slow in wait-q can be read now")
        self.stop(monitor)

    NAMES = [b"-rf", b"--help", b"a b", b" ", b"it's", b'"quoted"', b"$(touch pwned)", b"`touch pwned`", b"; touch pwned #",
             b"new\nline", b"\x1b[31mred", b"\x1b]0;title\x07", b"\xff\xfe", b"back\\nslash", b"%s%n", b"*", b"~root",
             b"a\ttab", "\u202egnp.exe".encode(), "\u00fc".encode() * 127 + b"x", b"y" * 255, b"\xe2\x82" * 127,
             b"<script>alert(1)", b"%2e%2e%2fx", b"UOW.html", "\u017c\u00f3\u0142w".encode()]

    def test_names_of_any_bytes_are_run_and_shown_so_that_a_shell_reads_them_back(self):
        for name in self.NAMES:
            self.drop(name, uow('printf "%s" "$SJQ_NAME"'))
        taken = "\u00fc".encode() * 127 + b"x"       # a suffix cuts its last letter in two
        self.write("done-q/" + os.fsdecode(taken), "taken")
        self.run_until_empty()
        for name in self.NAMES:
            if name != taken:
                self.assertEqual(self.where(name), ["done-q"], name)
                self.assertEqual(self.log(os.fsdecode(name)), name)
        self.assertEqual(self.read("done-q", os.fsdecode(taken)), "taken")
        self.assertEqual(self.log(os.fsdecode(taken[:253] + b".2")), taken)
        says = self.read("monitor_says")
        self.assertEqual(says.count("the name was taken in done-q"), 1)
        self.assertTrue(says.replace("\n", "").isprintable(), "something in monitor_says acts on a terminal")
        words = re.findall(r" started (.*) run \S+\n", says)
        read_back = subprocess.run(["bash", "-c", "printf '%s\\0' " + " ".join(words)], capture_output=True, check=True,
                                   env={"LC_ALL": "C.UTF-8"}).stdout
        self.assertEqual(sorted(read_back.split(b"\0")[:-1]), sorted(self.NAMES))
        self.assertFalse(os.path.exists(self.path("pwned")))

    def test_ten_gigabytes_without_a_heading_are_judged_on_their_first_64_kib(self):
        monitor = self.started()
        with open(self.path(".staging", "huge"), "wb") as file:
            file.write(b"no heading\n" * 10)
            file.truncate(10 * 1024 ** 3)
        os.rename(self.path(".staging", "huge"), self.path("wait-q", "huge"))
        until(lambda: self.where("huge") == ["trash"], self.output)
        self.assertLess(peak_kb(monitor.pid), 100_000)
        self.assertEqual(os.path.getsize(self.path("trash", "huge")), 10 * 1024 ** 3)
        self.stop(monitor)

    def test_what_people_write_is_read_or_goes_to_trash_with_line_and_expectation_after_the_quiet_time(self):
        self.configure("settle_seconds :: 1\n")
        true, dropped = TITLE + b"COMMAND :: true\n", time.time()
        runs = [("crlf", b"==== UNIT OF WORK\r\nCOMMAND :: echo crlf\r\nTIMEOUT :: 9m\r\n", b"crlf\n"),
                ("bom", b"\xef\xbb\xbf==== UNIT OF WORK\nCOMMAND :: echo bom\n", b"bom\n"),
                ("no-newline", b"==== UNIT OF WORK\nCOMMAND :: echo no-newline", b"no-newline\n"),
                ("tabs", b"==== UNIT OF WORK\nCOMMAND\t::\techo tabs\t\n", b"tabs\n"),
                ("colons", b"==== UNIT OF WORK\nCOMMAND :: echo a::b :: c\n", b"a::b :: c\n"),
                ("latin-1", b"==== UNIT OF WORK\nCOMMAND :: echo \xe4\n", b"\xe4\n"),
                ("nul-in-log", true + b"==== JOB LOG\n\0\0\n", b"")]
        rows = [("no-colons", true + b"some words\n", "line 3: $'some words'; expected `NAME :: CONTENT`"),
                ("no-command", TITLE + b"TICKET :: 1\n", "the header ends without COMMAND; expected `COMMAND :: ...`"),
                ("empty-command", TITLE + b"COMMAND ::\n", "the header ends with an empty COMMAND"),
                ("bad-timeout", true + b"TIMEOUT :: soon\n", "line 3: TIMEOUT soon; expected a number of"),
                ("bad-title", true + b"==== STATE\n", "line 3: $'==== STATE'; expected"),
                ("twice", true + TITLE, "line 3: `==== UNIT OF WORK` stands twice or out of order"),
                ("escape", true + b"\x1b[2J\n", "line 3: $'\\x1b[2J'; expected"),
                ("year", b"ENQUEUED :: 20261-01-01T00:00:00Z\n" + true, "line 1: $'ENQUEUED :: 20261-01-01T00:00:00Z'; expected `ENQUEUED :: 2026-"),
                ("nul", TITLE + b"COMMAND :: echo\0\n", "line 2: a NUL byte; expected text"),
                ("zeros", b"\0" * 4096, "line 1: a NUL byte; expected text"),
                ("empty", b"", "line 1: an empty file; expected `==== UNIT OF WORK`")]
        for name, text, _ in runs + rows:
            self.write("wait-q/" + name, text)
        with open(self.path(".staging", "huge"), "wb") as file:
            file.write(true + b"==== JOB LOG\n")
            file.truncate(1024 ** 4)                 # sparse: copied for its stamp, it would fill the disk
        os.rename(self.path(".staging", "huge"), self.path("wait-q", "huge"))
        self.run_until_empty()
        for name, _, log in runs:
            with self.subTest(name):
                self.assertEqual((self.where(name), self.log(name)), (["done-q"], log))
        for name, text, expectation in rows:
            with self.subTest(name):
                self.assert_trashed(name, expectation)
                self.assertEqual(self.read("trash", name).encode(), text)
                self.assertGreater(os.lstat(self.path("trash", name)).st_ctime - dropped, 0.9, "no quiet time was given")
        self.assert_trashed("huge", "the log below is longer than 64 MiB")

    def test_a_first_line_of_any_year_is_kept_and_orders(self):
        times = ["9999-12-31T23:59:59.999999-23:59", "2026-01-01", "2026-01-01T00:00:00+14:00",
                 "0001-01-01T00:00:00+23:59", "2025-12-31 23:00"]
        for number, text in enumerate(times):
            self.drop("t%d" % number, "ENQUEUED :: %s\n%s" % (text, uow("echo %d >> order" % number)))
        monitor = self.started()
        for number in (0, 2, 3, 4):
            self.assertEqual(self.ended("t%d" % number), "done-q")
            self.assertTrue(self.read("done-q", "t%d" % number).startswith("ENQUEUED :: %s\n" % times[number]))
        until(lambda: self.where("t1") == ["trash"], "a date without a time goes to trash")
        self.assertEqual(self.read("order"), "3\n2\n4\n0\n")
        self.stop(monitor)

    def test_a_file_that_changes_or_vanishes_between_survey_and_claim_is_looked_at_again(self):
        monitor = self.paused()
        canary = self.canary()
        for name in ["kept", "changed", "broken", "gone", "swapped"]:
            self.drop(name, uow("echo old"))
            self.stamped(name)
        monitor.send_signal(signal.SIGSTOP)          # it knows them all as ready, and now they change behind its back
        for name, new in [("changed", "new"), ("broken", "")]:
            with open(self.path("wait-q", name), "r+") as file:
                text = file.read().replace(":: echo old", ":: echo new" if new else "# echo old")
                file.seek(0)
                file.write(text)
        os.unlink(self.path("wait-q", "gone"))
        os.unlink(self.path("wait-q", "swapped"))
        os.symlink(canary, self.path("wait-q", "swapped"))
        self.message("RESUME")
        monitor.send_signal(signal.SIGCONT)
        self.assertEqual([self.ended("kept"), self.ended("changed")], ["done-q"] * 2)
        self.assertEqual(self.log("changed"), b"new\n", "what is run is what was claimed")
        until(lambda: self.where("broken") == ["trash"] and self.where("swapped") == ["trash"], self.output)
        self.assertEqual(self.where("gone"), [])
        self.assert_untouched(canary)
        self.assertIsNone(monitor.poll())
        self.stop(monitor)

    def test_a_header_too_large_for_the_environment_is_refused_by_its_size(self):
        filler = "".join("N%d :: %s\n" % (number, "x" * 70) for number in range(1000))
        self.drop("over", uow("true") + filler)
        self.drop("under", uow("echo ${#UOW_N699}") + filler[:58_000].rpartition("\n")[0] + "\n")
        self.drop("one-line", uow("true") + "N :: " + "x" * 60_000 + "\n")
        nearly = uow("true")
        # It fits, but not with its time and titles.
        self.drop("nearly", nearly + "N :: " + "x" * (65_536 - len(nearly) - 6) + "\n")
        self.run_until_empty()
        self.assert_trashed("over", "the header does not end within 64 KiB; expected `==== JOB LOG` before that")
        self.assert_trashed("nearly", "the header with its time and titles is longer than 64 KiB; expected less")
        self.assertEqual(self.where("under") + self.where("one-line"), ["done-q"] * 2, self.says())
        self.assertEqual(self.log("under"), b"70\n")
