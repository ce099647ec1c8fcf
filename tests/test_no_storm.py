"""No storm and no busy waiting: what does not concern the Monitor costs it next to nothing."""
import os
import re
import shutil
import statistics
import tempfile
import time

from tests.helpers import HOLD, QueueCase, Writer, heavy, is_still, need, read_text, sleeps_of, until, uow


class TestStorm(QueueCase):
    config = "sleep_seconds :: 60\nsettle_seconds :: 1\n"
    PER_SECOND = 11             # ten, and a margin

    def setUp(self):
        super().setUp()
        self.monitor = self.started()
        self.asleep(self.monitor)

    def wakes_in(self, seconds):
        before, began = sleeps_of(self.monitor.pid), time.monotonic()
        time.sleep(seconds)                                  # the time that is measured
        return (sleeps_of(self.monitor.pid) - before) / (time.monotonic() - began)

    def append_to(self, *parts):
        path = self.path(*parts)

        def write(_):
            with open(path, "a") as file:
                file.write("a line\n")
        return write

    def assert_no_storm(self, write, every=0.0, most=PER_SECOND):
        """Write again and again: that wakes the Monitor so many times a second at most, after the first burst."""
        with Writer(write, every) as writer:
            time.sleep(1.5)
            written = writer.count
            self.assertLessEqual(self.wakes_in(3), most)
            self.assertGreater(writer.count - written, 34, "the writer was too slow to prove anything")

    def test_a_file_that_grows_in_the_root(self):
        """A job that writes there all day wakes nobody."""
        self.assert_no_storm(self.append_to("some.log"), most=1)

    @heavy
    def test_a_file_that_grows_in_wait_q(self):
        self.assert_no_storm(self.append_to("wait-q", "growing"))
        self.assertEqual(self.where("growing"), ["wait-q"])

    @heavy
    def test_a_file_that_grows_in_currently_executing(self):
        self.assert_no_storm(self.append_to("currently-executing", ".growing"))

    @heavy
    def test_a_message_file_to_which_nonsense_is_appended_without_end(self):
        self.assert_no_storm(self.append_to("monitor_reads"), most=10 * self.PER_SECOND)     # each is said: that blocks

    @heavy
    def test_a_hidden_file_that_comes_and_goes_in_wait_q(self):
        def flicker(_):
            os.close(os.open(self.path("wait-q", ".x"), os.O_CREAT | os.O_WRONLY))
            os.unlink(self.path("wait-q", ".x"))
        for every in (0, 0.05):
            with self.subTest(every=every):
                self.assert_no_storm(flicker, every, most=16 if every else self.PER_SECOND)

    @heavy
    def test_a_file_that_is_replaced_again_and_again_in_wait_q(self):
        """As an editor saves: a new file is renamed over the old one, never old enough to be taken."""
        def replace(number):
            self.write(".staging/one", "number %d\n" % number)
            os.rename(self.path(".staging/one"), self.path("wait-q", "one"))
        for every in (0, 0.05, 0.07):              # also so slowly that the directory keeps still at times
            with self.subTest(every=every):
                self.assert_no_storm(replace, every, most=16 if every else self.PER_SECOND)    # and timers of its own
                self.asleep(self.monitor)

    def test_a_drop_and_a_message_are_seen_in_the_middle_of_a_storm(self):
        for place in ("", "wait-q"):                         # a dot name there: the recommended drop must not be deaf
            with self.subTest(place=place), Writer(self.append_to(place, ".log")):
                time.sleep(1)                                # the burst is used up
                before, began = self.says().count("counts: "), time.monotonic()
                self.drop("job" + place, uow("true"))
                self.message("STATUS")
                self.ended("job" + place, 10)
                self.said("counts: ", 10, before + 1)
                self.assertLess(time.monotonic() - began, 3)     # and not after sleep_seconds

    @heavy
    def test_a_message_file_that_its_writer_keeps_open_is_looked_at_less_and_less_and_heard_all_the_same(self):
        path = self.path("monitor_reads")
        with open(path, "a", buffering=1) as writer:
            writer.write("HELP\n")
            self.said("message HELP")
            self.assertLessEqual(self.wakes_in(6), 7.5)      # of ten, were it as often as at first
            os.utime(path, (1, 1))                           # silent for years: from here on sleep_seconds is the limit
            self.asleep(self.monitor)
            self.assertLessEqual(self.wakes_in(1), 1)
            writer.write("STATUS\n")
            self.said("counts: ", 10)                        # and not after sleep_seconds

    def test_jobs_dropped_one_after_another_are_not_taken_for_a_storm(self):
        """Each drop follows the end of the job before it: thirty of them are seen at once, not two a second."""
        staged = [self.write(".staging/job%02d" % i, uow("true")) for i in range(30)]
        for path in staged:
            os.utime(path, (1, 1))
        waits = []
        for i, path in enumerate(staged):
            began = time.monotonic()
            os.rename(path, self.path("wait-q", "job%02d" % i))
            until(lambda: os.path.exists(self.path("done-q", "job%02d" % i)), self.output, step=0.001)
            waits.append(time.monotonic() - began)
        self.assertLess(statistics.median(waits), max(0.2, 3 * statistics.median(waits[:3])), waits)


