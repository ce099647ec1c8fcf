"""What the next Monitor makes of what it finds: files in hand, a reboot, pids of others, a run that nobody ended.

The table of what a UOW in hand is has its rows in test_begun.
"""
import os
import signal
import subprocess

from tests.helpers import mark_of, need, need_root, stamped_uow, until, uow
from tests.test_adoption import AdoptionCase, another_boot


class TestTwoFilesInHand(AdoptionCase):
    def test_one_after_the_other(self):
        alone = "mkdir alone || echo TOGETHER >> ledger; echo $SJQ_NAME >> ledger; sleep 0.1; rmdir alone"
        for name in ("a", "b"):
            self.drop(name, stamped_uow(uow(alone)), "currently-executing")
        os.mkdir(self.path("currently-executing", ".run"))       # without it both count as begun
        self.drop("c", uow(alone))
        self.run_until_empty()
        self.assertEqual(self.ledger(), ["a", "b", "c"])
        self.assertEqual([self.where(name) for name in "abc"], [["done-q"]] * 3)

    def test_two_that_are_under_way_are_both_waited_for(self):
        """Two Monitors with a currently-executing each died, and somebody put both files into one of them."""
        self.write("other.txt", self.base + "currently_executing :: other-hand\nmonitor_reads :: reads-2\n"
                   "monitor_says :: says-2\n")
        for name, config in (("a", "config.txt"), ("b", "other.txt")):
            monitor = self.started(config=config)
            self.drop(name, uow("echo %s >> ledger; until [ -e go-%s ]; do sleep 0.02; done" % (name, name)))
            until(lambda: name in self.ledger(), self.output)
            self.kill9(monitor)
        os.rename(self.path("other-hand", "b"), self.path("currently-executing", "b"))
        self.drop("c", uow("echo c >> ledger"))
        self.started()
        for name in ("a", "b"):
            self.said("adopted " + name)
        self.still_waits("c")
        self.assertIn(" currently-executing 2, ", self.says().rpartition("counts: ")[2])
        self.write("go-a", "")
        self.assertEqual(self.ended("a"), "done-q")
        self.still_waits("c")
        self.write("go-b", "")
        self.assertEqual([self.ended(name) for name in "bc"], ["done-q", "done-q"])
        self.assertEqual(self.ledger(), ["a", "b", "c"])


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
        self.orphan("one", "echo ran >> ledger; sleep 600", TIMEOUT="1s")
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
        text = stamped_uow(uow("echo ran >> ledger", TIMEOUT="1s"), "running: since 2026-01-02T03:04:06Z")
        path = self.drop("one", text, "currently-executing")
        run = self.linked("one", mark_of(path, boot="aaaaaaaa"))
        decoy = self.decoy("sleep", "600", env={**os.environ, "SJQ_RUN": run})
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

    def test_monitor_and_job_together_and_only_a_person_runs_it_again(self):
        monitor = self.under_way("one", "echo ran >> ledger; echo before; sleep 600")
        until(lambda: self.ledger() and self.read("currently-executing", "one").endswith("\nbefore\n"), self.output)
        self.kill9(monitor)
        self.crash("one")
        self.run_until_empty()
        self.assertEqual((self.status("one"), self.ledger()), ("fail: interrupted", ["ran"]))
        self.assertIn("before\n", self.read("fail-q", "one"))
        self.settled()
        os.rename(self.path("fail-q", "one"), self.path("wait-q", "one"))
        self.started()
        until(lambda: self.ledger() == ["ran", "ran"], "the second run")
        self.message("KILL JOB")
        self.assertEqual(self.ended("one"), "fail-q")
        self.assertEqual(self.read("fail-q", "one").count("==== JOB START"), 2)

    def test_a_kill_job_that_was_acted_on_but_not_yet_removed_ends_no_other_job(self):
        """The crash between acting and removing: the message is read again, when its job has gone."""
        monitor = self.under_way("one", "sleep 600")
        self.message("KILL JOB")
        self.said("one: killed by message")
        self.kill9(monitor)
        self.write("monitor_reads", "KILL JOB\n")
        self.drop("two", uow("echo two >> ledger"))
        self.run_until_empty()
        self.assertEqual(self.status("one"), "fail: killed by message")
        self.assertEqual(self.where("two"), ["done-q"])
