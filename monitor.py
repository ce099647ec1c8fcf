#!/usr/bin/env python3
"""simple-job-q: run the jobs that people drop as text files, one at a time.

    python3 monitor.py [CONFIG] [--until-empty]
    python3 monitor.py [CONFIG ...] --check

A job is a text file, a UOW (unit of work). A queue is a directory. Moving the
file is the state change. The Monitor's cycle is:

    wake, read messages, survey, move, edit, launch, post, sleep

Where state lives: on disk, in the open. Which directory a UOW is in says what
it is: wait-q and priority-q wait, currently-executing is in hand, done-q,
error-q and fail-q have ended. Its STATUS line and the JOB START and JOB END
lines of its log say how far it came. Memory holds the job's handle, what was
said already, and listings that can be read again. Lost with it are a FINISH, an
after_command that is still to run, and the counts since the start.

How a job runs: `bash KEEPER | tee -a uow`, two processes that outlive the
Monitor, its keepers. The first, "the keeper", runs `bash -c job_command` and
then writes the JOB END line down the same pipe, so END follows all the output,
whoever has died meanwhile. Every process of a run carries SJQ_RUN in its
environment, the run's mark: a part of the boot id, and the nanosecond after
boot at which it began.

The order of writing at a launch:
  1. claim: `mv` into currently-executing   (nobody else can reach it any more)
  2. STATUS `running: X at N`, in place
  3. `==== JOB START ... run X` at N; with `durable` all three are now on disk
  4. the keepers are started
and at the end: JOB END by the keeper, the log on disk, STATUS in place and on
disk, `mv` to its queue.
So a UOW in currently-executing is one of these rows, and recovery is this
table (`row`), at start-up and for any UOW found there later:

  STATUS    START  END   alive  what it is             what is done
  blank     -      -     -      claimed, not begun     it is the next to start
  gone      no     -     -      not begun              back to wait-q, and judged
  gone      yes    -     yes    under way              adopt, where its keepers live
  gone      yes    -     no     nobody knows           fail-q: `fail: interrupted`
  running   no     -     -      claimed, not begun     it is the next to start
  running   yes    -     yes    under way              adopt: wait, time out, file
  running   yes    yes   no     ended                  file by its END line
  running   yes    no    no     nobody knows           fail-q: `fail: interrupted`
  outcome   -      -     -      ended, not yet moved   move to the queue it names

"alive" means a process with this run's mark; after a reboot there is none.
START is "no" only where the file ends at N, as it did before START was written: one
that is longer, or that somebody has cut, has begun, and so has one whose STATUS says
why it is killed. Who saves another header over a running UOW moves START, so it is
looked for near N, too. A claimed UOW has a padded STATUS line, blank or not: where it
is "gone", an editor has taken it away, and any START in the log counts. A tee that
lives at start-up is adopted with the file that it writes, whatever has become of
that file's name and text. What is next to start, but was saved over since it was
judged, goes back to wait (what an earlier Monitor claimed: in wait-q), and is judged anew.
Where several are under way, each is waited for in turn, and nothing new starts.
Every other STATUS there is reported and left alone, never guessed; what is no
UOW goes to trash. A UOW in a waiting queue with `running` in STATUS was not
begun (a power cut took its claim back), or is there again because somebody
moved it: it waits.

A UOW is stamped (line 1, titles, blank STATUS) aside: in a private directory,
currently-executing/.wait_q or .priority_q, where nobody can swap it. It is put
back with `mv -n`; what a crash has left there, the next start puts back.

A lock on currently-executing makes one Monitor of each configuration. Several
may share a queue, in turn: who has the lock on .turn, in the root, stamps some
UOWs, or chooses, claims and starts one, so that none overtakes another. The
time of .turn says when any was stamped last, for the others to look again.

A message is acted on, then made a comment in place. Once all of monitor_reads is
read it is renamed to .monitor_reads.taken; what a late writer still adds is read
there, and then it is removed.

Every file that is written anew is written as .new.NAME first, then renamed:
one that a crash has left is half a file, and nobody's.

Assumed: all directories on one local file system; /proc mounted; nobody but
the Monitor's user (and root) can write to the root, config.txt, monitor.py
and currently-executing, which start-up checks.

Read on at `cycle`, near the end: each of its steps has a section of its name here.
"""
import bisect
import collections
import errno
import fcntl
import grp
import heapq
import json
import locale
import os
import pwd
import re
import select
import shutil
import signal
import socket
import stat
import sys
import time
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from types import SimpleNamespace
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

# ---- Defaults; those that people set are in CONFIG below ---------------------

HEAD_BYTES = 64 * 1024        # a UOW's header ends within this
SMALL_BYTES = 1024 * 1024     # a longer monitor_reads is no message file, a longer config.txt no configuration
COPY_BYTES = 64 * 1024 * 1024 # a longer log is not copied to stamp the header before it
STATUS_WIDTH = 78             # STATUS is padded to this, so that it is changed in place
MESSAGE_SHOWN = 80            # characters of something wrong that are repeated
STATUS_SHOWN = 50             # waiting UOWs that the message STATUS names per queue
TAKEN_PER_WAKE = 200          # UOWs stamped between two looks at the messages
ACTED_PER_WAKE = 100          # messages acted on between two looks at the queues
LOOK_SECONDS = 0.4            # for judging new files between two looks at the messages
AGAIN_SECONDS = 0.1           # at least, until the next look at a file that has not kept still or is held open
LISTING_SHARE = 20            # listing a waiting queue may take a twentieth of the time: 100,000 files stay cheap
ENDED_SHARE = 500             # listing what has ended may take a five-hundredth
NOTICES_A_SECOND = 2          # wakes by a directory that changes without end, such as one with a growing log
NOTICES_AT_ONCE = 4           # so many may come at once before that counts; each job that starts is one more
TURN_SECONDS = 0.002          # the first wait for a turn that another Monitor has; the next ones are longer
TURN_PATIENCE = 5             # after so long it is said that it does not end
LOCK_SECONDS = 0.5            # a lock that is held is asked for so long: --check takes it for a moment
TICK_SECONDS = 0.02           # file times are no finer than this on older kernels,
WHOLE_SECONDS = 2             # and than this on file systems that keep no fraction of a second
STRANGE_SECONDS = 2           # for so long a message file unlike ours is left alone: FUSE remembers our second link, or
                              # it is another's, and no lease tells whether somebody still writes it
RETRY_SECONDS = 1             # what failed is tried again after this, or after sleep_seconds if that is shorter
HOOK_SECONDS = 60             # limit of ready_command and after_command; a longer search for the patterns is said
POST_SECONDS = 1              # at most one post in so many seconds,
FOLLOW_SECONDS, IDLE_SECONDS = 3, 15     # at least one in so many while a job runs, and otherwise,
POST_SHARE = 40               # and, as far as FOLLOW_SECONDS allows, for a fortieth of the time at most
RECENT_SHOWN, WAITING_SHOWN, SAYS_SHOWN = 30, 30, 12       # UOWs, and lines of monitor_says, on the page
LOG_SHOWN = 32 * 1024         # bytes of a log's head, and of its tail, on its page
WATCHED = 400                 # processes of a run that are held by a pidfd, at most
BLIND_SECONDS = 0.2           # until the next look at what no pidfd tells the end of (none to be had, Linux before 5.3)
MARK, KEEPER_MARK = b"SJQ_RUN", b"SJQ_KEEPER"
UNKNOWN = "not known"         # the run of a UOW that lost its STATUS; with a space in it, no END line is of it
EXIT_UNUSABLE, EXIT_TAKEN = 2, 3
NEVER_RUN = re.compile(r"\..*|.*~|#.*#|4913", re.S)      # hidden names and editors' leftovers
README_NAME = re.compile(r"readme(\..*)?", re.I | re.S)

# The keeper: $1 is job_command, $2 the run, $3 the file that takes it into its cgroup, if any. fd 3 reads what the
# keeper's own stderr says: bash writes a note there only when a signal killed the command, which tells `exit 137` from
# a SIGKILL. Its stderr is that pipe, fd 4, from the `exec` on only, and -p has it read no BASH_ENV: what bash says of
# a locale as it starts, or a file of people's does, is no note. The traps are reset in the command; the keeper has to
# outlive a TERM to write END. $? is kept before `date` can change it. A KILL of the job may meet `date`: then the time
# is bash's own, with the locale's decimal point.
KEEPER = r"""trap : HUP INT PIPE QUIT TERM
unset SJQ_KEEPER
exec 2>&4 4>&-
({ echo 0 >"$3"; } 2>/dev/null; exec bash -c "$1" 2>&1 3<&-)
rc=$?
echo >&2; read -r note <&3
at=$(date -u +%Y-%m-%dT%H:%M:%S.%6NZ 3<&- 2>/dev/null) || {
    at=${EPOCHREALTIME/[!0-9]/.}
    [ -z "$at" ] || TZ=UTC0 printf -v at '%(%Y-%m-%dT%H:%M:%S)T.%sZ' "${at%.*}" "${at#*.}"; }
printf '\n==== JOB END %s run %s exit %s%s\n' "$at" "$2" "$rc" "${note:+ killed}" 2>/dev/null
exit "$rc"
"""

SIGNALS = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}        # of which a job starts with none ignored

# What systemd tells the Monitor alone.
NOT_FOR_JOBS = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM", "INVOCATION_ID", "MAINPID",
                "SYSTEMD_EXEC_PID")

# Patterns are looked for in this run's own output only: $2 bytes of file $3, from byte $1 on. $4 is fail_pattern, $5
# error_pattern. Exit 2 is for a command that failed: then nobody knows.
SEARCH = """look() {
    [ -n "$4" ] || return 1
    tail -c "+$1" -- "$3" | head -c "$2" | grep -qaE -e "$4"
    case "${PIPESTATUS[*]}" in *" 0") return 0 ;; "0 0 1" | "141 0 1") return 1 ;; *) exit 2 ;; esac
}
look "$1" "$2" "$3" "$4" && exit 10
look "$1" "$2" "$3" "$5" && exit 11
exit 1"""
SEARCH_CODES = {1: "", 10: "fail", 11: "error"}      # exit code -> whose pattern was found

# What may have passed at the next try, a directory that is away among it; anything else that keeps a job from being
# started keeps it for ever.
SHORTAGES = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
PASSING = (*SHORTAGES, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ENOENT, errno.ENOTDIR)


# ---- Types -------------------------------------------------------------------

class Unusable(Exception):
    """Start-up cannot go on; the texts say what, where and how to mend it."""

    def __str__(self):
        return "; ".join(self.args)


class BadUow(Exception):
    """A file is no valid UOW; the text names the line and what was expected."""


class Busy(OSError):
    """A file is still open for writing somewhere, or somebody's lease keeps others from it."""

    strerror = "another process holds it open for writing, or has a lease on it"


class Uow(NamedTuple):
    enqueued: Optional[int]     # microseconds since 1970, None when line 1 has no time
    names: Dict[str, str]       # environment variable -> content
    timeout: Optional[float]    # seconds, 0 is none, None is the configured one
    status: str                 # the STATUS line without its padding, '' when waiting
    status_at: int              # byte offset of the STATUS line, -1 when it is not padded as it should be
    log_at: int                 # byte offset behind the `==== JOB LOG` line, 0 when that line is missing
    header: bytes               # from `==== UNIT OF WORK` to the end of the header lines, as written
    line_1: bytes               # as written, b'' when it is missing


NO_UOW = Uow(None, {}, None, "", -1, 0, b"", b"")        # of a file that is none, or is gone


class Running(NamedTuple):      # what a `running` STATUS says
    run: str
    at: int                     # byte offset of its START line
    reason: str                 # why it is being killed, '' if it is not


class End(NamedTuple):          # what an END line says
    exit: int
    killed: bool                # the keeper saw that a signal killed the command
    time: Optional[int]         # microseconds since 1970
    at: int = 0                 # byte offset of the newline before it


class Filing(NamedTuple):       # a UOW that has ended, and is to be moved to its queue
    name: str
    uow: Uow                    # its STATUS names the queue
    run: str                    # '' where the log does not tell
    inode: int                  # of what this Monitor ran; 0 where STATUS says it all


class State(NamedTuple):        # of a file or directory: one of these changes when anything of it does
    mtime: int                  # nanoseconds since 1970
    size: int
    inode: int
    ctime: int                  # as mtime


class Process(NamedTuple):
    pid: int
    role: str                   # 'bash' or 'tee' for the keepers, '' for the job's own
    name: str


class Job:
    """The run in hand: what memory adds to its UOW. Times are seconds after boot."""

    def __init__(self, m, path: str, fd: int, uow: Uow, running: Running, since: int):
        self.name, self.path = os.path.basename(path), path
        self.fd = fd                             # its inode, whoever renames it
        self.uow, self.run = uow, running.run
        self.start_at = running.at               # byte offset of its START line
        self.since = since                       # microseconds since 1970
        mark = re.fullmatch(r"\w+-(\d+)", self.run)
        self.began = int(mark[1]) / 1e9 if mark else boot_seconds()
        self.limit = m.config.timeout_seconds if uow.timeout is None else uow.timeout
        self.reason = running.reason             # why it is being killed, '' if it is not
        self.kill_at: Optional[float] = None     # when TERM becomes KILL
        self.keepers: Dict[str, int] = {}        # 'bash' and 'tee' -> pid
        self.codes: Dict[str, int] = {}          # the same -> exit code, -N for signal N, of our own children only
        self.child = False                       # whether the keepers are children of this Monitor
        self.watched: Dict[int, int] = {}        # pid -> pidfd
        self.over_at: Optional[float] = None     # when the command was first seen to have ended
        self.searched = 0                        # how many bytes of its UOW are known to be without its END line
        self.told: Set[str] = set()              # what was said of it and is not said again
        self.search: Optional[Hook] = None       # the search for the patterns in its log
        self.hit: Optional[str] = None           # 'fail' or 'error', '' for neither, None before that is known


class Monitor:
    """What memory holds. The top of this file tells what of it is lost with the Monitor."""

    def __init__(self, config, until_empty: bool = False):
        self.config, self.until_empty = config, until_empty
        self.device = os.stat(config.root).st_dev
        self.turn = -1                           # the open file `.turn`; DOOR holds currently-executing, locked
        self.turn_refused = 0.0, 0.0             # since when it is refused, and when it last was, seconds after boot
        self.turn_seen = 0                       # the mtime of `.turn` when the waiting queues were last looked at
        # From people: what messages and signals have set.
        self.paused = os.path.lexists(pause_file(config))
        self.finishing = self.stopping = False
        self.reads_state = None                  # state_of(monitor_reads) when it was last read to its end
        self.reads_like = None                   # whose owner and mode a fresh one gets
        # From the survey.
        self.waiting = [Waiting(key, getattr(config, key)) for key in ("priority_q", "wait_q")]
        self.ended = {key: Ended() for key in FINISHED + ["trash", "archive"]}
        self.claimed: List[str] = []             # and not begun: the next to start
        self.filings: List[Filing] = []          # ended, not yet moved
        self.others = 0                          # how many in currently-executing are none of these, nor the job
        self.unclear = False                     # something in currently-executing may be under way besides the job
        self.job: Optional[Job] = None
        self.children: List[int] = []            # only to be reaped: a tee whose input is held, a hook that was left
        self.clock = time.time() - boot_seconds()        # the most that the wall clock was ahead of the time since boot
        # From moves and launches. Times are seconds after boot.
        self.after: List[Tuple[str, Dict[str, str]]] = []          # whose after_command is to be run: name, environment
        self.after_hook: Optional[Hook] = None   # the after_command that runs
        self.ready_hook: Optional[Hook] = None   # the ready_command that runs
        self.ready_passed = False                # it allowed the next launch
        self.launch_at = self.move_at = 0.0      # the next try to launch, move is no earlier
        self.totals = dict.fromkeys(FINISHED, 0)         # ended since the start
        # For posting.
        self.post_at = 0.0                       # the next post is no earlier
        self.pages: Dict[str, tuple] = {}        # page -> what it shows
        self.finished: Dict[tuple, Entry] = {}   # the newest that ended
        self.state, self.state_since = None, time.time()
        self.status_sent, self.sent_at = "", 0.0         # what systemd was told last, and when
        # For saying things once.
        self.conditions: Dict[str, str] = {}     # what lasts, `kind` or `kind path` -> what was said of it
        self.half_line = False                   # the last line of monitor_says was cut by a full disk
        # For sleeping.
        self.due = 0.0                           # when the next wake is wanted at the latest, seconds after boot
        self.wakeup = -1                         # the pipe that signals are read from
        self.armed: Dict[str, Tuple[int, int]] = {}      # directory -> (fd, inode) that F_NOTIFY was asked for
        self.notices, self.notices_at = float(NOTICES_AT_ONCE), 0.0        # how many more may wake, as of when


# ---- UOW text: parse and format, pure ----------------------------------------

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
BLANKS = " \t\r\n\f\v"         # no others: in some locales half a letter is one
TITLES = ["==== UNIT OF WORK", "==== STATUS", "==== JOB LOG"]
BOM = b"\xef\xbb\xbf"
START_LINE = re.compile(rb"\n==== JOB START (\S+) run ([\w-]+)(?=\n)")
# For all runs: one pattern for each would have to be compiled for each, which takes longer than the search. A job
# prints what it likes: only what can be a mark is one.
END_LINE = re.compile(rb"\n==== JOB END (\S*) run ([\w-]+) exit (\d{1,3})( killed)?(?=\n)")


def utc(microseconds: int) -> str:
    """Return a time as `2026-11-24T02:30:00.123456Z`."""
    seconds, rest = divmod(microseconds, 1_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + ".%06dZ" % rest


def read_time(text: str) -> int:
    """Return microseconds since 1970 of an ISO 8601 time; without a zone it is UTC. ValueError if it is none."""
    text = re.sub(r"[zZ]$", "+00:00", text.strip().replace(",", "."))
    text = re.sub(r"(:\d\d(?:\.\d+)?[+-]\d\d):?(\d\d)?$",      # `date +%z`
                  lambda found: found[1] + ":" + (found[2] or "00"), text)
    text = re.sub(r"(\.\d{1,6})\d*", lambda found: found[1].ljust(7, "0"), text)      # Python 3.9 wants 3 or 6
    if not re.match(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d", text):
        raise ValueError(text)
    moment = datetime.fromisoformat(text)
    since = (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)) - EPOCH
    return since // timedelta(microseconds=1)


def read_seconds(text: str) -> float:
    """Return the seconds of `90`, `90s`, `30m`, `2h` or `1d`; ValueError if it is none of these."""
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*([smhd]?)", text.strip().lower())
    if not found:
        raise ValueError("expected a number of seconds, or 90s, 30m, 2h, 1d")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]]


def shown(name) -> str:
    """Return a file name or text so that a shell reads it back and a terminal is not touched by it."""
    text = os.fsdecode(name)
    if re.fullmatch(r"[\w./:@%+=,-]+", text):
        return text
    special = {"\\": "\\\\", "'": "\\'", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    def escape(c: str) -> str:
        return special.get(c) or (c if c.isprintable() else "".join("\\x%02x" % byte for byte in os.fsencode(c)))
    try:
        return "$'" + "".join(map(escape, text)) + "'"
    except UnicodeEncodeError:                     # only a text that never was a name
        return ascii(text)


def base(path: str) -> str:
    """Return the last part of a path, as it is shown."""
    return shown(os.path.basename(path))


def variable(name: str) -> str:
    """Return the environment variable that carries the header NAME to the job."""
    return "UOW_" + re.sub(r"[^A-Z0-9_]", "_", name.upper())


def split_line(line: str) -> Optional[Tuple[str, str]]:
    """Return NAME and CONTENT of a `NAME :: CONTENT` line, or None."""
    name, mark, content = line.partition("::")
    name = name.strip(BLANKS)
    return (name, content.strip(BLANKS)) if mark and re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_ \t-]*", name) else None


def read_enqueued(line: str) -> int:
    """Return the time in line 1: `ENQUEUED :: TIME by NAME`, or TIME alone; ValueError if it is neither."""
    name, mark, content = line.partition("::")
    if mark and name.strip().upper() != "ENQUEUED":
        raise ValueError(line)
    return read_time(re.sub(r"\sby\s.*", "", content if mark else line, flags=re.S))


