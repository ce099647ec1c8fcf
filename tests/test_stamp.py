"""Stamped where it waits: what is dropped is never out of sight, never comes back, and stays its owner's."""
import os
import random
import re
import sys
import threading
import time

from tests.helpers import QueueCase, heavy, inode_of, need, need_root, read_text, stamped_uow, until, uow
from tests.test_many_monitors import ONCE, ManyCase


def is_stamped(path):
    try:
        with open(path, "rb") as file:
            return file.read(12).startswith(b"ENQUEUED ::")
    except FileNotFoundError:
        return False                                     # somebody has moved it


class PausedCase(ManyCase):
    """Monitors that stamp and start nothing, until they are resumed."""

    workers = 3

    def start_paused(self):
        for worker in range(1, self.workers + 1):
            self.write("reads-%d" % worker, "PAUSE\n")
        return self.start_all()

    def resume(self):
        for worker in range(1, self.workers + 1):
            with open(self.path("reads-%d" % worker), "a") as file:
                file.write("RESUME\n")

    def waiting(self):
        return set(self.visible("wait-q"))


@heavy
class TestInSight(PausedCase):
    def test_two_thousand_are_stamped_by_three_and_ls_never_misses_one(self):
        """Red if a file is taken out of wait-q for its stamp (aside, or removed before the copy is in its place)."""
        names = ["job%04d" % i for i in range(2000)]
        self.start_paused()
        self.drop_many(names, uow(ONCE))
        looks, left, missed, end = 0, list(names), set(), time.monotonic() + 120
        while left:
            self.assertLess(time.monotonic(), end, "%d left\n%s" % (len(left), self.output()[-2000:]))
            for _ in range(20):
                missed |= set(names) - self.waiting()
                looks += 1
            while left and is_stamped(self.path("wait-q", left[-1])):
                left.pop()
        self.assertEqual(sorted(missed), [], "missed in %d looks" % looks)
        until(lambda: not self.copies(), "no copy in the making")
        for name in names:
            text = self.read("wait-q", name)
            self.assertEqual((text.count("ENQUEUED ::"), text.count(uow(ONCE)), os.stat(self.path("wait-q", name)).st_nlink), (1, 1, 1), text)
        self.assertEqual(os.listdir(self.path("trash")), [])
        print("in sight: %d looks" % looks, file=sys.stderr)

    def test_one_that_is_killed_while_it_stamps_keeps_none_out_of_sight(self):
        """FAULTS 53. Red if what a dead Monitor was stamping waits for that Monitor."""
        names, chance, killed = ["job%04d" % i for i in range(1000)], random.Random(53), 0
        self.write("reads-1", "PAUSE\n")
        dying = self.start_worker(1)
        until(lambda: "paused" in self.says_all(), self.output)
        self.drop_many(names, uow(ONCE))

        def unstamped():
            return sum(not is_stamped(self.path("wait-q", name)) for name in names)
        left = len(names)
        while left > 200 and killed < 15:
            until(lambda: unstamped() < left or self.waiting() != set(names), self.output, step=0)
            time.sleep(chance.uniform(0, 0.01))          # the moment of the kill
            self.kill9(dying)
            self.assertEqual(sorted(set(names) - self.waiting()), [], "out of sight")
            dying, left, killed = self.start_worker(1), unstamped(), killed + 1
        self.kill9(dying)
        self.assertGreater(killed, 2)
        self.start_worker(2)
        self.all_finished(len(names))
        self.assertEqual([name for name in names if len(self.runs_of(name)) != 1], [])


