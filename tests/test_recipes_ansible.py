"""The README's recipe for Ansible, with a real ansible-core.

It is taken from PATH, or in CI installed from PyPI into a directory that is removed afterwards.
"""
import os
import shutil
import subprocess
import sys
import tempfile

from tests.helpers import IN_CI, heavy, need, read_text, until
from tests.test_recipes import RecipeCase, recipe

PLAYBOOK = """\
- hosts: %s
  gather_facts: false
  tasks:
    - command: %s
"""


@heavy
class TestAnsible(RecipeCase):
    @classmethod
    def setUpClass(cls):
        need("ssh")
        found = shutil.which("ansible-playbook")
        cls.bin = os.path.dirname(found) if found else None
        if not found:
            if not IN_CI:
                need("ansible-playbook")             # which skips, and says so
            place = tempfile.mkdtemp(prefix="sjq-ansible-")
            cls.addClassCleanup(shutil.rmtree, place)
            subprocess.run([sys.executable, "-m", "venv", place], check=True)
            subprocess.run([place + "/bin/pip", "install", "--quiet", "--disable-pip-version-check", "ansible-core"], check=True, timeout=600,
                           stderr=subprocess.DEVNULL)
            cls.bin = place + "/bin"

    def setUp(self):
        super().setUp()
        self.environment = dict(os.environ, PATH=self.bin + ":" + os.environ["PATH"], ANSIBLE_HOME=self.path(".ansible"),
                                ANSIBLE_REMOTE_TMP=self.path(".ansible/tmp"), LC_ALL="C.UTF-8")
        os.mkdir(self.path("ansible"))
        self.write("ansible/hosts", "[web]\nweb1 ansible_connection=local ansible_python_interpreter=%s\nweb2 ansible_connection=local "
                   "ansible_python_interpreter=%s\n[dead]\ngone ansible_host=127.0.0.1 ansible_port=1\n" % (sys.executable, sys.executable))
        self.configuration = recipe("Ansible", **{"/srv/ansible": self.path("ansible")})

    def playbook(self, name, hosts, command):
        self.write("ansible/" + name, PLAYBOOK % (hosts, command))

    def test_outcomes_and_colours(self):
        self.config_add(self.configuration)
        self.playbook("deploy.yml", "web", "touch %s" % self.path("deployed"))
        self.playbook("bad.yml", "web", "/bin/false")
        self.playbook("dead.yml", "web:dead", "/bin/true")
        self.write("ansible/broken.yml", "hosts: [")
        self.drop("OPS-1234", "==== UNIT OF WORK\nPLAYBOOK :: deploy.yml\n")
        for name, text in (("bad", "PLAYBOOK :: bad.yml"), ("dead", "PLAYBOOK :: dead.yml"), ("broken", "PLAYBOOK :: broken.yml"),
                           ("limited", "PLAYBOOK :: dead.yml\nLIMIT :: web2"), ("injected", "PLAYBOOK :: $(touch oops).yml; touch oops"),
                           ("nothing", "TICKET :: 1")):
            self.drop(name, "==== UNIT OF WORK\n%s\n" % text)
        self.run_until_empty(env=self.environment, seconds=120)
        self.assertEqual(self.where("OPS-1234"), ["done-q"], self.output())
        self.assertTrue(os.path.exists(self.path("deployed")))
        self.assertIn(b"\x1b[0;33mchanged: [web1]\x1b[0m", self.log("OPS-1234"))
        self.assertEqual((self.where("bad"), self.status("bad").split(" after")[0]), (["error-q"], "error: exit 2"))
        self.assertEqual((self.where("dead"), self.status("dead").split(" after")[0]), (["fail-q"], "fail: exit 4"))
        self.assertIn(b"UNREACHABLE!", self.log("dead"))
        self.assertEqual(self.where("broken"), ["fail-q"])
        self.assertEqual(self.where("limited"), ["done-q"])
        self.assertNotIn(b"web1", self.log("limited"))
        self.assertIn(self.where("injected"), (["error-q"], ["fail-q"]))
        self.assertFalse(os.path.exists(self.path("oops")) or os.path.exists(self.path("ansible/oops")))
        self.assertEqual(self.where("nothing"), ["trash"])

    def test_it_waits_for_a_deploy_that_a_person_started(self):
        self.config_add(self.configuration)
        self.playbook("deploy.yml", "web1", "/bin/true")
        self.playbook("by-hand.yml", "web1", "sh -c 'until [ -e %s ]; do sleep 0.1; done'" % self.path("go"))
        by_hand = self.process("ansible-playbook", "-i", "hosts", "by-hand.yml", cwd=self.path("ansible"), env=self.environment,
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        until(lambda: read_text("/proc/%d/comm" % by_hand.pid) == "ansible-playboo\n", "ansible-playbook runs")
        self.started(env=self.environment)
        self.drop("OPS-1234", "==== UNIT OF WORK\nPLAYBOOK :: deploy.yml\n")
        self.said("waiting: a process ansible-playboo runs")
        self.assertEqual(self.where("OPS-1234"), ["wait-q"])
        self.write("go", "")
        self.assertEqual(by_hand.wait(60), 0)
        self.assertEqual(self.ended("OPS-1234", seconds=60), "done-q")