def parse_uow(head: bytes, required=("COMMAND",)) -> Uow:
    """Return the Uow that begins with these bytes (its first 64 KiB are enough); BadUow names the line."""
    section, number, at = "", 0, 0
    enqueued, line_1, names, timeout = None, b"", {}, None
    status, status_at, log_at, header_at, header_end = "", -1, 0, 0, 0

    def bad(what: str, expected: str) -> BadUow:
        return BadUow("line %d: %s; expected %s" % (max(number, 1), what, expected))

    for found in re.finditer(rb"[^\n]*\n|[^\n]+", head[:HEAD_BYTES]):
        raw, number, start, at = found[0], number + 1, at, found.end()
        bom = len(BOM) if raw.startswith(BOM) else 0
        line = os.fsdecode(raw[bom:]).strip(BLANKS)
        title = " ".join(line.split()).upper()
        if b"\0" in raw:
            raise bad("a NUL byte", "text")
        if not line:
            if section == TITLES[1] and status_at < 0 and raw == b" " * STATUS_WIDTH + b"\n":
                status_at = start
        elif line.startswith("===="):
            if title not in TITLES:
                raise bad(shown(line[:MESSAGE_SHOWN]), "`==== UNIT OF WORK`, `==== STATUS` or `==== JOB LOG`")
            if section and TITLES.index(title) <= TITLES.index(section):
                raise bad("`%s` stands twice or out of order" % title, "UNIT OF WORK, STATUS, JOB LOG")
            if not section and title != TITLES[0]:
                raise bad("`%s` first" % title, "`==== UNIT OF WORK` before it")
            section = title
            if title == TITLES[0]:
                header_at, header_end = start + bom, at
            if title == TITLES[2]:
                log_at = at if raw.endswith(b"\n") else 0
                break
        elif not section:
            if line_1:
                raise bad(shown(line[:MESSAGE_SHOWN]), "`==== UNIT OF WORK` behind line 1")
            try:
                enqueued, line_1 = read_enqueued(line), raw[bom:]
            except (ValueError, OverflowError):
                raise bad(shown(line[:MESSAGE_SHOWN]),
                          "`ENQUEUED :: 2026-11-24T02:30:00Z` or `==== UNIT OF WORK`") from None
        elif section == TITLES[1]:
            if status:
                raise bad("a second line below STATUS", "one, then `==== JOB LOG`")
            status, status_at = line, start if len(raw) == STATUS_WIDTH + 1 and raw.endswith(b"\n") else -1
        else:
            pair = split_line(line)
            if not pair:
                raise bad(shown(line[:MESSAGE_SHOWN]), "`NAME :: CONTENT`")
            key, header_end = variable(pair[0]), at
            names[key] = names[key] + "\n" + pair[1] if key in names else pair[1]
            if key == "UOW_TIMEOUT":
                try:
                    timeout = read_seconds(names[key])
                except ValueError as problem:
                    wrong = "line %d: TIMEOUT %s; %s" % (number, shown(names[key][:MESSAGE_SHOWN]), problem)
                    raise BadUow(wrong) from None
    if not log_at and len(head) > HEAD_BYTES:
        raise bad("the header does not end within %d KiB" % (HEAD_BYTES // 1024), "`==== JOB LOG` before that")
    if not section:
        raise bad("the end of the file" if number else "an empty file", "`==== UNIT OF WORK`")
    if not names:
        raise bad("no header line", "`NAME :: CONTENT` below `==== UNIT OF WORK`")
    for name in required:
        if not names.get(variable(name)):
            how = " an empty " if variable(name) in names else "out "
            raise bad("the header ends with%s%s" % (how, name), "`%s :: ...`" % name)
    return Uow(enqueued, names, timeout, status, status_at, log_at, head[header_at:header_end], line_1)


def status_line(text: str) -> bytes:
    """Return a STATUS line at its fixed width, cut where it is longer."""
    return text.encode("ascii", "backslashreplace").replace(b"\n", b" ")[:STATUS_WIDTH].ljust(STATUS_WIDTH) + b"\n"


def stamped_head(uow: Uow, owner: str, status: str = "") -> bytes:
    """Return what a UOW has before its log: line 1, the header as written, STATUS, blank while it waits, the titles."""
    line_1 = uow.line_1.rstrip() or os.fsencode("ENQUEUED :: %s by %s" % (utc(uow.enqueued), owner))
    return b"%s\n\n%s\n\n==== STATUS\n%s\n==== JOB LOG\n" % (line_1, uow.header.rstrip(b"\r\n"), status_line(status))


def running_status(running: Running) -> str:
    """Return the STATUS of a run: its mark, where its START stands, and why it is being killed."""
    return "running: %s at %d%s" % (running.run, running.at, running.reason and ", " + running.reason)


def read_running(status: str) -> Optional[Running]:
    """Return what a `running` STATUS says, or None if it is no such line."""
    found = re.fullmatch(r"running: ([\w-]{1,40}) at (\d{1,15})(?:, (.*))?", status, re.A)
    return Running(found[1], int(found[2]), found[3] or "") if found else None


def start_line(now: int, run: str) -> bytes:
    """Return the line that stands before a run's output."""
    return ("==== JOB START %s run %s\n" % (utc(now), run)).encode()


def find_end(tail: bytes, run: str) -> Optional[End]:
    """Return the last JOB END line of this run, or None."""
    found = [found for found in END_LINE.finditer(tail) if found[2] == run.encode()]
    if not found:
        return None
    try:
        ended = read_time(found[-1][1].decode())
    except ValueError:
        ended = None                                # `date` failed: the exit code counts, not the time
    return End(int(found[-1][3]), bool(found[-1][4]), ended, found[-1].start())


# ---- Decisions: what to do, and why. No clock, file or global ----------------

def signal_name(number: int) -> str:
    """Return `SIGSEGV` for 11."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return "signal %d" % number


def died_by_signal(end: End, last_output: bytes) -> int:
    """Return the signal that killed the command, 0 if it exited.

    The keeper knows about the job's own shell. When a signal killed a program that the shell
    ran, the shell exits with 128 + n and says so on stderr; both together tell it from a plain
    `exit 137`. About INT and TERM bash is silent, so there the number alone tells; about PIPE,
    too, but 141 is also how a pipeline of programs that are all well ends under `pipefail`.
    """
    number = end.exit - 128
    if number <= 0 or number > 64:
        return 0
    if end.killed or number in (signal.SIGINT, signal.SIGTERM):
        return number
    word = re.escape((signal.strsignal(number) or "").encode())
    said = rb"\d[^\n:\d]*: +\d+ " + word + rb"\b|\n +\d+ " + word + rb"\b"
    return number if word and re.search(said, last_output) else 0


def outcome(end: Optional[End], seconds: float, *, reason: str = "", killed_by: int = 0,
            exit_known: Optional[int] = None, hit: Optional[str] = None, fail_exit_codes=()) -> str:
    """Return the STATUS of a run that is over; its first word is the queue.

    end: its END line, or None. reason: why the Monitor killed it. killed_by: the signal that
    killed the command, or the keeper where there is no END. exit_known: the exit code as a
    parent sees it, where the log has no END line. hit: whose pattern was found, 'fail' or 'error'.
    """
    after = " after %.1f s" % seconds
    if reason:
        return "fail: " + reason
    if killed_by:
        return "fail: killed by %s%s" % (signal_name(killed_by), after)
    if end is None and exit_known is None:
        return "fail: interrupted"
    if end is None:
        return "fail: exit %d, log incomplete" % exit_known
    if end.exit in fail_exit_codes:
        return "fail: exit %d%s" % (end.exit, after)
    if hit:
        return "%s: exit %d%s, %s_pattern found" % (hit, end.exit, after, hit)
    return "%s: exit %d%s" % ("error" if end.exit else "done", end.exit, after)


def row(status: str, padded: bool, grown: bool) -> str:
    """Return what a UOW found in currently-executing is: the table at the top of this file.

    padded: whether the STATUS line is one that a Monitor wrote. grown: whether its log has what a run begins with.
    The rows of a run that has begun are one here, "adopt": who waits for nobody and looks for an END line files
    the dead ones, too.
    """
    running = read_running(status)
    if status.partition(":")[0] in ("done", "error", "fail"):
        return "ended"
    if status and not running:
        return "strange"
    if running:                                      # in doubt it has begun: only a person starts it again
        return "adopt" if grown or running.reason else "next"
    return "adopt" if grown and not padded else "next"


def goes_on(tee: bool, remains: bool, held: bool, over_for: float, grace: float) -> str:
    """Return what of a run goes on whose command has ended: the "job", "output" on its way to the log, or "".

    tee: whether it lives. remains: whether processes of a job live that was killed, or whose keeper was:
    they count as the job. over_for: seconds since the command ended. Output that somebody still holds is
    waited for `grace` seconds, as is tee of a job that was killed (both are `held`); else tee is merely slow, and
    ends by itself.
    """
    if remains:
        return "job"
    return "output" if tee and (not held or over_for < grace) else ""


def killing(now: float, limit_at: float, reason: str, kill_at: Optional[float], grace: float) -> str:
    """Return what a job that goes on gets now: "", "term", "grace" (nothing yet), "kill", "late" (KILL has not helped).

    limit_at: when its time is up. reason: why it is being ended, '' if it is not. kill_at: when TERM becomes KILL,
    None before TERM was sent, as by a Monitor that has adopted it. Times are seconds after boot.
    """
    if not reason:
        return "term" if now >= limit_at else ""
    if kill_at is None:
        return "term"
    if now < kill_at:
        return "grace"
    return "kill" if now <= kill_at + grace + 1 else "late"      # what hangs in the kernel does not die at once


def exits(*, stopping: bool, finishing: bool, until_empty: bool, busy: bool, unclear: bool, others: bool,
          failed: bool) -> str:
    """Return when the Monitor is to exit: "now", "empty" (once nothing waits), or "" for not yet.

    busy: a job, or an after_command, goes on. unclear: another may be under way; with `others` it is there for sure.
    failed: something is tried again, for which --until-empty waits and FINISH does not.
    """
    if stopping or finishing and not busy and not (unclear and others):
        return "now"
    return "empty" if until_empty and not (busy or unclear or failed) else ""


def state_word(*, stopping: bool, running: bool, paused: bool, waits: bool) -> str:
    """Return the state that is posted."""
    if stopping:
        return "stopped"
    if running:
        return "running"
    return "paused" if paused else "waiting" if waits else "idle"


def lacks(uow: Uow, ours: bool) -> str:
    """Return what a UOW needs before it can start: "" for nothing, "blank" (STATUS, in place), "stamp" (a new head).

    ours: whether the Monitor may write to it in place.
    """
    if uow.enqueued is None or not uow.log_at or uow.status_at < 0 or not ours:
        return "stamp"
    return "blank" if uow.status else ""


def listing(*, changed: bool, due: bool, stamped: bool, ready: bool) -> str:
    """Return what to do about the listing of a waiting queue: "keep" it, list it "later", or "now".

    changed: since it was listed. due: a listing may be afforded. stamped: another Monitor has stamped some.
    ready: it has UOWs that can be started, so that the next survey is soon enough.
    """
    if not changed:
        return "keep"
    return "now" if due or stamped else "keep" if ready else "later"


def next_look(lasted: float, least: float, most: float) -> float:
    """Return in how many seconds to look again at what has lasted for so many: the longer, the less often."""
    return min(most, max(least, lasted / 10))


def refused_since(now: float, since: float, last: float) -> float:
    """Return since when the turn is refused; since, last: the same as of the last refusal, and when that was."""
    return since if now - last < TURN_PATIENCE else now      # one of long ago was another matter


def gate(*, held: bool, waits: bool, due: bool) -> str:
    """Return whether a launch may be tried: "yes", "later" (what failed or was refused is tried again then), or "no".

    held: a job runs, or none may start. waits: the UOW that is the next is known.
    """
    if held or not waits:
        return "no"
    return "yes" if due else "later"


def readiness(*, refused: bool, process: str, command: bool, passed: bool) -> str:
    """Return what a launch waits for: "command" or "process" (which refuses), "ask" (ready_command first), or "".

    refused: by ready_command, just now. process: who runs of job_process, '' for nobody. command: whether there is a
    ready_command. passed: it has allowed this launch.
    """
    if refused:
        return "command"
    if process:
        return "process"
    return "ask" if command and not passed else ""


def message_file(regular: bool, links: int, size: int, unchanged_for: float) -> str:
    """Return '' if what lies in the message file's place is one, "wait", or why it goes to trash.

    unchanged_for: seconds since its mode, links or content changed, below 0 where its time lies ahead.
    """
    if regular and links > 1 and 0 <= unchanged_for < STRANGE_SECONDS:
        return "wait"                                # of our own making, in a file system that remembers it for a while
    if not regular or links > 1:
        return "not a regular file of its own; expected the message file"
    return "more than %d bytes; expected a few messages" % SMALL_BYTES if size > SMALL_BYTES else ""


def settles_in(now: float, seen_for: float, changed: float, quiet: float) -> float:
    """Return in how many seconds a file has kept still for `quiet`, 0 or less when it has.

    now, changed: wall clock; seen_for: how long the same size and time were seen here, which
    counts where a clock was set and the file's time lies ahead.
    """
    return min(quiet - seen_for, changed + quiet - now if changed <= now else quiet)


def has_fraction(mtime: int) -> bool:
    """Tell whether a file time has a fraction of a second; on ext3 none has, and all times of a second are the same."""
    return mtime % 1_000_000_000 != 0


def latest(mtime: int) -> float:
    """Return the latest that a change may have been that has this time: one without a fraction may have lost it."""
    return mtime / 1e9 + (not has_fraction(mtime))


def would_show(now: float, state: Optional[State]) -> bool:
    """Tell whether a change from now on would show in a directory's time: one in the same clock tick would not."""
    if state is None:
        return False
    return abs(now - state.mtime / 1e9) >= (TICK_SECONDS if has_fraction(state.mtime) else WHOLE_SECONDS)


def moved(was: int, there: int, left: int, own_place: bool) -> str:
    """Return what a `mv` has done: "moved", "gone" (somebody else took it), "taken" (the name is), or "failed".

    was: the inode before it. there, left: the inodes under both names after it, 0 for none. own_place: nobody else
    makes a name there, so that it is this file, or what was swapped in meanwhile; what is left may be a link to it.
    """
    if there and (left != was or own_place):
        return "moved"
    if not left:
        return "gone"
    return "taken" if there else "failed"


def free_name(name: str, number: int) -> str:
    """Return `name` for 1 and `name.N` for N, never longer than the 255 bytes of a file name."""
    if number == 1:
        return name
    suffix = ".%d" % number
    return os.fsdecode(os.fsencode(name)[:255 - len(suffix)]) + suffix


# ---- Configuration -----------------------------------------------------------

def checked(accepts, expected: str, convert=str):
    """Return a reader that converts what `accepts` is true for, and says what was expected otherwise."""
    def read(text: str):
        if not accepts(text):
            raise ValueError("expected " + expected)
        return convert(text)
    return read


def words(text: str) -> List[str]:
    return text.replace(",", " ").split()


def pattern(text: str) -> str:
    if text and not shutil.which("grep"):
        raise ValueError("expected the command grep in PATH")
    try:
        if text and run(["grep", "-qaE", "-e", text]) not in (0, 1):
            raise ValueError("expected a pattern that `grep -E` accepts, which says: " + complaint())
    except OSError as problem:
        raise ValueError("expected grep to judge it: " + reason_of(problem)) from None
    return text


def process_name(text: str) -> str:
    if len(text) > 15 or "/" in text:
        raise ValueError("expected a process name as `ps -o comm` shows it, at most 15 characters")
    if text and not shutil.which("pgrep"):
        raise ValueError("expected the command pgrep in PATH (of procps)")
    return text


positive = checked(lambda text: read_seconds(text) > 0, "more than 0 seconds", read_seconds)
needed = checked(bool, "a bash command line")
yes_no = checked(lambda text: text.lower() in ("yes", "no"), "yes or no", lambda text: text.lower() == "yes")
name_list = checked(lambda text: all(re.fullmatch(r"[A-Za-z0-9_-]+", name) for name in words(text)),
                    "header names, such as COMMAND TICKET", words)
exit_codes = checked(lambda text: all(word.isdecimal() and int(word) <= 255 for word in words(text)),
                     "exit codes from 0 to 255, such as 4 255", lambda text: [int(word) for word in words(text)])
optional_path = checked(lambda text: ".." not in text.split("/"), "a path without `..`; write it out from /")
path_name = checked(bool, "a path", optional_path)

CONFIG = {   # key: (default, reader, meaning)
    "sleep_seconds": ("15", positive, "longest sleep between wakes"),
    "settle_seconds": ("1", read_seconds, "quiet time before a file is taken"),
    "timeout_seconds": ("86400", read_seconds, "a job's limit; 0 is none"),
    "kill_grace_seconds": ("10", read_seconds,
                           "from TERM to KILL; also how long output that a background process holds is waited for"),
    "job_command": ('eval "$UOW_COMMAND"', needed,
                    "the configured job: one bash command line, header values are in its environment"),
    "required_names": ("COMMAND", name_list, "header names that a UOW must have, separated by spaces"),
    "job_process": ("", process_name, "nothing is launched while a process of this name runs anywhere on the machine"),
    "ready_command": ("", str, "a launch waits until this exits 0"),
    "after_command": ("", str, "run after each outcome, at most %d seconds" % HOOK_SECONDS),
    "error_pattern": ("", pattern, "grep -E pattern: found in a run's output, it goes to error-q"),
    "fail_pattern": ("", pattern, "grep -E pattern: found in a run's output, it goes to fail-q"),
    "fail_exit_codes": ("", exit_codes, "exit codes that go to fail-q, such as 4 255"),
    "durable": ("yes", yes_no, "fsync files and directories at every step that a power cut could undo"),
    "monitor_reads": ("monitor_reads", path_name, "where messages are read"),
    "monitor_says": ("monitor_says", path_name, "where the Monitor writes what it does"),
    "status_dir": ("status", optional_path, "where status is posted; empty is nowhere"),
    "wait_q": ("wait-q", path_name, "jobs to run, oldest first"),
    "priority_q": ("priority-q", path_name, "jobs to run before all in wait-q"),
    "currently_executing": ("currently-executing", path_name, "the one UOW in hand"),
    "done_q": ("done-q", path_name, "exit 0"),
    "error_q": ("error-q", path_name, "completed, and reports an error"),
    "fail_q": ("fail-q", path_name, "did not complete"),
    "trash": ("trash", path_name, "what was found and is no valid UOW"),
    "archive": ("archive", path_name, "whatever people want to keep"),
}
DIRECTORIES = ["wait_q", "priority_q", "currently_executing", "done_q", "error_q", "fail_q", "trash", "archive"]
WAITING, FINISHED = DIRECTORIES[:2], DIRECTORIES[3:6]
PATHS = ["status_dir", "monitor_reads", "monitor_says"]


def parse_config(text: str, path: str) -> SimpleNamespace:
    """Return the configuration; Unusable names file, line and what is accepted."""
    values, where, root = {}, {}, os.path.dirname(os.path.abspath(path))
    for number, line in enumerate(text.lstrip("\ufeff").splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        place, pair = "%s line %d: " % (shown(path), number), split_line(line)
        if not pair:
            raise Unusable(place + shown(line[:MESSAGE_SHOWN]) + "; expected `NAME :: CONTENT` or a # comment")
        if "\0" in line:
            raise Unusable(place + "a NUL byte; expected text")
        key = pair[0].lower()
        if key not in CONFIG:
            raise Unusable(place + "unknown key %s; expected one of %s" % (shown(pair[0]), ", ".join(CONFIG)))
        if key in values:
            raise Unusable(place + "%s stands on line %d already; expected each key once" % (key, where[key]))
        try:
            values[key], where[key] = CONFIG[key][1](pair[1]), number
        except ValueError as problem:
            raise Unusable(place + "%s :: %s; %s" % (key, shown(pair[1][:MESSAGE_SHOWN]), problem)) from None
    for key, (default, read, _) in CONFIG.items():
        if key not in values:
            values[key] = read(default)
    keys = DIRECTORIES + PATHS
    for key in keys:
        values[key] = values[key] and os.path.normpath(os.path.join(root, values[key]))
    keys.sort(key=lambda key: key not in where)      # a key that has a line is named, not one that has its default
    places = [(key, real_place(key, values[key])) for key in keys if values[key]]
    own = [("this file", os.path.realpath(path)), ("monitor.py", os.path.realpath(__file__))]
    for key, place in places:
        what = misplaced(key, place, places + own)
        if (os.path.realpath(root) + "/").startswith(os.path.join(place, "")):
            what = what or key + " is the root itself or above it"
        if key == "monitor_reads" and is_device(place):          # `/dev/null` is everybody's, and this file is moved
            what = "monitor_reads is a device"
        if what:
            named = "%s line %d: " % (shown(path), where[key]) if key in where else shown(path) + ": "
            raise Unusable("%s%s; expected a place of its own" % (named, what))
    return SimpleNamespace(**values, root=root, path=os.path.abspath(path))


def real_place(key: str, path: str) -> str:
    """Return where a path leads to by way of links above it; status_dir is the only one that may be a link itself."""
    if key == "status_dir":
        return os.path.realpath(path)
    return os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))


def is_device(path: str) -> bool:
    mode = os.lstat(path).st_mode if os.path.lexists(path) else 0
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode)


def misplaced(key: str, place: str, places: Sequence[Tuple[str, str]]) -> str:
    """Return what another of these places is to this one: the same, or around it; '' if none is."""
    for other, there in places:
        if other != key and (place + "/").startswith(there + "/"):
            return "%s is %s %s" % (key, "the same as" if place == there else "inside", other)
    return ""