class Person(threading.Thread):
    """Drops files as version 1 and, around the moment of their stamp, moves, replaces, edits or removes them."""

    ACTS = ["leave", "move", "replace", "edit", "rewrite", "remove"]

    def __init__(self, case, number):
        super().__init__()
        self.case, self.number, self.chance, self.acts, self.end = case, number, random.Random(number), {}, threading.Event()

    def text(self, name, version):
        return "==== UNIT OF WORK\nA :: {0}\nCOMMAND :: echo {1}.{0} >> ledger\nB :: {0}\n".format(version, name)

    def run(self):
        count, waiting = 0, []
        while not self.end.is_set():
            name, count = "p%d-%05d" % (self.number, count), count + 1
            self.case.drop(name, self.text(name, "v1"), settled=False)
            waiting.append((time.monotonic() + self.chance.uniform(0.02, 0.06), name))
            while len(waiting) > 4 or waiting and waiting[0][0] < time.monotonic():
                due, name = waiting.pop(0)
                time.sleep(max(0, due - time.monotonic()))               # the pace of the person: about when it is stamped
                try:
                    self.acts[name] = self.act(name, self.chance.choice(self.ACTS))
                except FileNotFoundError:
                    self.acts[name] = "was out of sight"

    def act(self, name, act):
        path = self.case.path("wait-q", name)
        if act == "move":
            os.rename(path, self.case.path("archive", name))
        elif act == "remove":
            os.unlink(path)
        elif act == "replace":
            self.case.drop(name, self.text(name, "v2"), settled=False)
        elif act == "rewrite":
            with open(path, "r+") as file:                               # another size, the same inode
                file.write(self.text(name, "v2") + "C :: v2\n")
                file.truncate()
        elif act == "edit":
            with open(path, "r+b") as file:                              # the same size and inode
                text = file.read()
                for at in (found.start() for found in re.finditer(b"v1", text)):
                    os.pwrite(file.fileno(), b"v2", at)
        return act


@heavy
class TestAPersonMeanwhile(PausedCase):
    config = "settle_seconds :: 0.03\nsleep_seconds :: 1\ndurable :: no\n"
    seconds = 20

    def test_what_is_moved_replaced_and_edited_never_comes_back_twice_or_mixed(self):
        """FAULTS 67. Red if the stamped copy is renamed over the name, or if what came out is removed without a look."""
        self.start_paused()
        people = [Person(self, number) for number in (1, 2)]
        for person in people:
            person.start()
        time.sleep(self.seconds)                         # the race itself
        until(lambda: sum(len(person.acts) for person in people) > 25 * self.seconds, "enough of them to prove anything", 120)
        for person in people:
            person.end.set()
        for person in people:
            person.join()
        acts = {name: act for person in people for name, act in person.acts.items()}
        print("a person meanwhile: %d files" % len(acts), file=sys.stderr)
        until(lambda: all(is_stamped(self.path("wait-q", name)) for name, act in acts.items() if act == "leave"), self.output, 60)
        until(lambda: not self.copies(), "no copy in the making")
        here, wrong = self.waiting(), []
        for name, act in acts.items():
            there = name in here
            versions = set(re.findall("v[12]", self.read("wait-q", name))) if there else set()
            wanted = {"leave": {"v1"}, "move": set(), "remove": set()}.get(act, {"v2"})
            if versions != wanted or there and self.read("wait-q", name).count("ENQUEUED") > 1:
                wrong.append((name, act, versions, self.where(name)))
            kept = self.path("archive", name)
            if (act == "move") != os.path.exists(kept):
                wrong.append((name, act, "archive", os.path.exists(kept)))
            elif act == "move" and set(re.findall("v[12]", read_text(kept))) != {"v1"}:
                wrong.append((name, act, read_text(kept)))
        self.assertEqual(wrong, [])
        self.resume()
        self.all_finished(len(here))
        self.assertEqual(sorted(self.ledger()), sorted("%s.%s" % (name, "v1" if acts.get(name, "leave") == "leave" else "v2") for name in here))


