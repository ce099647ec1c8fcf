"""No storm and no busy waiting: what does not concern the Monitor costs it next to nothing."""
import os
import shutil
import statistics
import tempfile
import time

from tests.helpers import HOLD, QueueCase, Writer, heavy, need, read_text, sleeps_of, until, uow


class TestStorm(QueueCase):
    config = "sleep_seconds :: 60\nsettle_seconds :: 1\n"
    PER_SECOND = 9              # "some ten", and a margin

    def setUp(self):
        super().setUp()
        self.monitor = self.started()
        self.asleep(self.monitor)

    def wakes_while(self, write, every, seconds=3.0):
        """Return the wakes and the writes a second, once the first burst is over. A wake is what each call of poll ends in."""
        with Writer(write, every) as writer:
            time.sleep(1.5)
            polls_in = self.counted()
            written, began = writer.count, time.monotonic()
            polls = polls_in(seconds)
            took, written = time.monotonic() - began, writer.count - written
        return polls / took, written / took

    def counted(self):
        """Attach a trace to the Monitor, and return what counts its calls of poll from here on, in so many seconds."""
        place = tempfile.mkdtemp(prefix="sjq-trace-")
        self.addCleanup(shutil.rmtree, place)
        trace = os.path.join(place, "trace")
        detach = self.traced(self.monitor, "-e", "trace=/^p?poll", trace=trace)

        def polls_in(seconds):
            time.sleep(seconds)
            detach()
            # One that a signal interrupts is called again at once; that is one wake.
            return len([line for line in read_text(trace).splitlines() if "poll(" in line and "ERESTART" not in line])
        return polls_in

    def append_to(self, *parts):
        path = self.path(*parts)

        def write(_):
            with open(path, "a") as file:
                file.write("a line\n")
        return write

    def assert_no_storm(self, write, every=0.0):
        wakes, writes = self.wakes_while(write, every)
        enough = self.PER_SECOND * (1 if every else 5)
        self.assertGreater(writes, enough, "the writer was too slow to prove anything")
        self.assertLessEqual(wakes, self.PER_SECOND)

    def test_a_file_that_grows_in_the_root(self):
        self.assert_no_storm(self.append_to("some.log"))

    @heavy
    def test_a_file_that_grows_in_wait_q(self):
        self.assert_no_storm(self.append_to("wait-q", "growing"))
        self.assertEqual(self.where("growing"), ["wait-q"])

    @heavy
    def test_a_file_that_grows_in_currently_executing(self):
        self.assert_no_storm(self.append_to("currently-executing", ".growing"))

    @heavy
    def test_a_hidden_file_that_comes_and_goes_in_wait_q(self):
        def flicker(_):
            os.close(os.open(self.path("wait-q", ".x"), os.O_CREAT | os.O_WRONLY))
            os.unlink(self.path("wait-q", ".x"))
        self.assert_no_storm(flicker)

    @heavy
    def test_a_file_that_is_replaced_again_and_again_in_wait_q(self):
        """As an editor saves: a new file is renamed over the old one, never old enough to be taken."""
        def replace(number):
            self.write(".staging/one", "number %d\n" % number)
            os.rename(self.path(".staging/one"), self.path("wait-q", "one"))
        for every in (0, 0.05, 0.07):              # also so slowly that the directory keeps still for a listing at times
            with self.subTest(every=every):
                self.assert_no_storm(replace, every)
                self.asleep(self.monitor)

    def test_a_drop_and_a_message_are_seen_in_the_middle_of_a_storm(self):
        with Writer(self.append_to("some.log")):
            time.sleep(1)
            began = time.monotonic()
            self.drop("job", uow("true"))
            self.message("STATUS")
            self.ended("job", 10)
            self.said("counts: ", 10)
            self.assertLess(time.monotonic() - began, 10)     # and not after sleep_seconds

    @heavy
    def test_a_message_file_that_its_writer_keeps_open_is_looked_at_less_and_less_and_heard_all_the_same(self):
        path = self.path("monitor_reads")
        polls_in = self.counted()
        with open(path, "a", buffering=1) as writer:
            writer.write("HELP\n")
            self.said("message HELP")
            self.assertLessEqual(polls_in(6), 45)            # of sixty, were it as often as at first
            os.utime(path, (1, 1))                           # silent for years: from here on sleep_seconds is the limit
            self.asleep(self.monitor)
            before = sleeps_of(self.monitor.pid)
            time.sleep(1)
            self.assertLessEqual(sleeps_of(self.monitor.pid) - before, 1)
            writer.write("STATUS\n")
            self.said("counts: ", 10)                        # and not after sleep_seconds

    @heavy
    def test_a_drop_after_a_storm_is_seen_at_once(self):
        self.wakes_while(self.append_to("some.log"), 0.5)
        self.asleep(self.monitor)
        self.drop("job", uow("true"))
        self.ended("job", 10)

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
        place = tempfile.mkdtemp(prefix="sjq-trace-")         # not in the root: a trace that grows there is an event there
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
            with open("/proc/%d/schedstat" % monitor.pid) as file:
                return int(file.read().split()[0]) / 1e9
        before = used()
        for i in range(10):
            slept = sleeps_of(monitor.pid)
            os.mkdir(self.path("wait-q", ".poke%d" % i))
            until(lambda: sleeps_of(monitor.pid) > slept, "a wake")
            self.asleep(monitor)
        self.assertLess((used() - before) / 10, 0.02)


@heavy
class TestNoPidfd(QueueCase):
    def test_a_job_whose_pidfds_could_not_be_had_at_its_start_is_watched_when_they_can(self):
        need("strace")
        self.configure("sleep_seconds :: 60\nstatus_dir ::\n")
        process = self.started()
        detach = self.traced(process, "-e", "inject=pidfd_open:error=EMFILE")
        self.drop("one", uow(HOLD))
        self.begun("one")
        detach()
        until(lambda: any("pidfd" in os.readlink("/proc/%d/fd/%s" % (process.pid, fd)) for fd in os.listdir("/proc/%d/fd" % process.pid)),
              "a pidfd of its own")
        self.write("go", "")
        self.assertEqual(self.ended("one"), "done-q")
