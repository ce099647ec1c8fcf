"""What the next Monitor makes of what it finds: files in hand, a reboot, pids that have passed to others, a run that nobody ended."""
import os
import signal
import subprocess

from tests.helpers import FINISHED, HOLD, heavy, need, need_root, stamped_uow, until, uow
from tests.test_adoption import AdoptionCase, another_boot


class TestTwoFilesInHand(AdoptionCase):
    def put_in_hand(self, name, command):
        """Put a stamped UOW into currently-executing, as a crash between claim and START leaves it."""
        self.drop(name, stamped_uow(uow(command)), "currently-executing")

    def test_one_after_the_other(self):
        alone = "mkdir alone || echo TOGETHER >> ledger; echo $SJQ_NAME >> ledger; sleep 0.1; rmdir alone"
        for name in ("a", "b"):
            self.put_in_hand(name, alone)
        self.drop("c", uow(alone))
        self.run_until_empty()
        self.assertEqual(self.ledger(), ["a", "b", "c"])
        self.assertEqual([self.where(name) for name in "abc"], [["done-q"]] * 3)

    def test_two_that_are_under_way_are_both_waited_for(self):
        """Two Monitors with a currently-executing each died, and somebody put both files into one of them."""
        self.write("other.txt", self.base + "currently_executing :: other-hand\nmonitor_reads :: reads-2\nmonitor_says :: says-2\n")
        for name, config in (("a", "config.txt"), ("b", "other.txt")):
            monitor = self.started(config=config)
            self.drop(name, uow("echo %s >> ledger; until [ -e go-%s ]; do sleep 0.02; done" % (name, name)))
            until(lambda: name in self.ledger(), self.output)
            self.kill9(monitor)
        os.rename(self.path("other-hand", "b"), self.path("currently-executing", "b"))
        self.drop("c", uow("echo c >> ledger"))
        self.started()
        self.said("adopted a")
        self.still_waits("c")
        self.assertIn(" currently-executing 2, ", self.says().rpartition("counts: ")[2])
        self.write("go-a", "")
        self.assertEqual(self.ended("a"), "done-q")
        self.said("adopted b")
        self.still_waits("c")
        self.write("go-b", "")
        self.assertEqual([self.ended(name) for name in "bc"], ["done-q", "done-q"])
        self.assertEqual(self.ledger(), ["a", "b", "c"])

    @heavy
    def test_a_long_log_of_an_earlier_run_keeps_nothing_from_its_next(self):
        """Its Monitor died between STATUS and START: only STATUS is to be written, in place."""
        log = ("==== JOB START 2026-01-02T03:04:06.000000Z run 11111111-1\n" + ("y" * 1023 + "\n") * (65 << 10)
               + "\n==== JOB END 2026-01-02T03:04:07.000000Z run 11111111-1 exit 3\n")
        size = len(stamped_uow(uow("echo ran >> ledger"), "", log))
        self.drop("x", stamped_uow(uow("echo ran >> ledger"), "running: 11111111-2 at %d" % size, log), "currently-executing")
        self.run_until_empty()
        self.assertEqual((self.where("x"), self.ledger()), (["done-q"], ["ran"]))

    def test_another_of_the_name_of_what_is_to_be_filed_is_run(self):
        """The queue is away, and a person swaps them before the Monitor looks again."""
        monitor = self.started()
        os.rename(self.path("done-q"), self.path(".away"))
        self.drop("x", uow("echo one >> ledger"))
        self.said("done-q is no longer a directory")
        monitor.send_signal(signal.SIGSTOP)
        os.rename(self.path("currently-executing", "x"), self.path("archive", "x"))
        self.put_in_hand("x", "echo two >> ledger")
        monitor.send_signal(signal.SIGCONT)
        until(lambda: self.ledger() == ["one", "two"], self.output)
        os.rename(self.path(".away"), self.path("done-q"))
        self.assertEqual(self.ended("x"), "done-q")

    def test_a_status_that_no_run_wrote_is_reported_and_left(self):
        self.put_in_hand("odd", "echo odd >> ledger")
        text = self.read("currently-executing", "odd").replace(" " * 78, "running: since yesterday".ljust(78))
        self.write("currently-executing/odd", text)
        self.drop("next", uow("echo next >> ledger"))
        self.started()
        self.assertEqual(self.ended("next"), "done-q")
        self.assertEqual(self.read("currently-executing", "odd"), text)
        self.assertEqual(self.says().count("odd in currently-executing"), 1)
        self.assertEqual(self.ledger(), ["next"])

    def test_a_final_status_is_moved_to_the_queue_it_names(self):
        for word, queue in (("done: exit 0 after 1.0 s", "done-q"), ("error: exit 3 after 1.0 s", "error-q"), ("fail: interrupted", "fail-q")):
            self.put_in_hand(queue, "echo odd >> ledger")
            self.write("currently-executing/" + queue, self.read("currently-executing", queue).replace(" " * 78, word.ljust(78)))
        self.run_until_empty()
        for queue in FINISHED:
            self.assertEqual(self.where(queue), [queue])
        self.assertEqual(self.ledger(), [])

    def test_running_without_its_start_line_had_not_begun(self):
        self.put_in_hand("early", "echo early >> ledger")
        text = self.read("currently-executing", "early")
        self.write("currently-executing/early", text.replace(" " * 78, ("running: 00000000-1 at %d" % len(text)).ljust(78)))
        self.run_until_empty()
        self.assertEqual(self.where("early"), ["done-q"])
        self.assertEqual(self.ledger(), ["early"])


    def test_half_a_file_that_a_crash_left_is_removed(self):
        """Beside the whole one: what was deleted while it ran has no other copy."""
        half, whole = [self.write("currently-executing/.new." + name, "ENQUEUED :: 2026-") for name in ("half", "whole")]
        self.drop("half", uow("echo ran >> ledger"), "currently-executing")
        self.run_until_empty()
        self.assertEqual((self.ledger(), os.path.lexists(half), os.path.lexists(whole)), (["ran"], False, True))