class TestTheFileStaysItsOwners(QueueCase):
    def test_owner_group_and_mode_stay(self):
        """FAULTS 68. Red if the copy is made as the Monitor's own, or with the umask's mode."""
        need_root()
        self.write("monitor_reads", "PAUSE\n")
        cases = [("a", 1234, 2345, 0o640), ("b", 1234, 0, 0o600), ("c", 0, 2345, 0o664), ("d", 65534, 65534, 0o444), ("e", 1235, 2345, 0o755)]
        for name, user, group, mode in cases:
            path = self.drop(name, uow("true"), "archive")
            os.chown(path, user, group)
            os.chmod(path, mode)
            os.rename(path, self.path("wait-q", name))
        self.started()
        for moment, place in (("stamped", "wait-q"), ("ended", "done-q")):
            for name, *wanted in cases:
                self.stamped(name) if place == "wait-q" else self.ended(name)
                found = os.stat(self.path(place, name))
                with self.subTest(name, moment=moment):
                    self.assertEqual([found.st_uid, found.st_gid, found.st_mode & 0o7777], wanted)
            self.message("RESUME")

    def test_what_is_appended_after_the_stamp_is_told(self):
        """FAULTS 70. Red if text below JOB LOG without a START there is taken for an old log."""
        self.write("monitor_reads", "PAUSE\n")
        self.started()
        self.drop("job", uow("echo one >> ledger"))
        self.drop("again", stamped_uow(uow("echo again >> ledger"), "error: exit 1 after 2.0 s",
                                       "==== JOB START 2026-01-02T03:05:00.000000Z run 0badf00d-7-1-1\nlong ago\n"
                                       "\n==== JOB END 2026-01-02T03:05:02.000000Z run 0badf00d-7-1-1 exit 1\n"))
        self.stamped("job")
        with open(self.path("wait-q", "job"), "a") as file:
            file.write("COMMAND :: echo two >> ledger\n")
        self.there("trash", "job")
        self.said("job in wait-q goes to trash: ")
        self.assertRegex(self.says(), "trash: .*JOB LOG")
        self.message("RESUME")
        self.assertEqual((self.ended("again"), self.ledger()), ("done-q", ["again"]))

    READ = "            raise Changed()\n        uow = read_uow(fd, path, m.config.required_names)\n"
    COPIED = "        ours = write_stamped(new, fd, uow, found, text)\n"

    def stamped_while(self, write, *pieces):
        """Drop x as version 1, let a person write version 2 when the Monitor waits in its stamp (`held`), and run it."""
        self.write("monitor_reads", "PAUSE\n")
        for number in range(len(pieces)):
            self.write("hold-%d" % number, "")
        self.held(*pieces)
        path = self.drop("x", uow("echo v1 >> ledger"))
        self.there("held-0")
        write(path)
        self.stamped("x")
        self.message("RESUME")
        self.assertEqual((self.ended("x"), self.ledger()), ("done-q", ["v2"]))

    def open_and_write(self, path):
        """Write version 2 into a file on which the Monitor may have a lease, as soon as it lets the writer in."""
        opened, lease = [], re.compile("LEASE +BREAKING .*:%d " % inode_of(path))

        def write():
            with open(path, "r+") as file:
                opened.append(file)
                until(lambda: not self.copies(), self.output)        # the exchange, and what comes of it
                file.write(uow("echo v2 >> ledger"))
        writer = threading.Thread(target=write)
        writer.start()
        until(lambda: opened or lease.search(read_text("/proc/locks")), "the writer is there")
        os.unlink(self.path("hold-0"))
        writer.join()

    def test_a_writer_who_opens_it_in_the_moment_of_its_stamp_loses_nothing(self):
        """Red if what comes out of the exchange is removed without a look whether somebody has it open for writing."""
        self.stamped_while(self.open_and_write, self.COPIED)

    def test_who_edits_the_stamped_copy_before_it_is_taken_back_finds_it_in_trash(self):
        """Red if the copy that is taken back is removed without a look."""
        def write(path):
            self.drop("x", uow("echo v2 >> ledger"), settled=False)
            os.unlink(self.path("hold-0"))
            self.there("held-1")                                     # the copy has the name now
            with open(path, "a") as file:
                file.write("edited\n")
            os.unlink(self.path("hold-1"))
        self.stamped_while(write, self.COPIED, "fcntl.F_GETLEASE) != fcntl.F_RDLCK:\n")
        kept, = os.listdir(self.path("trash"))
        self.assertIn("v1", self.read("trash", kept))
        self.assertTrue(self.read("trash", kept).endswith("edited\n"))
        self.assertEqual(self.times_said("x was changed while it was stamped"), 1)

    def test_what_takes_its_name_or_is_withdrawn_in_the_moment_of_its_stamp_stays_as_it_is(self):
        """Red if only inode, size and time are compared, or if what came out has to be opened for that."""
        self.write("monitor_reads", "PAUSE\n")
        self.held(self.COPIED)
        cases = {"directory": os.mkdir, "fifo": os.mkfifo, "link": lambda path: os.symlink("../config.txt", path), "mode": None}
        for name, make in cases.items():
            self.write("hold-0", "")
            path = self.drop(name, uow("echo v1 >> ledger"))
            self.there("held-0")
            if make:
                os.rename(path, self.path("archive", name))
                make(path)
                os.unlink(self.path("hold-0"))
                self.there("trash", name)
            else:
                os.chmod(path, 0o600)
                os.unlink(self.path("hold-0"))
                until(lambda: is_stamped(path) and not self.copies(), self.output)
                self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        self.assertEqual(os.listdir(self.path("wait-q")), ["mode"])

    def test_a_writer_who_comes_while_it_is_read_for_its_stamp_loses_nothing(self):
        """Red if the time of its last change is taken after it was read."""
        self.stamped_while(self.open_and_write, self.READ)

    def test_a_left_over_copy_goes_to_trash_when_it_is_a_minute_old(self):
        """Red if it stays, or if that of a Monitor at work is taken."""
        for age, name in ((120, ".stamp.999999.1"), (0, ".stamp.999999.2")):
            os.utime(self.write("wait-q/" + name, uow("echo no >> ledger")), (time.time() - age,) * 2)
        self.started()
        self.there("trash", ".stamp.999999.1")
        self.cycles(1)
        self.assertEqual((os.listdir(self.path("wait-q")), self.ledger()), ([".stamp.999999.2"], []))


