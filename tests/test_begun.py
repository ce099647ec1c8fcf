"""Begun or not: what a start makes of each UOW in hand, of the links in .run, and of what people and jobs do to both.

A root is prepared by hand as a Monitor leaves it that dies between two steps; then the real one starts on it.
"""
import contextlib
import os
import re
import shutil
import subprocess
import sys
import time

from tests.helpers import (BOOT, FINISHED, HOLD, QueueCase, children_of, heavy, in_ci, mark_of, need, need_root,
                           processes_with, read_text, stamped_uow, until, uow)

HAND, RUN = "currently-executing", "currently-executing/.run"
SINCE = "running: since 2026-01-02T03:05:00Z"
START = "==== JOB START 2026-01-02T03:05:00.000000Z run {mark}\noutput\n"
END = "\n==== JOB END 2026-01-02T03:05:02.000000Z run {mark} exit %d\n"
EARLIER = (START + END % 1).replace("{mark}", "0badf00d-7-1-1")      # the log of an earlier run, which ended with exit 1
WAS = "error: exit 1 after 2.0 s"
ODD = ["n" * 255, "\xe9" * 127 + "x", "a\nb", "-n $(id)", b"\xff\xfe".decode("utf-8", "surrogateescape")]


class BegunCase(QueueCase):
    once = 'echo "$SJQ_NAME" >> ledger'

    def setUp(self):
        super().setUp()
        os.mkdir(self.path(RUN), 0o700)

    @contextlib.contextmanager
    def case(self, *what):
        """One case of a test, with a root of its own."""
        with self.subTest(" ".join(map(str, what))):
            yield
        self.clean()
        self.setUp()

    def in_hand(self):
        return [name for name in os.listdir(self.path(HAND)) if not name.startswith(".")]

    def put(self, name, status="", log="", link=True, queue=HAND, boot=BOOT, **header):
        """Leave a UOW where a Monitor left it that died; return its mark, which stands for {mark} in its log."""
        path = self.write(os.path.join(queue, name), "")
        mark = mark_of(path, boot)
        self.write(os.path.join(queue, name), stamped_uow(uow(self.once, **header), status, log.replace("{mark}", mark)))
        os.utime(path, (time.time() - 60,) * 2)
        if link:
            self.link(name, mark, queue)
        return mark

    def link(self, name, mark, queue=HAND):
        os.link(self.path(queue, name), os.path.join(os.fsencode(self.path(RUN)), os.fsencode(mark + "." + name)[:255]))

    def marked(self, mark):
        """Start a process of the run of this mark."""
        return self.process("sleep", "600", env={**os.environ, "SJQ_RUN": mark}, start_new_session=True)

    def waits_for(self, name):
        """Wait until the Monitor says that it has taken over a run, or what is left of it without its shell."""
        until(lambda: re.search(r"Z (adopted %s run|%s: .*the rest of the job)" % (name, name), self.says()), self.output)

    def all_over(self, name, queues, status=".", runs=0):
        """See where a UOW is (in one of `queues`), how it ended, how often it ran since, and that nothing is left of its run."""
        self.assertIn(self.where(name), [[queue] for queue in queues], "%s\n%s" % (self.status(name) if self.where(name) else "", self.output()))
        self.assertRegex(self.status(name), status)
        self.assertEqual(self.read("ledger").split("\n").count(name) if self.ledger() else 0, runs, "how often it ran")
        until(lambda: not [link for link in self.links() if link.endswith("." + name)], self.links)

    def hold(self, before=":", text=str):
        """Start a Monitor and the job x under it, which does what `before` says and goes on until `go`."""
        monitor = self.started()
        self.drop("x", text(uow("echo x >> ledger; echo before; %s; touch began; %s; echo after" % (before, HOLD))))
        self.there("began")
        self.said("started x run ")
        return monitor


