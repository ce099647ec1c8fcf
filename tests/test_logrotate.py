"""monitor_says under the real logrotate, with README's snippet."""
import grp
import os
import pwd
import re
import subprocess

from tests.helpers import README, QueueCase, Writer, fenced, need, read_text, until, uow


class TestLogrotate(QueueCase):
    def setUp(self):
        need("logrotate", "gzip")
        super().setUp()
        me = "%s %s" % (pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name)
        text = next(block for block in fenced(read_text(README)) if 'monitor_says" {' in block)
        text = text.replace("/srv/jobs", self.root).replace("simple-job-q simple-job-q", me)
        self.assertIn(self.root, text)
        self.write(".rotate", text)
        os.chmod(self.path(".rotate"), 0o644)
        os.chmod(self.root, 0o755)

    def rotate(self):
        argv = ["logrotate", "--force", "--state", self.path(".rotated"), self.path(".rotate")]
        made = subprocess.run(argv, capture_output=True, text=True)
        self.assertEqual((made.returncode, made.stdout, made.stderr), (0, "", ""))

    def all_lines(self):
        """Return what monitor_says and its older parts hold, oldest first."""
        parts = [name for name in os.listdir(self.root) if name.startswith("monitor_says.")]
        parts.sort(key=lambda name: -int(name.split(".")[1]))
        text = b"".join(subprocess.check_output(["gzip", "-dcf", self.path(name)]) for name in parts)
        return (text.decode() + self.says()).splitlines()

    def test_the_monitor_goes_on_in_a_new_file_without_being_told(self):
        self.started()
        self.drop("before", uow("true"))
        self.ended("before")
        self.said("before: done")
        old = self.says()
        self.rotate()
        self.assertFalse(os.path.exists(self.path("monitor_says")))
        self.drop("after", uow("true"))
        self.said("after: done")
        self.assertEqual(self.read("monitor_says.1"), old)
        self.assertNotIn("before: done", self.says())

    def test_nothing_said_is_lost_or_said_twice_while_it_rotates(self):
        self.started()
        with Writer(lambda number: self.message("nonsense-%d" % number), every=0.003) as writer:
            for _ in range(6):
                self.rotate()
                until(self.says, "more lines")
        until(lambda: "nonsense-%d is" % (writer.count - 1) in "\n".join(self.all_lines()), "the last answer")
        answered = re.findall(r"message nonsense-(\d+) is not known", "\n".join(self.all_lines()))
        self.assertEqual(answered, [str(number) for number in range(writer.count)])
