"""A model of launch and filing: every order in which steps, kills, restarts and one act of a person can come.

One UOW, inode A; an editor may save a copy of it, inode C, under its name. A State is the disk, the job's processes, and
where the Monitor is. `successors` gives what can come next; `explore` goes through all of it and returns the first story
that breaks a promise, and how many states there are. The Monitor is given as an order of steps, so that a test can swap two.
"""
import collections

LAUNCH = ("status", "link", "look", "start")
FILING = ("outcome", "check", "move", "verify", "others", "unlink")

State = collections.namedtuple("State", [
    "monitor",           # ("dead",), ("start",), ("idle",), ("launch", n, inode, mark), ("watch", inode, mark), ("file", n, inode, mark), ...
    "at",                # frozenset of (directory, inode): the visible names
    "status",            # frozenset of (inode, "", "old", "running", "done" or "fail")
    "ends",              # frozenset of (inode, mark): END lines in the log; mark 0 is an earlier run's
    "links",             # frozenset of (inode, mark): the links in .run
    "dot_run",           # whether .run is there
    "job",               # (inode, mark) of the processes that are alive, or None
    "marks", "runs",     # how many marks were given, how many jobs were started
    "allowed",           # how many may be started: one for each enqueueing
    "kills", "acts"])    # how many there were


def first(rerun=False):
    """Return the state in which a UOW waits, for the first time or with the outcome and the log of an earlier run."""
    return State(("start",), frozenset({("wait", "A")}), frozenset({("A", "old" if rerun else "")}), frozenset({("A", 0)} if rerun else ()),
                 frozenset(), True, None, 0, 0, 1, 0, 0)