class TestTheTable(BegunCase):
    """Red if: `done` and `error` count without an END of this mark; a link alone is not begun; STATUS running alone is not begun; the
    kill reason comes after END; an old END is taken for this run's; what has no link is filed by its old STATUS."""

    ROWS = [  # name, STATUS, log, link, queue, STATUS then, runs
        ("claimed", "", "", False, "done-q", "^done: exit 0 after", 1),
        ("claimed-again", WAS, EARLIER, False, "done-q", "^done: exit 0 after", 1),
        ("claimed-failed", "fail: killed by message", EARLIER, False, "done-q", "^done: exit 0 after", 1),
        ("outcome-fail", "fail: timed out after 5 s", START, True, "fail-q", "^fail: timed out after 5 s$", 0),
        ("outcome-done", "done: exit 0 after 2.0 s", START + END % 0, True, "done-q", "^done: exit 0 after 2.0 s$", 0),
        ("outcome-error", "error: exit 3 after 2.0 s", START + END % 3, True, "error-q", "^error: exit 3 after 2.0 s$", 0),
        ("old-outcome", WAS, EARLIER, True, "fail-q", "^fail: interrupted$", 0),
        ("old-done", "done: exit 0 after 2.0 s", EARLIER, True, "fail-q", "^fail: interrupted$", 0),
        ("ended", SINCE, START + END % 3, True, "error-q", r"^error: exit 3 after 2\.0 s", 0),
        ("ended-again", SINCE, EARLIER + START + END % 0, True, "done-q", r"^done: exit 0 after 2\.0 s", 0),
        ("ended-blank", "", START + END % 0, True, "done-q", r"^done: exit 0 after 2\.0 s", 0),
        ("old-end", SINCE, EARLIER, True, "fail-q", "^fail: interrupted$", 0),
        ("half-end", SINCE, START + (END % 0)[:-1], True, "fail-q", "^fail: interrupted$", 0),
        ("interrupted", SINCE, START, True, "fail-q", "^fail: interrupted$", 0),
        ("no-start", SINCE, "", True, "fail-q", "^fail: interrupted$", 0),
        ("link-only", "", "", True, "fail-q", "^fail: interrupted$", 0),
        ("status-only", SINCE, "", False, "fail-q", "^fail: interrupted$", 0),
        ("status-only-again", SINCE, EARLIER, False, "fail-q", "^fail: interrupted$", 0),
        ("reason", SINCE + ", timed out after 5 s", START, True, "fail-q", "^fail: timed out after 5 s$", 0),
        ("reason-end", SINCE + ", killed by message", START + END % 0, True, "fail-q", "^fail: killed by message$", 0),
        ("exit-code", SINCE, START + END % 4, True, "fail-q", r"^fail: exit 4 after 2\.0 s$", 0),
        ("signal", SINCE, START + END % 139, True, "fail-q", r"^fail: killed by SIGSEGV after 2\.0 s$", 0),
        ("fail-pattern", SINCE, START + "BROKEN\n" + END % 0, True, "fail-q", "^fail: exit 0 .*fail_pattern", 0),
        ("error-pattern", SINCE, START + "WRONG\n" + END % 0, True, "error-q", "^error: exit 0 .*error_pattern", 0),
        ("in-time", SINCE, START + END % 0, True, "done-q", r"^done: exit 0 after 2\.0 s$", 0),
        ("other-boot-ended", SINCE, START + END % 3, True, "error-q", r"^error: exit 3 after 2\.0 s$", 0),
        ("other-boot", SINCE, START, True, "fail-q", "^fail: interrupted$", 0),
    ] + [(name, SINCE, START, True, "fail-q", "^fail: interrupted$", 0) for name in ODD]

    def test_each_row_in_one_start(self):
        """A required name that came later changes nothing for what has begun, nor a limit for what has ended, nor a stray file in .run."""
        self.write(RUN + "/notes.txt", "mine\n")
        os.mkdir(self.path(RUN, "backup"))
        self.configure("fail_pattern :: BROKEN\nerror_pattern :: WRONG\nfail_exit_codes :: 4\nrequired_names :: COMMAND TICKET\n")
        for name, status, log, link, *_ in self.ROWS:
            header = {"TICKET": "1"} if "claimed" in name else {"TIMEOUT": "3s"} if name == "in-time" else {}
            self.put(name, status, log, link, boot="12345678" if "other-boot" in name else BOOT, **header)
        self.put("claimed-and-invalid", link=False)
        self.link("interrupted", mark_of(self.path(HAND, "interrupted")))        # a second one
        self.run_until_empty()
        self.assertEqual(self.where("claimed-and-invalid"), ["trash"])
        self.assertIn("the header ends without TICKET", self.says())
        for name, _, _, _, queue, status, runs in self.ROWS:
            with self.subTest(name):
                self.all_over(name, [queue], status, runs)
        self.assertEqual((self.links(), self.read(RUN, "notes.txt")), (["backup", "notes.txt"], "mine\n"))
        self.assertEqual(len([line for line in self.says().splitlines() if "notes.txt" in line]), 1, self.says())

    def test_the_link_gone_and_its_processes_alive_it_is_adopted_under_its_mark(self):
        """Red if what has begun and lost its link gets a new mark although its process lives."""
        mark = self.put("x", SINCE, START, link=False)
        process = self.marked(mark)
        self.started()
        self.waits_for("x")
        self.assertEqual(self.links(), [mark + ".x"])
        process.kill()
        self.ended("x")
        self.all_over("x", ["fail-q"], "^fail: interrupted$")

    def test_a_daemon_of_an_earlier_run_is_not_taken_for_the_new_one(self):
        """FAULTS 71. Red if a mark with an END line in the log counts."""
        daemon = self.marked(self.put("x", SINCE, START + END % 1, link=False))
        self.run_until_empty(seconds=20)
        self.all_over("x", ["fail-q"], "^fail: interrupted$")
        self.assertIsNone(daemon.poll())

    def test_dot_run_removed(self):
        """FAULTS 73. Red if .run is made again before what lies there is looked at."""
        rows = [("blank", "", ""), ("again", WAS, EARLIER), ("running", SINCE, START), ("ended", "done: exit 0 after 2.0 s", START + END % 0)]
        for name, status, log in rows:
            self.put(name, status, log, link=False)
        os.rmdir(self.path(RUN))
        self.drop("next", uow(self.once))
        self.run_until_empty()
        for name, *_ in rows:
            with self.subTest(name):
                self.all_over(name, FINISHED)
        self.all_over("next", ["done-q"], "^done", 1)

    def test_two_links_each_by_the_table_and_nothing_beside_what_is_alive(self):
        """Red if only one of the links is looked at."""
        process = self.marked(self.put("alive", SINCE, START))
        self.put("dead", SINCE, START)
        self.drop("next", uow(self.once))
        self.started()
        self.assertEqual(self.ended("dead"), "fail-q")
        self.waits_for("alive")
        self.stamped("next")
        self.cycles(2)
        self.assertEqual(self.where("next"), ["wait-q"])
        process.kill()
        self.assertEqual(self.ended("next"), "done-q")
        self.all_over("alive", ["fail-q"], "^fail: interrupted$")


