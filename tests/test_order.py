"""In which order UOWs start, and how soon one is seen, in whatever storm."""
import os
import re
import tempfile
import time

from tests.helpers import QueueCase, Writer, heavy, in_ci, need, read_text, sleeps_of, stamped_uow, until, uow

RAN = "echo $SJQ_NAME >> ledger"


def stamped_at(second, text=uow(RAN)):
    """Return a stamped UOW of this second after an hour long ago."""
    return stamped_uow(text).replace("03:04:05.000000Z", "%02d:%02d:%02d.000000Z" % (second // 3600, second // 60 % 60, second % 60), 1)


class TestOrder(QueueCase):
    def check_thousands(self, count, ran):
        """Stamp so many that the oldest are last in the listing; let `ran` of them run; return when each started."""
        for number in range(count):
            self.write("wait-q/job%05d" % number, stamped_at(80000))
        listed = os.listdir(self.path("wait-q"))
        for number, name in enumerate(listed[-ran:]):
            os.utime(self.write("wait-q/" + name, stamped_at(ran - number)), (1, 1))
        monitor = self.started()
        until(lambda: len(os.listdir(self.path("done-q"))) >= ran, self.output, 600)
        self.stop(monitor)
        self.assertEqual(self.ledger()[:ran], listed[::-1][:ran])

    def test_of_thousands_the_oldest_starts_first_though_it_is_the_last_in_the_listing(self):
        """FAULTS 52. Red if something starts before all that waits has been looked at. In a plain run 2,000 do."""
        self.check_thousands(in_ci(2000, 6000)[-1], 30)

    @heavy
    def test_the_hundredth_job_is_as_fast_as_the_thousandth(self):
        self.check_thousands(6000, 1000)
        began = [re.search(r"JOB START \S+T(\d+):(\d+):(\S+)Z", self.read("done-q", name)).groups() for name in self.ledger()[:1000]]
        seconds = [int(hour) * 3600 + int(minute) * 60 + float(second) for hour, minute, second in began]
        self.assertLess(seconds[200] - seconds[0], 3 * (seconds[999] - seconds[799]))

    def test_stamped_and_unstamped_in_one_order(self):
        """Red if reruns or stamped ones wait for the others' stamps, or if ties are not by name."""
        wanted = []
        for number in (5, 3, 8, 1):
            self.drop("old%d" % number, stamped_at(number))
        self.drop("old6", stamped_at(6).replace("==== STATUS\n" + " " * 26, "==== STATUS\nerror: exit 1 after 2.0 s "))      # a rerun
        for name in ("tie-b", "tie-a", "tie-c"):
            self.drop(name, stamped_at(9))
        wanted += ["old1", "old3", "old5", "old6", "old8", "tie-a", "tie-b", "tie-c"]
        for number in (4, 2, 7, 1, 9, 3):                # in the order in which they are dropped
            self.drop("new%d" % number, uow(RAN))
            wanted.append("new%d" % number)
            time.sleep(0.02)                             # a tick of the file system's clock
        self.drop("future", stamped_at(10).replace("2026-", "2126-"))
        self.drop("first-b", uow(RAN), "priority-q")
        self.drop("first-a", stamped_at(10), "priority-q")
        self.run_until_empty()
        self.assertEqual(self.ledger(), ["first-a", "first-b"] + wanted + ["future"])

    def test_a_file_to_which_a_script_appends_line_by_line_is_waited_for_and_holds_up_no_other(self):
        self.configure("settle_seconds :: 3\n")
        paths = [self.drop("slow", uow(RAN), settled=False), self.drop("bad", "==== UNIT OF WORK\n", settled=False)]

        def append(number):
            for path in paths:
                with open(path, "a") as file:
                    file.write("A%d :: x\n" % number)
        with Writer(append, every=0.1) as writer:
            self.started()
            for number in range(3):
                self.drop("quick%d" % number, uow(RAN))
                self.assertEqual(self.ended("quick%d" % number), "done-q")
            until(lambda: writer.count > 35, "it has lasted longer than the quiet time")
            self.assertEqual((self.where("slow"), self.where("bad")), (["wait-q"], ["wait-q"]))
        self.there("trash", "bad")
        self.assertEqual((self.ended("slow"), self.text("slow").count(" :: x\n")), ("done-q", writer.count))

    @heavy
    def test_status_tells_how_much_is_checked_and_is_answered_meanwhile(self):
        """Each look at a file takes a millisecond. Red if messages wait for the judging of all."""
        need("strace")
        for number in range(3000):
            os.utime(self.write("wait-q/job%04d" % number, stamped_at(number)), (1, 1))
        self.started(prefix=("strace", "-qq", "-o", "/dev/null", "-e", "trace=openat", "-e", "inject=openat:delay_enter=1000"))
        self.message("STATUS")
        until(lambda: re.search(r"\b\d+ of 3000 checked", self.says()), self.output)
        self.assertNotIn(" started job", self.says().partition(" of 3000 checked")[0])


class TestStorms(QueueCase):
    """FAULTS 50 and 58. Red if other files in a watched directory wake the Monitor without a limit, or make it deaf."""

    config = "sleep_seconds :: 60\nsettle_seconds :: 0.05\n"

    def test_a_drop_is_seen_within_a_second_while_a_job_writes_thousands_of_files(self):
        for count, place in enumerate(in_ci(".", "wait-q", "currently-executing"), 1):
            with self.subTest(place):
                storm = "i=0; until [ -e go ]; do i=$((i+1)); echo x > %s/.junk.$((i%%5000)); echo $i > count; done" % place
                monitor = self.started()
                self.drop("storm", uow(storm))
                until(lambda: os.path.exists(self.path(place, ".junk.1000")), self.output)
                seconds = []
                for number in range(8):
                    began = time.monotonic()
                    self.drop("drop%d" % number, uow("true"))
                    self.stamped("drop%d" % number)
                    seconds.append(time.monotonic() - began)
                self.assertLess(sorted(seconds)[4], 1, seconds)
                self.message("STATUS")
                self.said("counts: ", seconds=10, count=count)       # and not after sleep_seconds
                self.write("go", "")
                for name in ["storm"] + ["drop%d" % number for number in range(8)]:
                    self.assertEqual(self.ended(name), "done-q")
                    os.unlink(self.path("done-q", name))
                self.stop(monitor)
                os.unlink(self.path("go"))

    def test_any_storm_wakes_it_at_most_ten_times_a_second(self):
        """Files that are written, made and renamed; a growing log. In the root they wake nobody."""
        for place in in_ci("wait-q", ".", "currently-executing"):
            def write(number):
                path = self.path(place, ".log" if number % 2 else ".junk.%d" % (number % 300))
                with open(path, "a") as file:
                    file.write("x\n")
                if number % 20 == 0:
                    os.rename(path, path + ".old")
            with self.subTest(place):
                monitor = self.started()
                self.asleep(monitor)
                with Writer(write):
                    slept, began = sleeps_of(monitor.pid), time.monotonic()
                    time.sleep(2)                        # so long the storm lasts
                    slept, lasted = sleeps_of(monitor.pid) - slept, time.monotonic() - began
                self.stop(monitor)
                self.assertLess(slept, 5 if place == "." else 5 + 12 * lasted)

    def test_a_useless_event_makes_it_deaf_to_no_drop_by_dot_name(self):
        self.started()
        seconds = []
        for number in range(4):
            self.write("wait-q/.drop", uow(RAN))
            began = time.monotonic()
            os.rename(self.path("wait-q", ".drop"), self.path("wait-q", "drop%d" % number))
            self.assertEqual(self.ended("drop%d" % number), "done-q")
            seconds.append(time.monotonic() - began)
        self.assertLess(min(seconds), 0.6, seconds)      # the others waited for the processor, perhaps

    def test_an_idle_monitor_makes_no_call_between_its_wakes(self):
        """Red if it polls anything: a child, a lock, a clock."""
        for number in range(3):
            self.drop("job%d" % number, uow(RAN))
        monitor = self.started()
        until(lambda: len(self.ledger()) == 3, self.output)
        self.ended("job2")
        self.asleep(monitor)
        with tempfile.NamedTemporaryFile("r", prefix="sjq-trace-") as trace:
            detach = self.traced(monitor, "-f", trace=trace.name)
            time.sleep(2)                                # the time in which nothing happens is what is tested
            detach()
            calls = [line for line in read_text(trace.name).splitlines() if "(" in line and "interrupted restart_syscall" not in line]
        self.assertLessEqual(len(calls), 1, calls)       # the one in which it sleeps