class Protocol:
    def __init__(self, launch=LAUNCH, filing=FILING, old_outcomes_count=False, status_is_begun=True, missing_is_begun=True,
                 taken_names_begun=True, kills=2, acts=1):
        self.launch, self.filing, self.old_outcomes_count = launch, filing, old_outcomes_count
        self.status_is_begun, self.missing_is_begun, self.taken_names_begun = status_is_begun, missing_is_begun, taken_names_begun
        self.kills, self.acts = kills, acts

    def successors(self, s):
        """Return (what happens, the next state): a step of the Monitor, of the job, a kill, an act of a person."""
        yield from self.step(s)
        if s.job:
            yield "the job ends", s._replace(job=None, ends=s.ends | {s.job})
            yield "the job is killed", s._replace(job=None)
        if s.monitor != ("dead",) and s.kills < self.kills:
            yield "kill -9", s._replace(monitor=("dead",), kills=s.kills + 1)
        if s.acts < self.acts:
            yield from self.person(s._replace(acts=s.acts + 1))

    def step(self, s):
        kind, *rest = s.monitor
        if kind == "dead":
            yield "a start", s._replace(monitor=("start",))
        elif kind == "start":
            yield "the table", self.table(s)
        elif kind == "idle":
            waiting = inode_in(s, "wait")
            if waiting and not inode_in(s, "hand") and not any(inode == waiting for inode, _ in s.links):
                yield "claim", moved(s, waiting, "wait", "hand")._replace(monitor=("launch", 0, waiting, s.marks + 1), marks=s.marks + 1)
        elif kind == "launch":
            yield self.launch[rest[0]], self.launching(s, *rest)
        elif kind == "watch":
            if s.job != tuple(rest):
                yield "the end is seen", s._replace(monitor=("file", 0, *rest))
        elif kind == "file":
            yield self.filing[rest[0]], self.file(s, *rest)
        elif kind == "take back":
            yield "STATUS is taken back", self.next_launch(with_status(s, rest[0], ""))
        elif kind == "move without a link":
            yield kind, moved(s, rest[0], "hand", "done")._replace(monitor=("start",))

    def launching(self, s, n, inode, mark):
        step, after = self.launch[n], ("launch", n + 1, inode, mark) if n + 1 < len(self.launch) else ("watch", inode, mark)
        if step == "status":
            return with_status(s, inode, "running")._replace(monitor=after)
        if step == "link":
            return s._replace(links=s.links | {(inode, mark)}, dot_run=True, monitor=after)
        if step == "look" and ("hand", inode) not in s.at:
            return s._replace(links=s.links - {(inode, mark)}, monitor=("take back", inode))
        if step == "start":
            s = s._replace(job=(inode, mark), runs=s.runs + 1) if not s.job else s._replace(runs=99)      # two at once
        return s._replace(monitor=after)

    def next_launch(self, s):
        """Return the state in which what bears the name now is judged, and launched where there is something."""
        found = inode_in(s, "hand")
        return s._replace(monitor=("launch", 0, found, s.marks + 1), marks=s.marks + 1) if found else s._replace(monitor=("idle",))

    def file(self, s, n, inode, mark):
        step, after = self.filing[n], ("file", n + 1, inode, mark) if n + 1 < len(self.filing) else ("start",)
        if step == "outcome":
            s = with_status(s, inode, "done" if (inode, mark) in s.ends else "fail")
        elif step == "check" and ("hand", inode) not in s.at:
            if not any(found == inode for _, found in s.at):
                s = s._replace(at=s.at | {("done", inode)})              # the link is linked into the queue
            after = ("file", self.filing.index("others"), inode, mark)
        elif step == "move" and inode_in(s, "hand"):
            s = moved(s, inode_in(s, "hand"), "hand", "done")            # what bears the name by now
        elif step == "verify":
            other = next((found for place, found in s.at if place == "done" and found != inode), None)
            if other and not any(found == inode for _, found in s.at):
                s, after = moved(s, other, "done", "trash"), ("file", self.filing.index("check"), inode, mark)
        elif step == "others" and inode_in(s, "hand") not in (None, inode):
            s = moved(s, inode_in(s, "hand"), "hand", "trash")
        elif step == "unlink":
            s = s._replace(links=s.links - {(inode, mark)})
        return s._replace(monitor=after)

    def table(self, s):
        """Return what a start makes of one link or file in hand: the table of the five rows."""
        found = inode_in(s, "hand")
        if s.links and (self.taken_names_begun or not found or any(inode == found for inode, _ in s.links)):
            inode, mark = min(s.links)
            status = status_of(s, inode)
            if status == "fail" or status in ("done", "old") and (self.old_outcomes_count or (inode, mark) in s.ends):
                return s._replace(monitor=("file", self.filing.index("check"), inode, mark))
            if s.job == (inode, mark):
                return s._replace(monitor=("watch", inode, mark))
            return s._replace(monitor=("file", self.filing.index("outcome"), inode, mark))
        if not found:
            return s._replace(monitor=("idle",), dot_run=True)
        if not s.dot_run and self.missing_is_begun:
            if s.job and s.job[0] == found:
                return s._replace(dot_run=True)                          # nothing but a live run lies there
            return with_status(s, found, "fail")._replace(monitor=("move without a link", found))
        if self.status_is_begun and status_of(s, found) == "running":
            alive = s.job and s.job[0] == found and s.job not in s.ends
            return s._replace(links=s.links | {s.job if alive else (found, s.marks + 1)}, marks=s.marks + 1, dot_run=True)
        return self.next_launch(s)

    def person(self, s):
        """What a person may do once. Down, to remove .run or to save an old copy may have a job run again (DESIGN 7.1)."""
        found, down = inode_in(s, "hand"), s.allowed + (s.monitor == ("dead",))
        if found and not inode_in(s, "wait"):
            yield "a person moves it to wait-q", moved(s, found, "hand", "wait")._replace(allowed=s.allowed + 1)
        if found == "A":
            copied = s._replace(at=s.at - {("hand", "A")} | {("hand", "C")}, ends=s.ends | {("C", mark) for _, mark in s.ends})
            yield "an editor saves it by rename", with_status(copied, "C", status_of(s, "A"))
            old = s._replace(at=copied.at, ends=s.ends | {("C", 0)}, allowed=down)
            yield "an editor saves its old text by rename", with_status(old, "C", "")
        if s.dot_run:
            yield "a person removes .run", s._replace(links=frozenset(), dot_run=False, allowed=down)

    def wrong(self, s):
        """Return which promise this state breaks, or an empty text."""
        if s.runs > s.allowed:
            return "two at once" if s.runs > 50 else "ran %d times, allowed %d" % (s.runs, s.allowed)
        names = {inode for _, inode in s.at}
        if not names or s.runs and not s.acts and "A" not in names | {inode for inode, _ in s.links}:
            return "lost"
        if s.monitor != ("idle",) or inode_in(s, "wait") or s.job:
            return ""
        filed = [inode for place, inode in s.at if place == "done"]
        # Saved over between check and move, and killed before verify: the copy stays in done, beside it.
        beside = len(filed) == 2 and s.acts and s.kills
        if len(filed) != 1 and not beside or s.links or inode_in(s, "hand"):
            return "not filed"
        filed = sorted(filed)
        if status_of(s, filed[0]) not in ("done", "fail"):
            return "filed as %r" % status_of(s, filed[0])
        if not s.acts and any(mark for _, mark in s.ends) and status_of(s, filed[0]) != "done":
            return "filed against its END"
        return ""


def inode_in(s, place):
    return next((inode for directory, inode in s.at if directory == place), None)


def status_of(s, inode):
    return dict(s.status)[inode]


def with_status(s, inode, text):
    return s._replace(status=frozenset({**dict(s.status), inode: text}.items()))


def moved(s, inode, source, target):
    return s._replace(at=s.at - {(source, inode)} | {(target, inode)})


def explore(protocol, start):
    """Return (number of states, the first story that breaks a promise or does not end, else "")."""
    came_from, before, queue = {start: None}, collections.defaultdict(list), collections.deque([start])
    ended = []

    def story(s):
        lines = []
        while came_from[s]:
            s, what = came_from[s]
            lines.append(what)
        return ", ".join(reversed(lines))
    while queue:
        s = queue.popleft()
        wrong = protocol.wrong(s)
        if wrong:
            return len(came_from), "%s: %s" % (wrong, story(s))
        if s.monitor == ("idle",) and not s.job and not list(protocol.step(s)):
            if inode_in(s, "wait"):
                return len(came_from), "waits for ever: " + story(s)
            ended.append(s)
        for what, after in protocol.successors(s):
            before[after].append(s)
            if after not in came_from:
                came_from[after] = s, what
                queue.append(after)
    reached = set(ended)
    while ended:                                         # backwards: from where can the end be reached?
        for s in before[ended.pop()]:
            if s not in reached:
                reached.add(s)
                ended.append(s)
    stuck = next((s for s in came_from if s not in reached), None)
    return len(came_from), "never ends: " + story(stuck) if stuck else ""