def load_config(path: str, optional: bool = False) -> SimpleNamespace:
    """Read a configuration file; Unusable when it cannot be read or is wrong, or is missing and not optional."""
    try:
        with open(path, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise Unusable("%s: no regular file; expected a configuration" % shown(path))
            data = file.read(SMALL_BYTES + 1)
        if len(data) > SMALL_BYTES:
            raise Unusable("%s: more than %d bytes; expected a configuration" % (shown(path), SMALL_BYTES))
    except FileNotFoundError:
        if not optional:
            raise Unusable("%s: no such file; expected a configuration (an empty one will do)" % shown(path)) from None
        data = b""
    except OSError as problem:
        raise Unusable("%s: %s; expected a readable file" % (shown(path), reason_of(problem))) from None
    config = parse_config(os.fsdecode(data), path)
    config.optional = optional and not os.path.lexists(path)     # at RELOAD, one that was there must not be gone
    return config


# ---- Effects: the one door to the shell, files, moves, says ------------------

DOOR = SimpleNamespace(
    note=-1,                        # the open file that takes what tools complain of
    lock=[],                        # currently-executing, open and locked: what `run` starts inherits it
    cgroup="",                      # the one that systemd delegated
    environment=dict(os.environ))   # for every command; os.environ itself would be decoded anew for each


@contextmanager
def closing(fd: int) -> Iterator[int]:
    """Close an open file at the end of a `with`, also when it ends in an error."""
    try:
        yield fd
    finally:
        os.close(fd)


def spawn(argv: List[str], *, stdin=None, stdout=None, stderr=None, extra=(), env=None, session=False) -> int:
    """Start a command and return its pid; OSError when it cannot be started.

    What is not given is /dev/null, stderr too; extra: files that become its fds 3, 4, and so on. Signals are
    as a login shell has them, whatever Python, `nohup` or a shell's `&` has had ignored.
    """
    actions = []
    for number, fd in enumerate((stdin, stdout, stderr)):
        actions.append((os.POSIX_SPAWN_OPEN, number, "/dev/null", os.O_RDWR, 0) if fd is None else
                       (os.POSIX_SPAWN_DUP2, fd, number))
    actions += [(os.POSIX_SPAWN_DUP2, fd, 3 + i) for i, fd in enumerate(extra)]
    try:
        return os.posix_spawnp(argv[0], argv, DOOR.environment if env is None else env, file_actions=actions,
                               setsigmask=[], setsigdef=SIGNALS, setsid=session)
    except (FileNotFoundError, NotADirectoryError, PermissionError):     # it may not look as if a UOW were gone
        raise OSError(errno.ENOEXEC, "no command %s in PATH" % argv[0]) from None


def run(argv: List[str], stdin=None, stdout=None) -> int:
    """Run a command to its end and return its exit code, -N when signal N killed it.

    It holds the Monitor's lock, too: a `mv` that outlives its Monitor must be over before the next one looks.
    """
    if DOOR.note < 0:
        DOOR.note = os.memfd_create("note")
    os.ftruncate(DOOR.note, 0)                       # what another command complained of is none of this one's
    os.lseek(DOOR.note, 0, os.SEEK_SET)
    pid = spawn(argv, stdin=stdin, stdout=stdout, stderr=DOOR.note, extra=DOOR.lock)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def complaint() -> str:
    """Return what the last command wrote on stderr."""
    text = os.pread(DOOR.note, 400, 0).decode("utf-8", "replace").strip()
    return shown(text.splitlines()[0]) if text else "no reason given"


def output_of(argv: List[str]) -> Tuple[int, bytes]:
    """Run a command and return its exit code and the first mebibyte of what it wrote."""
    with closing(os.memfd_create("output")) as fd:
        return run(argv, stdout=fd), os.pread(fd, SMALL_BYTES, 0)


class Hook:
    """A command that runs beside the cycle; one of the configuration is `bounded`, also when the Monitor is gone."""

    def __init__(self, argv: List[str], environment=None):
        self.began = boot_seconds()
        self.pid = spawn(argv, stderr=2, env=environment, session=True)
        try:
            self.pidfd = os.pidfd_open(self.pid)
        except OSError:
            self.pidfd = -1

    def poll(self) -> Optional[int]:
        """Return the exit code once it has ended, None before."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if not pid:
            return None
        if self.pidfd >= 0:
            os.close(self.pidfd)
        return os.waitstatus_to_exitcode(status)

    def leave(self) -> int:
        """End it, since its answer counts no more, and return its pid, which is still to be waited for."""
        os.killpg(self.pid, signal.SIGTERM)
        if self.pidfd >= 0:
            os.close(self.pidfd)
        return self.pid


def bounded(command: str) -> List[str]:
    return ["timeout", "-k", "1", str(HOOK_SECONDS), "bash", "-c", command]


def ended_how(code: int, seconds: float) -> str:
    """Return how a bounded command ended, in words; its own exit may be 124, too."""
    stopped = code in (124, 137, -9) and seconds >= HOOK_SECONDS
    return "ran longer than %d s" % HOOK_SECONDS if stopped else "exit %d" % code


def boot_seconds() -> float:
    """Return seconds since boot, suspend included: no clock setting moves it."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) / 1e9


def wall_microseconds() -> int:
    return time.time_ns() // 1000


@lru_cache(None)
def boot_mark() -> str:
    """Return the eight digits of the boot id that begin every run's mark."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read()[:8]


def say(m, text: str, level: int = 6) -> None:
    """Write one line to monitor_says and to standard output; a failure is no reason to stop.

    level: as in syslog, 6 to inform, 5 to notice, 4 to warn, 3 an error. monitor_says is opened for
    each line, so that logrotate can move it, and never through a link or into a FIFO that nobody reads.
    """
    text = "".join(c if c.isprintable() else shown(c)[2:-1] for c in text)
    encoding = sys.getfilesystemencoding()
    text = text.encode(encoding, "backslashreplace").decode(encoding)      # what the locale has no sign for
    line = utc(wall_microseconds()) + " " + text
    with suppress(OSError):                          # the journal is away; the file still has it
        journal = "<%d>%s" % (level, text) if in_journal() else line
        rest = os.fsencode(journal + "\n")
        while rest and select.select([], [1], [], 0)[1]:     # a pager that is not read, a terminal that was stopped
            rest = rest[os.write(1, rest[:select.PIPE_BUF]):]
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        with closing(os.open(m.config.monitor_says, flags, 0o644)) as fd:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
                raise OSError(errno.EINVAL, "not a regular file of its own")
            data = os.fsencode("\n" * m.half_line + line + "\n")
            m.half_line = os.write(fd, data) != len(data)
    except OSError as problem:
        begins(m, "says", "%s cannot be written (%s): what is said goes to standard output only"
               % (shown(m.config.monitor_says), reason_of(problem)))
    else:
        ends(m, "says")


def write_out(fd: int, line: str) -> None:
    """Write a line to standard output or error. Where that fails, the exit code tells it, too.

    `print` would keep what it cannot write, and fail again at the exit, with an exit code of Python's own.
    """
    with suppress(OSError):
        write_all(fd, (line + "\n").encode(sys.getfilesystemencoding(), "backslashreplace"))


def in_journal() -> bool:
    """Tell whether standard output is the journal, which stamps lines itself and reads their level."""
    there = os.fstat(1)
    return os.environ.get("JOURNAL_STREAM") == "%d:%d" % (there.st_dev, there.st_ino)


def reason_of(problem: Exception) -> str:
    """Return the short reason of an error."""
    return getattr(problem, "strerror", None) or str(problem) or type(problem).__name__


def begins(m, key: str, text: str, level: int = 4) -> None:
    """Say that a condition has begun, once; it is looked at again later."""
    if key not in m.conditions:
        m.conditions[key] = text
        say(m, text, level)


def ends(m, key: str) -> None:
    """Say that a condition has ended, if it had begun."""
    text = m.conditions.pop(key, None)
    if text:
        say(m, "over: " + text, 5)


@contextmanager
def lasting(m, key: str, text: str, end: str = "", level: int = 4) -> Iterator[None]:
    """Try what may fail for a while, and wake for another try. It failed if `key` is in m.conditions afterwards.

    That is said once, with its reason, and its file where the text does not name it, between text and end, and once
    more when it is over.
    """
    try:
        yield
        ends(m, key)
    except OSError as problem:
        where = shown(problem.filename) if isinstance(problem.filename, str) else text
        begins(m, key, text + (where + ": ") * (where not in text) + reason_of(problem) + end, level)
        again(m)


def wake_at(m, when: float) -> None:
    """Wake no later than at a time, in seconds after boot; 0 is at once."""
    m.due = min(m.due, when)


def again(m, seconds: float = RETRY_SECONDS) -> float:
    """Wake when it is time for another try, no later than after sleep_seconds; return when, in seconds after boot."""
    when = boot_seconds() + min(seconds, m.config.sleep_seconds)
    wake_at(m, when)
    return when


def is_usable(m, path: str) -> bool:
    """Tell whether a directory of ours is there, no link, on the root's file system, and ours to change; said once."""
    what = "is no longer a directory on this file system: it rests until it is one again"
    try:
        found = os.lstat(path)
        if stat.S_ISDIR(found.st_mode) and found.st_dev == m.device:
            if os.access(path, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
                ends(m, "directory " + path)
                return True
            what = ("is on a file system that is read-only: it rests until it can be written" if is_read_only(path) else
                    "cannot be read and written by %s: it rests until it can" % owner_name(os.geteuid()))
    except FileNotFoundError:
        pass
    except OSError as problem:
        what = "cannot be reached (%s): it rests until it can" % reason_of(problem)
    what = "%s %s" % (shown(path), what)
    if m.conditions.get("directory " + path, what) != what:
        ends(m, "directory " + path)                 # it is something else now
    begins(m, "directory " + path, what)
    return False


def is_read_only(path: str) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def state_of(path: str) -> Optional[State]:
    """Return the state of a file, without following a link; None if it is gone."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return State(found.st_mtime_ns, found.st_size, found.st_ino, found.st_ctime_ns)


def inode_of(path: str) -> int:
    """Return a file's inode, 0 if it is not there; OSError where that cannot be told."""
    try:
        return os.lstat(path).st_ino
    except FileNotFoundError:
        return 0


def mv(m, source: str, directory: str, name: Optional[str] = None, durable: bool = True) -> Optional[str]:
    """Move a file, never over another: under the next free name where the name is taken.

    Return the path it has then, or None when somebody else took the source away. OSError when it
    could not be moved. By version, `mv -n` exits 0 or 1 when it declines, and it may be killed
    before or after its work: only a look tells where the file is. durable: as for `write_whole`.
    """
    name = name or os.path.basename(source)
    was = inode_of(source)
    if not was:
        return None
    if not is_usable(m, directory):
        raise OSError(errno.ENOTDIR, "%s cannot be used now" % shown(directory))
    # Where nobody else makes a name, but jobs.
    is_own_place = (directory + "/").startswith(m.config.currently_executing + "/")
    for number in range(1, 1_000_000):
        target = os.path.join(directory, free_name(name, number))
        if os.path.lexists(target):
            continue
        code = run(["mv", "-nT", "--", source, target])
        found = moved(was, inode_of(target), inode_of(source), is_own_place)
        if found == "moved":
            if durable:
                sync_moved(m, directory, os.path.dirname(source))
            if number > 1:
                say(m, "%s: the name was taken in %s, it is %s there" % (shown(name), base(directory), base(target)), 5)
            return target
        if found == "gone":
            return None
        if found == "failed":
            raise OSError(errno.EIO, "mv exit %d: %s" % (code, complaint()))
    raise OSError(errno.EEXIST, "no free name")


def mv_all(m, source: str, names: List[str], directory: str) -> None:
    """Move hundreds of files for the price of one `mv`; what stays behind is for the caller to look at."""
    if names and is_usable(m, directory) and is_usable(m, source):
        run(["mv", "-n", "-t", directory, "--"] + [os.path.join(source, name) for name in names])
        sync_moved(m, directory, source)


def trash(m, path: str, why: str, place: str = "", moved: bool = False) -> None:
    """Move what is no UOW to trash, and say why; place: where people had it; moved: it is in trash already."""
    try:
        if moved or mv(m, path, m.config.trash):
            ends(m, "trash " + path)
            say(m, "%s in %s goes to trash: %s" % (base(path), base(place or os.path.dirname(path)), why), 4)
    except OSError as problem:
        begins(m, "trash " + path, "%s is no UOW (%s), but cannot be moved to trash: %s"
               % (shown(path), why, reason_of(problem)))


def sync(m, *targets) -> None:
    """Make files (fds) and directories (paths) survive a power cut; OSError when that is not sure."""
    if m.config.durable:
        for target in targets:
            if isinstance(target, int):
                os.fdatasync(target)                 # content and size: a new mtime is worth no write of the journal
            else:
                with closing(os.open(target, os.O_RDONLY | os.O_DIRECTORY)) as fd:
                    os.fsync(fd)


def sync_moved(m, directory: str, source: str) -> None:
    """Make a move last. Where that fails it is made all the same, and what comes after it has to come."""
    with lasting(m, "sync " + directory, "what is moved to %s may be back in %s after a power cut: "
                 % (shown(directory), base(source))):
        sync(m, directory, source)


def open_at_once(path: str, flags: int) -> int:
    """Open a file; Busy while somebody has a lease, which an open would wait for, or OSError."""
    try:
        return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)
    except BlockingIOError:
        raise Busy() from None


def open_regular(path: str, flags: int = os.O_RDONLY) -> int:
    """Open a file without following or waiting; Busy, OSError, or BadUow where it is no regular file."""
    if not stat.S_ISREG(os.lstat(path).st_mode):     # a device is not even opened
        raise BadUow("not a regular file; expected a text file")
    return open_at_once(path, flags | os.O_NOFOLLOW)


def open_still(path: str) -> int:
    """Open for reading a file that nobody writes, without following or waiting; Busy, BadUow or OSError.

    A read lease is granted only while no process has the file open for writing. The kernel
    refuses it for other people's files (EACCES): those rest on the quiet time alone.
    """
    fd = open_regular(path)
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as problem:
        if problem.errno == errno.EAGAIN:
            os.close(fd)
            raise Busy() from None
    return fd


def reopen(fd: int, flags: int = os.O_RDWR) -> int:
    """Open the very inode of an open file again; Busy or OSError."""
    return open_at_once("/proc/self/fd/%d" % fd, flags)


def read_uow(fd: int, path: str, required=()) -> Uow:
    """Return the Uow in an open file that may be anybody's; BadUow says what is wrong, OSError that it is gone.

    The name is looked at once more: of a link that was swapped in and taken away again since, the file that it led to
    has one link, and would be read.
    """
    opened, there = os.fstat(fd), os.lstat(path)     # in this order: a link would have to be gone, and then back
    if (there.st_dev, there.st_ino) != (opened.st_dev, opened.st_ino):
        raise FileNotFoundError(errno.ENOENT, "it was moved or replaced meanwhile", path)
    if not stat.S_ISREG(opened.st_mode):
        raise BadUow("not a regular file; expected a text file")
    links = max(opened.st_nlink, there.st_nlink)
    if links > 1:
        raise BadUow("%d hard links; expected a file of its own (use cp)" % links)
    return read_own(fd, required)


def read_own(fd: int, required=()) -> Uow:
    """Return the Uow in an open file that a Monitor has claimed: a backup by `cp -al` may link to it; BadUow."""
    return parse_uow(os.pread(fd, HEAD_BYTES + 1, 0), required)


def write_all(fd: int, data: bytes, at: Optional[int] = None) -> None:
    """Write every byte or raise OSError; in place from `at` where given."""
    while data:
        done = os.write(fd, data) if at is None else os.pwrite(fd, data, at)
        data, at = data[done:], at if at is None else at + done


def write_whole(m, path: str, data: bytes, like=None, rest=None, durable=True, replaces=None,
                onto: int = -1) -> None:
    """Replace a file so that at any moment the old or the new one is there whole.

    like: the stat of the file whose owner, group and mode it gets, 0644 where there is none. rest: an fd whose
    remaining content follows the data. durable: whether a power cut must not take it. replaces: the only inode
    that may be replaced, 0 for none at all: to copy a long log takes seconds, and people move files meanwhile.
    onto: an fd that is the new file from then on.
    """
    # Named after its target, not after the Monitor: what a crash left of one try, the next try replaces.
    new = os.path.join(os.path.dirname(path), os.fsdecode(b".new." + os.fsencode(os.path.basename(path))[:240]))
    if os.path.lexists(new):
        os.unlink(new)                               # never written into: it may be a link that somebody planted
    with closing(os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)) as fd:
        try:
            write_all(fd, data)
            if rest is not None and run(["cat"], stdin=rest, stdout=fd):
                raise OSError(errno.EIO, "cat: " + complaint())
            mode = 0o644
            if like is not None:
                for owner in (like.st_uid, -1):
                    with suppress(OSError):          # only root gives files away; the name stands in line 1
                        os.fchown(fd, owner, like.st_gid)
                        break
                mode = stat.S_IMODE(like.st_mode) & 0o777 | stat.S_IRUSR | stat.S_IWUSR
            os.fchmod(fd, mode)
            if durable:
                sync(m, fd)
            if replaces is not None and inode_of(path) != replaces:
                raise OSError(errno.EAGAIN, "it was moved or replaced meanwhile")
            os.replace(new, path)
        except BaseException:
            os.unlink(new)
            raise
        if onto >= 0:
            os.dup2(fd, onto, inheritable=False)


def set_status(m, fd: int, text: str) -> None:
    """Change the STATUS of a UOW in place: one write of a fixed width, whatever the size of the log.

    BadUow where it has no padded STATUS any more: somebody has saved another header over it.
    """
    at = read_own(fd).status_at
    if at < 0:
        raise BadUow("its padded STATUS line is gone")
    write_all(fd, status_line(text), at)
    sync(m, fd)


def is_ours(found: os.stat_result) -> bool:
    """Tell whether the Monitor may write to a file in place; any other UOW becomes one by being written anew."""
    return os.geteuid() == 0 or found.st_uid == os.geteuid() and bool(found.st_mode & stat.S_IWUSR)


def owner_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return "uid %d" % uid


# ---- systemd and cgroups -----------------------------------------------------

def notify(text: str) -> None:
    """Tell systemd about the Monitor, READY=1 say; nothing happens where no systemd listens."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if path:
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as there:
            there.settimeout(1)                      # a systemd that does not read must not stop the cycle
            there.sendto(text.encode("utf-8", "replace"), "\0" + path[1:] if path.startswith("@") else path)


def divide_cgroup() -> None:
    """Where systemd delegated a cgroup to this Monitor, move into `monitor` below it; each run gets `run-MARK` beside.

    The keepers stay beside the Monitor: what ends a run's cgroup, cgroup.kill or the OOM killer, leaves
    them to write the END line. Only a process that systemd itself started has a cgroup to divide.
    """
    if str(os.getpid()) not in (os.environ.get("SYSTEMD_EXEC_PID"), os.environ.get("WATCHDOG_PID")):
        return
    with suppress(OSError, StopIteration):           # no cgroup v2, not ours, or no memory controller in it
        with open("/proc/self/cgroup") as file:
            unit = "/sys/fs/cgroup" + next(line[3:-1] for line in file if line.startswith("0::/"))
        os.makedirs(unit + "/monitor", exist_ok=True)
        write_cgroup(unit + "/monitor/cgroup.procs", "0")
        DOOR.cgroup = unit
        write_cgroup(unit + "/cgroup.subtree_control", "+memory")    # for memory.peak; ExecStopPost takes it back


def write_cgroup(path: str, text: str) -> None:
    """Write to a file that the kernel offers; OSError where it does not, and no file is made."""
    with closing(os.open(path, os.O_WRONLY)) as fd:
        os.write(fd, text.encode())


def cgroup_of(run: str) -> str:
    """Return a run's cgroup; where none is delegated, a path that does not exist."""
    return "%s/run-%s" % (DOOR.cgroup or "/sys/fs/cgroup/none", run)


def new_cgroup(run: str) -> str:
    """Make a run's cgroup and return the file that takes its processes, '' where there is none."""
    try:
        os.mkdir(cgroup_of(run))
        return cgroup_of(run) + "/cgroup.procs"
    except OSError:
        return ""


def pids_in_cgroup(run: str) -> Set[int]:
    """Return what is in a run's cgroup and in those that the job made in it: nothing escapes by dropping the mark."""
    pids: Set[int] = set()
    for place, _, _ in os.walk(cgroup_of(run)):
        with suppress(OSError), open(place + "/cgroup.procs") as file:       # removed meanwhile
            pids.update(map(int, file))
    return pids


def append_used(job: Job, end_at: int) -> None:
    """Write what a run used as a line of its own behind its END line, once; it informs, so a failure is no matter."""
    place = cgroup_of(job.run)
    with suppress(OSError):
        with open(place + "/cpu.stat") as file:
            text = "==== JOB USED cpu %.1f s" % (int(file.read().split()[1]) / 1e6)
        # From Linux 5.19, and where the memory controller is on; a restart of the Monitor would begin the peak anew.
        if job.child and os.path.exists(place + "/memory.peak"):
            with open(place + "/memory.peak") as file:
                text += ", memory peak %.1f MiB" % (int(file.read()) / 1048576)
        if b"\n==== JOB USED cpu " not in os.pread(job.fd, HEAD_BYTES, end_at):
            with closing(reopen(job.fd, os.O_WRONLY | os.O_APPEND)) as log:      # appends: tee may still write, too
                os.write(log, (text + "\n").encode())


def remove_cgroups() -> None:
    """Remove the cgroups of runs that are over; one where a daemon was left running stays until that has ended."""
    for place, _, _ in os.walk(DOOR.cgroup, topdown=False):
        if place.startswith(DOOR.cgroup + "/run-"):
            with suppress(OSError):
                os.rmdir(place)


# ---- Survey: what is there ---------------------------------------------------

class File:
    """What is known of one file in a waiting queue."""

    __slots__ = ("inode", "arrived", "looks", "since")       # there may be a hundred thousand

    def __init__(self, inode: int, arrived: int):
        self.inode = inode                       # 0 where another listing is to tell
        self.arrived = arrived                   # its ctime when first seen, microseconds since 1970
        self.looks: Optional[tuple] = None       # size and mtime,
        self.since = 0.0                         # and since when they were seen so, seconds after boot


