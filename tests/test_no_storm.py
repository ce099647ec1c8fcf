"""No storm and no busy waiting: what does not concern the Monitor costs it next to nothing. More of it in test_order."""
import os
import statistics
import time

from tests.helpers import QueueCase, Writer, heavy, read_text, sleeps_of, until, uow


class TestStorm(QueueCase):
    config = "sleep_seconds :: 60\nsettle_seconds :: 1\n"
    PER_SECOND = 11             # ten, and a margin

    def setUp(self):
        super().setUp()
        self.monitor = self.started()
        self.asleep(self.monitor)

    def wakes_in(self, seconds, enough=lambda: True):
        before, began = sleeps_of(self.monitor.pid), time.monotonic()
        time.sleep(seconds)                                  # the time that is measured
        until(enough, "the writer was too slow to prove anything")
        return (sleeps_of(self.monitor.pid) - before) / (time.monotonic() - began)

    def assert_no_storm(self, write, every=0.0, most=PER_SECOND):
        """Write again and again: that wakes the Monitor so many times a second at most, after the first burst."""
        with Writer(write, every) as writer:
            time.sleep(1.5)
            written = writer.count
            self.assertLessEqual(self.wakes_in(3, lambda: writer.count - written > 34), most)

    @heavy
    def test_a_message_file_to_which_nonsense_is_appended_without_end(self):
        self.assert_no_storm(lambda _: self.message("a line"), most=10 * self.PER_SECOND)     # each is said: that blocks

    @heavy
    def test_a_file_in_wait_q_that_is_hidden_and_comes_and_goes_or_is_replaced_again_and_again(self):
        """Replaced as an editor saves: a new file is renamed over the old one, never old enough to be taken."""
        def flicker(_):
            self.write("wait-q/.x", "")
            os.unlink(self.path("wait-q", ".x"))

        def replace(number):
            self.write(".staging/one", "number %d\n" % number)
            os.rename(self.path(".staging/one"), self.path("wait-q", "one"))
        for write, every in ((flicker, 0), (flicker, 0.05), (replace, 0), (replace, 0.05)):      # also so slowly that it keeps still
            with self.subTest(write.__name__, every=every):
                self.assert_no_storm(write, every, most=16 if every else self.PER_SECOND)        # and timers of its own
                self.asleep(self.monitor)

    @heavy
    def test_a_message_file_that_its_writer_keeps_open_is_looked_at_less_and_less_and_heard_all_the_same(self):
        path = self.path("monitor_reads")
        with open(path, "a", buffering=1) as writer:
            writer.write("HELP\n")
            self.said("message HELP")
            self.assertLessEqual(self.wakes_in(6), 7.5)      # of ten, were it as often as at first
            self.assertLessEqual(self.wakes_in(4), 3)            # it was silent for longer
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

    @heavy
    def test_a_wake_with_many_finished_uows_is_cheap(self):
        for i in range(3000):
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


class TestNoPidfd(QueueCase):
    def test_a_job_whose_pidfds_could_not_be_had_runs_once_and_is_filed(self):
        self.configure("sleep_seconds :: 1\nstatus_dir ::\n")
        self.traced(self.started(), "-e", "inject=pidfd_open:error=EMFILE")
        self.drop("one", uow("echo ran >> ledger"))
        self.assertEqual((self.ended("one"), self.ledger()), ("done-q", ["ran"]))