class TestSomebodyMovedIt(BegunCase):
    def test_while_no_monitor_was_there(self):
        """Red if the link is not linked back, or if a second name is made although it is in a directory of the configuration."""
        outside = self.path("elsewhere")
        os.mkdir(outside)
        cases = [("to-wait", "wait-q", ["done-q"], 1), ("to-done", "done-q", ["done-q"], 0), ("to-error", "error-q", ["error-q"], 0),
                 ("to-trash", "trash", ["trash"], 0), ("out", "elsewhere", ["fail-q"], 0), ("to-archive", "archive", [], 0)]
        for name, place, *_ in cases:
            self.put(name, SINCE, START)
            os.rename(self.path(HAND, name), self.path(place, name))
        self.put("deleted", SINCE, START)
        os.unlink(self.path(HAND, "deleted"))
        self.run_until_empty()
        for name, _, where, runs in cases + [("deleted", "", ["fail-q"], 0)]:
            with self.subTest(name):
                self.assertEqual(self.where(name), where, self.output())
                self.assertEqual(self.ledger().count(name), runs)
        self.assertIn("output\n", self.read(self.where("deleted")[0], "deleted"))
        self.assertTrue(os.path.exists(self.path("archive", "to-archive")))
        self.assertEqual(self.links(), [])

    def test_to_wait_q_while_it_runs(self):
        """FAULTS 72. Red if a waiting file with a second link is started or sent to trash."""
        for killed in (False, True):
            with self.case(killed):
                monitor = self.hold()
                os.rename(self.path(HAND, "x"), self.path("wait-q", "x"))
                if killed:
                    self.kill9(monitor)
                    monitor = self.started()
                self.drop("later", "is not a valid UOW\n", settled=False)
                self.there("trash", "later")             # so the quiet time of x is over, too
                self.assertEqual((self.where("x"), self.ledger()), (["wait-q"], ["x"]), self.output())
                self.write("go", "")
                until(lambda: self.ledger() == ["x", "x"] and self.where("x") == ["done-q"], self.output)
                self.assertEqual(self.read("done-q", "x").count("==== JOB END"), 2)
                self.stop(monitor)
                self.all_over("x", ["done-q"], "^done", 2)

    def test_by_its_own_job(self):
        """FAULTS 30. Where it moved itself to it stays, with its outcome; what it deleted is filed all the same."""
        cases = [('mv "$SJQ_FILE" done-q/', "done-q"), ('mv "$SJQ_FILE" error-q/', "error-q"), ('rm "$SJQ_FILE"', "done-q"),
                 ('mv "$SJQ_FILE" .hidden', "done-q"), ('sed -i s/x/x/ "$SJQ_FILE"', "done-q")]
        for command, queue in cases:
            for killed in in_ci(True, False):
                with self.case(command, killed):
                    monitor = self.hold(before=command)
                    if killed:
                        self.kill9(monitor)
                        monitor = self.started()
                    self.write("go", "")
                    until(lambda: queue in self.where("x") and self.status("x").startswith("done: exit 0") and not self.links(), self.output)
                    self.stop(monitor)
                    # What sed has left in its place: trash, or where STATUS says running and no Monitor knew better, fail-q.
                    copies = ["trash", "fail-q"] if "sed" in command else []
                    self.assertEqual([place for place in self.where("x") if place not in copies], [queue])
                    self.assertIn("before\nafter\n\n==== JOB END", self.read(queue, "x"))
                    self.assertEqual(self.ledger(), ["x"])

    def test_a_file_that_appears_in_hand_is_said_and_left_until_the_next_start(self):
        """Red if a running Monitor runs what it did not claim."""
        monitor = self.started()
        self.asleep(monitor)
        self.put("appeared", link=False)
        self.said("appeared")
        self.cycles(2)
        self.assertEqual((self.where("appeared"), self.ledger()), ([HAND], []))
        self.stop(monitor)
        self.run_until_empty()
        self.all_over("appeared", ["done-q"], "^done", 1)