class Waiting:
    """What is known of one waiting directory. All of it can be read again from disk. Times are seconds after boot.

    A file's way: `fresh`, `ready`. Or `fresh`, `take`, the private directory, `ready`. Or, as no UOW, `fresh`, `bad`,
    the private directory, trash.
    """

    def __init__(self, key: str, path: str):
        self.key, self.path = key, path
        self.listed = None                       # state_of(path) when listed, None if that may have missed a change
        self.again_at = 0.0                      # when the next listing may be made
        self.racy_seconds = TICK_SECONDS         # until the next listing, after one in the clock tick of a change
        self.readmes: List[str] = []
        self.files: Dict[str, File] = {}
        self.fresh: List[tuple] = []             # heap of (look at, changed, name): not judged yet
        self.stuck: Dict[str, float] = {}        # name -> seconds until the next try
        self.ready: List[Tuple[int, str]] = []   # (enqueued, name), in starting order
        self.take: List[str] = []                # to be stamped
        self.bad: List[str] = []                 # to be trashed, after those
        self.aside = TAKEN_PER_WAKE              # how many are in the private directory: at start-up as if it were full
        self.edit_at = 0.0                       # when putting those back is tried again

    def start_over(self) -> None:
        self.__init__(self.key, self.path)

    def to_take(self) -> List[str]:
        """Return the names that are to be taken aside next: not many, and fewer while some cannot be put back."""
        room = max(0, TAKEN_PER_WAKE - self.aside)
        return (self.take + self.bad)[:room]

    def took(self, names: List[str]) -> None:
        """Note that what `to_take` returned is aside."""
        valid = min(len(names), len(self.take))
        del self.take[:valid], self.bad[:len(names) - valid]

    def forget(self, name: str) -> None:
        self.files.pop(name, None)
        self.stuck.pop(name, None)

    def note(self, name: str, state: State) -> None:
        """Note that a file is in the queue again."""
        self.files.setdefault(name, File(0, state.ctime // 1000)).inode = state.inode

    def look_again(self, name: str, at: float, changed: int = 0) -> None:
        """Have a file looked at, at a time; of several at once, first the one that changed first."""
        heapq.heappush(self.fresh, (at, changed, name))

    def can_start(self, name: str, enqueued: int) -> None:
        """Note that a UOW is stamped, and lies in the queue."""
        bisect.insort(self.ready, (enqueued, name))
        self.stuck.pop(name, None)

    def drop(self, names: Set[str]) -> None:
        """Forget files that are gone, wherever they stood."""
        for name in names:
            self.forget(name)
        self.fresh = [item for item in self.fresh if item[2] not in names]
        heapq.heapify(self.fresh)
        self.ready = [item for item in self.ready if item[1] not in names]
        self.take = [name for name in self.take if name not in names]
        self.bad = [name for name in self.bad if name not in names]

    def may_run(self) -> bool:
        """Tell whether there are files that may turn out to be the next to run: what is stuck holds up nobody."""
        return bool(self.ready or self.take or len(self.fresh) > len(self.stuck))


def survey(m) -> None:
    """Bring what is known of the directories up to date. One survey serves the whole cycle: moves keep it so.

    But for what other Monitors stamp meanwhile: `take_turn` looks at that.
    """
    for queue in m.waiting:
        list_waiting(m, queue)
        look_at_fresh(m, queue)
        one_readme(m, queue.path, queue.readmes)
    survey_hand(m)
    survey_ended(m)
    survey_conditions(m)


def list_waiting(m, queue: Waiting, stamped: bool = False) -> None:
    """Bring the names up to date, if the directory has changed and a listing is due.

    stamped: another Monitor has stamped some, so at once. A kept listing is what makes the cost per job
    flat. However fast names come and go, LISTING_SHARE holds; a directory of some hundred files is listed at once.
    """
    state = state_of(queue.path)
    step = listing(changed=state is None or state != queue.listed, due=boot_seconds() >= queue.again_at,
                   stamped=stamped, ready=bool(queue.ready))
    if step == "later":
        queue.listed = None                          # not to be woken again for what is known
        wake_at(m, queue.again_at)
    if step != "now":
        return
    if not is_usable(m, queue.path):
        queue.start_over()
        return
    began, key, there = boot_seconds(), "listing " + queue.path, {}
    with lasting(m, key, "%s cannot be listed: " % shown(queue.path), "; it rests until it can", 3):
        with os.scandir(queue.path) as entries:
            there = {entry.name: entry.inode() for entry in entries if not NEVER_RUN.fullmatch(entry.name)}
    if key in m.conditions:                          # the job that runs, and the other queue, need not wait for it
        queue.start_over()
        queue.again_at = again(m)
        return
    queue.readmes = list(filter(README_NAME.fullmatch, there))
    for name in queue.readmes:
        del there[name]
    all_seen = note_changes(m, queue, there, stamped)
    ended = boot_seconds()
    queue.again_at = ended + (ended - began) * LISTING_SHARE
    if would_show(time.time(), state) and all_seen:
        queue.listed, queue.racy_seconds = state, TICK_SECONDS
    else:                                            # where names come and go without end, less and less often
        queue.listed = None
        wake_at(m, ended + max(queue.racy_seconds, until_notice(m)))
        queue.racy_seconds = min(0.5, 2 * queue.racy_seconds)


def note_changes(m, queue: Waiting, there: Dict[str, int], stamped: bool) -> bool:
    """Forget the names that are gone, and note when the new ones arrived; there: name -> inode.

    Return whether all could be looked at; where not, the directory is to be listed again.
    """
    gone, back = {name for name, file in queue.files.items() if there.get(name) != file.inode}, clock_set_back(m)
    all_seen = True
    if gone:
        queue.drop(gone)
    for name in there.keys() - queue.files.keys():
        try:
            found = os.lstat(os.path.join(queue.path, name))
        except FileNotFoundError:
            continue                                 # gone already; the next listing tells
        except OSError as problem:
            begins(m, "look " + queue.path, "%s in %s cannot be looked at: %s; tried again"
                   % (shown(name), base(queue.path), reason_of(problem)))
            all_seen = False
            continue
        arrived = found.st_ctime_ns // 1000 + (back if found.st_ctime <= time.time() else 0)
        queue.files[name] = File(there[name], arrived)
        changed = 0 if stamped else found.st_ctime_ns            # what another Monitor stamped may be the next to start
        queue.look_again(name, 0.0, changed)
    if all_seen:
        ends(m, "look " + queue.path)
    return all_seen


def clock_set_back(m) -> int:
    """Return by how many microseconds the clock was set back since the start, 0 if it was not.

    What arrives then is stamped as if it had not been, and keeps its place in the order.
    """
    ahead = time.time() - boot_seconds()
    m.clock = max(m.clock, ahead)
    back = m.clock - ahead
    if back < 1:
        ends(m, "clock")
        return 0
    begins(m, "clock", "the clock was set back by %.0f s: new UOWs are stamped ahead of it, so that they keep their "
           "place" % back, 5)
    return int(back * 1e6)


def look_at_fresh(m, queue: Waiting) -> None:
    """Judge files that are new and have kept still: ready to run, to be taken aside, or not yet."""
    now = boot_seconds()
    while queue.fresh and queue.fresh[0][0] <= now and boot_seconds() < now + LOOK_SECONDS:
        _, changed, name = heapq.heappop(queue.fresh)
        if name in queue.files:
            later = look_at_file(m, queue, name, now)
            if later:
                queue.look_again(name, now + later, changed)
    if queue.fresh:
        wake_at(m, queue.fresh[0][0])


def look_at_file(m, queue: Waiting, name: str, now: float) -> float:
    """Judge one file; return in how many seconds to look again, 0 when that is settled."""
    path, file, quiet = os.path.join(queue.path, name), queue.files[name], m.config.settle_seconds
    key = "file " + path
    try:
        found = os.lstat(path)
        looks = (found.st_size, found.st_mtime_ns)
        if file.looks != looks:
            file.looks, file.since = looks, now
        seen_for = now - file.since
        wait = settles_in(time.time(), seen_for, latest(found.st_mtime_ns), quiet)
        if wait > 0:
            return max(wait, AGAIN_SECONDS)
        with closing(open_still(path)) as fd:
            uow = read_uow(fd, path, m.config.required_names)
        if lacks(uow, is_ours(found)):
            queue.take.append(name)                  # what was said of it ends when it is put back
        else:
            queue.can_start(name, uow.enqueued)
            ends(m, key)
    except FileNotFoundError:
        queue.forget(name)
    except Busy as problem:
        if seen_for > 5 + 5 * quiet:
            begins(m, key, "%s in %s waits: %s" % (shown(name), base(queue.path), reason_of(problem)))
        return next_look(seen_for, max(quiet, AGAIN_SECONDS), m.config.sleep_seconds)
    except BadUow:
        # Its quiet time counts from the last change of anything: a drop by link and unlink has two links for a moment.
        wait = settles_in(time.time(), seen_for, latest(found.st_ctime_ns), quiet)
        if wait > 0:
            return max(wait, AGAIN_SECONDS)
        queue.bad.append(name)
    except OSError as problem:
        return let_rest(m, queue, name, problem)
    queue.stuck.pop(name, None)
    return 0


def let_rest(m, queue: Waiting, name: str, problem: Exception, kind: str = "file") -> float:
    """Leave a file alone that cannot be handled now, say so once, and return in how many seconds to look again."""
    key = "%s %s" % (kind, os.path.join(queue.path, name))
    if key in m.conditions:                          # --until-empty waits for the second try, and no longer
        queue.stuck[name] = m.config.sleep_seconds
    begins(m, key, "%s in %s: %s; it is left there and tried again"
           % (shown(name), base(queue.path), reason_of(problem)))
    return queue.stuck.get(name, min(RETRY_SECONDS, m.config.sleep_seconds))


def look_later(m, queue: Waiting, name: str, problem: Exception) -> None:
    """Let a file rest that is known and valid, but could not be taken."""
    queue.look_again(name, boot_seconds() + let_rest(m, queue, name, problem, "take"))


def one_readme(m, path: str, names: List[str]) -> None:
    """Keep the newest README of a directory; the others go to trash, as soon as that is there."""
    if not names:
        return
    *older, newest = sorted(names, key=lambda name: (state_of(os.path.join(path, name)) or (0,), name))
    ends(m, "trash " + os.path.join(path, newest))   # it may have been an older one
    if not older or not is_usable(m, path):
        return
    for name in older:
        trash(m, os.path.join(path, name), "an older README of %s; one per directory is kept" % base(path))


def survey_hand(m) -> None:
    """Find the row of each UOW in currently-executing that is not the job known: the table at the top.

    The first that is under way is adopted here; what has ended is left to `move`, what is next to `launch`.
    """
    known = {(filing.name, filing.inode): filing for filing in m.filings}       # how it ended, whatever STATUS says
    place, names = m.config.currently_executing, None
    m.claimed, m.others, m.unclear = [], 0, True
    if has_lock(m):
        with lasting(m, "listing", "%s cannot be listed: " % shown(place), "; nothing is started", 3):
            names = sorted(os.listdir(place))
    if names is None:
        m.move_at = again(m) if m.filings else 0.0   # how these ended is known until they can be seen again
        return
    m.filings, m.unclear = [], False
    for name in names:
        path = os.path.join(place, name)
        if name.startswith(".new.") and name[5:] in names:       # a crash left it, and it may be as long as the UOW
            with suppress(OSError):
                os.unlink(path)
        if NEVER_RUN.fullmatch(name) or README_NAME.fullmatch(name) or m.job and name == m.job.name:
            continue
        try:
            filing = known.get((name, inode_of(path)))
            if filing:
                m.filings.append(filing)
            else:
                look_at_hand(m, path, name)
        except FileNotFoundError:
            pass
        except OSError as problem:
            m.others += 1
            begins(m, "hand " + path, "%s in currently-executing: %s; it is left there and tried again"
                   % (shown(name), reason_of(problem)))
            if not isinstance(problem, PermissionError) or path in [written for _, written, _ in tees(m)]:
                m.unclear = True                     # it may be under way: nothing is started beside it
                again(m)


def has_lock(m) -> bool:
    """Tell whether currently-executing is usable and this Monitor's; another that has taken its place is locked."""
    path = m.config.currently_executing
    if not is_usable(m, path):
        return False
    if inode_of(path) == os.fstat(DOOR.lock[0]).st_ino:
        ends(m, "lock")
        return True
    try:
        fresh = lock(m.config)
    except BlockingIOError:
        begins(m, "lock", "%s is another directory than before, and another Monitor has it: nothing is started"
               % shown(path), 3)
        return False
    os.close(DOOR.lock[0])
    DOOR.lock = [fresh]
    ends(m, "lock")
    say(m, "%s is another directory than before: locked anew" % shown(path), 4)
    keep_pause(m)                                    # it may be without `.paused`, or have brought an old one
    return True


def look_at_hand(m, path: str, name: str) -> None:
    """Find the row of one UOW in currently-executing; OSError when that cannot be told now."""
    try:
        with closing(open_regular(path, os.O_RDWR)) as fd:
            uow = read_own(fd)
            running = read_running(uow.status)
            if running:                              # before START the file ends at N, or at a newline less
                grown = not 0 <= running.at - os.fstat(fd).st_size <= 1
            else:                                    # its STATUS was taken away: any run in its log may be this one
                grown = bool(uow.log_at and START_LINE.search(os.pread(fd, HEAD_BYTES, uow.log_at - 1)))
            found = row(uow.status, uow.status_at >= 0, grown)
            if found == "adopt" and not m.job:
                m.job = adopt(m, path, fd, uow, running or Running(UNKNOWN, uow.log_at, ""))
            elif found == "adopt":
                m.others, m.unclear = m.others + 1, True
            elif found == "ended":
                m.filings.append(Filing(name, uow, last_run(fd), 0))
    except BadUow as problem:
        state, quiet = state_of(path), m.config.settle_seconds
        if state and 0 <= time.time() - state.mtime / 1e9 < quiet:
            wake_at(m, boot_seconds() + quiet)       # a job's `sed -i` makes its copy here, too
        else:
            trash(m, path, str(problem))
        found = ""
    if found == "next":
        m.claimed.append(name)
    elif found == "strange":
        m.others += 1
        begins(m, "hand " + path, "%s in currently-executing has the STATUS %s, which no run of mine wrote: left "
               "there. mv it to wait-q to run it" % (shown(name), shown(uow.status[:STATUS_WIDTH])))
        return
    ends(m, "hand " + path)


def find_start(fd: int, run: str, at: int) -> Optional[Tuple[int, int, bytes]]:
    """Return where a run's START stands, where its output begins, and its time; None where it is gone.

    It stands where STATUS says, or near there: who saved another header over a running UOW has moved it.
    """
    low = max(0, at - HEAD_BYTES)
    for found in START_LINE.finditer(os.pread(fd, 2 * HEAD_BYTES, low)):
        if found[2].decode() == run:
            return low + found.start() + 1, low + found.end() + 1, found[1]
    return None


def end_on_disk(job: Job) -> Optional[End]:
    """Return this run's END line, searched from the end of the log, or None.

    What was searched in vain is not searched again, but for its last bytes: a run with a long log may be waited for.
    """
    high, kept = os.fstat(job.fd).st_size, b""
    first = max(0, min(job.start_at, high) - HEAD_BYTES, min(job.searched, high) - 200)
    job.searched = high
    while high > first:
        low = max(first, high - HEAD_BYTES)
        piece = os.pread(job.fd, high - low, low) + kept
        end = find_end(piece, job.run)
        if end:
            job.searched = 0
            return end._replace(at=low + end.at)
        high, kept = low, piece[:200]                # an END line may lie across two pieces
    return None


def output_at(job: Job, end: End) -> int:
    """Return where a run's output begins; all of the log may be, where START is gone."""
    start = find_start(job.fd, job.run, job.start_at)
    return min(start[1] if start else job.uow.log_at, end.at)


def last_run(fd: int) -> str:
    """Return the mark in the last JOB END line of a UOW, '' where it has none."""
    found = END_LINE.findall(os.pread(fd, 4096, max(0, os.fstat(fd).st_size - 4096)))
    return found[-1][1].decode() if found else ""


def adopt(m, path: str, fd: int, uow: Uow, running: Running) -> Job:
    """Take up a run that another Monitor started: its processes are found by the run's mark."""
    at, _, began = find_start(fd, running.run, running.at) or (running.at, 0, b"")
    try:
        since = read_time(began.decode())
    except ValueError:                               # somebody has edited the START line, or taken it away
        since = wall_microseconds()
    job = Job(m, path, os.dup(fd), uow, running._replace(at=at), since)
    try:
        for process in hold(job):
            if process.role:
                job.keepers.setdefault(process.role, process.pid)    # what a job calls so comes later
    except OSError:                                  # the next try opens all of it again
        let_go(job)
        raise
    if job.keepers:
        say(m, "adopted %s run %s, started %s" % (shown(job.name), job.run, utc(since)))
    return job


def tees(m) -> Iterator[Tuple[int, str, str]]:
    """Return pid, UOW and mark of each tee that writes into currently-executing, whoever started it."""
    for pid in every_pid():
        facts = dict(line.split(b"=", 1) for line in proc_facts(pid)[0] if b"=" in line)
        path, run = os.fsdecode(facts.get(b"SJQ_FILE", b"")), os.fsdecode(facts.get(MARK, b""))
        if (facts.get(KEEPER_MARK) != b"tee" or os.path.dirname(path) != m.config.currently_executing
                or not re.fullmatch(r"[\w-]{1,40}", run, re.A) or not run.startswith(boot_mark() + "-")):
            continue                                 # a job may set what it likes
        with suppress(OSError):                      # it has ended meanwhile
            if os.stat("/proc/%d" % pid).st_uid == os.geteuid():        # nobody else's process offers us a file
                yield pid, path, run


def adopt_by_its_log(m) -> None:
    """Adopt at start-up what still writes a log, by the very file that it writes.

    The job, or somebody with an editor, may have changed, moved or deleted it.
    """
    for pid, path, run in tees(m):
        if m.job:
            break                                    # another one is found by its name
        log = "/proc/%d/fd/3" % pid
        try:
            if not os.access(log, os.R_OK | os.W_OK, effective_ids=True):      # a `chmod -R a-w` reached it, too
                os.chmod(log, stat.S_IMODE(os.stat(log).st_mode) | stat.S_IRUSR | stat.S_IWUSR)
            with closing(os.open(log, os.O_RDWR | os.O_NONBLOCK)) as fd:
                try:
                    uow = read_own(fd)
                except BadUow:
                    uow = NO_UOW
                running = read_running(uow.status)
                if not running or running.run != run:
                    if not any(process.role == "bash" for process in processes_of(run, {})):
                        continue                     # it is filed, and a daemon holds its output: nothing to wait for
                    running = Running(run, uow.log_at, "")
                m.job = adopt(m, path, fd, uow, running)
        except OSError as problem:
            if problem.errno in (*SHORTAGES, errno.EIO, errno.ENOEXEC):      # tried again, before anything else
                raise
            # else it has ended meanwhile


class Ended:
    """What is known of a directory that only people empty. The Monitor notes what it files there itself."""

    def __init__(self):
        self.listed = None          # state_of the directory when listed, None if that may have missed a change
        self.again_at = 0.0         # when the next listing may be made, seconds after boot
        self.readmes: List[str] = []
        self.count = 0
        self.newest: List[tuple] = []                      # heap of (mtime, name, inode)
        self.hours = collections.Counter()                 # hour since 1970 -> how many ended in it

    def note(self, path: str) -> None:
        """Count a UOW that has ended here."""
        state = state_of(path)
        if state:
            self.count += 1
            self.hours[state.mtime // 3_600_000_000_000] += 1
            push = heapq.heappush if len(self.newest) < RECENT_SHOWN else heapq.heappushpop
            push(self.newest, (state.mtime / 1e9, os.path.basename(path), state.inode))


def survey_ended(m) -> None:
    """Bring counts, the newest UOWs and the last day of the finished directories up to date.

    By ENDED_SHARE, what people move by hand shows at once in a small directory, and after minutes in a vast one.
    """
    for key, ended in m.ended.items():
        path = getattr(m.config, key)
        if state_of(path) != ended.listed and boot_seconds() >= ended.again_at:
            list_ended(ended, key, path)
        if key in FINISHED:                          # what lies in trash and archive is people's
            one_readme(m, path, ended.readmes)


def list_ended(ended: Ended, key: str, path: str) -> None:
    """Read anew what is known of a directory that only people empty."""
    state, began, names = state_of(path), boot_seconds(), []
    try:
        names = [name for name in os.listdir(path) if not NEVER_RUN.fullmatch(name)]
    except OSError:                                        # gone, or no file to be had: the next look tells
        state = None
    ended.__init__()
    ended.readmes = list(filter(README_NAME.fullmatch, names))
    uows = set(names).difference(ended.readmes)
    if key in FINISHED:
        for name in uows:
            ended.note(os.path.join(path, name))
    else:
        ended.count = len(uows)                            # of these nothing is told but how many they are
    ended.listed = state if would_show(time.time(), state) else None
    ended.again_at = boot_seconds() + max(TICK_SECONDS, (boot_seconds() - began) * ENDED_SHARE)


def anything_waits(m) -> bool:
    """Tell whether anything is there to be stamped, trashed or started."""
    return bool(m.claimed or any(queue.bad or queue.may_run() for queue in m.waiting))


def survey_conditions(m) -> None:
    """End what was said, or try again, where no step does: a directory is back, somebody took a file away, say."""
    nobody = not anything_waits(m)
    aside = any(queue.aside for queue in m.waiting)  # then a file that is not in its queue may be there
    for key in list(m.conditions):
        kind, _, path = key.partition(" ")
        if kind == "directory":
            is_usable(m, path)
        elif kind in ("file", "take", "hand", "move", "trash", "back"):
            if not os.path.lexists(path) and not (aside and kind in ("file", "take")):
                ends(m, key)
        elif nobody and kind == "ready":
            ends(m, key)
        elif kind == "turn" and take_turn(m):
            end_turn(m)
        elif kind == "pause":
            keep_pause(m)
        elif kind == "clock":
            clock_set_back(m)
        elif kind == "launch" and not m.claimed and not m.unclear:
            ends(m, key)                             # it was started, or taken away


# ---- Survey: the processes of a run ------------------------------------------

def processes_of(run: str, held: Dict[int, int]) -> List[Process]:
    """Return the processes with this run's mark, in its cgroup, or held (pid -> pidfd), and what belongs to them.

    A run of another boot has none, whoever carries its mark: `at`, say, keeps the environment of who called it.
    """
    if not run.startswith(boot_mark() + "-"):
        return []
    found, others, sessions, inside = {}, [], set(), pids_in_cgroup(run)
    for pid in every_pid():
        environment, fields, name = proc_facts(pid)
        if not fields or is_dead(fields):
            continue
        parent, session = int(fields[1]), int(fields[3])
        if pid in inside:
            found[pid] = Process(pid, "", name)
        elif mark_of(run) in environment:
            # A keeper leads its session; a fork of it that is not yet `bash` or `date` still has its environment.
            role = next((role for role in ("bash", "tee") if session == pid
                         and KEEPER_MARK + b"=" + role.encode() in environment), "")
            found[pid] = Process(pid, role, name)
            if role == "bash":
                sessions.add(session)                # its session lives as long as it, so the number is not used again
        else:
            others.append((parent, session, Process(pid, "", name)))
    poll = select.poll()
    for fd in held.values():
        poll.register(fd, select.POLLIN)
    ended = {fd for fd, _ in poll.poll(0)}           # asked after /proc: who lives now is who was seen there
    lives = {pid for pid, fd in held.items() if fd not in ended}
    # sudo, `env -i`: a child of the run, a child of that, ...
    while related := [process for parent, session, process in others if process.pid not in found
                      and (process.pid in lives or session in sessions or parent in found)]:
        found.update({process.pid: process for process in related})
    return list(found.values())


def every_pid() -> Iterator[int]:
    """Yield the numbers of all processes but this one.

    Also of those that began meanwhile, or what forks and ends, forks and ends, would slip through.
    """
    seen = {os.getpid()}
    for _ in range(20):
        new = {int(entry) for entry in os.listdir("/proc") if entry.isdigit()} - seen
        if not new:
            break
        seen |= new
        yield from sorted(new)


def proc_facts(pid: int) -> Tuple[List[bytes], List[bytes], str]:
    """Return a process's environment, its stat fields from the state on, and its name; OSError if that cannot be told.

    All are empty when it is gone, the first when it is not ours.
    """
    place, gone = "/proc/%d" % pid, (FileNotFoundError, ProcessLookupError)      # anything else is no proof of that
    try:
        with open(place + "/stat", "rb") as file:
            before, _, after = file.read().rpartition(b")")
    except (*gone, PermissionError):
        return [], [], ""
    environment, fields, places = b"", after.split(), [place]
    if fields[0] == b"Z" and not is_dead(fields):    # its first thread has ended, the others have what it had
        with suppress(*gone):
            places = [place + "/task/" + thread for thread in sorted(os.listdir(place + "/task"), key=int)]
    for place in places:
        with suppress(*gone, PermissionError):       # what the job runs through sudo is its own all the same
            with open(place + "/environ", "rb") as file:
                environment = environment or file.read()
    return environment.split(b"\0"), fields, os.fsdecode(before.partition(b"(")[2])


def is_dead(fields: List[bytes]) -> bool:
    """Tell by a process's stat fields whether it is only to be reaped: a zombie whose other threads go on is not."""
    return fields[0] == b"X" or fields[0] == b"Z" and int(fields[17]) <= 1


def mark_of(run: str) -> bytes:
    return MARK + b"=" + run.encode()


def hold(job: Job) -> List[Process]:
    """Return the processes of a run, each held by a pidfd from now on: one that loses its parent is not lost.

    They are looked at again when the pidfds are there: a number that has passed to somebody else's process
    meanwhile is not held, and never signalled.
    """
    before = dict(job.watched)
    there = processes_of(job.run, before)
    new = {process.pid for process in there} - set(before)
    if new:
        watch(job, new)
        there = processes_of(job.run, before)
        for pid in new & set(job.watched) - {process.pid for process in there}:
            os.close(job.watched.pop(pid))
    # What else calls itself a keeper is the job's own.
    return [process if process.pid == job.keepers.get(process.role, process.pid) else process._replace(role="")
            for process in there]


def watch(job: Job, pids) -> None:
    """Hold a pidfd of each process, none of which is held yet, so that the sleep ends when it does."""
    room = min(WATCHED, os.sysconf("SC_OPEN_MAX") // 2) - len(job.watched)       # a look at /proc takes some files, too
    for pid in list(pids)[:max(0, room)]:
        with suppress(OSError):                      # gone already, or none to be had: then the sleep is short
            job.watched[pid] = os.pidfd_open(pid)


def let_go(job: Job) -> None:
    """Close what is held open of a run."""
    for fd in [job.fd, *job.watched.values()]:
        os.close(fd)


def send(job: Job, number: int, roles=("",)) -> List[Process]:
    """Signal every process of a run, found afresh, and return which there were."""
    there = [process for process in hold(job) if process.role in roles]
    if number == signal.SIGKILL:
        with suppress(OSError):                      # at one stroke, faster than it forks; before Linux 5.14 one by one
            write_cgroup(cgroup_of(job.run) + "/cgroup.kill", "1")
    for pid, _, _ in there:
        with suppress(OSError):                      # it has ended by itself
            if pid in job.watched:
                signal.pidfd_send_signal(job.watched[pid], number)
            elif mark_of(job.run) in proc_facts(pid)[0]:
                os.kill(pid, number)                 # no pidfd to be had, or one of very many
    return there


def is_held(job: Job) -> bool:
    """Tell whether anybody can still write into the pipe to tee: where nobody can, tee ends by itself."""
    try:
        with closing(os.open("/proc/%d/fd/0" % job.keepers["tee"], os.O_RDONLY | os.O_NONBLOCK)) as fd:
            poll = select.poll()
            poll.register(fd, 0)
            return not poll.poll(0)                  # POLLHUP: the last writer has gone
    except OSError:
        return False                                 # it has ended meanwhile


def holders_of_output(job: Job) -> List[str]:
    """Return `pid (name)` of the processes that hold the pipe to tee open though the command has ended."""
    found, tee = [], job.keepers.get("tee", 0)
    try:
        pipe = os.readlink("/proc/%d/fd/0" % tee)
    except OSError:
        return found                                 # it has ended meanwhile
    for pid in every_pid():
        try:
            files = "/proc/%d/fd/" % pid
            if pid != tee and any(os.readlink(files + fd) == pipe for fd in os.listdir(files)):
                found.append("%d (%s)" % (pid, proc_facts(pid)[2]))
        except OSError:
            continue
    return found


def is_alive(job: Job, role: str) -> bool:
    """Tell whether a keeper of this run lives; of our own children the exit code is kept."""
    pid = job.keepers.get(role)
    if pid is None or role in job.codes:
        return False
    if not job.child:
        return mark_of(job.run) in proc_facts(pid)[0]
    ended, status = os.waitpid(pid, os.WNOHANG)
    if ended:
        job.codes[role] = os.waitstatus_to_exitcode(status)
    return not ended


def has_ended(job: Job) -> bool:
    """Tell whether a run is over though it is not filed yet: how it ended is settled."""
    return bool(job.hit is not None or not is_alive(job, "bash") and not is_alive(job, "tee") and end_on_disk(job))


# ---- Move: what has ended goes to its queue ----------------------------------

def move(m) -> None:
    """See how far the job is, and move what has ended to the queue that its STATUS names."""
    m.children = [pid for pid in m.children if not os.waitpid(pid, os.WNOHANG)[0]]
    if m.job:
        look_at_job(m, m.job)
    if m.filings and boot_seconds() < m.move_at:
        wake_at(m, m.move_at)
    else:
        m.filings = [filing for filing in m.filings if not file_uow(m, filing)]
    after_commands(m)


def look_at_job(m, job: Job) -> None:
    """See how far the job is: within its limit, being killed, over, judged; write its STATUS at its end."""
    now = boot_seconds()
    if job.hit is None and not job.search:
        what = under_way(m, job, now)
        if what == "job":
            limit_at = job.began + job.limit if job.limit else float("inf")
            step = killing(now, limit_at, job.reason, job.kill_at, m.config.kill_grace_seconds)
            if step == "term":
                kill(m, job, job.reason or "timed out after %s s" % ("%.9g" % job.limit))
            elif step in ("kill", "late"):
                keep_killing(m, job, step == "late")
            wake_at(m, {"": limit_at, "kill": now + 0.05, "late": now + 1}.get(step, job.kill_at))
        if what and not job.watched:
            if job.child:
                watch(job, [pid for role, pid in job.keepers.items() if role not in job.codes])
            wake_at(m, now + BLIND_SECONDS)
        if what:
            return
    end = end_on_disk(job)
    if search_patterns(m, job, end):
        finish(m, job, end)


def under_way(m, job: Job, now: float) -> str:
    """Find out what of the run goes on, and say who holds its output (`goes_on`)."""
    if is_alive(job, "bash"):
        return "job"
    tee, grace = is_alive(job, "tee"), m.config.kill_grace_seconds
    if tee and job.over_at is None and job.keepers["tee"] in job.watched:
        select.select([job.watched[job.keepers["tee"]]], [], [], 0.005)      # it follows at once: one wake for both
        tee = is_alive(job, "tee")
    if job.over_at is None and job.keepers:
        job.over_at = now
    over_for = now - (job.over_at or now)
    clean = job.codes["bash"] >= 0 if "bash" in job.codes else end_on_disk(job) is not None
    remains = (bool(job.reason) or not clean) and any(not process.role for process in hold(job))
    if remains and not job.reason and (over_for >= 1 or not job.keepers):
        flag(m, job, "remains", ": its shell has ended without a word of how; waiting for what is left of it")
    held = tee and is_held(job)
    what = goes_on(tee, remains, held or bool(job.reason), over_for, grace)
    if what == "output":
        wake_at(m, now + 0.2)
        if held and over_for >= min(1, grace / 2):
            if "output" not in job.told:             # to find the holders takes a while
                flag(m, job, "output", ": the command has ended, but its output is held by %s; waiting %g s at most"
                     % (", ".join(holders_of_output(job)) or "nobody that I may see", grace))
        elif over_for >= 1:
            flag(m, job, "tee", ": the command has ended, and tee still writes its output")
    elif tee and not remains:
        flag(m, job, "held", ": output is still held; not waited for any longer")
    return what


def flag(m, job: Job, what: str, text: str) -> None:
    """Say something of a run once; what: that which is not said again."""
    if what not in job.told:
        job.told.add(what)
        say(m, "%s%s" % (shown(job.name), text), 4)


def kill(m, job: Job, reason: str) -> None:
    """Begin to end a job: the reason on disk first, so that whoever files it knows, then TERM to all of it."""
    job.reason = reason
    try:
        set_status(m, job.fd, running_status(Running(job.run, job.start_at, reason)))
    except (OSError, BadUow) as problem:
        flag(m, job, "kill status", ": STATUS cannot be written (%s); it is killed all the same" % reason_of(problem))
    if "ending" not in job.told:
        say(m, "ending %s: %s; TERM now, KILL in %g s" % (shown(job.name), reason, m.config.kill_grace_seconds), 5)
        job.told.add("ending")
    send(job, signal.SIGTERM)
    send(job, signal.SIGCONT)                        # a stopped process would not see the TERM
    job.kill_at = boot_seconds() + m.config.kill_grace_seconds       # where TERM was not sent, it is in the next cycle


def keep_killing(m, job: Job, late: bool) -> None:
    """After the grace, KILL everything of the run again and again: what forks meanwhile is found by the next look."""
    left = send(job, signal.SIGKILL)
    if late and left:
        flag(m, job, "kill", ": it is waited for, KILL has not ended %s"
             % ", ".join("%d (%s)" % (process.pid, process.name) for process in left[:5]))
    elif late:
        send(job, signal.SIGKILL, roles=("bash", "tee"))                 # a keeper that was stopped


def search_patterns(m, job: Job, end: Optional[End]) -> bool:
    """Look for the patterns in this run's output, beside the cycle; True when that is done.

    Only where there is an END line: else no pattern matters.
    """
    if job.search:
        code = job.search.poll()
        if code is None:
            if boot_seconds() > job.search.began + HOOK_SECONDS:
                flag(m, job, "search", ": its output is still searched for the patterns; KILL JOB ends the search")
            return False
        job.search = None
        if code not in SEARCH_CODES:                 # no memory for `tail`, say
            begins(m, "search", "%s: the patterns could not be looked for (exit %d); tried again, until KILL JOB ends "
                   "that" % (shown(job.name), code), 3)
            again(m)
            return False
        job.hit = SEARCH_CODES[code]
    elif end and job.hit is None and not job.reason and (m.config.fail_pattern or m.config.error_pattern):
        out = output_at(job, end)
        job.search = Hook(["bash", "-pc", SEARCH, "search", str(out + 1), str(end.at - out),
                           "/proc/%d/fd/%d" % (os.getpid(), job.fd), m.config.fail_pattern, m.config.error_pattern])
        return False
    ends(m, "search")                                # also where RELOAD has taken the patterns away
    return True


def finish(m, job: Job, end: Optional[End]) -> None:
    """Write the STATUS of a run that is over; `move` then moves its UOW to the queue that the STATUS names."""
    code = job.codes.get("bash")
    if end:
        at = max(output_at(job, end), end.at - 4096)
        killed_by = died_by_signal(end, os.pread(job.fd, end.at - at, at))
    else:
        killed_by = max(0, -(code or 0))             # the keeper itself
    if job.over_at is None and end and end.time:
        seconds = max(0, end.time - job.since) / 1e6
    else:
        seconds = max(0, (job.over_at or boot_seconds()) - job.began)        # it may be of another boot
    status = outcome(end, seconds, reason=job.reason, killed_by=killed_by, exit_known=code, hit=job.hit,
                     fail_exit_codes=m.config.fail_exit_codes)
    key = "finish " + job.name
    with lasting(m, key, "%s: STATUS cannot be written (" % shown(job.name), "); tried again", 3):
        try:                                         # read-only, an I/O error: the END line keeps the outcome meanwhile
            keep_inode(m, job)
            if end:
                append_used(job, end.at)
            sync(m, job.fd)                          # all of the log, before a STATUS that says so
            write_outcome(m, job, status)
        except BadUow as problem:                    # flagged already: its header was changed
            say(m, "%s: STATUS cannot be written (%s); it is filed all the same" % (shown(job.name), problem), 4)
    if key in m.conditions:
        return
    m.filings.append(Filing(job.name, job.uow._replace(status=status), job.run, os.fstat(job.fd).st_ino))
    m.job = None
    if job.child:
        m.children += [pid for role, pid in job.keepers.items() if role not in job.codes]
    remove_cgroups()
    let_go(job)
    if m.unclear:
        wake_at(m, 0)                                # a second one under way comes before any new one


def keep_inode(m, job: Job) -> None:
    """See that what is filed is the file that was run: a job or an editor may have edited, moved or deleted it."""
    ours, there = os.fstat(job.fd), inode_of(job.path)
    if there != ours.st_ino:
        if there:
            flag(m, job, "inode", " was replaced by another file while it ran: the other one goes to trash")
            trash(m, job.path, "not the file that was run")
            if os.path.lexists(job.path):            # nothing is written or moved over it
                raise OSError(errno.EEXIST, "another file has its name")
        where = os.readlink("/proc/self/fd/%d" % job.fd)
        found = state_of(where)                      # ` (deleted)` behind it may make it too long a name
        linked = found and found.inode == ours.st_ino            # other links to it, by `cp -al` say, do not count
        if linked and os.path.dirname(where) == m.config.currently_executing:       # an editor's backup
            flag(m, job, "name", " was renamed to %s while it ran: it gets its name back" % base(where))
            mv(m, where, m.config.currently_executing, job.name)
        elif linked:
            flag(m, job, "name", " was moved to %s while it ran: it is left there" % shown(where))
            return
        else:
            flag(m, job, "name", " was deleted while it ran: written again with all its output")
            with closing(reopen(job.fd, os.O_RDONLY)) as rest:
                write_whole(m, job.path, b"", like=ours, rest=rest, replaces=0, onto=job.fd)
    if job.uow.header not in os.pread(job.fd, HEAD_BYTES, 0):
        flag(m, job, "header", ": its header was changed while it ran")


def write_outcome(m, job: Job, status: str) -> None:
    """Write the STATUS of a run that is over: in place, or the header anew where an editor took its padded line away.

    BadUow where it is no UOW any more, or cannot be copied: not to another place, nor beside a tee that still writes.
    """
    try:
        set_status(m, job.fd, status)
    except BadUow:
        uow, found = read_own(job.fd), os.fstat(job.fd)
        if (not uow.log_at or found.st_size - uow.log_at > COPY_BYTES or inode_of(job.path) != found.st_ino
                or is_alive(job, "tee")):
            raise
        if uow.enqueued is None:
            uow = uow._replace(enqueued=job.uow.enqueued or job.since)
        with closing(reopen(job.fd, os.O_RDONLY)) as rest:
            os.lseek(rest, uow.log_at, os.SEEK_SET)
            head = stamped_head(uow, owner_name(found.st_uid), status)
            write_whole(m, job.path, head, like=found, rest=rest, replaces=found.st_ino, onto=job.fd)


def file_uow(m, filing: Filing) -> bool:
    """Move a UOW whose STATUS is final to its queue, and have after_command run; False when it is to be tried again."""
    name, uow, run, _ = filing
    word = uow.status.partition(":")[0]
    path, target = os.path.join(m.config.currently_executing, name), getattr(m.config, word + "_q")
    key = "move " + path
    if os.path.lexists(path) and not is_usable(m, target):       # a look costs less than hundreds of `mv` that fail
        m.move_at = again(m)
        return False
    filed = None
    with lasting(m, key, "%s stays in currently-executing: " % shown(name), "; tried again"):
        # A power cut that undoes this leaves a STATUS that has it done again; only after_command would run twice.
        filed = mv(m, path, target, durable=bool(m.config.after_command))
    if key in m.conditions:
        m.move_at = again(m)
        return False
    where = " -> " + base(target) if filed else "; somebody took it away from currently-executing"
    say(m, "%s: %s%s" % (shown(name), uow.status, where), 6 if word == "done" else 4)
    if not filed:
        return True
    m.totals[word + "_q"] += 1
    m.ended[word + "_q"].note(filed)
    if m.config.after_command:
        m.after.append((name, dict(job_environment(uow, filed, run), SJQ_STATUS=uow.status)))
    return True


def after_commands(m) -> None:
    """Look after after_command: one at a time, its failure reported, no job beside it."""
    if m.after_hook:
        code = m.after_hook.poll()
        if code is None:
            return
        if code:
            how = ended_how(code, boot_seconds() - m.after_hook.began)
            say(m, "after_command for %s: %s" % (shown(m.after[0][0]), how), 4)
        m.after_hook = None
        del m.after[0]
    while m.after and not m.after_hook:
        name, environment = m.after[0]
        try:
            m.after_hook = Hook(bounded(m.config.after_command), environment)
            ends(m, "after")
        except OSError as problem:
            text = "after_command for %s could not be started: %s" % (shown(name), reason_of(problem))
            if problem.errno in SHORTAGES:
                begins(m, "after", text + "; tried again")
                again(m)
                return
            say(m, text, 4)
            del m.after[0]


# ---- Edit: stamp what waits --------------------------------------------------

def private(config, key: str) -> str:
    """Return the directory in currently-executing where a queue's UOWs are stamped: nobody else can reach it."""
    return os.path.join(config.currently_executing, "." + key)


def edit(m) -> None:
    """Take new files aside, some hundred at a time: the valid ones are stamped and put back, the others trashed."""
    if "lock" in m.conditions:
        return
    for queue in m.waiting:
        key, names = "edit " + queue.path, queue.to_take()
        if not names and not queue.aside:
            continue
        if boot_seconds() < queue.edit_at and (not names or key in m.conditions):
            wake_at(m, queue.edit_at)
            continue
        if not is_usable(m, queue.path) or not is_usable(m, m.config.currently_executing):
            continue
        if not take_turn(m):
            return
        try:
            with lasting(m, key, "what is new in %s cannot be stamped: " % base(queue.path), "; tried again", 3):
                take_aside(m, queue)
                put_back(m, queue)
        finally:
            end_turn(m, stamped=True)
        if key in m.conditions:
            queue.aside, queue.edit_at = max(1, queue.aside), again(m)
        if queue.to_take():
            wake_at(m, 0)


def turn_file(config) -> str:
    return os.path.join(config.root, ".turn")


def open_turn(config) -> int:
    """Open what the Monitors of this root lock in turn; OSError."""
    return os.open(turn_file(config), os.O_RDONLY | os.O_CREAT | os.O_NONBLOCK | os.O_NOFOLLOW, 0o600)


def take_turn(m) -> bool:
    """Take the turn among the Monitors of this root; False while another process keeps it.

    Who has it stamps some UOWs, or chooses, claims and starts one: otherwise a UOW could be overtaken while
    another Monitor has it aside for its stamp. What others have stamped since the last turn is looked at first.
    """
    path = turn_file(m.config)
    with lasting(m, "turn file", "%s cannot be opened (" % shown(path),
                 "): nothing is stamped or started until it can"):
        if inode_of(path) != os.fstat(m.turn).st_ino:            # removed, or a backup was restored over the root
            mine, m.turn = m.turn, open_turn(m.config)
            os.close(mine)
    if "turn file" in m.conditions:
        return False
    now = boot_seconds()
    try:
        fcntl.flock(m.turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        since = refused_since(now, *m.turn_refused)
        m.turn_refused = since, now
        if now - since > TURN_PATIENCE:
            begins(m, "turn", "another process has the turn among the Monitors, a lock on .turn: nothing is stamped or "
                   "started until it leaves it. `fuser -v .turn` names it")
        wake_at(m, now + next_look(now - since, TURN_SECONDS, 1))
        return False
    ends(m, "turn")
    m.turn_refused = 0.0, 0.0
    last, m.turn_seen = m.turn_seen, os.fstat(m.turn).st_mtime_ns
    for queue in m.waiting if last != m.turn_seen or not has_fraction(last) else ():
        list_waiting(m, queue, stamped=True)
        look_at_fresh(m, queue)
    return True


def end_turn(m, stamped: bool = False) -> None:
    """Leave the turn to the other Monitors; stamped: tell them to look again."""
    if stamped:
        now = time.time_ns()                         # finer than the kernel's own times
        with suppress(OSError):                      # read-only: nothing was stamped either
            os.utime(m.turn, ns=(now, now))
        m.turn_seen = os.fstat(m.turn).st_mtime_ns
    fcntl.flock(m.turn, fcntl.LOCK_UN)


def take_aside(m, queue: Waiting) -> None:
    """Move what is to be stamped or trashed into the queue's private directory; what cannot be moved rests."""
    names, place = queue.to_take(), private(m.config, queue.key)         # only now: the turn may have brought others
    if not os.path.isdir(place):
        os.mkdir(place, 0o700)                       # never makedirs: currently-executing may have gone this moment
    mv_all(m, queue.path, names, place)
    for name in names:
        path = os.path.join(queue.path, name)
        try:
            if os.path.lexists(path):
                if os.path.lexists(os.path.join(place, name)):
                    raise OSError(errno.EEXIST, "another of this name is aside")
                mv(m, path, place)
            ends(m, "take " + path)
        except OSError as problem:
            look_later(m, queue, name, problem)
    queue.took(names)


def put_back(m, queue: Waiting) -> None:
    """Stamp what lies in a queue's private directory, and empty it: into the queue, or into trash."""
    place = private(m.config, queue.key)
    queue.aside, queue.edit_at = 0, boot_seconds() + m.config.sleep_seconds
    stamped, bad = stamp_all(m, queue, place)
    for name in stamped:
        if name in queue.files:
            queue.files[name].inode = 0              # should anything fail from here on, it is listed as new
    sync(m, place)
    mv_all(m, place, list(stamped), queue.path)
    mv_all(m, place, [name for name in bad if not os.path.lexists(os.path.join(m.config.trash, name))], m.config.trash)
    for name, why in bad.items():
        path = os.path.join(place, name)
        trash(m, path, why, queue.path, moved=not os.path.lexists(path))
        queue.aside += os.path.lexists(path)
    for name, enqueued in stamped.items():
        path, target = os.path.join(place, name), os.path.join(queue.path, name)
        try:
            if os.path.lexists(path):
                target = mv(m, path, queue.path)
            ends(m, "back " + path)
        except OSError as problem:
            if os.path.lexists(path):
                queue.aside += 1
                queue.edit_at = again(m)
                queue.stuck.pop(name, None)
                begins(m, "back " + path, "%s cannot be put back into %s: %s"
                       % (shown(name), base(queue.path), reason_of(problem)))
                continue
        waits_again(m, queue, name, target, enqueued)


def stamp_all(m, queue: Waiting, place: str) -> Tuple[Dict[str, Optional[int]], Dict[str, str]]:
    """Stamp what lies in a private directory: name -> when enqueued, None if it rests; name -> why it is no UOW."""
    stamped: Dict[str, Optional[int]] = {}
    bad: Dict[str, str] = {}
    for name in os.listdir(place):
        path = os.path.join(place, name)
        if name.startswith(".new."):
            with suppress(FileNotFoundError):                # half a stamp: the whole UOW beside it may have been
                os.unlink(path)                              # stamped again in this very loop
            continue
        try:
            stamped[name] = stamp(m, path, queue.files[name].arrived if name in queue.files else None).enqueued
        except BadUow as problem:
            bad[name] = str(problem)
        except OSError as problem:
            if not isinstance(problem, Busy):
                let_rest(m, queue, name, problem)
            stamped[name] = None
            continue
        ends(m, "file " + os.path.join(queue.path, name))
    return stamped, bad


def stamp(m, path: str, arrived: Optional[int]) -> Uow:
    """Give a UOW that nobody else can reach its time, titles and blank STATUS; BadUow, Busy or OSError.

    Where only a STATUS is to be blanked, that is done in place, however long the log. Anything
    else is written anew beside it and renamed over it, with the log copied by `cat`.
    """
    with closing(open_still(path)) as fd:
        uow, found = read_uow(fd, path, m.config.required_names), os.fstat(fd)
        waiting = uow._replace(status="", enqueued=uow.enqueued if uow.enqueued is not None else
                               found.st_ctime_ns // 1000 if arrived is None else arrived)
        if found.st_uid == os.geteuid() and not is_ours(found):      # read-only: it is made ours, not copied
            os.fchmod(fd, stat.S_IMODE(found.st_mode) & 0o777 | stat.S_IRUSR | stat.S_IWUSR)
            found = os.fstat(fd)
        lacking = lacks(uow, is_ours(found))
        if not lacking:
            return uow
        if lacking == "blank":
            with closing(reopen(fd)) as writer:
                set_status(m, writer, "")
        else:
            data = new_head(waiting, found)
            os.lseek(fd, uow.log_at, os.SEEK_SET)
            write_whole(m, path, data, like=found, rest=fd if 0 < uow.log_at < found.st_size else None)
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))    # it has settled, for other Monitors, too
        return waiting


def new_head(uow: Uow, found: os.stat_result) -> bytes:
    """Return what a UOW gets before its log by a stamp; BadUow where that is too long, or the log too long to copy."""
    data = stamped_head(uow, owner_name(found.st_uid))
    if len(data) > HEAD_BYTES:
        raise BadUow("the header with its time and titles is longer than %d KiB; expected less" % (HEAD_BYTES // 1024))
    if uow.log_at and found.st_size - uow.log_at > COPY_BYTES:
        raise BadUow("the file is another user's, or the header lacks its time, a title or the padded STATUS, and the "
                     "log behind it is longer than %d MiB; expected a shorter one" % (COPY_BYTES >> 20))
    return data


def waits_again(m, queue: Waiting, name: str, path: Optional[str], enqueued: Optional[int]) -> None:
    """Note what is back in its queue: ready, or, enqueued None, to be looked at later.

    What is gone, or has got another name there, is for the next listing to find.
    """
    state = state_of(path) if path else None
    if not state or os.path.basename(path) != name:
        queue.stuck.pop(name, None)
        return
    queue.note(name, state)
    if enqueued is None:
        rest = min(RETRY_SECONDS, m.config.sleep_seconds) if "file " + path in m.conditions else AGAIN_SECONDS
        later = queue.stuck.get(name, max(rest, m.config.settle_seconds))
        queue.look_again(name, boot_seconds() + later)
    else:
        queue.can_start(name, enqueued)


# ---- Launch ------------------------------------------------------------------

def launch(m) -> None:
    """Start the next job if one may start: claim it with `mv`, judge what was claimed, write START, start it."""
    step = gate(held=bool(m.job or m.unclear or m.after or m.paused or m.finishing or m.stopping),
                waits=bool(m.claimed or next_waiting(m.waiting)), due=boot_seconds() >= m.launch_at)
    if step == "later":
        wake_at(m, m.launch_at)
    if step != "yes":
        if m.ready_hook and m.ready_hook.poll() is not None:
            m.ready_hook = None                      # asked in vain: the next launch asks again
        m.ready_passed = False
    elif is_ready(m) and take_turn(m):
        try:
            start_next(m)
        finally:
            end_turn(m)


def next_waiting(queues: List[Waiting]) -> Optional[Tuple[Waiting, str]]:
    """Return the UOW that is to start next: the oldest of priority-q, or of wait-q when nothing there can run.

    None, too, while one that is not judged or stamped yet may come first.
    """
    for queue in queues:
        if queue.ready:
            return queue, queue.ready[0][1]
        if queue.may_run():
            return None
    return None


def is_ready(m) -> bool:
    """Tell whether job_process and ready_command let a job start; said once when they begin and cease to refuse."""
    code, seconds = None, 0.0
    if m.ready_hook:
        code = m.ready_hook.poll()
        if code is None:
            return False
        seconds, m.ready_hook = boot_seconds() - m.ready_hook.began, None
    m.ready_passed = m.ready_passed or code == 0     # for one launch
    with lasting(m, "ready start", "waiting: job_process or ready_command cannot be asked: "):
        process = who_runs(m.config.job_process) if m.config.job_process and not code else ""
        step = readiness(refused=bool(code), process=process, command=bool(m.config.ready_command),
                         passed=m.ready_passed)
        if step == "ask":
            m.ready_hook = Hook(bounded(m.config.ready_command))
    if "ready start" in m.conditions:
        m.launch_at = again(m)
        return False
    if code == 0 or not step:
        ends(m, "ready command")
    if step in ("ask", ""):
        ends(m, "ready process")                     # also where the configuration has none any more
    else:
        why = process or "ready_command refuses (%s)" % ended_how(code, seconds)
        begins(m, "ready " + step, "waiting: " + why, 5)
        m.ready_passed = False                       # it is asked again then
        m.launch_at = again(m, m.config.sleep_seconds)
    return not step


def who_runs(name: str) -> str:
    """Return which processes of this name run, anywhere on the machine, or why that cannot be told; '' for none."""
    # -x compares whole names, but still as a pattern: what is no letter is taken literally.
    code, pids = output_of(["pgrep", "-x", "--", re.sub(r"([^\w-])", r"\\\1", name)])
    if code == 0:
        return "a process %s runs, pid %s" % (shown(name), " ".join(pids.decode().split()[:5]))
    return "pgrep for job_process failed (exit %d: %s)" % (code, complaint()) if code != 1 else ""


def start_next(m) -> None:
    """Claim and start the next UOW, having the turn."""
    if m.claimed:                                    # by a Monitor that died; where it has to go back, it is to wait-q
        queue, path = m.waiting[-1], os.path.join(m.config.currently_executing, m.claimed[0])
    else:
        chosen = next_waiting(m.waiting)             # None: the turn brought others, that come first and are not ready
        path = claim(m, *chosen) if chosen else None
        if path is None:
            return
        queue = chosen[0]
    try:
        start(m, path)
        m.ready_passed = False
    except (BadUow, OSError) as problem:
        # This file alone, not the others: somebody has it open, or has saved over it since it was judged.
        if isinstance(problem, (BadUow, Busy, PermissionError)) and give_back(m, queue, path, problem):
            wake_at(m, 0)
            return
        begins(m, "launch", "%s cannot be started now (%s); tried again" % (base(path), reason_of(problem)), 3)
        m.launch_at = again(m, 5)


def claim(m, queue: Waiting, name: str) -> Optional[str]:
    """Move a waiting UOW into currently-executing, where nobody else can reach it; None where it is not to be had."""
    queue.ready.pop(0)
    queue.racy_seconds = TICK_SECONDS                # it is this `mv` that changes the directory
    try:                                             # `start` makes it durable
        path = mv(m, os.path.join(queue.path, name), m.config.currently_executing, durable=False)
    except OSError as problem:
        look_later(m, queue, name, problem)
        return None
    queue.forget(name)
    if path is None:
        wake_at(m, 0)                                # somebody else took it
    return path


def give_back(m, queue: Waiting, path: str, problem: Exception) -> bool:
    """Put a claimed UOW that is not as it was judged back where it waits; False where that fails, too."""
    try:
        target = mv(m, path, queue.path)
    except OSError:
        return False
    state = state_of(target) if target else None
    if state:
        queue.note(os.path.basename(target), state)
        look_later(m, queue, os.path.basename(target), problem)
    return True


def start(m, path: str) -> None:
    """Start the job of a claimed UOW, in the order of writing that the top of this file tells.

    BadUow, Busy, or OSError: then nothing was started and the UOW says so.
    """
    with closing(open_still(path)) as fd:
        uow = read_uow(fd, path, m.config.required_names)
        if lacks(uow, is_ours(os.fstat(fd))) == "stamp":
            raise BadUow("it has no stamp, or not any more")
        size = os.fstat(fd).st_size
        gap = b"" if os.pread(fd, 1, size - 1) == b"\n" else b"\n"
        run = "%s-%d" % (boot_mark(), time.clock_gettime_ns(time.CLOCK_BOOTTIME))
        writer = reopen(fd)                          # what was judged; what fails from here on is undone
    since, running = wall_microseconds(), Running(run, size + len(gap), "")
    job = Job(m, path, writer, uow, running, since)
    try:
        write_all(writer, status_line(running_status(running)), uow.status_at)
        write_all(writer, gap + start_line(since, job.run), size)
        # One sync for claim, STATUS and START: if a power cut undoes the claim alone, nothing has begun, and it waits.
        waiting = [queue.path for queue in m.waiting if is_usable(m, queue.path)]
        sync(m, writer, m.config.currently_executing, *waiting)
        start_processes(m, job)
    except OSError as problem:
        undo_start(m, job, size, problem)
        return
    m.job, m.notices = job, m.notices + 1
    m.claimed = [name for name in m.claimed if name != job.name]
    if job.limit:
        wake_at(m, job.began + job.limit)            # before the next survey, that may be far away
    if not job.watched:
        wake_at(m, job.began + BLIND_SECONDS)
    say(m, "started %s run %s" % (shown(job.name), job.run))


def start_processes(m, job: Job) -> None:
    """Start `bash KEEPER | tee -a uow`; OSError when neither runs.

    tee first, and on the inode through /dev/fd, so that a job which renames its own file at once
    loses no output. Both outlive the Monitor: tee's own output is /dev/null.
    """
    environment = job_environment(job.uow, job.path, job.run)
    pipes: List[int] = []
    try:
        pipes += os.pipe()
        pipes += os.pipe()
        read, write, note_read, note_write = pipes
        job.keepers["tee"] = spawn(["tee", "-a", "/dev/fd/3"], stdin=read, extra=[job.fd],
                                   env=dict(environment, SJQ_KEEPER="tee"), session=True)
        keeper = ["bash", "-pc", KEEPER, "sjq-keeper", m.config.job_command, job.run, new_cgroup(job.run)]
        job.keepers["bash"] = spawn(keeper, stdout=write, extra=[note_read, note_write],
                                    env=dict(environment, SJQ_KEEPER="bash"), session=True)
    finally:
        for fd in pipes:
            os.close(fd)
        if "tee" in job.keepers and "bash" not in job.keepers:
            os.waitpid(job.keepers["tee"], 0)        # it ends at once, with the pipe
    job.child = True
    watch(job, job.keepers.values())


def job_environment(uow: Uow, path: str, run: str) -> Dict[str, str]:
    """Return a job's environment: the Monitor's own but for what is meant for it alone, the header, three facts."""
    environment = {key: value for key, value in DOOR.environment.items()
                   if key not in NOT_FOR_JOBS and not key.startswith(("UOW_", "SJQ_"))}
    environment.update(uow.names, SJQ_NAME=os.path.basename(path), SJQ_FILE=path, SJQ_RUN=run)
    return environment


def undo_start(m, job: Job, size: int, problem: OSError) -> None:
    """Nothing was started: take START and STATUS back and let it be tried again, or file what can never start."""
    passing = problem.errno in PASSING
    status = "" if passing else "fail: could not start: " + reason_of(problem)
    inode = os.fstat(job.fd).st_ino
    try:
        os.ftruncate(job.fd, size)
        set_status(m, job.fd, status)
    finally:
        os.close(job.fd)
    if passing:
        raise problem
    m.filings.append(Filing(job.name, job.uow._replace(status=status), job.run, inode))
    wake_at(m, 0)


# ---- Post: pages and numbers, pure -------------------------------------------
# A Snapshot (or a log) goes in, text comes out. Whatever people or jobs wrote passes through
# esc(), ansi_html() or json on its way. Times are seconds since 1970, 0 where there is none.

class Entry(NamedTuple):        # a UOW that the pages name
    queue: str                  # its directory's key
    name: str
    page: str                   # its file under uow/
    enqueued: float = 0
    started: float = 0
    ended: float = 0
    status: str = ""
    command: str = ""
    seconds: Optional[float] = None     # how long it ran, where STATUS says so, or has run
    timeout: float = 0
    run: str = ""


# All that is posted, as of the moment `written`: what README.md tells of status.json, and the lines of `says`.
# running is an Entry or None, waiting and recent (what has finished) are Entries in the order of the page,
# every is `every_seconds`, hours `finished_by_hour`, totals `finished_since_start`.
Snapshot = SimpleNamespace
OUTCOMES = {"done_q": "✓ done", "error_q": "! error", "fail_q": "✕ fail"}    # a sign each: colour is never alone
PAGE_STYLE = """
:root{color-scheme:light dark;--page:light-dark(#faf9f6,#131416);--card:light-dark(#fff,#1b1d20);--hue:var(--soft);
 --ink:light-dark(#1c1b19,#e9e7e2);--soft:light-dark(#5f5b54,#a5a097);--line:light-dark(#e6e2da,#2e3136)}
.done_q,.idle{--hue:light-dark(#2f6f5e,#7fc7ad)}.fail_q{--hue:light-dark(#b3261e,#ff8f85)}
.error_q,.waiting,.paused,.over,.alert{--hue:light-dark(#8f5600,#e2b15c)}
.running,.currently_executing,.card{--hue:light-dark(#2457a6,#8fb8ff)}*{box-sizing:border-box;margin:0}
body{margin:auto;max-width:76rem;padding:clamp(1rem,4vw,3rem);background:var(--page);color:var(--ink);
 overflow-wrap:anywhere;font:1rem/1.5 system-ui,sans-serif;font-variant-numeric:tabular-nums}section{min-width:0}
.soft,footer,h2,thead th{color:var(--soft)}.small,footer,td,.meter,.legend{font-size:.875rem}
a{color:inherit;text-underline-offset:.2em}.name,pre{font-family:ui-monospace,monospace;unicode-bidi:isolate}
h1{margin:.75rem 0;font-size:1.5rem}.state h1{margin:0;font-size:clamp(2.25rem,7vw,3.5rem);text-transform:capitalize}
.state h1::before{content:"";display:inline-block;width:.5em;height:.5em;margin-right:.3em;border-radius:50%;
 background:var(--hue)}.stale h1{text-decoration:line-through}pre,h2,thead th,text{font-size:.8125rem}
h2{margin-bottom:.75rem;letter-spacing:.06em;text-transform:uppercase}pre{white-space:pre-wrap;tab-size:8}
main{display:grid;gap:clamp(2rem,4vw,3rem);margin:clamp(1.5rem,4vw,3rem) 0}
@media(min-width:56rem){main{grid-template-columns:7fr 5fr}.wide{grid-column:1/-1}}
.card,.log,.alert{padding:clamp(1rem,2.5vw,1.5rem);border:1px solid var(--line);border-radius:.75rem}
.alert{display:none;margin-bottom:2rem;border-left:.375rem solid var(--hue)}.stale .alert{display:block}
.card,.alert{background:var(--card)}.log{max-height:80vh;overflow:auto;background:#15181d;color:#e4e6e9}
.follow{display:flex;flex-direction:column-reverse}.left-out{margin:1rem 0;padding:.5rem 1rem;background:#262b33}
.outcome,.elapsed,.card td{font-weight:600}.card td{font-size:1rem}.outcome{color:var(--hue)}.elapsed{font-size:2rem}
.command{max-height:8em;margin:.5rem 0 1rem;overflow:auto}progress{width:100%;height:1rem;accent-color:var(--hue)}
.meter,.legend{display:flex;flex-wrap:wrap;gap:0 1.5rem;margin-top:1rem}.meter .soft{margin-left:auto}
table{width:100%;border-collapse:collapse}tr+tr,thead+tbody tr{border-top:1px solid var(--line)}
th,td{padding:.5rem 0 .5rem 1rem;text-align:right;vertical-align:baseline;font-weight:400;white-space:nowrap}
th:first-child{padding-left:0;text-align:left;white-space:normal}.chart{width:100%;height:10.5rem}svg{overflow:visible}
text{fill:var(--soft)}line{stroke:var(--line)}rect{fill:var(--hue);stroke:var(--hue)}rect.error_q{fill-opacity:.4}
rect.fail_q{fill:none;stroke-width:2}
"""
# The page reloads itself. It is stale when reloading has brought nothing new for too long, by the
# browser's own clock, however that is set. Without script the reader has the time of writing.
STALE_SCRIPT = """const seen = sessionStorage, page = document.body.dataset
if (seen.written != page.written) Object.assign(seen, {written: page.written, first: Date.now()})
const look = () => document.body.classList.toggle("stale", Date.now() - seen.first > page.patience * 1000)
look(), setInterval(look, 500)"""
# The digest of the script, which a test holds against it; for it alone each start would load hashlib.
PAGE_POLICY = ("default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
               "script-src 'sha256-OZpra2UKhAr784USESjaAxVUviXqB8+T26zLLHj3Of0='")
HTML_SIGNS = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"})


def esc(text: str) -> str:
    """Return text as HTML text or attribute value, with a sign for what would act on its surroundings unseen."""
    text = "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text.replace("\r\n", "\n"))
    return text.translate(HTML_SIGNS)


def iso(seconds: float) -> str:
    """Return a time as utc() does; a file time out of all reason is cut to the years 1970 to 9999."""
    return utc(int(min(max(seconds, 0), 253402300799) * 1_000_000))


def time_html(seconds: float, now: float) -> str:
    """Return a <time>: the time of day, and the date unless it is now's."""
    text = iso(seconds)
    seen = text[11:19] if text[:10] == iso(now)[:10] else text[:16].replace("T", " ")
    return f'<time datetime="{text}">{seen}</time>'


def length_text(seconds: float) -> str:
    """Return a length of time as people say it: `9.3 s`, `4 min 12 s`, `2 h 5 min`."""
    whole = round(seconds)
    for unit, word, part, part_word in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= unit:
            return f"{whole // unit:,} {word} {whole % unit // part} {part_word}"
    return f"{max(seconds, 0):.1f} s"


def document(s: Snapshot, title: str, body: str, reload: bool) -> str:
    """Return a whole page that loads nothing; reload: whether it follows what the Monitor writes."""
    seconds, as_of = s.every + 2, time_html(s.written, s.written)
    live = f' data-written="{s.written}" data-patience="{3 * seconds:g}"' if reload and s.state != "stopped" else ""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{PAGE_POLICY}">
{f'<meta http-equiv="refresh" content="{seconds:g}">' * reload}<link rel="icon" href="data:,">
<title>{esc(title)} · simple-job-q</title><style>{PAGE_STYLE}</style></head><body{live}>
<p class="alert" role="alert"><strong>Stale.</strong> Nothing newer than {as_of} UTC has reached this page:
the Monitor has stopped, or cannot write here. What stands below was true then.</p>
{body}
<footer>As of {as_of} UTC, {iso(s.written)[:10]}</footer><script>{STALE_SCRIPT}</script></body></html>
"""


def section(ident: str, title: str, inner: str, box: str = "", width: str = "wide") -> str:
    """Return a part of a page that a screen reader lists by its heading; the box of a log scrolls by key, too."""
    keys = f' role="group" tabindex="0" aria-labelledby="{ident}"' if "log" in box else ""
    return (f'<section class="{width}" aria-labelledby="{ident}"><h2 id="{ident}">{title}</h2>\n'
            f'<div class="{box}"{keys}><div>{inner}</div></div></section>\n')


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of rows of HTML, each with a heading as its first cell; '' where there is none."""
    head = "".join(f'<th scope="col">{text}</th>' for text in heads)
    body = "".join(f'<tr><th scope="row">{first}</th><td>{"</td><td>".join(rest)}</td></tr>\n' for first, *rest in rows)
    head = f"<thead><tr>{head}</tr></thead>" if heads else ""
    return f"<table>{head}<tbody>\n{body}</tbody></table>" if rows else ""


def outcome_html(queue: str, detail: str) -> str:
    """Return what has become of a UOW: sign, word and detail."""
    word = OUTCOMES.get(queue, queue.replace("_", "-"))
    return f'<span class="outcome {queue}">{word}</span> <span class="soft">{esc(detail)}</span>'


def uow_html(e: Entry) -> str:
    """Return the link to a UOW's page, and what has become of it."""
    name, detail = shown(e.name), re.sub(" after [0-9.]+ s$", "", e.status.partition(": ")[2])
    name = esc(name if len(name) <= 80 else name[:79] + "…")
    return f'<a class="name" href="uow/{e.page}">{name}</a><p class="small">{outcome_html(e.queue, detail)}</p>'


def page_index(s: Snapshot) -> str:
    """Return the page of the whole queue."""
    finished = [(uow_html(e), "–" if e.seconds is None else length_text(e.seconds), time_html(e.ended, s.written))
                for e in s.recent]
    waiting = [(uow_html(e), length_text(s.written - e.enqueued)) for e in s.waiting]
    more = s.queues.get("wait_q", 0) + s.queues.get("priority_q", 0) - len(waiting)
    more = f'<p class="soft">and {more:,} more</p>' if more > 0 else ""
    queues = [(key.replace("_", "-"), f"{count:,}") for key, count in s.queues.items()]
    promise = (f"It is written at least every {s.every:g} s while the Monitor lives." if s.state != "stopped" else
               "It is not written again until the Monitor starts.")
    title, reason = f"{s.state} · {shown(s.running.name)}" if s.running else s.state, esc(s.reason and s.reason + ", ")
    return document(s, title, f"""<header class="state {s.state}">
<p><strong>simple-job-q</strong> <span class="name small soft">{esc(shown(s.root))}</span></p><h1>{s.state}</h1>
<p>{reason}since {time_html(s.since, s.written)} UTC, for {length_text(s.written - s.since)}</p>
<p class="soft small">This page is as of <strong>{time_html(s.written, s.written)} UTC</strong>. {promise}</p></header>
<main>{section("running", "Running job", running_job(s), "card", "")}
{section("queues", "Queues", table((), queues), "card", "")}{section("day", "Finished in 24 hours", chart(s), "card")}
{section("finished", "Finished last", table(("Job", "Took", "Ended, UTC"), finished) or "Nothing yet.", "", "")}
{section("waits", "Waiting, next first", f"{table(('Job', 'For'), waiting) or 'Nothing waits.'}{more}", "", "")}
{section("says", "monitor_says", f"<pre>{esc(chr(10).join(s.says))}</pre>", "log")}</main><p class="soft small">
For programs: <a href="status.json">status.json</a>, <a href="metrics.prom">metrics.prom</a></p>""", True)


def running_job(s: Snapshot) -> str:
    """Return the running job and how far along it is, against its timeout and against earlier runs of its command."""
    job = s.running
    if job is None:
        last = f" The last one ended {time_html(s.last_finish, s.written)} UTC." if s.last_finish else ""
        return f'<p class="soft">No job is running.{last}</p>'
    elapsed = job.seconds
    runs = sorted(e.seconds for e in s.recent
                  if e.queue == "done_q" and e.seconds is not None and e.command == job.command != "")
    known = f"the median of {len(runs)} runs" if runs[1:] else "the last run"
    text = f"""{uow_html(job)}<pre class="command soft" tabindex="0" aria-label="Command">{esc(job.command)}</pre>
<p class="elapsed">{length_text(elapsed)}</p><p class="soft small">since {time_html(job.started, s.written)} UTC</p>"""
    for what, limit in ((known, runs[len(runs) // 2] if runs else 0), ("the timeout", job.timeout)):
        share = elapsed / max(limit, 0.1)
        text += f"""<label class="meter{" over" * (share > 1)}">{share:.0%} of {what}
<span class="soft">{length_text(limit)}</span><progress value="{min(share, 1)}"></progress></label>""" if limit else ""
    return text


def chart(s: Snapshot) -> str:
    """Return 24 hours as stacked bars, wide in per cent and high in pixels: any width, and letters of one size."""
    first, top = (s.written // 3600 - 23) * 3600, max([sum(hour.values()) for hour in s.hours] + [1])
    drawn, told, legend = "", "", ""
    for i, hour in enumerate(s.hours):
        clock, y = iso(first + i * 3600)[11:16], 140.0
        text = ", ".join(f"{hour[key]:,} {OUTCOMES[key][2:]}" for key in OUTCOMES)
        told += f" {clock}: {text}." * any(hour.values())
        drawn += f"<g><title>{clock} UTC: {text}</title>"
        for key in filter(hour.get, OUTCOMES):
            height = max(3, hour[key] * 120 / top)
            y -= height
            drawn += f'<rect class="{key}" x="{i / 0.24 + 0.5:.2f}%" width="3.2%" y="{y:.1f}" height="{height:.1f}"/>'
        drawn += "</g>" + f'<text x="{i / 0.24:.2f}%" y="160">{clock}</text>' * (i < 22 and int(clock[:2]) % 6 == 0)
    for key in OUTCOMES:
        legend += f"""<span><svg width="14" height="14" aria-hidden="true"><rect class="{key}" width="14" height="14"/>
</svg> {sum(hour[key] for hour in s.hours):,} {OUTCOMES[key][2:]}</span>"""
    return f"""<svg class="chart" role="img" aria-label="Finished jobs per hour, UTC.{told}">
<text y="14">{top:,} an hour</text><line x2="100%" y1="20" y2="20"/><line x2="100%" y1="140" y2="140"/>{drawn}</svg>
<p class="legend">{legend}</p>"""


def page_uow(s: Snapshot, entry: Entry, header: str, log: str) -> str:
    """Return one UOW's page; log is HTML. The running one's follows: it opens at the log's end and reloads itself."""
    runs = entry.queue == "currently_executing"
    facts = " · ".join(f"{word} {time_html(getattr(entry, word), s.written)} UTC"
                       for word in ("enqueued", "started", "ended") if getattr(entry, word))
    return document(s, shown(entry.name), f"""<header><p><a href="../index.html">← queue</a></p>
<h1 class="name">{esc(shown(entry.name))}</h1><p>{outcome_html(entry.queue, entry.status.partition(": ")[2])}</p>
<p class="soft small">{facts}</p></header><main>{section("header", "Unit of work", f"<pre>{esc(header)}</pre>", "card")}
{section("log", "Job log", log or "<pre>(no output yet)</pre>", "log" + " follow" * runs)}</main>""", runs)


# A log as HTML. A colour is a pair: as text on the log's dark ground, and as the ground of black or white text.
COLOURS = """828a94 ff7b72 7fd88f e3b341 79b8ff d2a8ff 6fd3dc d0d4da
             9aa3ad ffa198 a5f0b0 f8d878 a5d6ff e2c5ff b3f0f5 ffffff""".split()
GROUNDS = """000000 d1433a 22873e 937015 2f76ca a851bd 208282 c9ced6
             757575 d1433a 22873e 937015 2f76ca a851bd 208282 ffffff""".split()
STEPS = "00 5f 87 af d7 ff".split()
CUBE = [red + green + blue for red in STEPS for green in STEPS for blue in STEPS]
GREYS = ["%02x" % n * 3 for n in range(8, 248, 10)]
PALETTE = {str(n): pair for n, pair in enumerate(zip(COLOURS + CUBE + GREYS, GROUNDS + CUBE + GREYS))}
# What each code of a colour sequence such as `1;38;5;208` changes in the look of the text behind it.
CODE = re.compile(r"(?:([34]8)(?:[;:]5[;:]0*(\d+)|[;:]2[;:]+(\d+)[;:](\d+)[;:](\d+)|[;:]2[;:][;:\d]*|[;:]?\d*)"
                  r"|0*(\d*)(:0)?)(?::\d*)*;")
SGR = {"1": {"1": "font-weight:bold"}, "2": {"2": "opacity:.72"}, "3": {"3": "font-style:italic"},
       "4": {"4": "text-decoration:underline"}, "7": {"7": "inverse"}, "": dict.fromkeys("1 2 3 4 7 38 48".split(), ""),
       "22": {"1": "", "2": ""}, "23": {"3": ""}, "24": {"4": ""}, "27": {"7": ""}, "39": {"38": ""}, "49": {"48": ""},
       **{str(n + (30 if n < 8 else 82)): {"38": PALETTE[str(n)]} for n in range(16)},
       **{str(n + (40 if n < 8 else 92)): {"48": PALETTE[str(n)]} for n in range(16)}}
TERMINAL = re.compile(
    r"(?P<text>[^\x00-\x08\x0a-\x1f\x7f-\x9f]+)|(?P<newline>\n)|(?P<back>\r|\x1b\[1?G)|(?P<wipe>\x1b\[2K)"
    r"|(?P<rest>\x1b\[0?K)|\x1b\[(?P<sgr>[0-9;:]*)m|\x1b\[[0-?]*[ -/]*[@-~]?"             # the last may be cut off
    r"|\x1b[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)|\x1b[ -/]*[0-~]?|[\x00-\x1f\x7f-\x9f]")     # window titles, hyperlinks


def ansi_html(log: bytes) -> str:
    """Return a log as <pre> with its colours; lines that were redrawn show their last state."""
    lines, line, look, redrawn = [], [], {}, False
    for token in TERMINAL.finditer(log.decode("utf-8", "replace")):
        kind = token.lastgroup
        if kind == "wipe" or redrawn and kind in ("text", "rest"):
            line = []
        if kind == "text":
            line.append(look_html(token[0], look))
        elif kind == "newline":
            lines += line + ["\n"]
            line = []
        elif kind == "sgr":
            for layer, index, red, green, blue, code, off in CODE.findall(token["sgr"] + ";"):
                rgb = "".join("%02x" % int(n[-3:]) for n in (red, green, blue) if (n.lstrip("0") or n[:1]) in PALETTE)
                colour = PALETTE.get(index) or len(rgb) == 6 and (rgb, rgb)
                look.update({layer: colour} if layer else SGR.get("24" if off else code, {}))
        redrawn = kind == "back" or redrawn and kind not in ("text", "newline")
    return "<pre>" + "".join(lines + line) + "</pre>"


def look_html(text: str, look: dict) -> str:
    """Return text drawn as look says; on a coloured ground it is black or white, whichever can be read."""
    front, behind = look.get("38"), look.get("48")
    if look.get("7"):
        front, behind = behind, front or PALETTE["7"]
    styles = [look[code] for code in "1234" if look.get(code)]
    if behind:
        red, green, blue = bytes.fromhex(behind[1])
        front = ("000000" if 299 * red + 587 * green + 114 * blue > 120_000 else "ffffff",)
        styles.append("background:#" + behind[1])
    if front:
        styles.append("color:#" + front[0])
    text = text.translate(HTML_SIGNS)
    return f'<span style="{";".join(styles)}">{text}</span>' if styles else text


def log_excerpt(head: bytes, tail: bytes, left_out: int, path: str) -> str:
    """Return head and tail of a log, with what is left out between them and where it all is."""
    if not left_out:
        return ansi_html(head + tail) if head or tail else ""
    cut, skip = len(head) - (head.rfind(b"\n") + 1), tail.find(b"\n") + 1      # whole lines read better,
    cut, skip = (n if n <= 4096 else 0 for n in (cut, skip))                   # unless a line is too long to be spared
    return f"""{ansi_html(head[:len(head) - cut])}<p class="left-out">
<strong>{left_out + cut + skip:,} bytes are left out here.</strong>
The whole log is in <span class="name">{esc(shown(path))}</span></p>{ansi_html(tail[skip:])}"""


def status_json(s: Snapshot) -> str:
    """Return the Snapshot for programs: times in UTC, lengths in seconds; a name is as it is where it is UTF-8."""
    def text(name: str) -> str:
        return name if name == name.encode("utf-8", "ignore").decode() else shown(name)
    job = s.running
    return json.dumps({
        "written": iso(s.written), "state": s.state, "reason": s.reason, "since": iso(s.since), "paused": s.paused,
        "running": job and {
            "name": text(job.name), "since": iso(job.started), "run": job.run, "command": text(job.command),
            "elapsed_seconds": round(job.seconds, 3), "timeout_seconds": job.timeout},
        "queues": s.queues, "oldest_wait_seconds": round(s.oldest_wait_seconds, 3),
        "waiting": [{"name": text(e.name), "queue": e.queue, "enqueued": iso(e.enqueued)} for e in s.waiting],
        "finished": [{"name": text(e.name), "queue": e.queue, "ended": iso(e.ended), "status": e.status,
                      "seconds": e.seconds} for e in s.recent],
        "last_finish": iso(s.last_finish) if s.last_finish else None, "finished_since_start": s.totals,
        "finished_by_hour": s.hours, "every_seconds": s.every, "root": text(s.root)}, indent=1) + "\n"


def metrics_prom(s: Snapshot) -> str:
    """Return the numbers for node_exporter. People move files away: only what the Monitor saw finish is a counter."""
    job, waits, text = s.running, s.queues.get("wait_q", 0) + s.queues.get("priority_q", 0), ""
    for name, told, value in (
            ("up", "1 from the Monitor's start to its clean stop; a kill leaves it.", s.state != "stopped"),
            ("written_timestamp_seconds", "When this file was written, as Unix time.", s.written),
            ("paused", "1 while no more jobs are started, by message.", s.paused),
            ("jobs", "Files in each directory.", {'{queue="%s"}' % key: n for key, n in s.queues.items()}),
            ("finished_jobs_total", "Finished since the Monitor started, by outcome.",
             {'{outcome="%s"}' % key[:-2]: n for key, n in s.totals.items()}),
            ("waiting", "Jobs in both waiting queues.", waits),
            ("running", "1 while a job runs.", bool(job)),
            ("running_elapsed_seconds", "How long it has run, or 0.", job.seconds if job else 0),
            ("running_timeout_seconds", "The running job's limit, 0 without one.", job.timeout if job else 0),
            ("oldest_waiting_seconds", "How long the oldest waiting job has waited, or 0.", s.oldest_wait_seconds),
            ("last_finish_timestamp_seconds", "When a job last finished, as Unix time, or 0.", s.last_finish)):
        kind = "counter" if name.endswith("_total") else "gauge"
        text += f"# HELP simple_job_q_{name} {told}\n# TYPE simple_job_q_{name} {kind}\n"
        for labels, number in (value if isinstance(value, dict) else {"": value}).items():
            text += f"simple_job_q_{name}{labels} {float(number):.17g}\n"
    return text


# ---- Post: what is posted, and when ------------------------------------------

def counts(m) -> Dict[str, int]:
    """Return how many UOWs each directory holds, as of the last listing."""
    known = {queue.key: len(queue.files) for queue in m.waiting}
    known["currently_executing"] = len(m.claimed) + len(m.filings) + m.others + bool(m.job)
    known.update({key: ended.count for key, ended in m.ended.items()})
    return {key: known[key] for key in DIRECTORIES}


def post(m) -> None:
    """Post the state into status_dir: at most once a second, and at least every few seconds while a job runs."""
    now, place = boot_seconds(), m.config.status_dir
    if not place:
        ends(m, "post")
    elif now < m.post_at and not m.stopping:
        wake_at(m, m.post_at)
    else:
        try:
            post_pages(m, take_snapshot(m), place)
            ends(m, "post")
        except Exception as problem:                       # even a bug: no page is worth a job
            begins(m, "post", "the status cannot be posted into %s: %s" % (shown(place), reason_of(problem)))
        m.post_at = now + min(FOLLOW_SECONDS, max(POST_SECONDS, POST_SHARE * (boot_seconds() - now)))
        wake_at(m, now + (FOLLOW_SECONDS if m.job else IDLE_SECONDS))


def post_pages(m, s: Snapshot, place: str) -> None:
    """Write all that is posted: first a page for each UOW that is named, where it has changed since."""
    uow = os.path.join(place, "uow")
    os.stat(m.config.root)                                 # where somebody has moved it, nothing is made in its place
    for directory in (place, uow):
        os.makedirs(directory, 0o755, exist_ok=True)
    if os.path.islink(uow):
        raise OSError(errno.ENOTDIR, "%s is a symbolic link; expected a directory" % shown(uow))
    there, before, m.pages = os.listdir(uow), m.pages, {}
    for entry in s.waiting + s.recent + [s.running] * bool(s.running):
        path, target = os.path.join(getattr(m.config, entry.queue), entry.name), os.path.join(uow, entry.page)
        shows = (path, state_of(path))                       # also when it may be read no longer
        if entry is s.running or entry.page not in there or before.get(target) != shows:
            seen = peek(path, LOG_SHOWN, entry.queue in WAITING)
            page = page_uow(s, entry, seen.header, log_excerpt(seen.head, seen.tail, seen.left_out, path))
            write_whole(m, target, page.encode(), durable=False)
        m.pages[target] = shows                              # not before it is written
    for name, text in (("index.html", page_index), ("status.json", status_json), ("metrics.prom", metrics_prom)):
        write_whole(m, os.path.join(place, name), text(s).encode(), durable=False)
    for name in there:
        if os.path.join(uow, name) not in m.pages and re.fullmatch(r"\d+\.html|\.new\.\d+(\.html)?", name):
            with suppress(FileNotFoundError):              # half a page, that has just been written again
                os.unlink(os.path.join(uow, name))         # our own, named no longer


def take_snapshot(m) -> Snapshot:
    """Return all that is posted, as of now."""
    now, state, job, running = time.time(), state_now(m), m.job, None
    if state != m.state:
        m.state, m.state_since = state, now
    if job:
        found = os.fstat(job.fd)
        command = job.uow.names.get("UOW_COMMAND", "") if found.st_mode & stat.S_IROTH else ""
        running = Entry("currently_executing", job.name, "%d.html" % found.st_ino, (job.uow.enqueued or 0) / 1e6,
                        job.since / 1e6, command=command, seconds=max(0, boot_seconds() - job.began), timeout=job.limit,
                        run=job.run)
    newest = heapq.nlargest(RECENT_SHOWN, ((*item, key) for key in FINISHED for item in m.ended[key].newest))
    m.finished = {item: m.finished.get(item) or finished_entry(m, *item) for item in newest}
    ready = [(queue, *item) for queue in m.waiting for item in queue.ready[:WAITING_SHOWN]]
    says = peek(m.config.monitor_says, 4096)
    lines = says.tail.partition(b"\n")[2] if says.left_out else says.head + says.tail
    return Snapshot(
        written=now, state=state[0], reason=state[1], since=m.state_since, paused=m.paused, root=m.config.root,
        every=FOLLOW_SECONDS if job else max(POST_SECONDS, min(m.config.sleep_seconds, IDLE_SECONDS)), running=running,
        waiting=[Entry(queue.key, name, "%d.html" % queue.files[name].inode, enqueued / 1e6)
                 for queue, enqueued, name in ready[:WAITING_SHOWN]],
        recent=[e for e in m.finished.values() if os.path.lexists(os.path.join(getattr(m.config, e.queue), e.name))],
        queues=counts(m), totals=m.totals, last_finish=newest[0][0] if newest else 0,
        hours=[{key: m.ended[key].hours[now // 3600 - back] for key in FINISHED} for back in range(23, -1, -1)],
        says=lines.decode("utf-8", "replace").split("\n")[-SAYS_SHOWN - 1:-1],
        oldest_wait_seconds=max(0, now - min([enqueued for _, enqueued, _ in ready], default=now * 1e6) / 1e6))


def finished_entry(m, ended: float, name: str, inode: int, key: str) -> Entry:
    """Return what is told of one finished UOW."""
    uow = peek(os.path.join(getattr(m.config, key), name)).uow
    took = re.search(r" after (\d{1,15}(?:\.\d{1,9})?) s", uow.status)
    seconds = float(took[1]) if took else None
    return Entry(key, name, "%d.html" % inode, (uow.enqueued or 0) / 1e6, ended - seconds if took else 0, ended,
                 uow.status, uow.names.get("UOW_COMMAND", ""), seconds)


def peek(path: str, most: int = 0, waiting: bool = False) -> SimpleNamespace:
    """Return header, Uow and both ends of the log, for everybody to see; of what is no UOW all is log.

    Of what waits nothing, where it is no UOW: a link may have taken its place, to what is not to be read.
    """
    seen = SimpleNamespace(header="", uow=NO_UOW, head=b"", tail=b"", left_out=0)
    with suppress(OSError, BadUow):                        # gone, or no regular file
        with closing(open_regular(path)) as fd:
            if waiting:
                read_uow(fd, path)
            found = os.fstat(fd)
            with suppress(BadUow):
                seen.uow = read_own(fd)
            if not found.st_mode & stat.S_IROTH:
                seen.uow = seen.uow._replace(names={})
                seen.header = "Not everybody may read this UOW, so it is not shown here."
                return seen
            seen.header = os.fsdecode(seen.uow.header)
            if seen.uow.log_at or seen.uow is NO_UOW:
                seen.head = os.pread(fd, most, seen.uow.log_at)
                end = seen.uow.log_at + len(seen.head)
                seen.left_out = max(0, found.st_size - most - end)
                seen.tail = os.pread(fd, most, end + seen.left_out)
    return seen


def tell_systemd(m) -> None:
    """Tell systemd that the Monitor is ready, what it does, and that it does not hang: once a second at most.

    Called by the cycle and by nothing else, so that a cycle that hangs is noticed.
    """
    if "NOTIFY_SOCKET" not in os.environ:
        return
    now, text, limit = boot_seconds(), status_text(m), os.environ.get("WATCHDOG_USEC")
    feed_at = m.sent_at + int(limit) / 4e6 if limit else float("inf")
    if not m.status_sent or now >= (m.sent_at + 1 if text != m.status_sent else feed_at):
        notify("READY=1\n" * (not m.status_sent) + "WATCHDOG=1\nSTATUS=" + text)
        m.status_sent, m.sent_at = text, now
    wake_at(m, m.sent_at + 1 if text != m.status_sent else feed_at)


def status_text(m) -> str:
    """Return the line that `systemctl status` shows: the state, what waits, and what is wrong."""
    state, why = state_now(m)
    if m.job:
        state, why = "running %s since %s" % (shown(m.job.name), utc(m.job.since)[11:19]), m.job.reason
    parts = [state + (" (%s)" % why if why else "")]
    parts.append("%d waiting" % (len(m.claimed) + sum(len(queue.files) for queue in m.waiting)))
    parts += [text for text in list(m.conditions.values())[-1:] if text.replace("waiting: ", "because ") != why]
    return "; ".join(parts)[:400]


def state_now(m) -> Tuple[str, str]:
    """Return the state in one word, and why where that is not plain."""
    word = state_word(stopping=m.stopping, running=bool(m.job), paused=m.paused, waits=anything_waits(m))
    why = ""
    if word == "running" and m.paused:
        why = "no more jobs are started: paused"
    elif word == "paused":
        why = "until RESUME"
    elif word == "waiting":
        held = [text for key, text in m.conditions.items()
                if key.split()[0] in ("launch", "lock", "listing", "turn", "ready")
                or key == "directory " + m.config.currently_executing]
        held += ["because after_command runs"] * bool(m.after) + ["because ready_command runs"] * bool(m.ready_hook)
        if held:
            why = held[0].replace("waiting: ", "because ")
        elif not any(queue.ready for queue in m.waiting):
            why = "for files to settle"
    return word, why


# ---- Operations: what the messages do ----------------------------------------

def tell_help(m) -> None:
    for keyword, (meaning, _) in MESSAGES.items():
        say(m, "%-8s  %s" % (keyword, meaning))


def tell_status(m) -> None:
    """Say what runs, with its processes, what waits, in order, and the counts."""
    for ended in m.ended.values():
        ended.again_at = 0
    survey_ended(m)
    say(m, "state: " + " ".join(state_now(m)).strip())
    if m.job:
        say(m, "running: %s run %s since %s" % (shown(m.job.name), m.job.run, utc(m.job.since)))
        pids: List[str] = []
        try:
            pids = [str(process.pid) for process in processes_of(m.job.run, m.job.watched) if not process.role]
            text = output_of(["ps", "-o", "pid=,etime=,args=", "-p", ",".join(pids)])[1] if pids else b""
        except OSError as problem:                   # still an answer: a message that fails is acted on again
            text = ("pid %s (%s)" % (", ".join(pids) or "unknown", reason_of(problem))).encode()
        for line in text.decode("utf-8", "replace").splitlines():
            say(m, "  " + line)
    for name in m.claimed:
        say(m, "next: %s" % shown(name))
    for queue in m.waiting:
        for enqueued, name in queue.ready[:STATUS_SHOWN]:
            say(m, "waits in %s: %s since %s" % (base(queue.path), shown(name), utc(enqueued)))
        if len(queue.ready) > STATUS_SHOWN:
            say(m, "waits in %s: %d more" % (base(queue.path), len(queue.ready) - STATUS_SHOWN))
    say(m, "counts: " + ", ".join("%s %d" % (base(getattr(m.config, key)), count) for key, count in counts(m).items()))


def tell_config(m) -> None:
    for key in CONFIG:
        value = getattr(m.config, key)
        if isinstance(value, bool):
            value = "yes" if value else "no"
        elif isinstance(value, float):
            value = "%.9g" % value
        say(m, "%s :: %s" % (key, " ".join(map(str, value)) if isinstance(value, list) else value))


def pause_file(config) -> str:
    """Return the path of the file that says that the queue is paused: a pause outlives a restart."""
    return os.path.join(config.currently_executing, ".paused")


def pause(m) -> None:
    if not m.paused:
        say(m, "paused: no more jobs are started until RESUME", 5)
    m.paused = True
    keep_pause(m)


def resume(m) -> None:
    if m.paused:
        say(m, "resumed", 5)
    m.paused = False
    keep_pause(m)


def keep_pause(m) -> None:
    """Have the disk say whether the Monitor is paused, for the next start; tried again until it does."""
    path = pause_file(m.config)
    with lasting(m, "pause", "%s cannot be written or removed (" % shown(path),
                 "): the next start would not know of this; tried again"):
        if not has_lock(m):
            raise OSError(errno.ENOENT, "the directory is not this Monitor's now")
        there = os.path.lexists(path)                # whatever it is
        if m.paused and not there:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
        elif there and not m.paused:
            os.unlink(path)
        sync(m, m.config.currently_executing)


def finish_then_exit(m) -> None:
    m.finishing = True
    say(m, "FINISH: no more jobs are started; the Monitor exits when the running one has ended", 5)


def shut_down(m) -> None:
    m.stopping = True
    job = "the running job goes on and is picked up at the next start" if m.job else "nothing is running"
    say(m, "SHUTDOWN: the Monitor exits; " + job, 5)


def kill_job(m) -> None:
    if not m.job:
        say(m, "KILL JOB: no job is running", 5)
    elif m.job.reason:
        say(m, "KILL JOB: %s is being ended already (%s)" % (shown(m.job.name), m.job.reason), 5)
    elif m.job.search or "search" in m.conditions:
        say(m, "KILL JOB: %s has ended already; the search in its output is ended" % shown(m.job.name), 5)
        if m.job.search:
            m.children.append(m.job.search.leave())
        m.job.search, m.job.hit = None, ""
        ends(m, "search")
    elif has_ended(m.job):
        say(m, "KILL JOB: %s has ended already" % shown(m.job.name), 5)
    else:
        kill(m, m.job, "killed by message")


def reload(m) -> None:
    """Read the configuration again; one that is bad, or names other places, is reported and the old one stays."""
    try:
        config = load_config(m.config.path, m.config.optional)
        refuse_unsafe(config)
        for key in DIRECTORIES + ["monitor_reads"]:
            if getattr(config, key) != getattr(m.config, key):
                raise Unusable("%s is now %s; expected %s until the next start"
                               % (key, shown(getattr(config, key)), shown(getattr(m.config, key))))
    except Unusable as problem:
        m.conditions["config"] = "RELOAD: %s; the old configuration stays" % problem
        say(m, m.conditions["config"], 3)
        return
    m.conditions.pop("config", None)
    if m.ready_hook and config.ready_command != m.config.ready_command:
        m.children.append(m.ready_hook.leave())
        m.ready_hook = None
    m.config, m.launch_at, m.ready_passed = config, 0, False
    for queue in m.waiting:
        queue.start_over()        # what is valid may have changed
    say(m, "RELOAD: configuration read from %s" % shown(config.path), 5)


MESSAGES = {   # keyword: (what the Monitor does, the function that does it)
    "HELP": ("lists the messages", tell_help),
    "STATUS": ("writes the queue state: what runs, with its processes, what waits in order, the counts", tell_status),
    "CONFIG": ("writes the configuration in force", tell_config),
    "PAUSE": ("starts no more jobs; a pause outlives a restart", pause),
    "RESUME": ("starts jobs again", resume),
    "FINISH": ("exits when the running job has ended", finish_then_exit),
    "SHUTDOWN": ("exits now; the running job goes on and is picked up at the next start", shut_down),
    "KILL JOB": ("ends the running job", kill_job),
    "RELOAD": ("reads the configuration again; a bad one is reported and the old one stays", reload),
}


def howto() -> bytes:
    """Return the comment block at the top of monitor_reads."""
    lines = ["# Messages to the Monitor: append one per line, such as  echo STATUS >> monitor_reads",
             "# The answers are in monitor_says. What was acted on is removed from this file."]
    lines += ["#   %-8s  %s" % (keyword, meaning) for keyword, (meaning, _) in MESSAGES.items()]
    return "".join(line + "\n" for line in lines).encode()


def act(m, line: bytes) -> None:
    """Do what one message says; a wrong one is repeated, escaped and cut short."""
    text = " ".join(os.fsdecode(line).split())
    known = MESSAGES.get(text.upper())
    if not known:
        say(m, "message %s is not known; expected one of %s" % (shown(text[:MESSAGE_SHOWN]), ", ".join(MESSAGES)), 4)
        return
    say(m, "message " + text.upper())
    known[1](m)


# ---- Messages: how they are read ---------------------------------------------

def beside(path: str, end: str) -> str:
    """Return the hidden file beside a message file: `.monitor_reads.taken`, say."""
    return os.path.join(os.path.dirname(path), "." + os.path.basename(path) + end)


def read_messages(m) -> None:
    """Act on each complete line of monitor_reads, in place, then put a fresh file there.

    No append is lost. A line is turned into a comment by one byte when it was acted on, so that a
    crash repeats one message at most. The file is taken over (renamed) only when nobody has it open
    for writing, as far as a lease tells; a writer that opens it in that very moment finishes in the renamed
    file, and that is read to its end before it is removed. An unfinished last line is carried over into the fresh file.
    """
    reads = m.config.monitor_reads
    taken, fresh = beside(reads, ".taken"), beside(reads, ".fresh")
    try:
        state = state_of(reads)                      # before it is read: the next look sees what is appended meanwhile
        if state and m.reads_state == state and not os.path.lexists(taken):
            return
        m.reads_state = state
        if os.path.lexists(fresh):
            os.unlink(fresh)                         # a crash left it, maybe as a second link
        finished = finish_taken(m, taken, reads)
        if usable_messages(m, reads):
            # Only what is the Monitor's own can be marked: another's file is renamed first, then read from a copy.
            if is_ours(m.reads_like):
                untidy, still, partial = act_on_lines(m, reads)
            else:
                os.close(open_regular(reads))        # what cannot be read stays where people see it
                untidy, still, partial = True, True, b""
            if untidy and still and not partial and finished:
                fresh_messages(m, reads, taken)
                finished = finish_taken(m, taken, reads)
            elif untidy and not still:
                m.reads_state = None                 # somebody has it open: the fresh file can wait
                again(m, held_for(m, reads))
        if not os.path.lexists(reads):
            fresh_messages(m, reads)
            wake_at(m, 0)
        if not finished:
            again(m, held_for(m, taken))
        ends(m, "messages")
    except (BadUow, OSError) as problem:
        m.reads_state = None
        begins(m, "messages", "%s cannot be read or renewed: %s; tried again" % (shown(reads), reason_of(problem)))
        again(m)


def held_for(m, path: str) -> float:
    """Return in how many seconds to look again whether a file's writer has closed it."""
    state = state_of(path)
    return next_look(time.time() - state.mtime / 1e9 if state else 0, AGAIN_SECONDS, m.config.sleep_seconds)


def usable_messages(m, reads: str) -> bool:
    """Tell whether the message file is there, a plain file of sensible size; anything else goes to trash."""
    try:
        found = os.lstat(reads)
    except FileNotFoundError:
        return False
    why = message_file(stat.S_ISREG(found.st_mode), found.st_nlink, found.st_size, time.time() - found.st_ctime)
    if not why:
        m.reads_like = found                         # the fresh one has its owner, group and mode
        ends(m, "trash " + reads)
        return True
    if why != "wait":
        trash(m, reads, why)
    m.reads_state = None                             # where it could not be moved, that is tried again
    if os.path.lexists(reads):
        again(m)
    return False


def act_on_lines(m, path: str) -> Tuple[bool, bool, bytes]:
    """Act on the complete lines of a message file.

    Return whether there was anything but our own comments, whether all is read and nobody has it open
    for writing, and the unfinished last line.
    """
    try:
        fd, still = open_still(path), True
    except Busy:
        fd, still = open_regular(path), False
    with closing(fd):
        data = os.pread(fd, 2 * SMALL_BYTES, 0)      # no more, or who appends faster keeps it here for ever
        complete, _, partial = data.rpartition(b"\n")
        if data == howto() + partial:
            return False, still, partial             # nothing to tidy: it waits for its newline
        found = os.fstat(fd)
        if not is_ours(found):                       # a copy is ours, once its writers have had time to close it
            if not 0 <= time.time() - found.st_ctime < STRANGE_SECONDS:
                write_whole(m, path, data)
            return True, False, partial
        with closing(reopen(fd)) as writer:
            at = acted = 0
            for line in complete.split(b"\n"):
                if acted == ACTED_PER_WAKE:
                    return True, False, partial
                if line.strip() and not line.startswith(b"#"):
                    os.pwrite(writer, line[:1], at)  # what cannot be marked is not acted on, again and again
                    act(m, line)
                    os.pwrite(writer, b"#", at)
                    acted += 1
                at += len(line) + 1
        return True, still, partial


def finish_taken(m, taken: str, reads: str) -> bool:
    """Act on what still came into the renamed message file, if any, and remove it; False while a writer has it."""
    if not usable_messages(m, taken):
        return not os.path.lexists(taken)
    _, still, partial = act_on_lines(m, taken)
    if not still:
        return False
    if partial:
        if not usable_messages(m, reads) and not os.path.lexists(reads):
            fresh_messages(m, reads)
        with closing(open_regular(reads, os.O_RDWR | os.O_APPEND)) as fd:
            if not os.pread(fd, 2 * SMALL_BYTES, 0).endswith(b"\n" + partial):       # a crash right here, then again
                write_all(fd, partial)
    os.unlink(taken)
    return True


def fresh_messages(m, reads: str, taken: str = "") -> None:
    """Put a fresh message file in place, never over one that appeared meanwhile; the old one goes to `taken` first.

    No `mv` here: it takes a hundred times as long, and without a file a sender who may not make one is refused.
    """
    fresh = beside(reads, ".fresh")
    if taken:
        m.reads_like = os.lstat(reads)               # a person may have changed its mode since it was first looked at
    write_whole(m, fresh, howto(), like=m.reads_like)
    if taken:
        os.rename(reads, taken)
    with suppress(FileExistsError):
        os.link(fresh, reads)                        # link, unlike rename, never replaces
    os.unlink(fresh)
    sync(m, os.path.dirname(reads))


# ---- The cycle ---------------------------------------------------------------

def work(m) -> int:
    """Run the Monitor until it is to exit: wake, read messages, survey, move, edit, launch, post, sleep."""
    recovered = False
    while True:
        try:
            if not recovered:                        # before the first message is read: it may be KILL JOB
                adopt_by_its_log(m)
                survey_hand(m)
                recovered = True
            cycle(m)
            over = may_exit(m)
            ends(m, "cycle")
        except (OSError, MemoryError) as problem:    # no process to be had, a broken disk: begin again from disk
            if "cycle" not in m.conditions and select.select([], [2], [], 0)[1]:
                sys.excepthook(*sys.exc_info())
            begins(m, "cycle", "the cycle was cut short: %s; tried again" % reason_of(problem), 3)
            for queue in m.waiting:
                queue.start_over()
            m.due, over = again(m), m.stopping
        if over:
            break
        sleep(m)
    m.stopping = True
    notify("STOPPING=1\nSTATUS=stopped")
    post(m)
    say(m, "stopped", 5)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGIO):
        signal.signal(number, signal.SIG_IGN)        # at its exit Python sets the defaults: a SIGIO would kill
    return 0


def cycle(m) -> None:
    """Go round once; between two rounds the Monitor sleeps until m.due, which each step may bring forward."""
    m.due = float("inf")
    read_messages(m)
    survey(m)
    move(m)
    edit(m)
    launch(m)
    post(m)
    tell_systemd(m)


def may_exit(m) -> bool:
    """Tell whether the Monitor is to exit."""
    when = exits(stopping=m.stopping, finishing=m.finishing, until_empty=m.until_empty, busy=bool(m.job or m.after),
                 unclear=m.unclear, others=m.others > 0,
                 failed=any(key.split()[0] in ("launch", "edit", "back") for key in m.conditions))
    return when == "now" or when == "empty" and is_empty(m) and no_other_stamps(m) and is_empty(m)


def is_empty(m) -> bool:
    """Tell whether nothing waits, as of a listing that nothing has changed since."""
    seen = all(queue.listed and queue.listed == state_of(queue.path) for queue in m.waiting)
    return bool(seen and not (m.filings or anything_waits(m)))


def no_other_stamps(m) -> bool:
    """Tell whether no other Monitor has UOWs aside, for their stamp; those that are back are listed by that."""
    mine = take_turn(m)
    if mine:
        end_turn(m)
        wake_at(m, 0)                                # if there are some: to look at them
    return mine


def sleep(m) -> None:
    """Sleep until something is due, a queue or the message file changes, the job ends, or a signal comes."""
    wake_at(m, boot_seconds() + min(m.config.sleep_seconds, 86400))      # poll counts milliseconds in an int
    timeout = max(0, m.due - boot_seconds())
    pid_of = {fd: pid for pid, fd in (m.job.watched if m.job else {}).items()}
    hooks = [hook for hook in (m.after_hook, m.ready_hook, m.job and m.job.search) if hook]
    if any(hook.pidfd < 0 for hook in hooks):
        timeout = min(timeout, BLIND_SECONDS)
    woken, signals = wait(m, [*pid_of, *(hook.pidfd for hook in hooks if hook.pidfd >= 0)], timeout)
    for fd in woken:
        if fd in pid_of:
            os.close(m.job.watched.pop(pid_of[fd]))
    for hook in hooks:
        if hook.pidfd in woken:                      # a cycle that is cut short before it is polled must not spin
            os.close(hook.pidfd)
            hook.pidfd = -1
    if signals & {signal.SIGTERM, signal.SIGINT}:
        shut_down(m)
    if signal.SIGHUP in signals:
        reload(m)
        notify("READY=1")


def wait(m, fds: List[int], timeout: float) -> Tuple[List[int], Set[int]]:
    """Wait for an end (pidfds), a signal or a change, and return which ended and which signals came.

    In a storm of changes it is deaf to them for a while.
    """
    poll = select.poll()
    for fd in [m.wakeup, *fds]:
        poll.register(fd, select.POLLIN)
    woken, signals = [], caught(m)                   # notices of our own moves end here; changed() finds the rest
    if timeout > 0 and not signals - {signal.SIGIO}:
        deaf = min(timeout, max(0, until_notice(m)))
        if deaf > 0:
            woken = poll.poll(round(deaf * 1000 + 0.5))
        if not woken and timeout > deaf:
            arm(m)
            if not changed(m):
                # A queue with work ready may have changed before arm(). Nothing can start now, so soon is enough.
                limit = min(timeout - deaf, 1 if changed(m, ready=True) else timeout)
                woken = poll.poll(round(limit * 1000 + 0.5))
                new = caught(m)
                m.notices -= signal.SIGIO in new
                signals |= new
    return [fd for fd, _ in woken], signals


def caught(m) -> Set[int]:
    """Return the signals that came since the last look."""
    try:
        return set(os.read(m.wakeup, 4096))
    except BlockingIOError:
        return set()


def until_notice(m) -> float:
    """Return for how many seconds notices of changes are to be let alone: 0 or less but in a storm of them."""
    now = boot_seconds()
    m.notices = min(NOTICES_AT_ONCE, m.notices + (now - m.notices_at) * NOTICES_A_SECOND)
    m.notices_at = now
    return (1 - m.notices) / NOTICES_A_SECOND


def arm(m) -> None:
    """Ask for one signal at the next change of a queue, of currently-executing, or beside the message file."""
    names = fcntl.DN_CREATE | fcntl.DN_RENAME | fcntl.DN_DELETE
    wanted = dict.fromkeys([queue.path for queue in m.waiting] + [m.config.currently_executing], names)
    wanted[os.path.dirname(m.config.monitor_reads)] = names | fcntl.DN_MODIFY
    for path, events in wanted.items():
        with suppress(OSError):                      # away, or it notifies nobody: sleep_seconds is the fallback
            inode = os.stat(path).st_ino
            if path in m.armed and m.armed[path][1] != inode:
                os.close(m.armed.pop(path)[0])
            if path not in m.armed:
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
                m.armed[path] = os.open(path, flags), inode
            fcntl.fcntl(m.armed[path][0], fcntl.F_NOTIFY, events)


def changed(m, ready: bool = False) -> bool:
    """Tell whether something changed that the survey has not seen; ready: also where UOWs are known that can be run."""
    def has(queue):
        return queue.listed is not None and queue.listed != state_of(queue.path) and (ready or not queue.ready)
    return any(map(has, m.waiting)) or m.reads_state is not None and m.reads_state != state_of(m.config.monitor_reads)


# ---- Check: prove what the promises rest on, run nothing ---------------------

def check(configs) -> int:
    """Print one line per finding and return 0 when there is none, else 1. It may run beside the Monitors."""
    findings, places, looked = lacking(), {}, set()
    for number, config in enumerate(configs):
        findings += [text for other in configs[:number] for text in check_pair(config, other)]
        proofs = [unfit_directories, open_to_others]
        proofs += [trial, check_aside] if os.path.isdir(config.currently_executing) else []
        for proof in proofs:
            try:
                findings += proof(config)
            except OSError as problem:
                findings.append("%s: %s" % (shown(problem.filename or config.root), reason_of(problem)))
        for key in WAITING + ["currently_executing"] + FINISHED:
            directory = getattr(config, key)
            listed = os.access(directory, os.R_OK | os.X_OK) and directory not in looked     # else a finding already
            for name in sorted(os.listdir(directory)) if listed and os.path.isdir(directory) else []:
                if not NEVER_RUN.fullmatch(name) and not README_NAME.fullmatch(name):
                    path = os.path.join(directory, name)
                    line_1, wrong = check_file(config, key, path)
                    places.setdefault((name, line_1), []).append(path)
                    findings += wrong
            looked.add(directory)
    # A new UOW may well have the name of a finished one; with its time, too, it is the same, unless it moved on.
    waiting = {getattr(config, key) for config in configs for key in WAITING}
    for (name, line_1), paths in places.items():
        still = [os.path.dirname(path) for path in paths if os.path.lexists(path)]
        if len(still) > 1 and (line_1 or set(still) - waiting):      # two that have just been dropped may be two
            findings.append("%s is in %s" % (shown(name), " and in ".join(map(base, still))))
    for line in dict.fromkeys(findings) or ["all is well"]:
        write_out(1, line)
    return 1 if findings else 0


def check_pair(config, other) -> List[str]:
    """Return what is wrong between the configurations of two Monitors."""
    findings = ["%s: %s is that of %s, too; expected one for each Monitor"
                % (shown(config.path), key, shown(other.path))
                for key in ("currently_executing", "monitor_reads", "monitor_says", "status_dir")
                if getattr(config, key) and getattr(config, key) == getattr(other, key)]
    shared = [key for key in WAITING if config.root != other.root and getattr(config, key) == getattr(other, key)]
    return findings + ["%s shares %s with %s from another directory; the order of starting is kept between "
                       "configurations in one" % (shown(config.path), key, shown(other.path)) for key in shared[:1]]


def trial(config) -> List[str]:
    """Try in a hidden directory of currently-executing what the promises rest on, and name what is refused."""
    findings, seen = [], []
    place = os.path.join(config.currently_executing, ".check.%d" % os.getpid())
    one, two = os.path.join(place, "one"), os.path.join(place, "two")
    os.mkdir(place, 0o700)
    before = signal.signal(signal.SIGIO, lambda *_: seen.append(1))
    try:
        for path in (one, two):
            with open(path, "w") as file:
                file.write(path)
        run(["mv", "-nT", "--", one, two])
        if not os.path.exists(one):
            findings.append("mv -nT replaced a file on %s: expected it to refuse; use coreutils 8 or newer"
                            % shown(place))
        with closing(os.open(place, os.O_RDONLY | os.O_DIRECTORY)) as fd:
            for name, fallback, attempt in (
                    ("flock", "", lambda: fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)),
                    ("fsync of a directory", "", lambda: os.fsync(fd)),
                    ("F_NOTIFY", "; a drop is seen after sleep_seconds only",
                     lambda: fcntl.fcntl(fd, fcntl.F_NOTIFY, fcntl.DN_CREATE | fcntl.DN_RENAME)),
                    ("a rename", "", lambda: os.rename(one, one + "-moved")),
                    ("a read lease", "; files rest on settle_seconds alone", lambda: os.close(open_still(two)))):
                try:
                    attempt()
                except OSError as problem:
                    findings.append("%s is refused on this file system: %s%s" % (name, reason_of(problem), fallback))
        if not seen and not any(text.startswith("F_NOTIFY") for text in findings):
            findings.append("F_NOTIFY does not notify on this file system; a drop is seen after sleep_seconds only")
    finally:
        signal.signal(signal.SIGIO, before)
        shutil.rmtree(place)
    return findings


def check_aside(config) -> List[str]:
    """Return what a Monitor that is no more had taken aside: only a start with its configuration brings it back."""
    try:
        os.close(lock(config))
    except BlockingIOError:
        return []                                    # it is at work
    places = [private(config, key) for key in WAITING]
    return ["%s lies in %s, and no Monitor has it in hand; start one with %s"
            % (shown(name), shown(place), shown(config.path))
            for place in places if os.path.isdir(place)
            for name in sorted(os.listdir(place)) if not name.startswith(".new.")]


def check_file(config, key: str, path: str) -> Tuple[bytes, List[str]]:
    """Return a UOW's line 1 and what is wrong with it: unreadable, invalid, a STATUS that its directory contradicts."""
    try:
        with closing(open_regular(path)) as fd:
            uow = read_uow(fd, path, config.required_names) if key in WAITING else read_own(fd)
    except BadUow as problem:
        return b"", ["%s is no valid UOW: %s" % (shown(path), problem)]
    except FileNotFoundError:
        return b"", []                               # moved on meanwhile
    except OSError as problem:
        return b"", ["%s: %s" % (shown(path), reason_of(problem))]
    word = uow.status.partition(":")[0]
    if key in FINISHED and word + "_q" != key:
        has = "the STATUS " + shown(word) if word else "no STATUS"
        return uow.line_1, ["%s has %s; expected %s there" % (shown(path), has, key[:-2])]
    if key == "currently_executing" and row(uow.status, False, False) == "strange":
        status = shown(uow.status[:STATUS_WIDTH])
        return uow.line_1, ["%s has the STATUS %s, which no Monitor wrote" % (shown(path), status)]
    return uow.line_1, []


# ---- Start-up ----------------------------------------------------------------

def make_directories(config, keys: Sequence[str]) -> List[str]:
    """Make the directories that are missing, and return what to say of it; Unusable where one cannot be made."""
    made = []
    for key in keys:
        path = getattr(config, key)
        if not os.path.lexists(path):
            try:
                os.makedirs(path, 0o755)
            except OSError as problem:
                raise Unusable("%s %s cannot be made: %s" % (key, shown(path), reason_of(problem))) from None
            made.append("%s was missing: made %s" % (key, shown(path)))
    return made


def unfit_directories(config, missing: bool = True) -> List[str]:
    """Return what is wrong with the directories; missing: also which are to be made."""
    places = {key: getattr(config, key) for key in DIRECTORIES}
    findings = [text for text in (unfit(config, key, path) for key, path in places.items()) if text]
    return findings + ["%s %s is missing; a start of the Monitor makes it" % (key, shown(path))
                       for key, path in places.items() if missing and not os.path.lexists(path)]


def unfit(config, key: str, path: str) -> str:
    """Return why a directory cannot be used, or be made: what is there is none, or on another file system; or ''."""
    named, there = "%s %s " % (key, shown(path)), path
    while not os.path.lexists(there):
        there = os.path.dirname(there)
    found = os.lstat(there)
    if there == path and not stat.S_ISDIR(found.st_mode):
        return named + ("is no directory%s; expected a real directory: move what is there away, or name another in %s"
                        % (" but a symbolic link" * stat.S_ISLNK(found.st_mode), shown(config.path)))
    if not os.path.isdir(there):
        return named + "cannot be made: " + os.strerror(errno.ENOTDIR)
    if is_elsewhere(config.root, there):
        return named + ("is on another file system than %s; expected all on one, since mv between two is a copy"
                        % shown(config.root))
    if there == path and key != "archive" and not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        if is_read_only(path):
            return named + "is on a read-only file system; expected one that can be written"
        me = owner_name(os.geteuid())
        mend = "chmod u+rwx" if found.st_uid == os.geteuid() else "chown " + me
        return named + "cannot be listed and written by %s; mend it with: %s %s" % (me, mend, shown(path))
    return ""


def is_elsewhere(root: str, path: str) -> bool:
    """Tell whether `mv` between two directories is a copy, by a rename of what is not there; also for a bind mount."""
    try:
        os.rename(os.path.join(root, ".none.%d" % os.getpid()), os.path.join(path, ".none"))
    except OSError as problem:
        return problem.errno == errno.EXDEV
    return False


def open_to_others(config) -> List[str]:
    """Return what people who could not act as the Monitor's user may write to, each with the command that mends it."""
    findings, me = [], os.geteuid()
    for path in (config.root, config.path, os.path.abspath(__file__), config.currently_executing):
        try:
            found = os.stat(path)
        except FileNotFoundError:
            continue
        except OSError as problem:
            findings.append("%s cannot be looked at: %s" % (shown(path), reason_of(problem)))
            continue
        if found.st_uid not in (0, me):
            findings.append("%s belongs to %s, who could act as the Monitor's user; mend it with: chown %s %s"
                            % (shown(path), owner_name(found.st_uid), owner_name(me), shown(path)))
        if found.st_mode & stat.S_IWOTH:
            findings.append("%s can be written by everybody; mend it with: chmod o-w %s" % (shown(path), shown(path)))
        if found.st_mode & stat.S_IWGRP and not is_own_group(found.st_gid, me):
            findings.append("%s can be written by its group; mend it with: chmod g-w %s" % (shown(path), shown(path)))
    return findings


def is_own_group(gid: int, uid: int) -> bool:
    """Tell whether a group has nobody in it but this user and root (a user's private group)."""
    try:
        members = set(grp.getgrgid(gid).gr_mem)
    except KeyError:
        return False
    return members <= {owner_name(uid), "root"} and all(entry.pw_uid in (0, uid) for entry in pwd.getpwall()
                                                        if entry.pw_gid == gid)


def refuse_unsafe(config) -> None:
    """Raise Unusable where others may write what the Monitor acts on."""
    findings = open_to_others(config)
    if findings:
        raise Unusable(*findings)


def refuse_unfit(config) -> None:
    """Raise Unusable where a directory is none, or on another file system: before any is made."""
    findings = unfit_directories(config, missing=False)
    if findings:
        raise Unusable(findings[0])                  # a start needs one sentence, `--check` tells all


def lacking() -> List[str]:
    """Return which commands are missing that every job needs."""
    missing = [name for name in ("bash", "cat", "grep", "mv", "tee", "timeout") if not shutil.which(name)]
    return ["no command %s in PATH; expected bash, coreutils and grep" % ", ".join(missing)] if missing else []


def lock(config, seconds: float = 0) -> int:
    """Take currently-executing for this Monitor; BlockingIOError when another has it for longer than `seconds`.

    Where there are some, as at start-up, a `mv` that a dead Monitor had begun is waited for, however long: nothing may
    be moved beside it.
    """
    fd = os.open(config.currently_executing, os.O_RDONLY | os.O_DIRECTORY)
    until = boot_seconds() + seconds
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return fd
        except BlockingIOError:
            if boot_seconds() >= until:
                if not seconds or who_locked_lives(fd):
                    os.close(fd)
                    raise
                until = boot_seconds() + 60
                write_out(2, "monitor.py: waiting for a command that a Monitor which died had begun in %s"
                          % shown(config.root))
            time.sleep(0.02)
        except OSError:                              # a file system without flock
            os.close(fd)
            raise


def who_locked_lives(fd: int) -> bool:
    """Tell whether the process that took the lock on this directory lives; a command inherits the lock alone."""
    try:
        with open("/proc/locks") as file:
            takers = [line.split()[4] for line in file
                      if " FLOCK " in line and line.split()[5].endswith(":%d" % os.fstat(fd).st_ino)]
    except OSError:
        return True
    return not takers or any(os.path.exists("/proc/" + pid) for pid in takers)


def start_afresh() -> None:
    """Mend what the Monitor may have inherited: signals ignored or blocked, and standard files that are closed."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)    # ignored, the exit code of a command would be lost
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    fd = 0
    while fd < 3:                                    # no other file may get the number, which tools inherit
        fd = os.open(os.devnull, os.O_RDWR)
    os.close(fd)


def listen(m) -> None:
    """Let signals do nothing but end the sleep; what they mean is read there."""
    m.wakeup, write = os.pipe()
    for fd in (m.wakeup, write):
        os.set_blocking(fd, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGIO):
        signal.signal(number, lambda *_: None)
    # `systemctl reload` waits for READY=1 only if it has heard of the reload when its `kill` has ended.
    signal.signal(signal.SIGHUP, lambda *_: notify("RELOADING=1\nMONOTONIC_USEC=%d" % (time.monotonic_ns() // 1000)))


def start_up(config, until_empty: bool) -> Monitor:
    """Check what the promises rest on and take the lock; Unusable or BlockingIOError."""
    refuse_unsafe(config)
    refuse_unfit(config)
    made = make_directories(config, ["currently_executing"])
    try:
        DOOR.lock = [lock(config, LOCK_SECONDS)]
    except BlockingIOError:
        raise
    except OSError as problem:
        raise Unusable("%s cannot be locked: %s; expected a file system that has flock"
                       % (shown(config.currently_executing), reason_of(problem))) from None
    made += make_directories(config, DIRECTORIES)    # having the lock: a second Monitor touches nothing
    m = Monitor(config, until_empty)
    try:
        m.turn = open_turn(config)
    except OSError as problem:
        raise Unusable("%s cannot be opened: %s; expected a file of the Monitor's user"
                       % (shown(turn_file(config)), reason_of(problem))) from None
    with suppress(locale.Error):
        locale.setlocale(locale.LC_MESSAGES, "")     # as the jobs' shells: a signal has the same name here and there
    divide_cgroup()
    os.chdir(config.root)
    listen(m)
    say(m, "started: pid %d, root %s%s" % (os.getpid(), shown(config.root), ", paused" * m.paused), 5)
    for text in made + lacking():
        say(m, text, 4)
    return m


def refuse(problem: str, code: int) -> int:
    """Say why there is no start, on stderr and in the line that `systemctl status` shows; return the exit code."""
    write_out(2, "%smonitor.py: %s" % ("<3>" if in_journal() else "", problem))
    notify("STATUS=" + problem)
    return code


def main(argv: List[str]) -> int:
    """Run the Monitor, or --check, and return the exit code."""
    start_afresh()
    flags = [word for word in argv if word.startswith("-")]
    paths = [word for word in argv if not word.startswith("-")]
    if set(flags) - {"--until-empty", "--check"} or len(paths) > 1 and "--check" not in flags:
        return refuse("usage: monitor.py [CONFIG] [--until-empty], or monitor.py [CONFIG ...] --check", EXIT_UNUSABLE)
    path = paths[0] if paths else os.path.join(os.path.dirname(os.path.abspath(__file__)), "config.txt")
    try:
        config = load_config(path, optional=not paths)
        if "--check" in flags:
            return check([config] + [load_config(path) for path in paths[1:]])
        m = start_up(config, "--until-empty" in flags)
    except Unusable as problem:
        return refuse(str(problem), EXIT_UNUSABLE)
    except BlockingIOError:
        return refuse("another Monitor has %s" % shown(config.currently_executing), EXIT_TAKEN)
    return work(m)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