class TestIdle(QueueCase):
    config = "sleep_seconds :: 60\n"
    finished = 3000

    @heavy
    def test_no_system_call_while_nothing_happens(self):
        need("strace")
        for i in range(self.finished):
            self.write("done-q/old%05d" % i, "whatever\n")
        place = tempfile.mkdtemp(prefix="sjq-trace-")
        self.addCleanup(shutil.rmtree, place)
        trace = os.path.join(place, "trace")
        monitor = self.start(prefix=("strace", "-f", "-o", trace))
        until(lambda: " started: pid " in self.output(), self.output)
        self.drop("job", uow("true"))
        self.ended("job")

        def is_silent():
            size = os.path.getsize(trace)
            time.sleep(0.5)
            return os.path.getsize(trace) == size
        until(is_silent, "the Monitor sleeps")
        size = os.path.getsize(trace)
        time.sleep(2)                                        # the time in which nothing may happen
        with open(trace) as file:
            file.seek(size)
            self.assertEqual(file.read(), "")
        self.message("SHUTDOWN")
        self.assertEqual(monitor.wait(30), 0)

    @heavy
    def test_a_wake_with_many_finished_uows_is_cheap(self):
        for i in range(self.finished):
            self.write("done-q/old%05d" % i, "whatever\n")
        monitor = self.started()
        self.asleep(monitor)

        def used():
            return int(read_text("/proc/%d/schedstat" % monitor.pid).split()[0]) / 1e9
        before = used()
        for i in range(10):
            slept = sleeps_of(monitor.pid)
            self.write("wait-q/poke%d.tmp" % i, "")
            until(lambda: sleeps_of(monitor.pid) > slept, "a wake")
            self.asleep(monitor)
        self.assertLess((used() - before) / 10, 0.005)


@heavy
class TestBetweenJobs(QueueCase):
    config = "sleep_seconds :: 60\n"

    def test_what_waits_behind_a_stamped_uow_is_stamped_while_paused_without_a_hot_loop(self):
        monitor = self.started()
        self.drop("first", uow(HOLD))
        self.running("first")
        self.message("PAUSE")
        self.said("paused: ")
        self.write("go", "")
        self.ended("first")
        for name in ("second", "third"):
            self.drop(name, uow("true"))
            self.stamped(name)
        until(lambda: is_still(monitor.pid), self.output)

    def test_a_refusal_that_lasts_is_said_once_while_others_settle(self):
        self.configure("ready_command :: false\nsleep_seconds :: 0.3\nsettle_seconds :: 0.4\n")
        self.started()
        self.drop("waits", uow("true"))
        self.said("ready_command refuses")
        for number in range(3):
            self.drop("later-%d" % number, uow("true"), "priority-q", settled=False)
            self.stamped("later-%d" % number, "priority-q")
        self.assertEqual((len(re.findall("Z waiting: ready_command refuses", self.says())),
                          self.says().count("nothing waits any more")), (1, 0), self.says())


class TestNoPidfd(QueueCase):
    def test_a_job_whose_pidfds_could_not_be_had_runs_once_and_is_filed(self):
        self.configure("sleep_seconds :: 1\nstatus_dir ::\n")
        self.traced(self.started(), "-e", "inject=pidfd_open:error=EMFILE")
        self.drop("one", uow("echo ran >> ledger"))
        self.assertEqual((self.ended("one"), self.ledger()), ("done-q", ["ran"]))