class TestSavedOver(BegunCase):
    """FAULTS 54 and 73: an editor writes a UOW anew while it runs. Red if the visible name is filed whatever its inode is."""

    def check_saved_over(self, save, killed):
        texts = []
        monitor = self.hold(text=lambda text: texts.append(stamped_uow(text)) or texts[0])
        save(self.path(HAND, "x"), texts[0])
        if killed:
            self.kill9(monitor)
            monitor = self.started()
        self.cycles(2)
        self.write("go", "")
        self.ended("x")
        self.drop("next", uow(self.once))
        self.assertEqual(self.ended("next"), "done-q")
        self.assertEqual(self.stop(monitor), 0)
        self.run_until_empty()
        self.assertEqual(self.ledger(), ["x", "next"], self.output())
        self.assertEqual((self.links(), self.in_hand()), ([], []))

    def by_rename(self, path, text):
        os.rename(self.write(path + ".tmp", text), path)

    def with_backup(self, path, text):
        """Save as an editor does that keeps what was there under NAME~: the inode that runs."""
        os.rename(path, path + "~")
        self.write(path, text)

    def test_while_it_runs(self):
        """By rename the log is that of the run, and the copy goes to trash; in place it is filed once."""
        for killed in in_ci(True, False):
            with self.case("in place", killed):
                self.check_saved_over(self.write, killed)
                self.assertIn(self.where("x"), [[queue] for queue in FINISHED])
            for how in (self.by_rename, self.with_backup):
                for same in (False, True):
                    with self.case(how.__name__, killed, same):
                        self.check_saved_over(lambda path, text: how(path, read_text(path) if same else text), killed)
                        self.assertEqual(self.where("x"), ["done-q", "trash"], self.output())
                        self.assertEqual(self.log("x"), b"before\nafter\n")

    def test_a_copy_by_another_editor_while_no_monitor_was_there(self):
        """The name belongs to a link of another inode: it is never `not begun`."""
        self.put("x", SINCE, START + END % 0)
        self.with_backup(self.path(HAND, "x"), stamped_uow(uow(self.once)))
        self.run_until_empty()
        self.assertEqual((self.where("x"), self.status("x").split(" after")[0], self.ledger()), (["done-q", "trash"], "done: exit 0", []))
        self.assertEqual((self.links(), self.in_hand()), ([], []))