class TestMessagesHeldOpen(QueueCase):
    def test_a_writer_that_holds_the_message_file_open_keeps_nobody_waiting(self):
        """FAULTS 69. Red if messages are read only when nobody has the file open for writing."""
        self.started()
        with open(self.path("monitor_reads"), "a") as held:
            for count in (1, 2, 3):
                self.message("STATUS")
                self.said("counts:", count=count, seconds=5)
            held.write("CONFIG\n")                       # a late writer, in whatever file it has open by now
            held.flush()
            self.said("settle_seconds", seconds=10)
            self.message("STATUS")
            self.said("counts:", count=4, seconds=5)
        self.tidied()


class TestOtherFileSystems(QueueCase):
    """What a kernel or a file system lacks, as strace injects it into the calls of the Monitor alone."""

    config = "sleep_seconds :: 0.5\n"

    def check_all_works(self, call, error):
        need("strace")
        prefix = ("strace", "-qq", "-o", "/dev/null", "-e", "trace=" + call, "-e", "inject=%s:error=%s" % (call, error))
        names = ["job%d" % i for i in range(5)]
        for name in names:
            self.drop(name, uow("echo $SJQ_NAME >> ledger"))
        self.started(prefix=prefix)
        self.assertEqual([self.ended(name) for name in names], ["done-q"] * 5)
        self.drop("later", uow("echo $SJQ_NAME >> ledger"), "priority-q")
        self.assertEqual((self.ended("later"), self.ledger()), ("done-q", names + ["later"]))
        for name in names:
            self.assertRegex(self.read("done-q", name), r"^ENQUEUED :: \S+Z by ")
        self.message("STATUS")
        self.said("counts:")
        self.assertEqual((os.listdir(self.path("trash")), os.listdir(self.path("wait-q"))), ([], []))

    def test_without_the_exchange(self):
        """Red if a stamp needs the exchange. What --check says of all these: test_start."""
        self.check_all_works("renameat2", "EINVAL")

    def test_without_the_system_call_of_the_exchange(self):
        self.check_all_works("renameat2", "ENOSYS")

    def test_without_inotify(self):
        """Red if the Monitor needs inotify, or sleeps for ever without it."""
        self.check_all_works("inotify_init1", "ENOSPC")

    def test_without_a_watch(self):
        self.check_all_works("inotify_add_watch", "ENOSPC")