class TestRequiredNamesThatCameLater(AdoptionCase):
    """They are asked of what has not begun. What has begun, or has ended, is adopted and filed as before."""

    def test_a_job_that_ended_meanwhile_is_filed(self):
        self.orphan("ended", HOLD + "; echo result; exit 3")
        self.configure("required_names :: COMMAND TICKET\n")
        self.go()
        self.end_on_disk("ended")
        self.gone("ended")
        self.run_until_empty()
        self.assertEqual((self.where("ended"), self.log("ended")), (["error-q"], b"result\n"))

    def test_what_was_not_moved_to_its_queue_yet_is_moved(self):
        self.drop("moved", stamped_uow(uow("true"), "fail: interrupted"), "currently-executing")
        self.configure("required_names :: COMMAND TICKET\n")
        self.run_until_empty()
        self.assertEqual(self.where("moved"), ["fail-q"])

    def test_what_was_claimed_and_not_begun_goes_to_trash(self):
        self.drop("claimed", stamped_uow(uow("echo claimed >> ledger")), "currently-executing")
        self.drop("other", uow("echo other >> ledger", TICKET="1"))
        self.configure("required_names :: COMMAND TICKET\n")
        self.run_until_empty()
        self.assertEqual((self.where("claimed"), self.where("other"), self.ledger()), (["trash"], ["done-q"], ["other"]))
        self.assertIn("claimed in wait-q goes to trash: line ", self.says())
        self.assertIn("the header ends without TICKET; expected `TICKET :: ...`", self.says())