class TestOddNames(BegunCase):
    """Red if a link's name is not cut to 255 bytes, or compared otherwise than it was cut."""

    def test_launched_killed_adopted_filed(self):
        for name in ODD:
            with self.case(name):
                monitor = self.started()
                self.drop(name, uow("echo ran >> ledger; %s; echo after" % HOLD))
                self.running(name)
                until(self.ledger, self.output)
                self.assertEqual(len(self.links()), 1)
                self.kill9(monitor)
                monitor = self.started()
                self.cycles(1)
                self.write("go", "")
                self.assertEqual(self.ended(name), "done-q")
                self.assertEqual((self.log(name), self.ledger()), (b"after\n", ["ran"]))
                self.assertEqual(self.stop(monitor), 0)
                self.assertEqual(self.links(), [])


class TestCopiedAndRestored(BegunCase):
    def copy(self, how, to):
        self.addCleanup(shutil.rmtree, to, ignore_errors=True)
        subprocess.run("mkdir %s && %s %s/" % (to, how, to), shell=True, check=True, cwd=self.root)

    def test_a_copy_of_the_root_never_touches_the_jobs_of_the_original(self):
        """FAULTS 51. Red if a process counts by its mark alone, without device and inode."""
        for how in in_ci("cp -a .", "cp -r ."):
            with self.case(how):
                name, monitor, other = "x", self.hold(), self.root + ".copy"
                self.copy(how, other)
                with open(other + "/monitor_reads", "a") as file:
                    file.write("KILL JOB\n")
                copied = subprocess.run(monitor.args[:-1] + [other + "/config.txt", "--until-empty"], stdin=subprocess.DEVNULL,
                                        capture_output=True, text=True, timeout=60, cwd="/")
                self.assertEqual(copied.returncode, 0, copied.stdout + copied.stderr)
                with open(os.path.join(other, "fail-q", name)) as file:
                    self.assertIn("\nfail: interrupted", file.read())
                self.assertEqual(read_text(other + "/ledger").split().count(name), 1)
                self.write("go", "")
                self.assertEqual(self.ended(name), "done-q", self.output())
                self.assertEqual(self.log(name), b"before\nafter\n")
                self.assertEqual(self.stop(monitor), 0)

    def test_a_backup_restored_over_the_root_runs_nothing_twice(self):
        """FAULTS 55. Red if what has STATUS running and no link, or a link and no visible name, counts as not begun."""
        for how, what in in_ci(("cp -a", "."), ("cp -a --no-preserve=links", "."), ("cp -a", HAND), ("cp -a", HAND + "/x"), ("cp -a", RUN), plain=2):
            for live in in_ci(True, False):
                with self.case(how, what, live):
                    monitor, backup = self.hold(), self.root + ".backup"
                    self.copy(how + " .", backup)
                    self.write("go", "")
                    self.ended("x")
                    if not live:
                        self.stop(monitor)
                    subprocess.run([*how.split(), "-T", os.path.join(backup, what), self.path(what)],
                                   stderr=subprocess.DEVNULL)           # it may meet what the Monitor moves
                    if live:
                        self.cycles(2)
                        self.stop(monitor)
                    self.run_until_empty()
                    self.assertEqual(self.ledger(), ["x"], self.output())
                    self.assertEqual((self.links(), self.in_hand()), ([], []))
                    self.assertIn("x", os.listdir(self.path("done-q")))


class TestTheEnd(BegunCase):
    def test_a_job_that_prints_an_end_line_of_its_own_run_is_over_when_it_is_over(self):
        """FAULTS 65. Red if an END line counts while the keeper lives, or if the first one counts."""
        end = r'printf "\n==== JOB END 2026-01-02T03:05:02.000000Z run $SJQ_RUN exit 0\n"; touch printed; %s; echo more; exit 3' % HOLD
        for killed in (False, True):
            with self.case(killed):
                monitor = self.started()
                self.drop("liar", uow(end))
                self.there("printed")
                if killed:
                    self.kill9(monitor)
                    monitor = self.started()
                self.cycles(2)
                self.assertEqual(self.where("liar"), [HAND])
                self.write("go", "")
                self.assertEqual((self.ended("liar"), self.status("liar").split(" after")[0]), ("error-q", "error: exit 3"))
                self.assertIn("\nmore\n", self.read("error-q", "liar"))
                self.stop(monitor)

    def test_as_pid_1_it_reaps_and_a_restart_of_the_container_ends_in_interrupted(self):
        """FAULTS 56. Red if children that are not its own are never waited for."""
        need_root()
        need("unshare")
        self.configure("sleep_seconds :: 0.5\n")         # so soon it looks for orphans
        prefix = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
        container = self.started(prefix=prefix)
        pid, = children_of(container.pid)
        self.drop("one", uow("for i in 1 2 3; do (setsid sleep 0.1 &); done; echo one >> ledger"))
        self.assertEqual(self.ended("one"), "done-q")
        until(lambda: not children_of(pid), lambda: "the orphans: %s" % children_of(pid), 10)
        self.drop("two", uow("echo two >> ledger; exec sleep 600"))
        until(lambda: "two" in self.ledger(), self.output)
        self.kill9(container)
        until(lambda: not processes_with(self.root), "the container is gone")
        self.run_until_empty(prefix=prefix)
        self.all_over("two", ["fail-q"], "^fail: interrupted$", 1)


@heavy
class TestKilledBetweenSteps(BegunCase):
    """SIGKILL at every call by which the Monitor changes the disk or starts a program; then a person acts, and it starts again.

    Red if two steps of launch or filing are swapped (see test_model), for example the link after the start."""

    config = "durable :: yes\nsettle_seconds :: 0\n"
    CALLS = ["linkat", "link", "unlink", "unlinkat", "pwrite64", "fsync", "fdatasync", "vfork,clone,clone3", "rename,renameat2"]

    def away(self):
        if os.path.exists(self.path(HAND, "x")):
            os.rename(self.path(HAND, "x"), self.path("wait-q", "x"))

    def forget(self):
        shutil.rmtree(self.path(RUN), ignore_errors=True)

    def saved(self):
        """What an editor writes that was opened before the UOW was taken."""
        if os.path.exists(self.path(HAND, "x")):
            os.rename(self.write(HAND + "/x~", uow(self.once)), self.path(HAND, "x"))

    def check_sweep(self, text, act=lambda: None, runs=1):
        points = 0
        for calls in self.CALLS:
            for number in range(1, 60):
                for queue in FINISHED + ["trash"]:
                    for name in os.listdir(self.path(queue)):
                        os.unlink(self.path(queue, name))
                self.write("ledger", "")
                self.drop("x", text)
                killed = self.start("--until-empty", prefix=("strace", "-qq", "-o", "/dev/null", "-e", "trace=" + calls,
                                                             "-e", "inject=%s:signal=KILL:when=%d" % (calls, number)))
                code = killed.wait(30)
                until(lambda: not processes_with(self.root), "the job and the Monitor are gone")
                if code == 0:
                    break
                points += 1
                act()
                self.run_until_empty()
                with self.subTest("%s %d" % (calls, number)):
                    where, ran = [queue for queue in self.where("x") if queue != "trash"], self.ledger().count("x")
                    self.assertEqual((len(where), self.links(), os.path.exists(self.path(HAND, "x"))), (1, [], False), self.where("x"))
                    self.assertLessEqual(ran, runs)
                    self.assertIn(where[0], ["done-q", "fail-q"], "never under its old outcome: " + self.status("x"))
                    if where == ["done-q"]:
                        self.assertGreaterEqual(ran, 1)
                    else:
                        self.assertEqual(self.status("x"), "fail: interrupted")
        self.assertGreater(points, 20)
        print("killed between steps: %d points swept" % points, file=sys.stderr)

    def test_a_first_run(self):
        self.check_sweep(uow(self.once))

    def test_a_rerun_is_never_filed_under_its_old_outcome_also_where_a_person_removes_dot_run(self):
        """FAULTS 64."""
        for act in (lambda: None, self.forget):
            self.check_sweep(stamped_uow(uow(self.once), WAS, EARLIER), act)

    def test_a_first_run_and_a_person_who_moves_it_to_wait_q(self):
        self.check_sweep(uow(self.once), self.away, 2)

    def test_a_first_run_and_an_editor(self):
        self.check_sweep(uow(self.once), self.saved)