class TestNobodyElsesProcess(AdoptionCase):
    """After a reboot, or when a pid has passed to another process: that process is not signalled and not waited for."""

    def setUp(self):
        super().setUp()
        need_root()
        need("unshare", "mount", "sleep")

    def decoy(self, *argv, pid=None, env=None):
        """Start a process that does not belong to the run, under this very pid where one is given."""
        for _ in range(400):
            if pid:
                with open("/proc/sys/kernel/ns_last_pid", "w") as file:
                    file.write(str(pid - 1))
            process = subprocess.Popen(argv, env=env, start_new_session=True)
            if pid in (None, process.pid):
                self.addCleanup(process.wait)
                self.addCleanup(os.killpg, process.pid, signal.SIGKILL)  # its `sleep`, too
                return process
            process.kill()
            process.wait()
        raise AssertionError("pid %s could not be had" % pid)

    def test_after_a_reboot_the_old_pids_belong_to_others(self):
        self.orphan("one", "echo ran >> ledger; sleep 600", {"TIMEOUT": "1s"})
        until(self.ledger, "the job itself")
        keeper, = self.marked("one", b"bash")
        self.crash("one")
        until(lambda: not os.path.exists("/proc/%d" % keeper), "the number free again")
        decoy = self.decoy("sleep", "600", pid=keeper)
        self.drop("two", uow("true"))
        self.run_until_empty(prefix=another_boot(self.write("boot_id", "12345678-aaaa-bbbb-cccc-dddddddddddd\n")))
        self.assertEqual(self.status("one"), "fail: interrupted")
        self.assertNotIn("adopted", self.says())
        self.assertTrue(self.run_of("two").startswith("12345678-"), self.run_of("two"))
        self.assertIsNone(decoy.poll())
        self.assertEqual(self.ledger(), ["ran"])

    def test_the_mark_of_a_run_of_another_boot_is_anybodys(self):
        """`at` keeps the environment of the job that called it, past a reboot."""
        decoy = self.decoy("sleep", "600", env={**os.environ, "SJQ_RUN": "aaaaaaaa-123"})
        job = uow("echo ran >> ledger", TIMEOUT="1s")
        self.drop("one", stamped_uow(job, "running: aaaaaaaa-123 at %d" % len(stamped_uow(job)),
                                     "==== JOB START 2026-01-02T03:04:06.000000Z run aaaaaaaa-123\n"), "currently-executing")
        self.run_until_empty(seconds=20)
        self.assertEqual((self.status("one"), self.ledger()), ("fail: interrupted", []))
        self.assertIsNone(decoy.poll())

    def test_the_pid_of_an_adopted_keeper_passes_to_another_process(self):
        self.orphan("one", "sleep 600")
        monitor = self.started()
        self.said("adopted one")
        keeper, = self.marked("one", b"bash")
        monitor.send_signal(signal.SIGSTOP)
        self.crash("one")
        until(lambda: not os.path.exists("/proc/%d" % keeper), "the number free again")
        decoy = self.decoy("sleep", "600", pid=keeper)
        self.message("KILL JOB")
        monitor.send_signal(signal.SIGCONT)
        self.assertEqual(self.ended("one"), "fail-q")
        self.assertIsNone(decoy.poll())

    def test_a_mark_that_only_looks_like_it(self):
        self.orphan("one", "sleep 600")
        run = self.run_of("one")
        decoys = [self.decoy("sleep", "600", env={**os.environ, "SJQ_RUN": run + "0"}),
                  self.decoy("sleep", "600", env={**os.environ, "XSJQ_RUN": run}),
                  self.decoy("sleep", "600", env={**os.environ, "OTHER": "SJQ_RUN=" + run}),
                  self.decoy("bash", "-c", "sleep 600; : SJQ_RUN=" + run)]
        self.message("KILL JOB")
        self.run_until_empty()
        self.assertEqual(self.status("one"), "fail: killed by message")
        self.assertEqual([decoy.poll() for decoy in decoys], [None] * 4)


class TestEndOfEverything(AdoptionCase):
    """Monitor and job die together: nobody knows how it ended, and it is not run again."""

    def test_monitor_and_job_together(self):
        monitor = self.started()
        self.drop("one", uow("echo ran >> ledger; echo before; sleep 600"))
        until(lambda: self.ledger() and self.read("currently-executing", "one").endswith("\nbefore\n"), "the job's output")
        self.kill9(monitor)
        self.crash("one")
        self.run_until_empty()
        self.assertEqual(self.status("one"), "fail: interrupted")
        self.assertIn("before\n", self.read("fail-q", "one"))
        self.assertEqual(self.ledger(), ["ran"])
        self.settled()

    def test_only_a_person_runs_it_again(self):
        self.test_monitor_and_job_together()
        os.rename(self.path("fail-q", "one"), self.path("wait-q", "one"))
        self.started()
        until(lambda: self.ledger() == ["ran", "ran"], "the second run")
        self.message("KILL JOB")
        self.assertEqual(self.ended("one"), "fail-q")
        self.assertEqual(self.read("fail-q", "one").count("==== JOB START"), 2)

    def test_a_kill_job_that_was_acted_on_but_not_yet_removed_ends_no_other_job(self):
        """The crash between acting and removing: the message is read again, when its job has gone."""
        monitor = self.started()
        self.drop("one", uow("sleep 600"))
        self.begun("one")
        self.message("KILL JOB")
        self.said("ending one")
        self.kill9(monitor)
        self.write("monitor_reads", "KILL JOB\n")
        self.drop("two", uow("echo two >> ledger"))
        self.run_until_empty()
        self.assertEqual(self.status("one"), "fail: killed by message")
        self.assertEqual(self.where("two"), ["done-q"])
