#!/usr/bin/env python3
"""simple-job-q: run the jobs that people drop as text files, one at a time.

    python3 monitor.py [CONFIG] [--until-empty]
    python3 monitor.py [CONFIG ...] --check

A job is a text file, a UOW (unit of work). A queue is a directory. Moving the file is the state
change. The cycle is: wake, read messages, survey, move, edit, launch, post, sleep.

All state is on disk: the directory a UOW is in, its STATUS line, its log, and a link. Begun means
linked: currently-executing/.run/MARK.NAME is a second name of the UOW's file, from before the job
starts until the UOW is filed. Whatever becomes of the first name, the file and its log stay.
MARK is boot id, nanosecond after boot, device and inode; every process of the run carries it as
SJQ_RUN. In a copied or restored root the inode differs, so the original's processes are safe.

Launch  1. `mv` into currently-executing, and look at what came     (nobody else can claim it)
        2. STATUS `running: since ...`, in place
        3. the link; with `durable` all of this is on disk now
        4. `bash KEEPER | tee -a uow`, two processes that outlive the Monitor. JOB START, the
           job's output and JOB END go down one pipe, so only tee appends to a UOW.
Filing  1. the log on disk, then STATUS with the outcome
        2. `mv` to the queue; where its name is gone, the linked file gets one there.
           Where a person moved the UOW to another directory of ours, it stays there.
        3. the link removed, last of all; then after_command

What a UOW in currently-executing is, at a start and after any kill (`recover`, `follow`):

  begun  STATUS   processes  END line   then
  no     any                            it is the next to start (trash, if a run has its name)
  yes    outcome                        file it: done and error count only with END of this run
  yes    else     keeper                adopt it: wait for it, time it out, kill it
  yes    else     others     no         the same; while it is being killed, also with END
  yes    else     any        yes        file it by END, or by why it was being killed
  yes    else     none       no         fail-q, `fail: interrupted`, or why it was being killed

"Begun" is: it has a link, or STATUS says `running`, or .run is missing. In doubt it has begun:
only a person runs it again. A kill of the Monitor loses only: a FINISH, an after_command that is
still to run, the answer of ready_command, the counts since the start, and how much CPU and memory
the running job has used. One message may be acted on twice.

A waiting UOW gets its stamp (line 1, titles, blank STATUS) where it waits: a stamped copy is
swapped with it in one step. Several Monitors of one root stamp, or choose and claim, in turn: a
lock on .turn. An OSError that no step expects throws memory away: all begins again from disk, as
after a kill. Any other exception is a mistake of ours: a traceback, and systemd starts it again.

Assumed: all directories on one local file system with hard links; /proc; nobody but the Monitor's
user and root can write to the root, config.txt, monitor.py and currently-executing.

A map. To see how jobs run, read from "Processes of a run" to "The cycle"; `cycle` is the main
loop. Above that part are the UOW's text and the decisions (pure functions) and the effects (files,
`mv`, `trying`). A reader may skip: Configuration, Pages, Posting, Check, Start-up.
Where to change what: outcome (which queue, and its text), MESSAGES (a message), KEEPER,
start_processes and job_environment (how a job runs), next_waiting (what starts next), check_file
(when a file is complete), sleep (what wakes it), trying (how trouble is said and ends), recover
(a restart), forget (what memory holds), sync (what a power cut may not undo: see its callers).
"""
import sys

if sys.version_info < (3, 9):        # before anything that an older Python cannot import or do
    sys.stderr.write("monitor.py: this is Python %d.%d; expected 3.9 or newer\n"
                     % sys.version_info[:2])
    sys.exit(2)

import collections
import ctypes
import errno
import fcntl
import fnmatch
import grp
import heapq
import io
import itertools
import json
import os
import pwd
import re
import resource
import select
import shutil
import signal
import socket
import stat
import struct
import time
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from glob import escape, glob
from operator import itemgetter
from types import SimpleNamespace
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

# ---- Defaults ----------------------------------------------------------------
# What people set is in CONFIG below.

HEAD_BYTES = 64 * 1024      # a UOW's header ends within this
COPY_BYTES = 64 * 1024 * 1024     # a longer log is not copied to stamp the header above it
SMALL_BYTES = 1024 * 1024   # a longer monitor_reads goes to trash
STATUS_WIDTH = 78           # STATUS is padded to this, so that one write in place changes it
MESSAGE_SHOWN = 80          # characters of a wrong line that are repeated in a message
STATUS_SHOWN = 50           # waiting UOWs per queue that the message STATUS lists
SLICE_SECONDS = 0.1         # for checking, stamping or trashing, before messages are read again
STAMPS, FEW_STAMPS = 200, 5 # UOWs stamped per cycle; the few while a job could start or end
ACTED_PER_WAKE = 100        # messages acted on per cycle
AGAIN_SECONDS = 0.1         # the shortest time until a file that changes is looked at again
OUTPUT_SECONDS = 0.02       # after a job's end: how soon to look for its END line, at first
TURN_SECONDS = 0.002        # how soon to ask again for a lock that another Monitor has, at first
TURN_PATIENCE = 5           # seconds without that lock until it is said
RETRY_SECONDS = 1           # what failed is tried again after this, then less and less often
HOOK_SECONDS = 60           # limit of ready_command, after_command and the search for patterns
NOTICES_A_SECOND = 10       # wakes by changes in a directory, when they come without end,
NOTICES_AT_ONCE = 5         # and in a burst
# Processes of a run that are held at a time.
HELD_AT_MOST = min(400, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
POST_SECONDS = 1            # shortest time between two posts
FOLLOW_SECONDS, IDLE_SECONDS = 3, 15    # longest, while a job runs and otherwise
POST_SHARE = 40             # posting takes about 1/40 of the time
PAGES_SECONDS = FOLLOW_SECONDS / POST_SHARE     # for the pages of one post
ENDED_SHARE = 500           # listing finished directories takes at most 1/500 of the time
TICK_SECONDS = 0.02         # shortest time between two listings: the tick of file times
LISTING_SECONDS = 0.01      # longest slice of listing in a cycle
ENDED_KEPT = 200            # of each finished directory so many of the newest are known
FAILED_SHOWN, FAILED_PAGES = 10, 100    # failures on the page with their cause; with a page
RECENT_SHOWN, WAITING_SHOWN, SAYS_SHOWN = 30, 30, 12    # UOWs, and lines of monitor_says
CAUSE_READ = 4096           # bytes of both ends of a failed log that are read for its cause
LOG_SHOWN = 32 * 1024       # bytes of both ends of a log on its page
LONGEST_SLEEP = 86400       # poll counts milliseconds in an int
LEFT_SECONDS = 60          # a stamped copy that is older than this was left by a crash
EXIT_UNUSABLE, EXIT_TAKEN = 2, 3
README_NAME = re.compile(r"readme(\..*)?", re.I | re.S)

# What systemd tells the Monitor alone.
NOT_FOR_JOBS = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM",
                "INVOCATION_ID", "MAINPID", "SYSTEMD_EXEC_PID")

# A job starts with no signal ignored, whatever the Monitor was started by.
SIGNALS = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}

# The keeper of a run. It writes START and END around the job's output, down the same pipe to
# tee, so END follows all of the output and is written also when the Monitor has died.
# $1 job_command, $2 the run's mark, $3 the file that takes a process into the run's cgroup
# (or nothing), $4 a newline where the log does not end with one.
# - The traps keep it alive for END when TERM is sent to all of the run; the job gets them reset.
# - `set -m` gives the job a process group of its own, so `kill 0` in it spares the keeper. After
#   `set +m` a job that is stopped does not end the `wait`.
# - `&` and `wait`, since bash ends itself when SIGINT kills what it runs in the foreground. A
#   trapped signal ends the `wait` early: then the job still lives.
# - The decimal point of EPOCHREALTIME is the locale's. Before bash 5 there is no such variable.
KEEPER = r"""trap : HUP INT PIPE QUIT TERM
unset SJQ_KEEPER
now() {
    local t=${EPOCHREALTIME/[!0-9]/.}
    [ -n "$t" ] || printf -v t '%(%s)T.000000' -1
    TZ=UTC0 printf -v at '%(%Y-%m-%dT%H:%M:%S)T' "${t%.*}"
    at+=.${t#*.}Z
}
now; printf '%s==== JOB START %s run %s\n' "$4" "$at" "$2"
set -m
({ echo 0 >"$3"; } 2>/dev/null; exec bash -c "$1" 2>&1) &
set +m
until wait $!; rc=$?; [ $rc -le 128 ] || ! kill -0 $! 2>/dev/null; do :; done
now; printf '\n==== JOB END %s run %s exit %s\n' "$at" "$2" "$rc"
exit "$rc"
"""

START_BYTES = len("==== JOB START 2026-11-24T02:30:07.000000Z run \n")     # and the mark

# Look for the patterns in this run's output only: in $2 bytes from byte $1 on of descriptor 3.
# $3 is fail_pattern, $4 error_pattern. Exit 10: the first was found, 11: the second, 12: neither.
# Any other exit is for a tool that failed. 141 is a tail or head whose reader has seen enough.
SEARCH = """look() {
    [ -n "$3" ] || return 1
    tail -c "+$1" /dev/fd/3 | head -c "$2" | grep -qaE -e "$3"
    case "${PIPESTATUS[*]}" in *" 0") return 0 ;; "0 0 1" | "141 0 1") return 1 ;; *) exit 2 ;; esac
}
look "$1" "$2" "$3" && exit 10
look "$1" "$2" "$4" && exit 11
exit 12"""

# A launch that fails before its link is there, or with one of these, is tried again. Any other
# error will not go away: the UOW is filed as "could not start".
PASSING = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT,
           errno.EIO, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.ENOEXEC, errno.EEXIST)


# ---- Types -------------------------------------------------------------------

class Unusable(Exception):
    """Start-up cannot go on; each text says what is wrong, where, and how to mend it."""

    def __str__(self):
        return "\n".join(self.args)


class BadUow(Exception):
    """A file is not a valid UOW; the text names the line and what was expected there."""


class Trouble(OSError):
    """Something failed and may work later; the text is the whole sentence to say."""


class Busy(OSError):
    """A file is open for writing somewhere, or another program has a lease on it."""

    strerror = "another process has it open for writing, or has a lease on it"


class Changed(OSError):
    """A file was moved or replaced between two looks at it."""

    strerror = "it was moved or replaced meanwhile"


class Uow(NamedTuple):
    enqueued: Optional[int]     # microseconds since 1970; None when line 1 has no time
    names: Dict[str, str]       # environment variable -> content
    timeout: Optional[float]    # seconds, 0 is none; None is the configured one
    status: str                 # the STATUS line without its padding
    status_at: int              # byte offset of the STATUS line; -1 when it is not padded
    log_at: int                 # byte offset behind the `==== JOB LOG` line; 0 when it is missing
    header: bytes               # from `==== UNIT OF WORK` to the last header line, as written
    line_1: bytes               # as written, b"" when it is missing


NO_UOW = Uow(None, {}, None, "", -1, 0, b"", b"")


class Mark(NamedTuple):         # BOOT-NANOSECOND-DEVICE-INODE
    text: str
    boot: str                   # the first eight digits of the boot id
    began: int                  # nanoseconds after boot
    device: int                 # of the UOW: so a copied UOW is told from the original
    inode: int


class End(NamedTuple):          # a JOB END line
    exit: int
    time: Optional[int]         # microseconds since 1970; None when it cannot be read
    at: int                     # byte offset of the newline before it


class Process(NamedTuple):      # as /proc shows it
    pid: int
    parent: int
    session: int
    marked: bool                # it has the run's mark in its environment, or is in its cgroup
    role: str                   # "bash" or "tee" where it calls itself this run's keeper or tee
    began: int                  # clock ticks after boot
    name: str


class State(NamedTuple):        # what tells whether a file or directory has changed
    mtime: int                  # nanoseconds since 1970, as ctime
    size: int
    inode: int
    ctime: int


class Wrong(NamedTuple):        # a condition that has begun and not ended
    text: str                   # what monitor_says said
    since: float                # seconds after boot
    again: float                # when the next try is due, seconds after boot
    path: str                   # the condition ends when this is gone; '' for none
    tries: int


class Job:
    """A run that has begun and is not filed: what memory adds to its UOW on disk."""

    def __init__(self, m, name: str, fd: int, uow: Uow, mark: Mark, since: int):
        self.name, self.path = name, os.path.join(m.config.currently_executing, name)
        self.fd, self.inode = fd, os.fstat(fd).st_ino    # the file, whatever its name is by now
        self.uow, self.mark, self.run = uow, mark, mark.text
        self.link = os.path.join(run_directory(m.config), link_name(mark.text, name))
        self.since = since                       # microseconds since 1970
        self.began = mark.began / 1e9            # seconds after boot, of the boot in the mark
        self.limit = m.config.timeout_seconds if uow.timeout is None else uow.timeout
        self.output_at: Optional[int] = None     # where its output begins; None: not known yet
        self.reason = read_running(uow.status)[1]    # why it is being killed, '' if it is not
        self.kill_at: Optional[float] = None     # when TERM becomes KILL
        self.keepers: Dict[str, int] = {}        # 'bash' and 'tee' -> pid
        self.codes: Dict[str, int] = {}          # the same -> exit code, of our own children only
        self.usage = None                        # what wait4 told of the keeper
        self.held: Dict[int, int] = {}           # pid -> pidfd
        self.ended_at: Optional[float] = None    # when the keeper was first seen to be gone
        self.size, self.grown_at = 0, 0.0        # the log's size, and when it last grew after that
        self.searched = 0                        # how many bytes are known to have no END line
        self.status = ""                         # the outcome, once it is known
        self.told: Set[str] = set()              # what was said of it and is not said again


class Monitor:
    """What memory holds. `forget` drops all but the first part, and disk tells it again."""

    def __init__(self, config, until_empty: bool = False):
        self.config, self.until_empty = config, until_empty
        self.device = os.stat(config.root).st_dev
        self.paused = os.path.lexists(os.path.join(config.currently_executing, ".paused"))
        self.finishing = self.stopping = False
        self.wrong: Dict[str, Wrong] = {}        # begun by `trying` and `say`, ended by `is_over`
        self.totals = dict.fromkeys(FINISHED, 0) # ended since the start
        self.failures = 0                        # cycles in a row that were cut short
        self.half_line = False                   # a full disk cut the last line of monitor_says
        self.exchanges = True                    # whether the file system can swap two names
        self.turn = -1                           # the open file `.turn`
        self.turn_since = 0.0                    # since when another has that lock
        self.wakeup = -1                         # the pipe that signals are read from
        self.had_terminal = False                # at the start
        self.tokens, self.tokens_at = float(NOTICES_AT_ONCE), 0.0    # wakes by notices, as of when
        self.jobs: List[Job] = []                # begun and not filed; more than one is rare
        self.after_hook = self.ready_hook = None     # the Hooks that run
        self.watcher: Optional[Watcher] = None   # without one drops are seen at the next listing
        self.ended = {key: Ended() for key in FINISHED + ["trash", "archive"]}   # for the pages
        self.pages: Dict[str, tuple] = {}        # page -> what it shows
        self.finished: Dict[tuple, tuple] = {}   # a finished UOW -> its State and Entry
        self.post_at = 0.0                       # the next post is no earlier
        self.state, self.state_since = None, time.time()
        self.status_sent, self.sent_at = "", 0.0     # what systemd was told last, and when
        self.forget()

    def forget(self) -> None:
        """Forget what disk tells better; the next cycle reads it again."""
        for job in self.jobs:
            let_go(job)
        if self.watcher:
            os.close(self.watcher.fd)
        self.jobs, self.after_hook, self.ready_hook, self.watcher = [], None, None, None
        with suppress(OSError):
            self.watcher = Watcher()
        self.recovered = False                   # whether currently-executing was looked at
        self.queues = [Queue(key, getattr(self.config, key)) for key in ("priority_q", "wait_q")]
        self.under_way = False                   # one has begun that cannot be opened, and lives
        self.claimed: List[str] = []             # in currently-executing and not begun: the next
        self.hand_seen = None                    # states of currently-executing and .run
        self.launched = False                    # the last try to launch has started a job
        self.bad: Dict[str, tuple] = {}          # path -> State and why: on their way to trash
        self.reads_seen = None                   # state of monitor_reads when it was last read
        self.reads_like = None                   # whose owner and mode a fresh one gets
        self.after: List[tuple] = []             # (name, environment): after_command is to be run
        self.ready_passed = False                # ready_command allowed the next launch
        self.watches: Dict[str, tuple] = {}      # path -> (number of its watch, inode)
        self.news = False                        # a notice came after the step that it is for

    @property
    def job(self) -> Optional[Job]:
        return self.jobs[0] if self.jobs else None


# ---- UOW text: parse and format, pure ----------------------------------------

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
BLANKS = " \t\r\n\f\v"         # more than these may be half a letter in some locales
TITLES = ["==== UNIT OF WORK", "==== STATUS", "==== JOB LOG"]
BOM = b"\xef\xbb\xbf"
MARK = re.compile(r"([0-9a-f]{8})-(\d{1,20})-([0-9a-f]{1,16})-(\d{1,20})", re.A)
# One pattern for all runs: compiling one for each run takes longer than the search.
END_LINE = re.compile(rb"\n==== JOB END (\S*) run ([\w-]+) exit (\d{1,3})(?=\n)")


def utc(microseconds: int) -> str:
    """Return a time as `2026-11-24T02:30:00.123456Z`."""
    seconds, rest = divmod(microseconds, 1_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + ".%06dZ" % rest


@lru_cache(100)
def read_time(text: str) -> int:
    """Return µs since 1970 of an ISO 8601 time, UTC unless it says otherwise; ValueError."""
    text = re.sub(r"[zZ]$", "+00:00", text.strip().replace(",", "."))
    text = re.sub(r"(:\d\d(?:\.\d+)?[+-]\d\d):?(\d\d)?$",                # `date +%z` has no colon
                  lambda found: found[1] + ":" + (found[2] or "00"), text)
    text = re.sub(r"(\.\d{1,6})\d*", lambda found: found[1].ljust(7, "0"), text)   # Python 3.9
    if not re.match(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d", text):
        raise ValueError(text)
    moment = datetime.fromisoformat(text)
    since = (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)) - EPOCH
    return since // timedelta(microseconds=1)


def read_seconds(text: str) -> float:
    """Return the seconds of `90`, `90s`, `30m`, `2h` or `1d`; ValueError for anything else."""
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*([smhd]?)", text.strip().lower())
    if not found:
        raise ValueError("expected a number of seconds, or 90s, 30m, 2h, 1d")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]]


def shown(name) -> str:
    """Return a name or text so that a shell reads it back and no terminal is affected by it."""
    text = os.fsdecode(name)
    if re.fullmatch(r"[\w./:@%+=,-]+", text):
        return text
    special = {"\\": "\\\\", "'": "\\'", "\n": "\\n", "\t": "\\t", "\r": "\\r"}

    def escape(c: str) -> str:
        return special.get(c) or (c if c.isprintable() else
                                  "".join("\\x%02x" % byte for byte in os.fsencode(c)))
    try:
        return "$'" + "".join(map(escape, text)) + "'"
    except UnicodeEncodeError:                   # only a text that was never a file name
        return ascii(text)


def base(path: str) -> str:
    return shown(os.path.basename(path))


def variable(name: str) -> str:
    """Return the environment variable that carries the header NAME to the job."""
    return "UOW_" + re.sub(r"[^A-Z0-9_]", "_", name.upper())


def split_line(line: str) -> Optional[Tuple[str, str]]:
    """Return NAME and CONTENT of a `NAME :: CONTENT` line, or None."""
    name, mark, content = line.partition("::")
    name = name.strip(BLANKS)
    valid = mark and re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_ \t-]*", name)
    return (name, content.strip(BLANKS)) if valid else None


def time_or_none(text: str) -> Optional[int]:
    """Return what read_time does, or None for a text that is not a time."""
    try:
        return read_time(text)
    except (ValueError, OverflowError):
        return None


def bad(number: int, what: str, expected: str) -> BadUow:
    return BadUow("line %d: %s; expected %s" % (max(number, 1), what, expected))


def read_enqueued(line: str, number: int) -> int:
    """Return the time in line 1: `ENQUEUED :: TIME by NAME`, or TIME alone; BadUow."""
    name, mark, content = line.partition("::")
    time = time_or_none(re.sub(r"\sby\s.*", "", content if mark else line, flags=re.S))
    if time is None or mark and name.strip().upper() != "ENQUEUED":
        raise bad(number, shown(line[:MESSAGE_SHOWN]),
                  "`ENQUEUED :: 2026-11-24T02:30:00Z` or `==== UNIT OF WORK`")
    return time


def next_title(before: str, line: str, number: int) -> str:
    """Return the title that a `====` line is; BadUow where it does not belong there."""
    title = " ".join(line.split()).upper()
    if title not in TITLES:
        raise bad(number, shown(line[:MESSAGE_SHOWN]),
                  "`==== UNIT OF WORK`, `==== STATUS` or `==== JOB LOG`")
    if before and TITLES.index(title) <= TITLES.index(before):
        raise bad(number, "`%s` stands twice or out of order" % title,
                  "UNIT OF WORK, STATUS, JOB LOG")
    if not before and title != TITLES[0]:
        raise bad(number, "`%s` first" % title, "`==== UNIT OF WORK` before it")
    return title


def lines_of(head: bytes) -> Iterator[tuple]:
    """Yield (title above, number, offset, raw line, text) up to the `==== JOB LOG` line; BadUow."""
    title, at = "", 0
    for number, raw in enumerate(io.BytesIO(head[:HEAD_BYTES]), 1):
        if b"\0" in raw:
            raise bad(number, "a NUL byte", "text")
        plain = raw[len(BOM):] if raw.startswith(BOM) else raw
        text = "" if raw == b"\n" else os.fsdecode(plain).strip(BLANKS)
        if text.startswith("===="):
            title = next_title(title, text, number)
        yield title, number, at, raw, text
        if title == TITLES[2]:
            return
        at += len(raw)


def parse_uow(head: bytes, required=("COMMAND",)) -> Uow:
    """Return the Uow that begins with these bytes (64 KiB are enough); BadUow names the line."""
    title, number, enqueued, line_1 = "", 0, None, b""
    names, status, status_at = {}, "", -1
    header_at = header_end = log_at = 0
    for title, number, start, raw, text in lines_of(head):
        if text.startswith("===="):
            if title == TITLES[0]:
                header_at, header_end = start + raw.index(b"="), start + len(raw)
            elif title == TITLES[2] and raw.endswith(b"\n"):
                log_at = start + len(raw)
        elif not title:
            if text and line_1:
                raise bad(number, shown(text[:MESSAGE_SHOWN]), "`==== UNIT OF WORK` behind line 1")
            if text:
                enqueued, line_1 = read_enqueued(text, number), os.fsencode(text)
        elif title == TITLES[1]:
            if text and status:
                raise bad(number, "a second line below STATUS", "one, then `==== JOB LOG`")
            padded = len(raw) == STATUS_WIDTH + 1 and raw.endswith(b"\n")
            if text or status_at < 0 and not status:
                status, status_at = text, start if padded else -1
        elif text:
            header_end = start + len(raw)
            add_header(names, text, number)
    if not log_at and len(head) > HEAD_BYTES:
        raise bad(number, "the header does not end within %d KiB" % (HEAD_BYTES // 1024),
                  "`==== JOB LOG` before that")
    if not title:
        raise bad(number, "the end of the file" if number else "an empty file",
                  "`==== UNIT OF WORK`")
    if not names:
        raise bad(number, "no header line", "`NAME :: CONTENT` below `==== UNIT OF WORK`")
    for name in required:
        if not names.get(variable(name), "").strip():
            how = " an empty " if variable(name) in names else "out "
            raise bad(number, "the header ends with%s%s" % (how, name), "`%s :: ...`" % name)
    timeout = read_seconds(names["UOW_TIMEOUT"]) if "UOW_TIMEOUT" in names else None
    header = head[header_at:header_end]
    return Uow(enqueued, names, timeout, status, status_at, log_at, header, line_1)


def add_header(names: Dict[str, str], text: str, number: int) -> None:
    """Add a header line to the names; BadUow where it is none, or is a wrong TIMEOUT."""
    pair = split_line(text)
    if not pair:
        raise bad(number, shown(text[:MESSAGE_SHOWN]), "`NAME :: CONTENT`")
    key = variable(pair[0])
    if key == "UOW_TIMEOUT" and key in names:
        raise bad(number, "a second TIMEOUT", "one at most")
    names[key] = names[key] + "\n" + pair[1] if key in names else pair[1]
    if key == "UOW_TIMEOUT":
        try:
            read_seconds(names[key])
        except ValueError as problem:
            raise BadUow("line %d: TIMEOUT %s; %s" % (
                number, shown(names[key][:MESSAGE_SHOWN]), problem)) from None


def appended(log: bytes) -> str:
    """Return the header line with which a log begins that no run has written, or ''."""
    if b"==== JOB START " in log:                # else `echo 'COMMAND :: x' >> wait-q/job`, say
        return ""
    first = os.fsdecode(log.lstrip().partition(b"\n")[0])
    return first if split_line(first) else ""


def status_line(text: str) -> bytes:
    """Return a STATUS line at its fixed width, cut where it is longer."""
    data = text.encode("ascii", "backslashreplace").replace(b"\n", b" ")
    return data[:STATUS_WIDTH].ljust(STATUS_WIDTH) + b"\n"


def stamped_head(uow: Uow, line_1: str) -> bytes:
    """Return what a stamped UOW has before its log: line 1, header as written, STATUS, titles."""
    first = uow.line_1 or os.fsencode(line_1)
    return b"%s\n\n%s\n\n==== STATUS\n%s\n==== JOB LOG\n" % (
        first, uow.header.rstrip(b"\r\n"), status_line(uow.status))


def running_status(since: int, reason: str = "") -> str:
    """Return the STATUS of a run: since when, and why it is being killed."""
    return "running: since %sZ%s" % (utc(since)[:19], reason and ", " + reason)


def read_running(status: str) -> Tuple[int, str]:
    """Return since when a `running` STATUS says (0 for no such line), and why it is killed."""
    found = re.fullmatch(r"running: since (\S+?)(?:, (.+))?", status)
    since = time_or_none(found[1]) if found else None
    return (0, "") if since is None else (since, found[2] or "")


def status_word(status: str) -> str:
    """Return the first word of a STATUS, 'running' say; '' for a blank one."""
    return status.partition(":")[0]


def read_mark(text: str) -> Optional[Mark]:
    found = MARK.fullmatch(text)
    return Mark(text, found[1], int(found[2]), int(found[3], 16), int(found[4])) if found else None


def link_name(run: str, name: str) -> str:
    """Return the name of a run's link, MARK.NAME, cut to the 255 bytes of a file name."""
    return os.fsdecode(os.fsencode(run + "." + name)[:255])


def find_end(tail: bytes, run: str) -> Optional[End]:
    """Return the last JOB END line of this run, or None."""
    found = [found for found in END_LINE.finditer(tail) if found[2] == run.encode()]
    if not found:
        return None
    ended = time_or_none(found[-1][1].decode("ascii", "replace"))
    return End(int(found[-1][3]), ended, found[-1].start())


# ---- Decisions: what to do, and why ------------------------------------------
# Pure functions: no clock, no file, no global state. tests/test_decisions.py has their tables.

def signal_name(number: int) -> str:
    """Return `SIGSEGV` for 11, `signal 33` for one without a name."""
    known = number in list(signal.Signals)
    return signal.Signals(number).name if known else "signal %d" % number


def died_by_signal(code: int) -> int:
    """Return the signal that an exit code tells of by the shell's convention, 0 for an exit."""
    # 129 is git's for wrong usage; 141 is a healthy pipeline under `pipefail`.
    return code - 128 if 130 <= code <= 192 and code != 141 else 0


def outcome(code: Optional[int], seconds: float, *, ended: bool, reason: str = "", hit: str = "",
            fail_exit_codes=(), used: str = "") -> str:
    """Return the STATUS of a run that is over; its first word is the queue."""
    # code: the exit code, -N where signal N killed the keeper, None where nobody knows. ended: the
    # log has its END line. reason: why it was killed. hit: whose pattern was found.
    after = " after %.1f s%s" % (seconds, used)
    killed_by = 0 if code is None else -code if code < 0 else died_by_signal(code)
    if reason:
        return "fail: " + reason
    if code is None:
        return "fail: interrupted"
    if not ended and code >= 0:
        return "fail: exit %d, log incomplete" % code
    if killed_by:
        return "fail: killed by %s%s" % (signal_name(killed_by), after)
    if code in fail_exit_codes:
        return "fail: exit %d%s" % (code, after)
    if hit:
        return "%s: exit %d%s, %s_pattern found" % (hit, code, after, hit)
    return "%s: exit %d%s" % ("error" if code else "done", code, after)


def kind_in_hand(status: str, run_directory: bool, name_is_linked: bool) -> str:
    """Return what a UOW in hand without a link is at a start: "begun", "claimed" or "copy"."""
    # run_directory: .run was there. name_is_linked: its name belongs to the link of another file.
    # Then it is an editor's copy of that run, and goes to trash when the run is filed.
    if name_is_linked:
        return "copy"
    return "begun" if status_word(status) == "running" or not run_directory else "claimed"


def is_outcome(status: str, ended: bool) -> bool:
    """Tell whether the STATUS of a run that has begun is its outcome."""
    # Without an END line of this run, `done` and `error` are of an earlier run, or an editor's.
    return status_word(status) == "fail" or status_word(status) in ("done", "error") and ended


def awaits_rest(*, ended: bool, clean: bool, killed: bool) -> bool:
    """Tell whether what a job left running is waited for, once its keeper is gone."""
    # ended: the log has END. clean: the keeper ended by itself.
    return killed or not ended and not clean


def stage(*, rest: bool, tee: bool, ended: bool, still_for: float, grace: float) -> str:
    """Return how far a run without keeper is: "job" goes on, "output" is on its way, or "over"."""
    # rest: processes that are waited for. tee: it lives. still_for: how long the log did not grow.
    if rest:
        return "job"
    return "output" if tee and not ended and still_for < grace else "over"


def killing(now: float, limit_at: float, reason: str, kill_at: Optional[float],
            grace: float) -> str:
    """Return what a job that goes on gets: "", "term", "grace" (nothing yet), "kill" or "late"."""
    # limit_at: when its time is up. kill_at: when TERM becomes KILL, None until this Monitor sent
    # TERM: one that adopts a run sends it again. "late": KILL has not helped. Seconds after boot.
    if not reason:
        return "term" if now >= limit_at else ""
    if kill_at is None:
        return "term"
    if now < kill_at:
        return "grace"
    return "kill" if now <= kill_at + grace + 1 else "late"


def belonging(processes: Sequence[Process], held: Set[int]) -> Set[int]:
    """Return the pids of a run: the marked, the held, the keeper's session, and their children."""
    # The children count because sudo and `env -i` clear the environment.
    sessions = {process.pid for process in processes if process.role == "bash"}
    found = {process.pid for process in processes
             if process.marked or process.pid in held or process.session in sessions}
    more = found
    while more:
        more = {process.pid for process in processes
                if process.parent in more and process.pid not in found}
        found = found | more
    return found


def exits(*, stopping: bool, finishing: bool, until_empty: bool, busy: bool) -> str:
    """Return when the Monitor is to exit: "now", "empty" (once nothing waits), or ""."""
    if stopping or finishing and not busy:
        return "now"
    return "empty" if until_empty and not busy else ""


def state_word(*, stopping: bool, running: bool, paused: bool, waits: bool) -> str:
    words = {"stopped": stopping, "running": running, "paused": paused, "waiting": waits}
    return next((word for word, applies in words.items() if applies), "idle")


def needs_stamp(uow: Uow, ours: bool) -> bool:
    """Tell whether a UOW lacks its time, a title or the padded STATUS, or is not ours to write."""
    return uow.enqueued is None or not uow.log_at or uow.status_at < 0 or not ours


def next_look(lasted: float, least: float, most: float) -> float:
    """Return in how many seconds to look again at what has lasted for so long: ever less often."""
    return min(most, max(least, lasted / 10))


def settles_in(now: float, seen_for: float, changed: float, quiet: float) -> float:
    """Return in how many seconds a file will have kept still for `quiet`; 0 or less: it has."""
    # One is enough: seen unchanged for so long, or last changed so long ago (it may lie ahead).
    return min(quiet - seen_for, changed + quiet - now)


def moved(was: int, there: int, left: int) -> str:
    """Return what `mv` has done: "moved", "gone" (the file), "taken" (the name) or "failed"."""
    # was: the inode before. there, left: those under the two names afterwards, 0 for none.
    if there == was or there and not left:
        return "moved"
    if not left:
        return "gone"
    return "taken" if there else "failed"


def free_name(name: str, number: int) -> str:
    """Return `name` for 1 and `name.N` for N, never longer than the 255 bytes of a file name."""
    suffix = ".%d" % number if number > 1 else ""
    return os.fsdecode(os.fsencode(name)[:255 - len(suffix)]) + suffix


# ---- Configuration -----------------------------------------------------------

def checked(accepts, expected: str, convert=str, tool: str = ""):
    """Return a reader of a value: it converts what is accepted, and says what is expected."""
    def read(text: str):
        if not accepts(text):
            says = "; %s says: %s" % (tool, complaint()) if tool else ""
            raise ValueError("expected " + expected + says)
        return convert(text)
    return read


def words(text: str) -> List[str]:
    return text.replace(",", " ").split()


positive = checked(lambda text: read_seconds(text) > 0, "more than 0 seconds", read_seconds)
command_line = checked(lambda text: not text or run_tool(["bash", "-nc", text]) == 0,
                       "a bash command line", tool="bash")
pattern = checked(lambda text: not text or run_tool(["grep", "-qaE", "-e", text]) in (0, 1),
                  "a pattern that `grep -E` accepts", tool="grep")
needed = checked(bool, "a bash command line", command_line)
yes_no = checked(lambda text: text.lower() in ("yes", "no"), "yes or no",
                 lambda text: text.lower() == "yes")
name_list = checked(lambda text: re.fullmatch(r"[A-Za-z0-9_-]*", "".join(words(text))),
                    "header names, such as COMMAND TICKET", words)
name_patterns = checked(lambda text: "/" not in text,
                        "shell patterns of file names, such as *.tmp, without /", str.split)
process_name = checked(
    lambda text: not text or len(text) <= 15 and "/" not in text and shutil.which("pgrep"),
    "a process name as `ps -o comm` shows it, at most 15 characters, and pgrep in PATH (procps)")
exit_codes = checked(lambda text: all(word.isdecimal() and int(word) < 256 for word in words(text)),
                     "exit codes from 0 to 255, such as 4 255",
                     lambda text: [int(word) for word in words(text)])
optional_path = checked(lambda text: ".." not in text.split("/"),
                        "a path without `..`; write it out from /")
path_name = checked(bool, "a path", optional_path)

CONFIG = {   # key: (default, reader, meaning)
    "sleep_seconds": ("15", positive, "longest sleep between wakes"),
    "settle_seconds": ("1", read_seconds, "quiet time before a file is taken"),
    "timeout_seconds": ("86400", read_seconds, "a job's limit; 0 is none"),
    "kill_grace_seconds": ("10", read_seconds, "from TERM to KILL"),
    "job_command": ('set -e; eval "$UOW_COMMAND"', needed, "the job: one bash command line"),
    "required_names": ("COMMAND", name_list, "header names that a UOW must have, and not empty"),
    "ignored_names": (".* *~ #*# 4913 *.filepart *.part *.tmp", name_patterns,
                      "shell patterns of names that are never touched; .* always counts"),
    "job_process": ("", process_name, "no job starts while a process of this name runs anywhere"),
    "ready_command": ("", command_line, "no job starts until this exits 0"),
    "after_command": ("", command_line, "run after each outcome, at most %d s" % HOOK_SECONDS),
    "error_pattern": ("", pattern, "grep -E pattern: a run whose output has it goes to error-q"),
    "fail_pattern": ("", pattern, "grep -E pattern: a run whose output has it goes to fail-q"),
    "fail_exit_codes": ("", exit_codes, "exit codes that go to fail-q, such as 4 255"),
    "durable": ("yes", yes_no, "fsync at every step that a power cut could undo"),
    "monitor_reads": ("monitor_reads", path_name, "where the Monitor reads messages"),
    "monitor_says": ("monitor_says", path_name, "where the Monitor writes what it does"),
    "status_dir": ("status", optional_path, "where status is posted; empty is nowhere"),
    "wait_q": ("wait-q", path_name, "jobs to run, oldest first"),
    "priority_q": ("priority-q", path_name, "jobs to run before all in wait-q"),
    "currently_executing": ("currently-executing", path_name, "the one UOW in hand"),
    "done_q": ("done-q", path_name, "jobs that exited with 0"),
    "error_q": ("error-q", path_name, "jobs that completed and report an error"),
    "fail_q": ("fail-q", path_name, "jobs that did not complete"),
    "trash": ("trash", path_name, "what was found and is not a valid UOW"),
    "archive": ("archive", path_name, "whatever people want to keep"),
}
WAITING, FINISHED = ["wait_q", "priority_q"], ["done_q", "error_q", "fail_q"]
DIRECTORIES = WAITING + ["currently_executing"] + FINISHED + ["trash", "archive"]
PATHS = ["status_dir", "monitor_reads", "monitor_says"]


def load_config(path: str, optional: bool = False) -> SimpleNamespace:
    """Return the configuration in a file; Unusable if it is wrong, or missing and not optional."""
    missing, data = optional and not os.path.lexists(path), b""
    try:
        if not missing:
            with open(os.open(path, os.O_NONBLOCK), "rb") as file:   # it waits for no FIFO
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise OSError(errno.EINVAL, "not a regular file")
                data = file.read()
        config = parse_config(os.fsdecode(data), path)
    except OSError as problem:                       # also where bash or grep cannot be started
        raise Unusable("%s: %s; expected a configuration (an empty one will do)"
                       % (shown(path), reason_of(problem))) from None
    config.optional = missing                        # RELOAD misses one that was there
    return config


def parse_config(text: str, path: str) -> SimpleNamespace:
    """Return the configuration; Unusable has a sentence for each bad line."""
    values, lines, findings = {}, {}, []
    for number, line in enumerate(text.lstrip("\ufeff").split("\n"), 1):
        line = line.strip()
        try:
            if line and not line.startswith("#"):
                key, values[key] = read_line(line, lines)
                lines[key] = number
        except ValueError as problem:
            findings.append("%s line %d: %s" % (shown(path), number, problem))
    for key in CONFIG.keys() - lines.keys():
        values[key] = CONFIG[key][1](CONFIG[key][0])
    root = os.path.dirname(os.path.abspath(path))
    for key in DIRECTORIES + PATHS:
        if values[key]:
            values[key] = os.path.normpath(os.path.join(root, values[key]))
    findings += shared_places(values, lines, path)
    if findings:
        raise Unusable(*findings)
    ignored = re.compile("|".join(map(fnmatch.translate, [".*"] + values["ignored_names"])))
    return SimpleNamespace(**values, ignored=ignored, root=root, path=os.path.abspath(path))


def read_line(line: str, lines) -> Tuple[str, object]:
    """Return key and value of a line; ValueError if it is wrong."""
    pair = split_line(line)
    if not pair or "\0" in line:
        raise ValueError("%s; expected `NAME :: CONTENT` or a # comment"
                         % shown(line[:MESSAGE_SHOWN]))
    key = pair[0].lower()
    if key not in CONFIG:
        import difflib                               # only a mistake needs it
        raise ValueError("unknown key %s; expected a known one: did you mean %s?"
                         % (shown(pair[0]), difflib.get_close_matches(key, CONFIG, 1, 0)[0]))
    if key in lines:
        raise ValueError("%s is on line %d already; expected each key once" % (key, lines[key]))
    try:
        return key, CONFIG[key][1](pair[1])
    except ValueError as problem:
        raise ValueError("%s :: %s; %s"
                         % (key, shown(pair[1][:MESSAGE_SHOWN]), problem)) from None


def real_place(key: str, path: str) -> str:
    """Return where a path leads by links above it; only status_dir may be a link itself."""
    if key == "status_dir":
        return os.path.realpath(path)
    return os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))


def shared_places(values, lines, path: str) -> List[str]:
    """Return a sentence for each path that needs a place of its own."""
    root, findings = os.path.realpath(os.path.dirname(os.path.abspath(path))), []
    keys = [key for key in DIRECTORIES + PATHS if values[key]]
    keys.sort(key=lambda key: key not in lines)      # what has a line is named, not a default
    places = {key: real_place(key, values[key]) for key in keys}
    places.update({"this file": os.path.realpath(path), "monitor.py": os.path.realpath(__file__)})
    for key in keys:
        place, what = places[key], ""
        mode = os.lstat(place).st_mode if os.path.lexists(place) else 0
        for other, there in places.items():
            if other != key and (place + "/").startswith(there + "/"):
                what = "%s %s" % ("the same as" if place == there else "inside", other)
                break
        if (root + "/").startswith(os.path.join(place, "")):
            what = "the root itself or above it"
        if key == "monitor_reads" and (stat.S_ISCHR(mode) or stat.S_ISBLK(mode)):
            what = "a device"                        # the Monitor would move it away
        if what:
            del places[key]                          # one sentence for each pair
            line = " line %d" % lines[key] if key in lines else ""
            findings.append("%s%s: %s is %s; expected a place of its own"
                            % (shown(path), line, key, what))
    return findings


# ---- Effects: kernel calls that Python does not offer ------------------------

LIBC = ctypes.CDLL(None, use_errno=True)
AT_FDCWD, RENAME_EXCHANGE = -100, 2
IN_CLOSE_WRITE, IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE, IN_DELETE = 0x8, 0x40, 0x80, 0x100, 0x200
IN_MODIFY, IN_ATTRIB, IN_DELETE_SELF, IN_MOVE_SELF = 0x2, 0x4, 0x400, 0x800
IN_OVERFLOW, IN_IGNORED, IN_DONT_FOLLOW = 0x4000, 0x8000, 0x02000000
NAMES_CHANGE = IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF


def call(name: str, *arguments) -> int:
    """Call a C function; OSError where it returns less than 0, or is missing."""
    function = getattr(LIBC, name, None)
    result = function(*arguments) if function else -1
    if result < 0:
        number = ctypes.get_errno() if function else errno.ENOSYS
        raise OSError(number, os.strerror(number))
    return result


def exchange(one: str, two: str) -> None:
    """Swap two names in one step; OSError: EINVAL or ENOSYS where the file system cannot."""
    call("renameat2", AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(two), RENAME_EXCHANGE)


class Watcher:
    """inotify: one descriptor that tells which names have changed in which directories."""

    def __init__(self):
        self.fd = call("inotify_init1", os.O_NONBLOCK | os.O_CLOEXEC)

    def add(self, path: str, mask: int) -> int:
        """Watch a file or directory and return the number of this watch; OSError."""
        return call("inotify_add_watch", self.fd, os.fsencode(path), mask)

    def read(self) -> List[Tuple[int, int, str]]:
        """Return (watch, mask, name) of all that has happened since the last call."""
        found = []
        with suppress(BlockingIOError):
            while True:
                data, at = os.read(self.fd, 65536), 0
                while at < len(data):
                    watch, mask, _, length = struct.unpack_from("iIII", data, at)
                    name = data[at + 16:at + 16 + length].rstrip(b"\0")
                    found.append((watch, mask, os.fsdecode(name)))
                    at += 16 + length
        return found


# ---- Effects: the one door to the shell --------------------------------------

DOOR = SimpleNamespace(
    note=-1,                        # the open file that takes what tools complain of
    lock=[],                        # currently-executing, open and locked: `run_tool` passes it on
    cgroup="",                      # the one that systemd delegated
    environment=dict(os.environ))   # for every command; os.environ would be decoded each time


@contextmanager
def closing(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)


@lru_cache(None)
def tool(name: str) -> str:
    """Return the path of a tool; OSError. It is kept: a long PATH costs many failed execs."""
    path = shutil.which(name)
    if not path:
        raise OSError(errno.ENOEXEC, "no command %s in PATH" % name)
    return path


def spawn(argv: List[str], *, stdin=None, stdout=None, stderr=None, extra=(), env=None,
          session=False) -> int:
    """Start a command and return its pid; OSError when it cannot be started."""
    # extra: its descriptors 3, 4, and so on. Until its exec the child holds all our open files, the
    # lock on currently-executing, too: no new Monitor looks while a run is being born.
    actions = []
    for number, fd in enumerate((stdin, stdout, stderr)):
        actions.append((os.POSIX_SPAWN_OPEN, number, "/dev/null", os.O_RDWR, 0) if fd is None else
                       (os.POSIX_SPAWN_DUP2, fd, number))
    actions += [(os.POSIX_SPAWN_DUP2, fd, 3 + i) for i, fd in enumerate(extra)]
    try:
        return os.posix_spawn(tool(argv[0]), argv, DOOR.environment if env is None else env,
                              file_actions=actions, setsigmask=[], setsigdef=SIGNALS,
                              setsid=session)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        tool.cache_clear()                       # it has moved; this is no matter of the UOW
        raise OSError(errno.ENOEXEC, "no command %s in PATH" % argv[0]) from None


def run_tool(argv: List[str], stdin=None, stdout=None) -> int:
    """Run a command to its end and return its exit code, -N when signal N killed it."""
    # It holds the lock on currently-executing: no other Monitor looks before it has ended.
    if DOOR.note < 0:
        DOOR.note = os.memfd_create("note")
    os.ftruncate(DOOR.note, 0)
    os.lseek(DOOR.note, 0, os.SEEK_SET)
    pid = spawn(argv, stdin=stdin, stdout=stdout, stderr=DOOR.note, extra=DOOR.lock)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def complaint() -> str:
    """Return the first line that the last command wrote on stderr."""
    text = os.pread(DOOR.note, 400, 0).decode("utf-8", "replace").strip()
    return shown(text.splitlines()[0]) if text else "no reason given"


def output_of(argv: List[str], stdin=None) -> Tuple[int, bytes]:
    """Run a command and return its exit code and the first mebibyte of its output."""
    with closing(os.memfd_create("output")) as fd:
        return run_tool(argv, stdin=stdin, stdout=fd), os.pread(fd, SMALL_BYTES, 0)


class Hook:
    """A command of the configuration that runs beside the cycle, at most HOOK_SECONDS."""

    def __init__(self, command: str, environment=None):
        self.began = boot_seconds()
        argv = ["timeout", "-k", "1", str(HOOK_SECONDS), "bash", "-c", command]
        self.pid = spawn(argv, stderr=2, env=environment, session=True)

    def poll(self) -> Optional[int]:
        """Return the exit code once it has ended, None before."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if pid else None

    def look_at(self) -> float:
        """Return when to look again whether it has ended."""
        return boot_seconds() + next_look(boot_seconds() - self.began, OUTPUT_SECONDS, 1)

    def how(self, code: int) -> str:
        """Say how it ended; its own exit code may be 124, too."""
        stopped = code in (124, 137, -9) and boot_seconds() - self.began >= HOOK_SECONDS
        ended = "killed by " + signal_name(-code) if code < 0 else "exit %d" % code
        return "ran longer than %d s" % HOOK_SECONDS if stopped else ended


def boot_seconds() -> float:
    """Return seconds since boot, suspend included: setting the clock does not move it."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) / 1e9


@lru_cache(None)
def boot_mark() -> str:
    """Return the first eight digits of the boot id, with which every run's mark begins."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read()[:8]


# ---- Effects: what is said, and what lasts -----------------------------------

def say(m, text: str, level: int = 6) -> None:
    """Write one line to monitor_says and to standard output; a failure stops nothing."""
    # level: as in syslog, 4 is a warning. monitor_says is opened for each line: for logrotate.
    text = "".join(c if c.isprintable() else shown(c)[2:-1] for c in text)
    encoding = sys.getfilesystemencoding()
    text = text.encode(encoding, "backslashreplace").decode(encoding)
    line = utc(time.time_ns() // 1000) + " " + text
    write_out(1, "<%d>%s" % (level, text) if in_journal() else line, 0)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    path, key = m.config.monitor_says, "says"
    try:
        with closing(os.open(path, flags, 0o644)) as fd:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
                raise OSError(errno.EINVAL, "not a regular file of its own")
            data = os.fsencode("\n" * m.half_line + line + "\n")
            m.half_line = os.write(fd, data) != len(data)
    except OSError as problem:
        if key not in m.wrong:                   # not by `trying`: that would come back here
            text = "%s cannot be written (%s): messages go to standard output only" % (
                shown(path), reason_of(problem))
            m.wrong[key] = Wrong(text, boot_seconds(), 0, "", 1)
            say(m, text, 4)
    else:
        is_over(m, key, "%s can be written again" % shown(path))


def in_journal() -> bool:
    """Tell whether standard output is the journal, which adds the time and reads the level."""
    there = os.fstat(1)
    return os.environ.get("JOURNAL_STREAM") == "%d:%d" % (there.st_dev, there.st_ino)


def write_out(fd: int, line: str, patience: Optional[float] = None) -> None:
    """Write a line to standard output or error, for so many seconds; it may fail."""
    rest = (line + "\n").encode(sys.getfilesystemencoding(), "backslashreplace")
    with suppress(OSError):                      # a terminal that was stopped must not stop us
        while rest and select.select([], [fd], [], patience)[1]:
            rest = rest[os.write(fd, rest[:select.PIPE_BUF]):]


def reason_of(problem: BaseException) -> str:
    return getattr(problem, "strerror", None) or str(problem) or type(problem).__name__


@contextmanager
def trying(m, key: str, text: str, over: str = "", path: str = "", level: int = 4,
           least: float = RETRY_SECONDS) -> Iterator:
    """Run what may fail for a while: an OSError ends here, is said once, and when it is over."""
    # It is said as `text: reason`, or by a Trouble's own text, and kept in m.wrong; `over` when the
    # block succeeds again, or `path` is gone. The value of the `with` tells whether it `failed` and
    # when to try `again`, at `least` so many seconds later. `undecided`: the block tells neither.
    attempt = SimpleNamespace(failed=False, again=float("inf"), over=over, undecided=False)
    try:
        yield attempt
    except OSError as problem:
        attempt.failed = True
        last, now = m.wrong.get(key), boot_seconds()
        whole = str(problem) if isinstance(problem, Trouble) else \
            "%s: %s" % (text, reason_of(problem))
        since, tries = (last.since, last.tries + 1) if last else (now, 1)
        attempt.again = now + min(m.config.sleep_seconds, max(least, (now - since) / 10))
        m.wrong[key] = Wrong(whole, since, attempt.again, path, tries)
        if not last or last.text != whole:
            say(m, whole, level)
    else:
        if not attempt.undecided:
            is_over(m, key, attempt.over)


def is_over(m, key: str, text: str = "") -> None:
    """End a condition that is over, or whose object is gone, and say so."""
    ended = m.wrong.pop(key, None)
    if ended:
        say(m, text or "over: " + ended.text, 5)


def retry_at(m, key: str) -> float:
    """Return when a step that has failed is to be tried again, 0.0 if it may be tried now."""
    wrong = m.wrong.get(key)
    return wrong.again if wrong and wrong.again > boot_seconds() else 0.0


# ---- Effects: files and moves ------------------------------------------------

def require_directory(m, key: str) -> None:
    """Raise Trouble where a directory of ours is missing, replaced, or cannot be written."""
    path, does = getattr(m.config, key), WHEN_MISSING[key]
    if not inode_of(path):
        raise Trouble("%s is missing: %s until you make it again: mkdir %s"
                      % (base(path), does, shown(path)))
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode):
        raise Trouble("%s is not a directory any more: %s until it is one again"
                      % (shown(path), does))
    if found.st_dev != m.device:
        raise Trouble("%s is on another file system now: %s until it is back on that of %s"
                      % (shown(path), does, shown(m.config.root)))
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
        what = "is on a read-only file system" if is_read_only(path) else \
            "cannot be read and written by " + owner_name(os.geteuid())
        raise Trouble("%s %s: %s until it can be written" % (shown(path), what, does))


WHEN_MISSING = dict.fromkeys(WAITING, "its jobs wait")
WHEN_MISSING.update(dict.fromkeys(FINISHED, "jobs that end stay in currently-executing"),
                    currently_executing="no job starts", archive="nothing else changes",
                    trash="files that are not valid UOWs stay where they are")


def away_until(m, key: str) -> float:
    """Return when to look again for a directory that is missing, 0.0 where it can be used."""
    wrong = m.wrong.get("directory " + key)
    return wrong.again if wrong else 0.0


def is_read_only(path: str) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def state_of(path: str) -> Optional[State]:
    """Return the state of a file, without following a link; None if it is gone."""
    try:
        return state_in(os.lstat(path))
    except OSError:
        return None


def state_in(found: os.stat_result) -> State:
    return State(found.st_mtime_ns, found.st_size, found.st_ino, found.st_ctime_ns)


def inode_of(path: str) -> int:
    """Return a file's inode, 0 if it is not there; OSError."""
    try:
        return os.lstat(path).st_ino
    except FileNotFoundError:
        return 0


def free_paths(directory: str, name: str) -> Iterator[str]:
    """Yield the paths of `name`, `name.2` and so on, as far as they are free."""
    for number in range(1, 1_000_000):
        path = os.path.join(directory, free_name(name, number))
        if not os.path.lexists(path):
            yield path
    raise OSError(errno.EEXIST, "no free name")


def mv(m, source: str, key: str) -> Optional[str]:
    """Move a file into a directory of the configuration, never over another one; OSError."""
    # Return its path there (`name.2` where the name is taken), None when somebody else took it.
    # `mv -n` that declines exits 0 or 1 by version: only a look tells where the file is.
    directory, name, was = getattr(m.config, key), os.path.basename(source), inode_of(source)
    if not was:
        return None
    require_directory(m, key)
    for target in free_paths(directory, name):
        code = run_tool(["mv", "-nT", "--", source, target])
        found = moved(was, inode_of(target), inode_of(source))
        if found == "moved":
            if os.path.basename(target) != name:
                say(m, "%s: the name was taken in %s, it is %s there"
                    % (shown(name), base(directory), base(target)), 5)
            return target
        if found == "gone":
            return None
        if found == "failed":
            raise OSError(errno.EIO, "mv exit %d: %s" % (code, complaint()))
    return None


def trash(m, path: str, why: str) -> None:
    """Move what is not a valid UOW to trash, and say why."""
    name, place = shown(os.path.basename(path)), base(os.path.dirname(path))
    text = "%s in %s is not valid (%s), but cannot be moved to trash" % (name, place, why)
    with trying(m, "trash " + path, text, path=path):
        if mv(m, path, "trash"):
            say(m, "%s in %s goes to trash: %s" % (name, place, why), 4)
            sync(m, os.path.dirname(path), m.config.trash)


def sync(m, *targets) -> None:
    """With `durable`, make open files and directories (paths) survive a power cut; OSError."""
    if m.config.durable:
        for target in targets:
            if isinstance(target, int):
                os.fdatasync(target)             # content and size; the mtime is not worth a write
            else:
                with closing(open_directory(target)) as fd:
                    os.fsync(fd)


def open_directory(path: str) -> int:
    """Open a directory of ours; OSError, also for a link: what it leads to is not ours."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)


def open_at_once(path: str, flags: int) -> int:
    """Open a file; Busy while somebody has a lease, for which an open would wait, or OSError."""
    try:
        return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)
    except BlockingIOError:
        raise Busy() from None


def open_regular(path: str, flags: int = os.O_RDONLY) -> int:
    """Open a regular file without following or waiting; Busy, BadUow (not regular) or OSError."""
    if not stat.S_ISREG(os.lstat(path).st_mode):     # a device is not even opened
        raise BadUow("not a regular file; expected a text file")
    return open_at_once(path, flags | os.O_NOFOLLOW)


def lease(fd: int) -> bool:
    """Let everybody who opens a file to write it wait until it is closed here; Busy if one has."""
    # False where the kernel refuses: of other people's files only the quiet time tells.
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        return True
    except OSError as problem:
        if problem.errno == errno.EAGAIN:
            raise Busy() from None
        return False


def open_still(path: str) -> int:
    """Open for reading a file that nobody writes; Busy, BadUow or OSError."""
    fd = open_regular(path)
    try:
        if lease(fd):
            fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return fd
    except BaseException:
        os.close(fd)
        raise


def is_closed(path: str) -> bool:
    """Tell whether nobody has a file open for writing, as far as the kernel tells us."""
    try:
        os.close(open_still(path))
        return True
    except Busy:
        return False


def is_unchanged(path: str, was: os.stat_result) -> bool:
    """Tell whether a path has this very file, with size, time, owner and mode as they were."""
    with suppress(FileNotFoundError):
        now = os.lstat(path)
        return (now.st_ino, now.st_size, now.st_mtime_ns, now.st_mode, now.st_uid, now.st_gid) == \
            (was.st_ino, was.st_size, was.st_mtime_ns, was.st_mode, was.st_uid, was.st_gid)
    return False


def read_own(fd: int, required=()) -> Uow:
    """Return the Uow in an open file that a Monitor has claimed; BadUow."""
    return parse_uow(os.pread(fd, HEAD_BYTES + 1, 0), required)


def read_uow(fd: int, path: str, required=()) -> Uow:
    """Return the Uow in an open file that may be anybody's; BadUow, Changed when it has moved."""
    opened, there = os.fstat(fd), os.lstat(path)     # a link may have been swapped in
    if (there.st_dev, there.st_ino) != (opened.st_dev, opened.st_ino):
        raise Changed()
    if max(opened.st_nlink, there.st_nlink) > 1:
        raise BadUow("%d hard links; expected a file of its own (use cp)" % opened.st_nlink)
    head = os.pread(fd, HEAD_BYTES + 1, 0)
    uow = parse_uow(head, required)
    line = appended(head[uow.log_at:]) if uow.log_at else ""
    if line:
        raise BadUow("%s below `==== JOB LOG`; expected header lines above `==== STATUS`"
                     % shown(line[:MESSAGE_SHOWN]))
    return uow


def write_all(fd: int, data: bytes, at: Optional[int] = None) -> None:
    """Write every byte or raise OSError; in place from `at` where given."""
    while data:
        done = os.write(fd, data) if at is None else os.pwrite(fd, data, at)
        data, at = data[done:], at if at is None else at + done


def write_new(path: str, data: bytes, like: Optional[os.stat_result], rest=None) -> os.stat_result:
    """Write a new file to disk, mode 0644 or as `like`, and return its stat; OSError."""
    # like: of the file whose owner, group, mode and time it gets: so Monitors take it as settled.
    # rest: an open file; what it has from its offset on follows the data.
    with closing(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)) as fd:
        try:
            write_all(fd, data)
            if rest is not None and run_tool(["cat"], stdin=rest, stdout=fd):
                raise OSError(errno.EIO, "cat: " + complaint())
            if like:                             # only root gives files away; line 1 has the owner
                with suppress(OSError):          # nor do others give them to any group
                    os.fchown(fd, -1 if os.geteuid() else like.st_uid, like.st_gid)
            mode = stat.S_IMODE(like.st_mode) & 0o777 if like else 0o644
            os.fchmod(fd, mode | (os.geteuid() != 0 and stat.S_IRUSR | stat.S_IWUSR))
            if like:
                os.utime(fd, ns=(like.st_atime_ns, like.st_mtime_ns))
            os.fdatasync(fd)
            return os.fstat(fd)
        except BaseException:
            os.unlink(path)
            raise


def write_whole(path: str, data: bytes) -> None:
    """Replace a file of our own so that at any moment the old or the new one is there whole."""
    directory, name = os.path.split(path)
    new = os.path.join(directory, ".new." + name)
    remove(new)                                  # never written into: it may be somebody's link
    with closing(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)) as fd:
        try:
            write_all(fd, data)
            os.fchmod(fd, 0o644)
            os.replace(new, path)
        except BaseException:
            os.unlink(new)
            raise


def remove(path: str) -> None:
    """Remove a file that may be gone already; OSError."""
    if os.path.lexists(path):
        os.unlink(path)


def set_status(m, fd: int, text: str) -> None:
    """Change the STATUS of a UOW by one write in place; BadUow where its padded line is gone."""
    at = read_own(fd).status_at
    if at < 0:
        raise BadUow("its padded STATUS line is gone: somebody has edited it")
    write_all(fd, status_line(text), at)
    sync(m, fd)


def is_ours(found: os.stat_result) -> bool:
    """Tell whether the Monitor may write to a file in place; other UOWs are written anew."""
    return os.geteuid() == 0 or found.st_uid == os.geteuid() and bool(found.st_mode & stat.S_IWUSR)


def owner_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return "uid %d" % uid


# ---- Effects: systemd and cgroups --------------------------------------------

def notify(text: str) -> None:
    """Tell systemd about the Monitor, READY=1 say; nothing happens where no systemd listens."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if path:
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as there:
            there.settimeout(1)                  # a systemd that does not read must not stop us
            there.sendto(text.encode("utf-8", "replace"),
                         "\0" + path[1:] if path.startswith("@") else path)


def divide_cgroup() -> None:
    """Divide the cgroup that systemd delegated: `monitor`, and a `run-MARK` for each run."""
    # The keepers stay in `monitor`: what ends a run's cgroup leaves them to write END.
    if str(os.getpid()) not in (os.environ.get("SYSTEMD_EXEC_PID"), os.environ.get("WATCHDOG_PID")):
        return                                   # not what systemd itself has started
    with suppress(OSError, StopIteration):       # no cgroup v2, or it is not ours
        with open("/proc/self/cgroup") as file:
            unit = "/sys/fs/cgroup" + next(line[3:-1] for line in file if line.startswith("0::/"))
        os.makedirs(unit + "/monitor", exist_ok=True)
        write_cgroup(unit + "/monitor/cgroup.procs", "0")
        DOOR.cgroup = unit


def write_cgroup(path: str, text: str) -> None:
    """Write to a file that the kernel offers; OSError where it does not, and no file is made."""
    with closing(os.open(path, os.O_WRONLY)) as fd:
        os.write(fd, text.encode())


def cgroup_of(run: str) -> str:
    """Return a run's cgroup; where none is delegated, a path that does not exist."""
    return "%s/run-%s" % (DOOR.cgroup or "/sys/fs/cgroup/none", run)


def remove_cgroups() -> None:
    """Remove the cgroups of runs that are over; one with a process in it stays until that ends."""
    for place, _, _ in os.walk(DOOR.cgroup, topdown=False) if DOOR.cgroup else ():
        if place.startswith(DOOR.cgroup + "/run-"):
            with suppress(OSError):
                os.rmdir(place)


# ---- Processes of a run ------------------------------------------------------

def every_pid() -> Iterator[int]:
    """Yield the numbers of all processes but this one, also of those that begin meanwhile."""
    seen = {os.getpid()}
    for _ in range(20):
        new = {int(entry) for entry in os.listdir("/proc") if entry.isdigit()} - seen
        if not new:
            break
        seen |= new
        yield from sorted(new)


def read_process(pid: int) -> Optional[Tuple[List[bytes], List[bytes], str]]:
    """Return a process's environment (if it is ours), stat fields and name; None if gone."""
    before, _, after = read_proc("/proc/%d/stat" % pid).rpartition(b")")
    fields, environment = after.split(), read_proc("/proc/%d/environ" % pid)
    if not fields or fields[0] in (b"X", b"Z"):
        return None
    return environment.split(b"\0"), fields, os.fsdecode(before.partition(b"(")[2])


def read_proc(path: str) -> bytes:
    """Return what /proc tells, b"" where the process is gone or not ours."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return b""


def processes(run: str) -> List[Process]:
    """Return all processes of the machine, those marked that carry this run's mark."""
    wanted, inside, found = b"SJQ_RUN=" + run.encode(), set(), []
    for place, _, _ in os.walk(cgroup_of(run)) if DOOR.cgroup else ():
        with suppress(OSError), open(place + "/cgroup.procs") as file:       # removed meanwhile
            inside.update(map(int, file))
    for pid in every_pid():
        facts = read_process(pid)
        if not facts:
            continue
        environment, fields, name = facts
        marked, session = wanted in environment, int(fields[3])
        role = next((role for role in ("bash", "tee") if marked and session == pid
                     and b"SJQ_KEEPER=" + role.encode() in environment), "")
        found.append(Process(pid, int(fields[1]), session, marked or pid in inside, role,
                             int(fields[19]), name))
    return found


def marks_of_living() -> List[Mark]:
    """Return the marks of this boot that living processes carry."""
    found = []
    for pid in every_pid():
        facts = read_process(pid)
        for word in facts[0] if facts else ():
            mark = read_mark(os.fsdecode(word[8:])) if word.startswith(b"SJQ_RUN=") else None
            if mark and mark.boot == boot_mark():
                found.append(mark)
    return found


def is_of_this_file(job: Job) -> bool:
    """Tell whether a run's mark names the very file in hand, not that of a copy, and this boot."""
    found = os.fstat(job.fd)
    return (job.mark.boot, job.mark.device, job.mark.inode) == \
        (boot_mark(), found.st_dev, found.st_ino)


def find_processes(job: Job) -> List[Process]:
    """Return the processes of a run, its keepers with their roles."""
    # A keeper has the pid that we recorded, else it is the oldest that calls itself so.
    if not is_of_this_file(job):
        return []
    all_there = processes(job.run)
    alive = {process.pid for process in all_there}
    ended = [pid for pid, fd in job.held.items() if select.select([fd], [], [], 0)[0]]
    pids = belonging(all_there, (set(job.held) - set(ended)) & alive)
    found = sorted((process for process in all_there if process.pid in pids),
                   key=lambda process: process.began)
    for process in found:
        if process.role:
            job.keepers.setdefault(process.role, process.pid)
    return [process if process.pid == job.keepers.get(process.role) else process._replace(role="")
            for process in found]


def hold(job: Job) -> List[Process]:
    """Return the processes of a run, each held by a pidfd from now on; OSError."""
    # It stays known when it loses its parent. Once held it is looked at again: pids are reused.
    there = find_processes(job)
    new = [process for process in there if process.pid not in job.held]
    for process in new[:max(0, HELD_AT_MOST - len(job.held))]:
        with suppress(ProcessLookupError):       # gone already
            fd, facts = os.pidfd_open(process.pid), None
            try:
                facts = read_process(process.pid)
            finally:                             # also where no descriptor is left to read it
                if facts and int(facts[1][19]) == process.began:
                    job.held[process.pid] = fd
                else:
                    os.close(fd)
    # Its keepers are held in any case: their end has to wake the Monitor.
    kept = {process.pid for process in there} | set(job.keepers.values())
    for pid in set(job.held) - kept:
        os.close(job.held.pop(pid))
    return there


def remains_of(job: Job, keepers: bool = False) -> List[Process]:
    """Return the processes of a run: the job and what it started, or its keepers."""
    return [process for process in hold(job) if bool(process.role) == keepers]


def send(job: Job, number: int, keepers: bool = False) -> List[Process]:
    """Signal the job's processes, or its keepers, and return them."""
    there = remains_of(job, keepers)
    at_one_stroke = cgroup_of(job.run) + "/cgroup.kill"      # faster than it forks; Linux 5.14
    if number == signal.SIGKILL and not keepers and os.path.exists(at_one_stroke):
        write_cgroup(at_one_stroke, "1")
    for process in there:
        with suppress(OSError, KeyError):        # it has ended by itself
            signal.pidfd_send_signal(job.held[process.pid], number)
    return there


def is_alive(job: Job, role: str) -> bool:
    """Tell whether a run's keeper ("bash") or "tee" lives; the exit code of our child is kept."""
    pid = job.keepers.get(role)
    if pid is None or role in job.codes:
        return False
    try:
        ended, status, usage = os.wait4(pid, os.WNOHANG)
    except ChildProcessError:                    # another Monitor started it
        return bool(job.held.get(pid) and not select.select([job.held[pid]], [], [], 0)[0])
    if ended:
        job.codes[role] = os.waitstatus_to_exitcode(status)
        job.usage = usage if role == "bash" else job.usage
    return not ended


def holders_of_output(job: Job) -> List[str]:
    """Return `pid (name)` of the processes that hold the pipe to tee open."""
    tee, links = job.keepers.get("tee", 0), {}
    for path in glob("/proc/[0-9]*/fd/*"):
        with suppress(OSError):                  # it has ended, or is not ours to see
            links[path] = os.readlink(path)
    pipe = links.get("/proc/%d/fd/0" % tee)
    pids = {int(path.split("/")[2]) for path, place in links.items() if place == pipe}
    return ["%d (%s)" % (pid, os.fsdecode(read_proc("/proc/%d/comm" % pid).strip()))
            for pid in sorted(pids - {tee})]


def let_go(job: Job) -> None:
    """Close what is held open of a run."""
    for fd in [job.fd, *job.held.values()]:
        os.close(fd)


# ---- Survey: what is there ---------------------------------------------------

class File:
    """What is known of one file in a waiting queue. There may be a hundred thousand."""

    __slots__ = ("inode", "arrived", "looks", "since", "enqueued")

    def __init__(self, inode: int, arrived: int = 0):
        self.inode = inode
        self.arrived = arrived                   # its ctime when first checked, µs since 1970
        self.looks: Optional[tuple] = None       # size and mtime,
        self.since = 0.0                         # and since when they are so, seconds after boot
        self.enqueued: Optional[int] = None      # None while it is not known to be a valid UOW


class Queue:
    """What is known of one waiting directory; all of it can be read again from disk."""

    def __init__(self, key: str, path: str):
        self.key, self.path = key, path
        self.reset()

    def reset(self) -> None:
        """Forget all: disk tells it again."""
        self.listed = None                       # the directory's mtime when it was listed
        self.list_at = 0.0                       # when it is to be looked at in any case
        self.files: Dict[str, File] = {}
        self.to_check: Dict[str, float] = {}     # name -> when; 0.0: it never was checked
        self.stamped: List[tuple] = []           # heap of (enqueued, name, inode): can start
        self.unstamped: List[tuple] = []         # heap of (arrived, name, inode): to be stamped

    def add(self, name: str, inode: int) -> None:
        """Note a file that is new, or new under this name."""
        self.files[name] = File(inode)
        self.look_again(name, 0.0)

    def forget(self, name: str) -> bool:
        """Drop a file that is gone; return whether it was known."""
        self.to_check.pop(name, None)
        return self.files.pop(name, None) is not None

    def look_again(self, name: str, at: float) -> None:
        self.files[name].enqueued, self.to_check[name] = None, at

    def can_start(self, name: str, enqueued: int, stamped: bool) -> None:
        """Note that a file is a valid UOW, and whether it is stamped."""
        file = self.files[name]
        file.enqueued = enqueued
        self.to_check.pop(name, None)
        entries = self.stamped if stamped else self.unstamped
        heapq.heappush(entries, (enqueued, name, file.inode))

    def in_order(self, count: int) -> List[Tuple[int, str, int]]:
        """Return the first of the valid UOWs in starting order: (enqueued, name, inode)."""
        both = self.first_of(self.stamped, count) + self.first_of(self.unstamped, count)
        return sorted(set(both))[:count]         # held and released: twice

    def to_stamp(self, count: int) -> List[Tuple[int, str, int]]:
        """Return the oldest valid UOWs that have no stamp."""
        return self.first_of(self.unstamped, count)

    def first_of(self, entries: List[tuple], count: int) -> List[tuple]:
        """Return the first of a heap; entries of files that are gone or changed are dropped."""
        found: List[tuple] = []
        while entries and len(found) < count:
            entry = heapq.heappop(entries)
            if self.is_current(entry) and entry not in found[-1:]:
                found.append(entry)
        for entry in found:
            heapq.heappush(entries, entry)
        return found

    def is_current(self, entry: Tuple[int, str, int]) -> bool:
        file = self.files.get(entry[1])
        return file is not None and (file.enqueued, file.inode) == (entry[0], entry[2])

    def unchecked(self) -> int:
        """Return how many files were never checked: one of them may be the oldest."""
        return sum(at == 0.0 for at in self.to_check.values())


def survey(m) -> float:
    """Bring what is known of the directories up to date; return when a file is to be looked at."""
    survey_directories(m)                        # once a cycle: the moves keep it up to date
    survey_hand(m)
    if "pause" in m.wrong and not retry_at(m, "pause"):
        keep_pause(m, m.paused)
    set_watches(m)
    read_notices(m)
    due = min([survey_queue(m, queue) for queue in m.queues])
    for key, wrong in list(m.wrong.items()):
        if wrong.path and not os.path.lexists(wrong.path):
            is_over(m, key)                      # its file is gone
    return due


def survey_directories(m) -> None:
    for key in DIRECTORIES:
        path = shown(getattr(m.config, key))
        with trying(m, "directory " + key, path + " cannot be reached", path + " is back"):
            require_directory(m, key)


def set_watches(m) -> None:
    """Watch the waiting queues, currently-executing and the message file by inotify."""
    # What was replaced gets a new watch, before it is listed: nothing is missed.
    hand, reads = m.config.currently_executing, m.config.monitor_reads
    wanted = {queue.path: NAMES_CHANGE | IN_CLOSE_WRITE | IN_ATTRIB for queue in m.queues}
    wanted[hand], wanted[reads] = NAMES_CHANGE, NAMES_CHANGE | IN_MODIFY | IN_ATTRIB
    for path, mask in wanted.items() if m.watcher else ():
        inode = inode_of(path)
        if inode and m.watches.get(path, (0, 0))[1] != inode:
            with suppress(OSError):              # none to be had: looked at every sleep_seconds
                m.watches[path] = (m.watcher.add(path, mask | IN_DONT_FOLLOW), inode)
                look_again_at(m, path)


def look_again_at(m, path: str = "") -> None:
    """Have a watched place listed or read again, or all of them."""
    m.news = True
    for queue in m.queues:
        if path in ("", queue.path):
            queue.listed = None
    if path in ("", m.config.currently_executing):
        m.hand_seen = None
    if path in ("", m.config.monitor_reads):
        m.reads_seen = None


def read_notices(m) -> bool:
    """Take in what inotify tells; return whether any of it is new to this Monitor."""
    # A notice means "look at this name", never more: then their order does not matter.
    queues, news = {queue.path: queue for queue in m.queues}, False
    for watch, mask, name in dict.fromkeys(m.watcher.read() if m.watcher else ()):
        path = next((path for path, known in m.watches.items() if known[0] == watch), "")
        if mask & IN_OVERFLOW or path and mask & (IN_IGNORED | IN_DELETE_SELF | IN_MOVE_SELF):
            m.watches.pop(path, None)
            look_again_at(m, path)
            news = True
        elif path in queues:
            news = look_at_name(m, queues[path], name) or news
        elif path == m.config.monitor_reads:
            news = news or state_of(path) != m.reads_seen
        elif path:
            news = news or not is_known_in_hand(m, name)
    m.news = m.news or news
    return news


def look_at_name(m, queue: Queue, name: str) -> bool:
    """Look at one name in a waiting queue; return whether something is new there."""
    if not name or m.config.ignored.fullmatch(name):     # '': a chmod or touch of the queue itself
        return False
    file, state = queue.files.get(name), state_of(os.path.join(queue.path, name))
    if not state:
        return queue.forget(name)
    if README_NAME.fullmatch(name):
        queue.listed = None
    elif file is None or file.inode != state.inode:
        queue.add(name, state.inode)
    elif file.enqueued is None or file.looks != (state.size, state.mtime):
        queue.look_again(name, boot_seconds())   # it was written to, or a chmod may have mended it
    else:
        return False
    return True


def survey_queue(m, queue: Queue) -> float:
    """List a waiting queue where that is due, check what is new; return when to look again."""
    key = "listing " + queue.path
    if away_until(m, queue.key):
        queue.reset()
        return away_until(m, queue.key)
    at = retry_at(m, key)
    if not at and (queue.listed is None or boot_seconds() >= queue.list_at):
        text = shown(queue.path) + " cannot be listed: its jobs wait"
        with trying(m, key, text, level=3):
            list_queue(m, queue)
        at = retry_at(m, key)
    return min(at or queue.list_at, check_files(m, queue))


def list_queue(m, queue: Queue) -> None:
    """Bring the names up to date, if the directory has changed since it was listed; OSError."""
    now, changed = boot_seconds(), os.lstat(queue.path).st_mtime_ns
    queue.list_at = now + m.config.sleep_seconds
    if queue.listed == changed:
        return
    with closing(open_directory(queue.path)) as fd, os.scandir(fd) as entries:
        there = {entry.name: entry.inode() for entry in entries
                 if not m.config.ignored.fullmatch(entry.name)}
    readmes = list(filter(README_NAME.fullmatch, there))
    for name in readmes:
        del there[name]
    for name in [name for name, file in queue.files.items() if there.get(name) != file.inode]:
        queue.forget(name)
    for name in there.keys() - queue.files.keys():
        queue.add(name, there[name])
    # 0 is no time of a directory: it is listed again at list_at, for the README that is left.
    queue.listed = changed if keep_one_readme(m, queue.path, readmes) else 0
    if time.time() - changed / 1e9 < AGAIN_SECONDS and not m.watcher:
        queue.listed = None                      # a change in the same tick of the clock is unseen
        queue.list_at = now + AGAIN_SECONDS


def check_files(m, queue: Queue) -> float:
    """Check files that are new, or due again, for a while; return when the next is due."""
    now = boot_seconds()
    for name in [name for name, at in queue.to_check.items() if at <= now]:
        if boot_seconds() > now + SLICE_SECONDS:
            break
        later = check_file(m, queue, name, now)
        if later:
            queue.look_again(name, now + later)
    return min(queue.to_check.values(), default=float("inf"))


def check_file(m, queue: Queue, name: str, now: float) -> float:
    """Check one file in a waiting queue; return in how many seconds to check again, 0 for never."""
    path, file, quiet = os.path.join(queue.path, name), queue.files[name], m.config.settle_seconds
    named = "%s in %s " % (shown(name), base(queue.path))
    with trying(m, "file " + path, named + "cannot be read", named + "can be read now",
                path) as attempt:
        attempt.undecided, found = True, None    # until it is known to be valid, or not to be
        try:
            found = os.lstat(path)
            file.arrived = file.arrived or found.st_ctime_ns // 1000
            if file.looks != (found.st_size, found.st_mtime_ns):
                file.looks, file.since = (found.st_size, found.st_mtime_ns), now
            lasted = now - file.since
            wait = settles_in(time.time(), lasted, found.st_mtime, quiet)
            if wait > 0:
                return max(wait, AGAIN_SECONDS)
            with closing(open_still(path)) as fd:
                uow = read_uow(fd, path, m.config.required_names)
            queue.can_start(name, file.arrived if uow.enqueued is None else uow.enqueued,
                            not needs_stamp(uow, is_ours(found)))
            attempt.undecided = False
        except FileNotFoundError:
            queue.forget(name)
            return 0
        except Changed:
            return AGAIN_SECONDS
        except Busy as problem:
            if lasted > 5 + 5 * quiet:
                raise Trouble(named + "waits: " + problem.strerror) from None
            return next_look(lasted, max(quiet, AGAIN_SECONDS), m.config.sleep_seconds)
        except BadUow as problem:
            return not_valid(m, path, file, found, str(problem))
        except PermissionError:
            if not found:
                raise                            # it is the directory that keeps us out
            mend = "chmod u+r" if found.st_uid == os.geteuid() else "chmod o+r"
            me, owner = owner_name(os.geteuid()), owner_name(found.st_uid)
            raise Trouble("%scannot be read by %s, who runs the Monitor; %s mends it with: %s %s"
                          % (named, me, owner, mend, shown(path))) from None
    return max(AGAIN_SECONDS, attempt.again - now) if attempt.failed else 0


def not_valid(m, path: str, file: File, found: os.stat_result, why: str) -> float:
    """Have what is not a valid UOW go to trash once it is quiet; return when to look again."""
    # Quiet is since its ctime: a drop by link and unlink has two links for a moment.
    if found.st_nlink == 2 and (found.st_ino in [job.inode for job in m.jobs] or
                                status_word(status_of(path)) == "running"):
        return RETRY_SECONDS                     # it runs, and was moved here: `find_elsewhere`
    seen_for = boot_seconds() - file.since
    wait = settles_in(time.time(), seen_for, found.st_ctime, m.config.settle_seconds)
    if wait > 0:
        return max(wait, AGAIN_SECONDS)
    m.bad[path] = state_in(found), why
    return m.config.sleep_seconds                # it is still here then where it could not be moved


def status_of(path: str) -> str:
    """Return the STATUS of a file that may be anybody's, '' where there is none."""
    with suppress(OSError, BadUow), closing(open_regular(path)) as fd:
        return read_own(fd).status
    return ""


def keep_one_readme(m, directory: str, names: List[str]) -> bool:
    """Keep the newest README of a directory; the others go to trash. False where one is left."""
    paths = [os.path.join(directory, name) for name in names]
    paths.sort(key=lambda path: (state_of(path) or (0,), path))
    for path in paths[:-1]:
        if not (away_until(m, "trash") or retry_at(m, "trash " + path)):
            trash(m, path, "an older README; one per directory is kept")
    return not any(map(os.path.lexists, paths[:-1]))


# ---- Survey: what is in hand -------------------------------------------------

def run_directory(config) -> str:
    return os.path.join(config.currently_executing, ".run")


def uow_names(m, key: str = "currently_executing") -> List[str]:
    """Return the names in a directory that may be UOWs; OSError."""
    return [name for name in os.listdir(getattr(m.config, key))
            if not m.config.ignored.fullmatch(name) and not README_NAME.fullmatch(name)]


def is_known_in_hand(m, name: str) -> bool:
    known = m.claimed + [job.name for job in m.jobs]
    return name in known or m.config.ignored.fullmatch(name) is not None


def survey_hand(m) -> None:
    """See what is in currently-executing beside the job: nothing, as a rule."""
    # A new link is taken up at once, by the table at the top; any other file only at a start.
    place = m.config.currently_executing
    if "directory currently_executing" in m.wrong:
        return
    if inode_of(place) != os.fstat(DOOR.lock[0]).st_ino and not m.jobs:
        lock_again(m)
    seen = (state_of(place), state_of(run_directory(m.config)))
    if m.recovered and seen == m.hand_seen:
        return
    links = adopt_links(m)
    paths = [os.path.join(place, name) for name in sorted(uow_names(m))]
    others = [path for path in paths if inode_of(path) not in links.values()]
    if not m.recovered:
        recover(m, others, links)
        return survey_hand(m)
    for path in others:
        if not is_known_in_hand(m, os.path.basename(path)):
            with trying(m, "hand " + path, "", path=path):
                raise Trouble("%s in currently-executing was not put there by this Monitor: it is "
                              "left alone until the next start; mv it away, or to wait-q to run it"
                              % base(path))
    m.hand_seen = None if any(key.startswith("adopt ") for key in m.wrong) else seen


def lock_again(m) -> None:
    """Lock what has taken the place of currently-executing; Trouble if another Monitor has it."""
    place = shown(m.config.currently_executing)
    try:
        fresh = lock(m.config)
    except Taken as problem:
        raise Trouble("another Monitor has the directory that is %s now: nothing starts here: %s"
                      % (place, problem)) from None
    os.close(DOOR.lock[0])
    DOOR.lock, m.recovered = [fresh], False
    say(m, "%s is another directory than before; it is locked now" % place, 4)
    keep_pause(m, m.paused)


def recover(m, others: List[str], links: Dict[str, int]) -> None:
    """Find the row of each UOW in hand that has no link: the table at the top of this file."""
    there = os.path.isdir(run_directory(m.config))
    for path in others:
        name = os.path.basename(path)
        taken = any(link_name(mark_of_link(link).text, name) == link for link in links)
        found = kind_in_hand(status_of(path), there, taken)
        if found == "claimed":
            m.claimed.append(name)
        elif found == "begun":
            give_link(m, path)
    make_run_directory(m)
    adopt_links(m)
    with turn(m) as later:                       # then nobody is stamping
        for key in WAITING + ["currently_executing"] if not later else ():
            for path in glob(os.path.join(escape(getattr(m.config, key)), ".stamp.*")):
                found = state_of(path)
                if found and time.time() - min(found.mtime, found.ctime) / 1e9 > LEFT_SECONDS:
                    trash(m, path, "a stamped copy that was not finished")
    m.recovered = True


def give_link(m, path: str) -> None:
    """Link a UOW that has begun and has no link, with the mark of its living run or a new one."""
    # With a new mark no END line in its log counts: it is filed as interrupted. Where .run is
    # missing, all links are made in .run.new first, which then gets its name in one step.
    place = run_directory(m.config)
    if not os.path.isdir(place):
        place = make_new_run_directory(m)
    try:
        with closing(open_regular(path)) as fd:
            found = os.fstat(fd)
            if found.st_nlink > 1 and status_word(read_own(fd).status) != "running":
                raise BadUow("%d hard links; expected a file of its own" % found.st_nlink)
            tail = os.pread(fd, SMALL_BYTES, max(0, found.st_size - SMALL_BYTES))
            marks = [mark for mark in marks_of_living() if not find_end(tail, mark.text)
                     and (mark.device, mark.inode) == (found.st_dev, found.st_ino)]
            run = max(marks, key=lambda mark: mark.began).text if marks else new_mark(found)
            link_into(fd, place, link_name(run, os.path.basename(path)))
    except FileExistsError:                      # a kill has left it: it has its link
        pass
    except BadUow as problem:
        trash(m, path, str(problem))


def make_new_run_directory(m) -> str:
    new = run_directory(m.config) + ".new"
    if not os.path.isdir(new):
        os.mkdir(new, 0o700)                     # not its parent, which would not be locked
    return new


def make_run_directory(m) -> None:
    """Make .run where it is missing, with what was linked for it."""
    if not os.path.isdir(run_directory(m.config)):
        os.rename(make_new_run_directory(m), run_directory(m.config))
        sync(m, m.config.currently_executing)


def link_into(fd: int, directory: str, name: str) -> None:
    """Give an open file one more name; FileExistsError, OSError."""
    with closing(open_directory(directory)) as there:
        os.link("/proc/self/fd/%d" % fd, name, dst_dir_fd=there)     # dst_dir_fd makes it follow


def new_mark(found: os.stat_result) -> str:
    return "%s-%d-%x-%d" % (boot_mark(), time.clock_gettime_ns(time.CLOCK_BOOTTIME),
                            found.st_dev, found.st_ino)


def adopt_links(m) -> Dict[str, int]:
    """Take up each run that has a link in .run and is not known; return link name -> inode."""
    place, links, m.under_way = run_directory(m.config), {}, False
    known = {job.inode for job in m.jobs}
    marks = {name: mark_of_link(name) for name in
             (os.listdir(place) if os.path.isdir(place) else ())}
    for name in sorted(marks, key=lambda name: -marks[name].began if marks[name] else 1):
        path, mark = os.path.join(place, name), marks[name]      # the newest comes first
        inode = inode_of(path)
        if not mark:
            with trying(m, "link " + path, "", path=path):
                raise Trouble("a file in %s is not from a Monitor and is ignored; remove it: rm %s"
                              % (shown(place), shown(path)))
        elif inode:
            links[name] = inode
        if mark and inode not in known | {0}:    # a file's second link goes with its first
            known.add(inode)
            try:
                m.jobs.append(adopt(m, path, mark))
            except PermissionError as problem:   # immutable, say: only a live run holds up others
                m.under_way = m.under_way or any(process.marked for process in processes(mark.text))
                with trying(m, "adopt " + path, "%s began and cannot be opened"
                            % shown(name.partition(".")[2]), path=path, level=3):
                    raise problem
    return links


def mark_of_link(name: str) -> Optional[Mark]:
    return read_mark(name.partition(".")[0]) if "." in name else None


def adopt(m, link: str, mark: Mark) -> Job:
    """Return the Job of a link that this Monitor did not make; `move` finds out how far it is."""
    names = [name for name in uow_names(m) if link_name(mark.text, name) == os.path.basename(link)]
    place, inode = m.config.currently_executing, inode_of(link)
    names.sort(key=lambda name: inode_of(os.path.join(place, name)) != inode)    # it comes first
    name = (names + [os.path.basename(link).partition(".")[2]])[0]       # else the link says it
    found = os.lstat(link)
    if stat.S_ISREG(found.st_mode) and not os.access(link, os.R_OK | os.W_OK, effective_ids=True):
        os.chmod(link, stat.S_IMODE(found.st_mode) | stat.S_IRUSR | stat.S_IWUSR)    # `chmod -R`
    fd = open_at_once(link, os.O_RDWR | os.O_NOFOLLOW)
    try:
        uow = read_own(fd)
    except BadUow:                               # somebody has edited it while it ran
        uow = NO_UOW
    job = Job(m, name, fd, uow, mark, read_running(uow.status)[0] or time.time_ns() // 1000)
    job.link = link
    try:
        if hold(job) and job.keepers and not m.failures:
            say(m, "adopted %s run %s" % (shown(name), job.run))
        if is_outcome(uow.status, find_end_on_disk(job) is not None):
            job.status = uow.status
    except BaseException:
        let_go(job)                              # nobody knows it yet
        raise
    return job


# ---- Edit: stamp what waits --------------------------------------------------

def edit(m) -> float:
    """Stamp UOWs that need it, the oldest first; return when to go on."""
    if not m.exchanges or not any(queue.to_stamp(1) for queue in m.queues):
        return float("inf")
    at = retry_at(m, "edit")
    if at:
        return at
    if m.launched and not m.jobs and not next_needs_stamp(m):
        return 0.0                               # the next job first: stamps are written beside it
    with turn(m) as later:
        if later:
            return later
        # While a job could start or end any moment only a few are stamped at a time.
        busy = m.job and boot_seconds() < m.job.began + 0.1 or not m.job and not m.paused
        with trying(m, "edit", "nothing can be stamped") as attempt:
            for queue in m.queues:
                stamp_some(m, queue, FEW_STAMPS if busy else STAMPS)
    if attempt.failed or not (m.exchanges and any(queue.to_stamp(1) for queue in m.queues)):
        return attempt.again
    return boot_seconds() + TURN_SECONDS         # another Monitor may have the lock in between


def next_needs_stamp(m) -> bool:
    chosen = next_waiting(m)
    return bool(chosen and m.exchanges and chosen[1:] in chosen[0].to_stamp(1))


@contextmanager
def turn(m) -> Iterator[float]:
    """Hold the lock of the Monitors of this root, to stamp or claim: 0.0, or when to try again."""
    later = take_turn(m)
    try:
        if not later and read_notices(m):        # what another has done comes first
            for queue in m.queues:
                check_files(m, queue)
        yield later
    finally:
        if not later:
            fcntl.flock(m.turn, fcntl.LOCK_UN)


def take_turn(m) -> float:
    """Take the lock on .turn and return 0.0, or when to try again; said if that lasts."""
    path, now, later = os.path.join(m.config.root, ".turn"), boot_seconds(), 0.0
    with trying(m, "turn", "%s cannot be locked: nothing is stamped or started" % shown(path),
                "the lock on .turn is free again") as attempt:
        if inode_of(path) != os.fstat(m.turn).st_ino:        # somebody has removed it
            removed, m.turn = m.turn, open_turn(m.config)
            os.close(removed)
        try:
            fcntl.flock(m.turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
            m.turn_since = 0.0
        except BlockingIOError:
            attempt.undecided = True
            m.turn_since = m.turn_since or now
            later = now + next_look((now - m.turn_since) / 3, TURN_SECONDS, 1)
            if now - m.turn_since > TURN_PATIENCE:
                raise Trouble("another Monitor has held the lock on .turn for more than %d s: "
                              "nothing is stamped or started here. It is named by: fuser -v %s"
                              % (TURN_PATIENCE, shown(path))) from None
    return later or (attempt.again if attempt.failed else 0.0)


def open_turn(config) -> int:
    """Open the file that the Monitors of this root lock in turn; OSError."""
    flags = os.O_RDONLY | os.O_CREAT | os.O_NONBLOCK | os.O_NOFOLLOW
    return os.open(os.path.join(config.root, ".turn"), flags, 0o600)


def stamp_some(m, queue: Queue, count: int) -> None:
    """Stamp the oldest UOWs of a queue that need it; what fails harms only itself, and waits."""
    entries = queue.to_stamp(count)
    if not entries:
        return
    texts = date_texts([enqueued for enqueued, _, _ in entries])
    until = boot_seconds() + SLICE_SECONDS
    for (enqueued, name, inode), stamped_at in zip(entries, texts):
        path = os.path.join(queue.path, name)
        text = "%s in %s cannot be stamped" % (shown(name), base(queue.path))
        with trying(m, "stamp " + path, text, shown(name) + " can be stamped now", path) as attempt:
            state = state_of(path)
            try:
                stamp(m, queue, name, inode, stamped_at)
            except BadUow as problem:
                m.bad[path] = state, str(problem)
                queue.look_again(name, boot_seconds() + m.config.sleep_seconds)
            except (FileNotFoundError, Changed, Busy):
                look_at_name(m, queue, name)
                if name in queue.files:
                    queue.look_again(name, boot_seconds() + AGAIN_SECONDS)
            except OSError as problem:
                if problem.errno not in (errno.EINVAL, errno.ENOSYS):
                    raise
                m.exchanges = False              # the file system cannot: stamped at the claim
                return
        if attempt.failed:
            queue.look_again(name, attempt.again)
        if boot_seconds() > until:
            break
    sync(m, queue.path)


def date_texts(times: List[int]) -> List[str]:
    """Return times in microseconds since 1970 as line 1 has them; one `date` for all of them."""
    with closing(os.memfd_create("times")) as fd:
        lines = ["@%d.%06d\n" % divmod(moment, 1_000_000) for moment in times]
        write_all(fd, "".join(lines).encode())
        os.lseek(fd, 0, os.SEEK_SET)
        code, text = output_of(["date", "-u", "-f", "-", "+%Y-%m-%dT%H:%M:%S.%6NZ"], stdin=fd)
    if code or text.count(b"\n") != len(times):
        raise OSError(errno.EIO, "date exit %d: %s" % (code, complaint()))
    return text.decode().split()


def stamp(m, queue: Queue, name: str, inode: int, text: str) -> None:
    """Stamp a UOW where it waits: write a stamped copy beside it and swap the two names."""
    # What comes out is removed only if it is what was read, and nobody waits to write to it.
    path = os.path.join(queue.path, name)
    with closing(open_regular(path)) as fd:
        leased, found = lease(fd), os.fstat(fd)  # in this order: what changes later is seen
        if found.st_ino != inode:
            raise Changed()
        uow = read_uow(fd, path, m.config.required_names)
        new = os.path.join(queue.path, ".stamp.%d.%d" % (os.getpid(), inode))
        ours = write_stamped(new, fd, uow, found, text)
        try:
            exchange(new, path)
        except BaseException:
            os.unlink(new)                       # its name is gone: nothing has happened
            raise
        if not is_unchanged(new, found) or \
                leased and fcntl.fcntl(fd, fcntl.F_GETLEASE) != fcntl.F_RDLCK:
            put_back(m, path, new, ours)
            raise Changed()
        os.unlink(new)
    queue.files[name] = file = File(ours.st_ino, queue.files[name].arrived)
    file.looks = (ours.st_size, ours.st_mtime_ns)
    queue.can_start(name, read_time(text) if uow.enqueued is None else uow.enqueued, True)


def put_back(m, path: str, new: str, ours: os.stat_result) -> None:
    """Give somebody's file its name back, and remove our stamped copy."""
    # Never a name that is gone from the queue: whoever moved it away would get the file twice.
    # Then what we hold goes to trash, as does a copy that somebody has edited.
    with suppress(OSError):
        exchange(new, path)
    if inode_of(new) == ours.st_ino and is_closed(new) and is_unchanged(new, ours):
        os.unlink(new)
    elif os.path.lexists(new):
        name = os.path.basename(path)
        os.rename(new, os.path.join(m.config.trash, free_name(name, time.time_ns())))
        say(m, "%s was changed while it was stamped: one of the two versions is in trash"
            % shown(name), 4)


def write_stamped(new: str, fd: int, uow: Uow, found: os.stat_result, text: str) -> os.stat_result:
    """Write the stamped copy of an open UOW, its log copied by `cat`, and return its stat."""
    head = stamped_head(uow, "ENQUEUED :: %s by %s" % (text, owner_name(found.st_uid)))
    if len(head) > HEAD_BYTES:
        raise BadUow("the header with its time and titles is longer than %d KiB; expected less"
                     % (HEAD_BYTES // 1024))
    if uow.log_at and found.st_size - uow.log_at > COPY_BYTES:
        raise BadUow("it needs a new header, and the log below is longer than %d MiB; expected less"
                     % (COPY_BYTES >> 20))
    if inode_of(new) != found.st_ino:
        remove(new)                              # half a copy, from a process of this pid that died
    os.lseek(fd, uow.log_at, os.SEEK_SET)
    return write_new(new, head, found, fd if 0 < uow.log_at < found.st_size else None)


# ---- Move: what has ended goes to its queue ----------------------------------

def move(m) -> float:
    """See how far the runs are, file what has ended, trash what is not valid."""
    reap(m)
    due = [follow(m, job) for job in list(m.jobs)] + [after_commands(m)]
    until = boot_seconds() + SLICE_SECONDS
    while m.bad and not away_until(m, "trash") and boot_seconds() < until:
        path, (state, why) = m.bad.popitem()
        if state_of(path) == state:              # else somebody mends it
            trash(m, path, why)
    return min(due + [away_until(m, "trash") if m.bad else float("inf")])


def reap(m) -> None:
    """Take the exit codes of children that nobody asks for; as pid 1 also those of orphans."""
    own = {pid for job in m.jobs for pid in job.keepers.values()}
    own |= {hook.pid for hook in (m.after_hook, m.ready_hook) if hook}
    with suppress(ChildProcessError):            # there is none
        while True:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if not ended or ended.si_pid in own:
                break
            os.waitpid(ended.si_pid, 0)


def follow(m, job: Job) -> float:
    """Take a run one step further: wait, kill, settle the outcome, file; return when to go on."""
    now = boot_seconds()
    if not job.status:
        due = look_at_job(m, job, now)
        if due:
            return due
        at = retry_at(m, "finish " + job.run) or finish(m, job)
        if at:
            return at
    at = retry_at(m, "file " + job.run) or away_until(m, status_word(job.status) + "_q")
    return at or file_job(m, job)


def look_at_job(m, job: Job, now: float) -> float:
    """See whether a run goes on, kill it where its time is up; return when to look, 0 if over."""
    keeper, grace = is_alive(job, "bash"), m.config.kill_grace_seconds
    step = "job" if keeper else stage_of_end(m, job, now)
    if step == "over":
        return 0.0
    if step == "output":
        return now + next_look(now - job.ended_at, OUTPUT_SECONDS, 1)
    limit_at = job.began + job.limit if job.limit and is_of_this_file(job) else float("inf")
    order = killing(now, limit_at, job.reason, job.kill_at, grace)
    if order == "term":
        begin_killing(m, job, job.reason or "timed out after %s s" % ("%.9g" % job.limit))
    elif order in ("kill", "late"):              # the next look finds what was forked meanwhile
        left = send(job, signal.SIGKILL)
        if order == "late" and left:
            flag(m, job, "late", ": KILL has not ended %s; waiting for it"
                 % ", ".join("%d (%s)" % (process.pid, process.name) for process in left[:5]))
        elif order == "late":
            send(job, signal.SIGKILL, keepers=True)      # a keeper that was stopped
    if job.keepers.get("bash") not in job.held and not order:
        return min(limit_at, now + 1)            # nothing tells when it ends, or what is left of it
    return {"": limit_at, "kill": now + 0.05, "late": now + 1}.get(order, job.kill_at)


def stage_of_end(m, job: Job, now: float) -> str:
    """Return the stage of a run whose keeper is gone, and say what it has left running."""
    if job.ended_at is None:
        job.ended_at = job.grown_at = now
    tee = is_alive(job, "tee")
    if tee and job.keepers["tee"] in job.held:   # it ends at once, as a rule: one wake for both
        select.select([job.held[job.keepers["tee"]]], [], [], OUTPUT_SECONDS)
        tee = is_alive(job, "tee")
    size, clean = os.fstat(job.fd).st_size, job.codes.get("bash", -1) >= 0
    if size != job.size:
        job.size, job.grown_at = size, now
    ended = end_of(job) is not None
    awaited = awaits_rest(ended=ended, clean=clean, killed=bool(job.reason))
    step = stage(rest=bool(awaited and remains_of(job)), tee=tee, ended=ended,
                 still_for=now - job.grown_at, grace=m.config.kill_grace_seconds)
    if step == "job" and not job.reason and now - job.ended_at >= 1:
        flag(m, job, "remains",
             ": what writes JOB END was killed; waiting for the rest of the job")
    if step == "over" and tee:
        left = ", ".join(holders_of_output(job))
        flag(m, job, "left", ": left running: " + left if left else "")
    return step


def end_of(job: Job) -> Optional[End]:
    """Return a run's END line; one that differs from what wait4 tells is text of the job's own."""
    end, code = find_end_on_disk(job), job.codes.get("bash")
    return None if end and code is not None and code != end.exit else end


def find_end_on_disk(job: Job) -> Optional[End]:
    """Return the last END line of this run, searched from the end of the log, or None."""
    # What was searched in vain is not searched again, but for its last bytes.
    high, kept = os.fstat(job.fd).st_size, b""
    first = max(0, min(job.searched, high) - 300)
    job.searched = high
    while high > first:
        low = max(first, high - HEAD_BYTES)
        piece = os.pread(job.fd, high - low, low) + kept
        end = find_end(piece, job.run)
        if end:
            job.searched = 0
            return end._replace(at=low + end.at)
        high, kept = low, piece[:300]            # an END line may be cut by two pieces
    return None


def flag(m, job: Job, what: str, text: str) -> None:
    """Say something about a run once. what: the key that remembers it."""
    if text and what not in job.told:
        job.told.add(what)
        say(m, shown(job.name) + text, 4)


def begin_killing(m, job: Job, reason: str) -> None:
    """Begin to kill a job: the reason on disk first, for whoever files it, then TERM to it."""
    job.reason = reason
    try:
        set_status(m, job.fd, running_status(job.since, reason))
    except (OSError, BadUow) as problem:
        flag(m, job, "kill status", ": STATUS cannot be written (%s); it is killed all the same"
             % reason_of(problem))
    flag(m, job, "killing", ": %s; TERM now, KILL in %g s" % (reason, m.config.kill_grace_seconds))
    send(job, signal.SIGTERM)
    send(job, signal.SIGCONT)                    # a stopped process would not see the TERM
    job.kill_at = boot_seconds() + m.config.kill_grace_seconds


def find_output(job: Job) -> int:
    """Return where a run's output begins, and set job.since; the whole log without START."""
    if job.output_at is None:
        os.lseek(job.fd, 0, os.SEEK_SET)
        pattern = "^==== JOB START [^ ]* run %s$" % job.run
        code, text = output_of(["grep", "-abom1", "-e", pattern], stdin=job.fd)
        at, _, line = text.partition(b":")
        job.output_at = int(at) + len(line) if code == 0 else job.uow.log_at
        since = time_or_none(line.decode("ascii", "replace").split()[3]) if code == 0 else None
        job.since = job.since if since is None else since
    return job.output_at


def find_pattern(m, job: Job, end: End) -> str:
    """Return whose pattern this run's output has: 'fail', 'error' or ''; Trouble to try again."""
    if not (m.config.fail_pattern or m.config.error_pattern):
        return ""
    begins = find_output(job)
    argv = ["timeout", str(HOOK_SECONDS), "bash", "-pc", SEARCH, "search", str(begins + 1),
            str(end.at - begins), m.config.fail_pattern, m.config.error_pattern]
    with closing(os.open("/proc/self/fd/%d" % job.fd, os.O_RDONLY)) as log:
        code = os.waitstatus_to_exitcode(os.waitpid(spawn(argv, extra=[log]), 0)[1])
    if code == 124:
        say(m, "%s: the search for the patterns took longer than %d s; the exit code decides"
            % (shown(job.name), HOOK_SECONDS), 4)
    elif code not in (10, 11, 12):
        raise Trouble("%s: the patterns could not be looked for (exit %d)"
                      % (shown(job.name), code))
    return {10: "fail", 11: "error"}.get(code, "")


def finish(m, job: Job) -> float:
    """Settle the outcome of a run that is over, in STATUS; return 0, or when to try again."""
    text = "%s: STATUS cannot be written; it stays in currently-executing" % shown(job.name)
    with trying(m, "finish " + job.run, text, level=3) as attempt:
        end = end_of(job)
        code = end.exit if end else job.codes.get("bash")
        hit = find_pattern(m, job, end) if end and not job.reason else ""
        status = outcome(code, run_seconds(job, end), ended=end is not None, reason=job.reason,
                         hit=hit, fail_exit_codes=m.config.fail_exit_codes, used=used_by(job))
        sync(m, job.fd)                          # the whole log, before a STATUS that speaks of it
        if job.uow.header not in os.pread(job.fd, HEAD_BYTES, 0):
            flag(m, job, "header", ": its header was changed while it ran")
        try:
            set_status(m, job.fd, status)
        except BadUow as problem:
            flag(m, job, "status", ": %s; it is filed all the same" % problem)
        job.status = status
    return attempt.again if attempt.failed else 0.0


def run_seconds(job: Job, end: Optional[End]) -> float:
    """Return how long a run took: by our own clock if we saw both ends, else by its log."""
    if "bash" in job.codes and job.ended_at is not None:
        return max(0.0, job.ended_at - job.began)
    find_output(job)                             # it sets job.since
    by_log = end and end.time
    return max(0.0, (by_log - job.since) / 1e6 if by_log else boot_seconds() - job.began)


def used_by(job: Job) -> str:
    """Return `, cpu 8.1 s, 34 MiB` of our own child, as wait4 tells it; '' where it does not."""
    if not job.usage:
        return ""
    text = ", cpu %.1f s" % (job.usage.ru_utime + job.usage.ru_stime)
    if job.usage.ru_maxrss > resource.getrusage(resource.RUSAGE_SELF).ru_maxrss:
        text += ", %d MiB" % (job.usage.ru_maxrss // 1024)
    return text


def file_job(m, job: Job) -> float:
    """Move a UOW whose outcome is on disk to its queue, and remove its link last."""
    # The link keeps the file, whatever a job or a person does to its name.
    key = status_word(job.status) + "_q"
    with trying(m, "file " + job.run, "%s stays in currently-executing" % shown(job.name),
                "%s can be filed now" % shown(job.name)) as attempt:
        filed = move_by_name(m, job, key) or find_elsewhere(m, job, key) or \
            link_to_queue(m, job, key)
        remove_other_names(m, job)
        sync(m, os.path.dirname(filed), m.config.currently_executing)
        remove_links(m, job)
    if attempt.failed:
        return attempt.again
    m.jobs.remove(job)
    let_go(job)
    remove_cgroups()
    where = os.path.relpath(os.path.dirname(filed), m.config.root)
    level = 6 if key == "done_q" else 4
    say(m, "%s: %s -> %s" % (shown(job.name), job.status, shown(where)), level)
    m.totals[key] += 1
    if os.path.dirname(filed) == getattr(m.config, key):
        m.ended[key].note(filed)
    if m.config.after_command:
        environment = job_environment(job.uow, filed, job.run)
        m.after.append((job.name, dict(environment, SJQ_STATUS=job.status)))
    return after_commands(m)


def move_by_name(m, job: Job, key: str) -> Optional[str]:
    """Move what bears the run's name to its queue; None where that is not the file that was run."""
    while inode_of(job.path) == job.inode:
        target = mv(m, job.path, key)
        if target and inode_of(target) == job.inode:
            return target
        if target:                               # swapped in at the last moment
            trash(m, target, "another file took the name of a running UOW")
    return None


def find_elsewhere(m, job: Job, queue: str) -> Optional[str]:
    """Return where in another directory of ours the file that was run is now; it stays there."""
    has_a_name = os.fstat(job.fd).st_nlink > os.path.lexists(job.link)
    for key in DIRECTORIES if has_a_name else ():
        for place, below, names in os.walk(getattr(m.config, key)):
            if key != "archive":
                below.clear()
            for name in names if key != "currently_executing" else ():
                path = os.path.join(place, name)
                if inode_of(path) == job.inode:
                    flag(m, job, "moved", (": it was moved to %s while it ran, and is left there"
                                           % shown(place)) * (key != queue))
                    return path
    return None


def link_to_queue(m, job: Job, key: str) -> str:
    """Give the file that was run a name in its queue: its own is gone, or another file's."""
    require_directory(m, key)
    flag(m, job, "gone", ": it was deleted or replaced while it ran; it is filed all the same")
    path = next(free_paths(getattr(m.config, key), job.name))
    if os.fstat(job.fd).st_nlink:
        link_into(job.fd, *os.path.split(path))
    else:                                        # .run was removed, too: a copy is left to make
        os.lseek(job.fd, 0, os.SEEK_SET)
        job.inode = write_new(path, b"", os.fstat(job.fd), job.fd).st_ino
        os.close(job.fd)
        job.fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    return path


def remove_other_names(m, job: Job) -> None:
    """Clear the run's name in currently-executing, and any other name there of the same file."""
    if inode_of(job.path) not in (0, job.inode):
        trash(m, job.path, "not the file that was run: it took its name meanwhile")
        if os.path.lexists(job.path):            # without its link this would be the next to start
            raise Trouble("%s stays in currently-executing until what took its name can go to trash"
                          % shown(job.name))
    if os.fstat(job.fd).st_nlink > 2:
        remove_names(job, m.config.currently_executing)


def remove_names(job: Job, directory: str) -> None:
    """Remove all names that the file of a run has in a directory."""
    for name in os.listdir(directory):
        path = os.path.join(directory, name)
        if inode_of(path) == job.inode:
            os.unlink(path)


def remove_links(m, job: Job) -> None:
    """Remove the run's link, and others of the same file."""
    remove(job.link)
    if os.fstat(job.fd).st_nlink > 1 and os.path.isdir(run_directory(m.config)):
        remove_names(job, run_directory(m.config))


def after_commands(m) -> float:
    """Look after after_command: one at a time, no job beside it; return when to look again."""
    if m.after_hook:
        code = m.after_hook.poll()
        if code is None:
            return m.after_hook.look_at()
        if code:
            how = m.after_hook.how(code)
            say(m, "after_command for %s: %s" % (shown(m.after[0][0]), how), 4)
        m.after_hook = None
        del m.after[0]
    at = retry_at(m, "after")
    if at or not m.after:
        return at or float("inf")
    name, environment = m.after[0]
    with trying(m, "after", "after_command for %s cannot be started" % shown(name)) as attempt:
        m.after_hook = Hook(m.config.after_command, environment)
    return attempt.again if attempt.failed else m.after_hook.look_at()


# ---- Launch ------------------------------------------------------------------

def launch(m) -> float:
    """Start the next job if one may start; return when to try again."""
    if m.jobs or m.under_way or m.after or m.paused or m.finishing or m.stopping:
        drop_ready_hook(m)
        m.launched = m.launched and bool(m.jobs)
        return float("inf")
    m.launched = False
    if any(queue.unchecked() for queue in m.queues):
        return 0.0                               # one of those may be the oldest
    if not m.claimed and next_needs_stamp(m):
        return float("inf")                      # `edit` says when
    if not (m.claimed or next_waiting(m)):
        drop_ready_hook(m)
        if something_waits(m):
            return float("inf")                  # it is settling
        is_over(m, "launch")
        is_over(m, "ready", "nothing waits any more")
        is_over(m, "turn", "the lock on .turn is not needed any more")
        m.turn_since = 0.0
        return float("inf")
    at = away_until(m, "currently_executing") or retry_at(m, "launch") or ask_ready(m)
    if at:
        return at
    with turn(m) as later:
        if later:
            return later
        with trying(m, "launch", "no job can be started", "jobs can be started again",
                    level=3) as attempt:
            started = start_next(m)
    m.launched = not attempt.failed and started
    if not m.launched:
        return attempt.again if attempt.failed else 0.0
    return 0.0 if m.job.status else m.job.began + (m.job.limit or float("inf"))


def next_waiting(m) -> Optional[Tuple[Queue, int, str, int]]:
    """Return the UOW that is to start next: its queue, time, name and inode."""
    # The order: priority-q before wait-q, then the time in line 1 (else its ctime when it was first
    # checked), then the name. What a dead Monitor had claimed comes before all of them
    # (`start_next`). While priority-q has any file that may become a job, nothing in wait-q starts.
    for queue in m.queues:
        first = queue.in_order(1)
        if first:
            return (queue, *first[0])
        if len(queue.files) > len(in_trouble(m, queue)):
            return None                          # one there is still settling
    return None


def drop_ready_hook(m) -> None:
    """Forget the answer of ready_command, and end it: the next launch asks again."""
    if m.ready_hook:
        os.killpg(m.ready_hook.pid, signal.SIGTERM)      # nobody has waited for it so far
    m.ready_hook, m.ready_passed = None, False


def ask_ready(m) -> float:
    """Ask job_process and ready_command whether a job may start; return 0 if so, or when to ask."""
    hook, code = m.ready_hook, m.ready_hook.poll() if m.ready_hook else None
    if hook and code is None:
        return hook.look_at()
    at = retry_at(m, "ready")
    if at and not hook:
        return at
    m.ready_hook = None
    if m.config.ready_command and not hook and not m.ready_passed:
        with trying(m, "hook", "ready_command cannot be started") as attempt:
            m.ready_hook = Hook(m.config.ready_command)
        return attempt.again if attempt.failed else m.ready_hook.look_at()
    with trying(m, "ready", "waiting: job_process cannot be asked", level=5,
                least=m.config.sleep_seconds) as attempt:
        if code:
            raise Trouble("waiting: ready_command refuses (%s)" % hook.how(code))
        if m.config.job_process:
            refuse_process(m.config.job_process)
        attempt.over = "ready_command accepts again" if m.config.ready_command else \
            "no process %s runs any more" % shown(m.config.job_process or "of job_process")
    m.ready_passed = not attempt.failed
    return attempt.again if attempt.failed else 0.0


def refuse_process(name: str) -> None:
    """Raise Trouble where a process of this name runs, anywhere on the machine; OSError."""
    # -x compares whole names, but as a pattern: all but letters and digits is escaped.
    code, pids = output_of(["pgrep", "-x", "--", re.sub(r"([^\w-])", r"\\\1", name)])
    if code == 0:
        raise Trouble("waiting: a process %s runs, pid %s"
                      % (shown(name), " ".join(pids.decode().split()[:5])))
    if code != 1:
        raise OSError(errno.EIO, "pgrep exit %d: %s" % (code, complaint()))


def start_next(m) -> bool:
    """Claim the next UOW and start it; False where it is not to be had, or goes back; OSError."""
    make_run_directory(m)
    if m.claimed:                                # by a Monitor that died: it goes first
        queue, name, inode = m.queues[-1], m.claimed.pop(0), 0
        path: Optional[str] = os.path.join(m.config.currently_executing, name)
    else:
        chosen = next_waiting(m)
        if not chosen or next_needs_stamp(m):
            return False                         # the lock brought others, which come first
        queue, _, name, inode = chosen
        path = claim(m, queue, name)
    if not path or not os.path.lexists(path):
        return False
    try:
        start(m, path, inode)
        m.ready_passed = False
        return True
    except (BadUow, Busy, Changed, PermissionError) as problem:
        give_back(m, queue, path, problem)       # this file alone has changed, or is held
        return False
    except OSError:
        if not os.path.lexists(path):            # somebody took it away
            return False
        m.claimed.insert(0, os.path.basename(path))
        raise


def claim(m, queue: Queue, name: str) -> Optional[str]:
    """Move a waiting UOW into currently-executing; its path there, None if it is not to be had."""
    source, path = os.path.join(queue.path, name), os.path.join(m.config.currently_executing, name)
    with trying(m, "claim " + source, "%s cannot be claimed" % shown(name), path=source) as attempt:
        if os.path.lexists(path):
            raise Trouble("%s waits: another file of this name is in currently-executing; "
                          "mv it away" % shown(name))
        path = mv(m, source, "currently_executing")
        queue.forget(name)
        return path
    queue.look_again(name, attempt.again)
    return None


def give_back(m, queue: Queue, path: str, problem: BaseException) -> None:
    """Put a claimed UOW that cannot start as it is back where it waits, to be checked again."""
    waiting, text = None, "%s stays in currently-executing until the next start" % base(path)
    with trying(m, "hand " + path, text, path=path):
        waiting = mv(m, path, queue.key)
    if waiting:
        name = os.path.basename(waiting)
        look_at_name(m, queue, name)
        text = "%s in %s cannot be started" % (shown(name), base(queue.path))
        with trying(m, "file " + waiting, text, path=waiting) as attempt:
            if isinstance(problem, PermissionError):
                raise problem
        if attempt.failed and name in queue.files:
            queue.look_again(name, attempt.again)


def start(m, path: str, inode: int) -> None:
    """Start the job of a claimed UOW, in the order of steps that the top of this file tells."""
    # inode: of the chosen UOW, 0 for any. BadUow, Busy, Changed, OSError: nothing was started.
    name = os.path.basename(path)
    with closing(open_still(path)) as fd:
        uow, found = read_uow(fd, path, m.config.required_names), os.fstat(fd)
        if inode and found.st_ino != inode:
            raise Changed()
        if needs_stamp(uow, is_ours(found)):
            # That could not be done while it waited. Nobody moves it here, so a rename will do.
            enqueued = found.st_ctime_ns // 1000 if uow.enqueued is None else uow.enqueued
            new = os.path.join(os.path.dirname(path), ".stamp.%d.%d" % (os.getpid(), found.st_ino))
            write_stamped(new, fd, uow, found, date_texts([enqueued])[0])
            os.rename(new, path)
            return start(m, path, 0)
        space = os.fstatvfs(fd)                  # on a full disk it would run and lose its log
        if space.f_blocks and not (space.f_bavail if os.geteuid() else space.f_bfree):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        gap = "" if os.pread(fd, 1, found.st_size - 1) == b"\n" else "\n"
        mark = read_mark(new_mark(found))
        writer = open_at_once("/proc/self/fd/%d" % fd, os.O_RDWR)        # the very same inode
    since = time.time_ns() // 1000
    job, linked = Job(m, name, writer, uow._replace(status=""), mark, since), False
    job.output_at = found.st_size + len(gap) + START_BYTES + len(job.run)
    try:
        write_all(writer, status_line(running_status(since)), uow.status_at)
        if uow.status:                           # after a power cut an old `fail` beside the link
            sync(m, writer)                      # would be taken for this run's outcome
        link_into(writer, run_directory(m.config), os.path.basename(job.link))
        linked = True
        if inode_of(path) != job.inode:
            raise Changed()                      # replaced since it was opened
        sync(m, writer, run_directory(m.config), m.config.currently_executing,
             *[queue.path for queue in m.queues if "directory " + queue.key not in m.wrong])
        start_processes(m, job, gap)
    except OSError as problem:
        undo_start(m, job, linked, problem)
        return
    m.jobs.append(job)
    say(m, "started %s run %s" % (shown(name), job.run))


def start_processes(m, job: Job, gap: str) -> None:
    """Start `bash KEEPER | tee -a uow`; OSError when neither runs."""
    # The job: stdin /dev/null, stdout and stderr the pipe to tee, directory the root (`start_up`
    # goes there), command line job_command, by the keeper's `bash -c`. tee has the very file open:
    # a job that renames its own file loses no output. -p: BASH_ENV is for the job alone.
    environment, cgroup = job_environment(job.uow, job.path, job.run), cgroup_of(job.run)
    if DOOR.cgroup:
        os.mkdir(cgroup)
    read, write = os.pipe()
    try:
        job.keepers["tee"] = spawn(["tee", "-a", "/dev/fd/3"], stdin=read, extra=[job.fd],
                                   env=dict(environment, SJQ_KEEPER="tee"), session=True)
        keeper = ["bash", "-pc", KEEPER, "sjq-keeper", m.config.job_command, job.run,
                  cgroup + "/cgroup.procs" if DOOR.cgroup else "", gap]
        job.keepers["bash"] = spawn(keeper, stdout=write, session=True,
                                    env=dict(environment, SJQ_KEEPER="bash"))
    finally:
        os.close(read)
        os.close(write)
        if "tee" in job.keepers and "bash" not in job.keepers:
            os.waitpid(job.keepers["tee"], 0)    # it ends at once, with the pipe
    for pid in job.keepers.values():
        with suppress(OSError):                  # it runs; without a pidfd its end is seen late
            job.held[pid] = os.pidfd_open(pid)


def job_environment(uow: Uow, path: str, run: str) -> Dict[str, str]:
    """Return a job's environment: the Monitor's less NOT_FOR_JOBS, UOW_* (header) and SJQ_*."""
    environment = {key: value for key, value in DOOR.environment.items()
                   if key not in NOT_FOR_JOBS and not key.startswith(("UOW_", "SJQ_"))}
    environment.update(uow.names, SJQ_NAME=os.path.basename(path), SJQ_FILE=path, SJQ_RUN=run)
    return environment


def undo_start(m, job: Job, linked: bool, problem: OSError) -> None:
    """Nothing was started: take back link and STATUS, or file what can never start; OSError."""
    if not linked or isinstance(problem, Changed) or problem.errno in PASSING:
        try:
            if linked:
                os.unlink(job.link)              # the link first: STATUS alone still means "begun"
            set_status(m, job.fd, "")
        finally:
            os.close(job.fd)
        raise problem
    m.jobs.append(job)                           # it is filed in any case: its link is there
    status = "fail: could not start: " + reason_of(problem)
    set_status(m, job.fd, status)
    job.status = status


# ---- Messages: how they are read ---------------------------------------------

def beside(path: str, end: str) -> str:
    """Return the hidden file beside a message file: `.monitor_reads.taken`, say."""
    return os.path.join(os.path.dirname(path), "." + os.path.basename(path) + end)


def read_messages(m) -> float:
    """Act on what people have appended to monitor_reads; return when to look again."""
    # What was acted on becomes a comment. Then the file is renamed, a fresh one takes its place.
    # A late writer is read in the old one, which goes once nobody has it open.
    reads = m.config.monitor_reads
    taken = beside(reads, ".taken")
    at = retry_at(m, "messages")
    if at:
        return at
    with trying(m, "messages", "%s cannot be read or renewed" % shown(reads)) as attempt:
        due = float("inf")
        if is_message_file(m, taken):
            due = work_off(m, taken)
        state = state_of(reads)
        if state is None or state != m.reads_seen:
            try:
                due = min(due, read_fresh(m, reads, taken, state))
            except BadUow:                       # replaced since it was looked at
                return 0.0
        return due
    return attempt.again


def read_fresh(m, reads: str, taken: str, state: Optional[State]) -> float:
    """Read the message file: renew it where it has messages; return when to look again."""
    if not is_message_file(m, reads):
        if not os.path.lexists(reads):
            put_fresh(m, reads)
        at = away_until(m, "trash") or retry_at(m, "trash " + reads)
        return at or (0.0 if os.path.lexists(reads) else boot_seconds() + RETRY_SECONDS)
    with closing(open_regular(reads)) as fd:
        data = os.pread(fd, SMALL_BYTES, 0)
    if data == howto():
        m.reads_seen = state
        return float("inf")
    complete, held = is_complete(m, reads), os.path.lexists(taken)       # held: by a late writer
    if is_ours(os.lstat(reads)):                 # in place, so that KILL JOB works on a full disk
        with closing(open_regular(reads, os.O_RDWR)) as fd:
            # Half a line is for the taken file: here the next sender may add to it meanwhile.
            if not act_on_lines(m, fd, complete and held):
                return 0.0
    if (complete or data.endswith(b"\n")) and not held:
        put_fresh(m, reads, taken)
        return work_off(m, taken) if is_message_file(m, taken) else 0.0
    lasted = time.time() - os.lstat(reads).st_mtime
    return boot_seconds() + next_look(lasted, max(AGAIN_SECONDS, m.config.settle_seconds),
                                      m.config.sleep_seconds)


def is_message_file(m, path: str) -> bool:
    """Tell whether a message file is there, plain and of sensible size; else it goes to trash."""
    if not os.path.lexists(path):
        return False
    found = os.lstat(path)
    if path == m.config.monitor_reads and found.st_nlink > 1:
        remove(beside(path, ".fresh"))           # a kill may have left this second link to it
        found = os.lstat(path)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        trash(m, path, "not a regular file of its own; expected the message file")
        return False
    if found.st_size > SMALL_BYTES:
        trash(m, path, "more than %d bytes; expected a few messages" % SMALL_BYTES)
        return False
    if path == m.config.monitor_reads:
        m.reads_like = found                     # a fresh one gets its owner and mode
    return True


def is_complete(m, path: str) -> bool:
    """Tell whether a file is quiet and closed: then its last line needs no newline."""
    age = time.time() - os.lstat(path).st_mtime
    return not 0 <= age < m.config.settle_seconds and is_closed(path)


def work_off(m, taken: str) -> float:
    """Act on the taken message file, and remove it once no writer has it; return when to look."""
    lasted = time.time() - os.lstat(taken).st_mtime
    later = boot_seconds() + next_look(lasted, AGAIN_SECONDS, m.config.sleep_seconds)
    complete = is_complete(m, taken)
    if not is_ours(os.lstat(taken)):             # only what is our own can be marked in place
        if not complete:
            return later
        remove(taken + ".own")                   # from a kill
        with closing(open_regular(taken)) as fd:
            write_new(taken + ".own", os.pread(fd, 2 * SMALL_BYTES, 0), None)
        os.rename(taken + ".own", taken)
    closed = is_closed(taken)                    # before it is read: nobody can open it by now
    with closing(open_regular(taken, os.O_RDWR)) as fd:
        if not act_on_lines(m, fd, complete):
            return 0.0
        whole = complete or os.pread(fd, 2 * SMALL_BYTES, 0)[-1:] in (b"\n", b"")
    if not (closed and whole):
        return later
    # It has to keep still, too: the kernel does not tell of a writer that is about to open it.
    age = time.time() - os.lstat(taken).st_ctime
    if 0 <= age < m.config.settle_seconds:
        return boot_seconds() + m.config.settle_seconds - age
    os.unlink(taken)
    return 0.0                                   # what came into the fresh file meanwhile


def act_on_lines(m, fd: int, last: bool) -> bool:
    """Act on the lines of a message file (`last`: a half one, too), mark each; False for more."""
    data, at, acted = os.pread(fd, 2 * SMALL_BYTES, 0), 0, 0
    for line in re.findall(rb"[^\n]*\n|[^\n]+", data):
        if line.strip() and not line.startswith(b"#") and (last or line.endswith(b"\n")):
            if acted == ACTED_PER_WAKE:
                return False
            os.pwrite(fd, line[:1], at)          # what cannot be marked would be acted on for ever
            act(m, line)
            if os.pread(fd, len(line), at) != line:
                return False                     # written anew meanwhile: `echo X > monitor_reads`
            os.pwrite(fd, b"#", at)
            acted += 1
        at += len(line)
    return True


def put_fresh(m, reads: str, taken: str = "") -> None:
    """Put a fresh message file in place, never over another; the old one goes to `taken`."""
    # No `mv` here: it takes longer, and without a file some senders are refused.
    fresh = beside(reads, ".fresh")
    remove(fresh)
    write_new(fresh, howto(), m.reads_like)
    if taken:
        os.rename(reads, taken)
    with suppress(FileExistsError):
        os.link(fresh, reads)                    # link, unlike rename, never replaces
    os.unlink(fresh)
    m.reads_seen = None
    set_watches(m)


# ---- Operations: what the messages do ----------------------------------------

def tell_help(m) -> None:
    for keyword, (meaning, _) in MESSAGES.items():
        say(m, "%-8s  %s" % (keyword, meaning))


def tell_status(m) -> None:
    """Say what runs, with its processes, what waits in order, the counts, and what is wrong."""
    with trying(m, "status", "STATUS cannot look at everything"):
        take_stock(m)
    say(m, "state: " + " ".join(state_now(m)).strip())
    for job in m.jobs:
        say(m, "running: %s since %sZ" % (shown(job.name), utc(job.since)[:19]))
        pids = [str(process.pid) for process in find_processes(job) if not process.role]
        if pids and not shutil.which("ps"):
            say(m, "  pid %s (no command ps in PATH)" % ", ".join(pids))
        elif pids:
            argv = ["ps", "-o", "pid=,etime=,args=", "-p", ",".join(pids)]
            for line in output_of(argv)[1].decode("utf-8", "replace").splitlines():
                say(m, "  " + line)
    for name in m.claimed:
        say(m, "next: %s" % shown(name))
    for queue in m.queues:
        tell_queue(m, queue)
    say(m, "counts: " + ", ".join(
        "%s %s" % (base(getattr(m.config, key)), "?" if count is None else count)
        for key, count in counts(m).items()))
    for wrong in m.wrong.values():
        say(m, "wrong: " + wrong.text)


def take_stock(m) -> None:
    """Look at all directories afresh: STATUS may come right after a mv, or at the start."""
    read_notices(m)
    for queue in m.queues:
        if "directory " + queue.key not in m.wrong:
            if queue.path not in m.watches or queue.listed is None:
                queue.listed = None              # where it is watched the notices have told all
                list_queue(m, queue)
            check_files(m, queue)
    for key, ended in m.ended.items():           # to look at 100,000 files takes too long
        if not away_until(m, key):               # what a link in its place leads to is not ours
            ended.count = len(uow_names(m, key))


def tell_queue(m, queue: Queue) -> None:
    """Say what waits in a queue, in order, then what does not start yet, and why."""
    place, waiting = base(queue.path), queue.in_order(STATUS_SHOWN)
    for enqueued, name, _ in waiting:
        say(m, "waits in %s: %s since %s" % (place, shown(name), utc(enqueued)))
    more = len(queue.files) - len(queue.to_check) - len(waiting)
    unchecked = queue.unchecked()
    if more > 0:
        say(m, "waits in %s: %d more" % (place, more))
    if unchecked:
        say(m, "%s: %d of %d checked" % (place, len(queue.files) - unchecked, len(queue.files)))
    for name in sorted(queue.to_check)[:STATUS_SHOWN] if not unchecked else ():
        wrong = m.wrong.get("file " + os.path.join(queue.path, name))
        why = wrong.text if wrong else shown(name) + " is settling, or is open for writing"
        say(m, "not yet in %s: %s" % (place, why))
    held = filter(m.config.ignored.fullmatch, os.listdir(queue.path)) \
        if not away_until(m, queue.key) else []
    for name in sorted(held)[:STATUS_SHOWN]:
        say(m, "held in %s: %s" % (place, shown(name)))


def counts(m) -> Dict[str, Optional[int]]:
    """Return how many UOWs each directory holds as of the last look; None where nobody knows."""
    known: Dict[str, Optional[int]] = {queue.key: len(queue.files) for queue in m.queues}
    known["currently_executing"] = len(m.claimed) + len(m.jobs)
    known.update({key: ended.count for key, ended in m.ended.items()})
    return {key: None if "directory " + key in m.wrong else known[key] for key in DIRECTORIES}


def state_now(m) -> Tuple[str, str]:
    """Return the state in one word, and why where that is not plain."""
    word = state_word(stopping=m.stopping, running=bool(m.jobs), paused=m.paused,
                      waits=something_waits(m))
    if word != "waiting":
        why = {"running": "no more jobs are started: paused", "paused": "until RESUME"}
        return word, why.get(word, "") if m.paused else ""
    held = [wrong.text for key, wrong in m.wrong.items()
            if key in ("launch", "ready", "turn", "cycle", "directory currently_executing")]
    held += ["after_command runs"] * bool(m.after) + ["ready_command runs"] * bool(m.ready_hook)
    why = held[0] if held else "" if next_waiting(m) else "for files to settle"
    return word, why.replace("waiting: ", "because ", 1)


def tell_config(m) -> None:
    texts = {bool: lambda value: "yes" if value else "no", float: "{:.9g}".format,
             list: lambda value: " ".join(map(str, value)), str: str}
    for key in CONFIG:
        value = getattr(m.config, key)
        say(m, "%s :: %s" % (key, texts[type(value)](value)))


def keep_pause(m, paused: bool) -> None:
    """Pause or resume, and let the disk say so for the next start."""
    if paused != m.paused:
        say(m, "paused: no more jobs are started until RESUME" if paused else "resumed", 5)
    m.paused = paused
    path = os.path.join(m.config.currently_executing, ".paused")     # it outlives a restart
    with trying(m, "pause", "the next start would not know of PAUSE or RESUME"):
        there = ".paused" in os.listdir(m.config.currently_executing)
        if m.paused and not there:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
        elif there and not m.paused:
            os.unlink(path)
        sync(m, m.config.currently_executing)


def finish_then_exit(m) -> None:
    m.finishing = True
    say(m, "FINISH: no more jobs are started; the Monitor exits when the running one has ended", 5)


def shut_down(m) -> None:
    if not m.stopping:
        job = "the running job goes on and is picked up at the next start" if m.jobs else \
            "nothing is running"
        say(m, "SHUTDOWN: the Monitor exits; " + job, 5)
    m.stopping = True


def kill_job(m) -> None:
    """Kill the job that runs; one that has ended and is not filed yet is left alone."""
    job = next((job for job in m.jobs if not job.status), None)
    if not job:
        say(m, "KILL JOB: no job is running", 5)
    elif job.reason:
        say(m, "KILL JOB: %s is being killed already (%s)" % (shown(job.name), job.reason), 5)
    elif not is_alive(job, "bash") and (end_of(job) or not remains_of(job)):
        say(m, "KILL JOB: %s has ended already" % shown(job.name), 5)
    else:
        # Done with even if this fails: read again later, it would kill the next job.
        with trying(m, "kill " + job.run, "%s cannot be killed" % shown(job.name)):
            begin_killing(m, job, "killed by message")


def reload(m) -> None:
    """Read the configuration again; one that is refused is reported, and the old one stays."""
    with trying(m, "config", "", "RELOAD: the configuration is accepted", level=3) as attempt:
        try:
            config = load_config(m.config.path, m.config.optional)
            check_reload(config, m.config)
        except Unusable as problem:
            m.wrong.pop("config", None)          # each RELOAD gets an answer
            raise Trouble("RELOAD refused: " + "; ".join(problem.args)) from None
    if attempt.failed:
        return
    drop_ready_hook(m)
    is_over(m, "ready", "ready_command and job_process are asked again")
    m.config, m.bad = config, {}                 # what is valid, or ignored, may have changed
    for queue in m.queues:
        for name in filter(config.ignored.fullmatch, in_trouble(m, queue)):
            is_over(m, "file " + os.path.join(queue.path, name))
        queue.reset()
    say(m, "RELOAD: configuration read from %s%s"
        % (shown(config.path), ", which is missing: the defaults" * config.optional), 5)


# KEYWORD, in capitals: (what the Monitor does, the function that does it, which gets m). HELP and
# the top of monitor_reads are made from this.
MESSAGES = {
    "HELP": ("lists the messages", tell_help),
    "STATUS": ("writes what runs, what waits in order, what is held, the counts, and what is wrong",
               tell_status),
    "CONFIG": ("writes the configuration in force", tell_config),
    "PAUSE": ("starts no more jobs; a pause outlives a restart",
              lambda m: keep_pause(m, True)),
    "RESUME": ("starts jobs again", lambda m: keep_pause(m, False)),
    "FINISH": ("exits when the running job has ended", finish_then_exit),
    "SHUTDOWN": ("exits now; the running job goes on and is picked up at the next start",
                 shut_down),
    "KILL JOB": ("ends the running job", kill_job),
    "RELOAD": ("reads config.txt again; a bad one is reported and the old one stays", reload),
}


@lru_cache(None)
def howto() -> bytes:
    """Return the comment block at the top of monitor_reads."""
    lines = ["# Messages to the Monitor, one per line, such as  echo STATUS >> monitor_reads",
             "# The answers are in monitor_says. What was acted on is removed from this file."]
    lines += ["#   %-8s  %s" % (keyword, meaning) for keyword, (meaning, _) in MESSAGES.items()]
    return "".join(line + "\n" for line in lines).encode()


def act(m, line: bytes) -> None:
    """Do what one message says; a wrong one is repeated, escaped and cut short."""
    text = " ".join(os.fsdecode(line).split())
    known = MESSAGES.get(text.upper())
    if not known:
        say(m, "message %s is not known; expected one of %s"
            % (shown(text[:MESSAGE_SHOWN]), ", ".join(MESSAGES)), 4)
        return
    say(m, "message " + text.upper())
    known[1](m)


# ---- The cycle ---------------------------------------------------------------

def work(m) -> int:
    """Run the Monitor until it is to exit; return its exit code."""
    due, over = 0.0, False
    while not over:
        try:
            sleep(m, due)
            due = cycle(m)
            when = exits(stopping=m.stopping, finishing=m.finishing, until_empty=m.until_empty,
                         busy=bool(m.after or any(not job.status for job in m.jobs)))
            over = when == "now" or when == "empty" and is_empty(m)
        except (OSError, MemoryError) as problem:
            due = begin_again(m, problem)
            over = m.stopping
            time.sleep(AGAIN_SECONDS)            # where even `sleep` fails, not again at once
    m.stopping = True
    notify("STOPPING=1\nSTATUS=stopped")
    post(m)
    say(m, "stopped", 5)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)    # one that comes now must not change the exit code
    return 0


def cycle(m) -> float:
    """Go round once; return when the next round is due at the latest, in seconds after boot."""
    m.news = False
    if not m.recovered:                          # a message may be KILL JOB, for an earlier job
        survey_directories(m)
        survey_hand(m)
    due = [step(m) for step in (read_messages, survey, move, edit, launch, post, tell_systemd)]
    is_over(m, "cycle", "the work goes on")
    m.failures = 0
    now = boot_seconds()
    retries = [wrong.again for wrong in m.wrong.values() if wrong.again > now]
    return min([*due, *retries, now + min(m.config.sleep_seconds, LONGEST_SLEEP)])


def begin_again(m, problem: BaseException) -> float:
    """Throw memory away and begin again from disk, as after a kill; return when."""
    # It is for an error that no step expected: no descriptor to be had, a broken disk.
    with trying(m, "cycle", "the work was cut short and begins again from disk", level=3):
        raise problem if isinstance(problem, Trouble) else OSError(0, str(problem) or "no memory")
    m.failures += 1
    m.forget()
    return boot_seconds() + min(60, 2 ** (m.failures - 1), m.config.sleep_seconds)


def is_empty(m) -> bool:
    """Tell whether nothing waits, by a fresh listing; what has failed twice is not waited for."""
    for queue in m.queues:
        if "directory " + queue.key not in m.wrong:
            queue.listed = None
            list_queue(m, queue)
    return not (m.jobs or m.claimed or m.bad or
                any(len(queue.files) > len(in_trouble(m, queue, 2)) for queue in m.queues))


def in_trouble(m, queue: Queue, tries: int = 1) -> Set[str]:
    """Return the names in a queue that could not be handled so many times."""
    paths = [wrong.path for wrong in m.wrong.values() if wrong.tries >= tries]
    return {os.path.basename(path) for path in paths
            if os.path.dirname(path) == queue.path} & queue.files.keys()


def something_waits(m) -> bool:
    """Tell whether anything waits that may become a job."""
    return bool(m.claimed or any(len(queue.files) > len(in_trouble(m, queue))
                                 for queue in m.queues))


# ---- The cycle: sleep --------------------------------------------------------

def sleep(m, due: float) -> None:
    """Sleep until `due`, or until a directory changes, a process ends or a signal comes."""
    # So a new file is seen at once, and may start settle_seconds after its last change. Where there
    # is no inotify it is seen up to sleep_seconds later. A search for patterns delays both by up to
    # HOOK_SECONDS. In a storm of changes the Monitor is deaf to them for 0.2 s at most.
    read_notices(m)                              # what it has changed itself does not wake it
    if m.news:
        due = min(due, boot_seconds() + deaf_for(m))
        m.tokens = max(-1.0, m.tokens - 1)       # no more debt: else it is deaf long after a storm
    signals = caught(m)
    while not signals and boot_seconds() < due:
        woken, noticed = wait(m, due - boot_seconds())
        for job in m.jobs:
            for pid in [pid for pid, fd in job.held.items() if fd in woken]:
                os.close(job.held.pop(pid))      # else a cycle that is cut short would spin
        signals = caught(m)
        if woken or noticed and read_notices(m):
            break
    obey(m, signals)


def wait(m, timeout: float) -> Tuple[Set[int], bool]:
    """Wait; return which pidfds woke us, and whether a change did."""
    poll = select.poll()
    for fd in [m.wakeup, *(fd for job in m.jobs for fd in job.held.values())]:
        poll.register(fd, select.POLLIN)
    deaf = max(0.0, min(timeout, deaf_for(m))) if m.watcher else 0.0
    found = poll.poll(round(deaf * 1000 + 0.5)) if deaf else []
    if not found and timeout > deaf:
        if m.watcher:
            poll.register(m.watcher.fd, select.POLLIN)
        found = poll.poll(round((timeout - deaf) * 1000 + 0.5))
    woken = {fd for fd, _ in found}
    noticed = bool(m.watcher and m.watcher.fd in woken)
    m.tokens -= noticed
    return woken - {m.wakeup, m.watcher.fd if m.watcher else -1}, noticed


def deaf_for(m) -> float:
    """Return for how many seconds notices are ignored: 0 or less except in a storm of them."""
    now = boot_seconds()
    m.tokens = min(NOTICES_AT_ONCE, m.tokens + (now - m.tokens_at) * NOTICES_A_SECOND)
    m.tokens_at = now
    return (1 - m.tokens) / NOTICES_A_SECOND


def caught(m) -> Set[int]:
    """Return the signals that came since the last look."""
    came = select.select([m.wakeup], [], [], 0)[0]
    return set(os.read(m.wakeup, 4096)) if came else set()


def obey(m, signals: Set[int]) -> None:
    """Do what signals say: TERM and INT are SHUTDOWN, HUP is RELOAD (without terminal SHUTDOWN)."""
    for number in sorted(signals & {signal.SIGTERM, signal.SIGINT}):
        say(m, "SHUTDOWN by signal " + signal_name(number)[3:], 5)
        shut_down(m)
    if signal.SIGHUP in signals and m.had_terminal and not has_terminal():
        say(m, "SHUTDOWN by signal HUP: the terminal was closed", 5)
        shut_down(m)
    elif signal.SIGHUP in signals:
        say(m, "RELOAD by signal HUP", 5)
        reload(m)
        notify("READY=1")


def has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK))
        return True
    except OSError:
        return False


# ---- Pages -------------------------------------------------------------------
# A Snapshot or a log goes in, text comes out: nothing here reads a file, a clock or the Monitor.
# What people and jobs wrote passes through esc(), ansi_html() or json. Times are seconds since
# 1970, 0 for none.

# A UOW that the pages name: queue is its directory's key, page its file under uow/, seconds how
# long it ran, or has run (None where nothing tells), cause the last lines of what failed.
Entry = collections.namedtuple(
    "Entry", "queue name page enqueued started ended status command seconds timeout run "
    "timeout_is_set cause", defaults=(0, 0, 0, "", "", None, 0, "", False, ()))
# All that is posted, as of `written`: the names of status.json (README.md), `typical` (median
# seconds and number of earlier runs of the running command) and `pages` (those written).
Snapshot = SimpleNamespace
OUTCOMES = {"done_q": "✓ done", "error_q": "! error", "fail_q": "✕ fail"}   # never colour alone
FAILED = ("error_q", "fail_q")
LINES = "\n\t"                  # what a text of several lines may hold
NONE = '<p class="soft">None.</p>'
PAGE_STYLE = """
:root{color-scheme:light dark;--page:light-dark(#f7f6f3,#121315);--card:light-dark(#fff,#1a1c1f);
--ink:light-dark(#1c1b19,#e9e7e2);--soft:light-dark(#5f5b54,#a5a097);--hue:var(--soft);
--line:light-dark(#e3dfd7,#2e3136);overflow-anchor:none;overflow-wrap:anywhere}.done_q,.idle{
--hue:light-dark(#2f6f5e,#7fc7ad)}.fail_q,.wrong{--hue:light-dark(#b3261e,#ff8f85)}.error_q,
.waiting,.paused,.over,.alert{--hue:light-dark(#8f5600,#e2b15c)}.running,.currently_executing,
#running-part{--hue:light-dark(#2457a6,#8fb8ff)}*{box-sizing:border-box;margin:0}[hidden],.older,
.js .utc,#stale,.filter{display:none}body{margin:auto;max-width:80rem;padding:1rem 2vw;
background:var(--page);color:var(--ink);font:1rem/1.5 system-ui,sans-serif;
font-variant-numeric:tabular-nums}.soft,footer,h2,thead th,.cause,.group{color:var(--soft)}.name,
pre{font-family:ui-monospace,monospace;unicode-bidi:isolate}pre{white-space:pre-wrap;tab-size:8}
.small,footer,td,.meter,.filter,pre,h2,thead th,text,.group,.strip li{font-size:.85rem}a{
color:inherit}ul{list-style:none;padding:0}svg{overflow:visible}.row{display:flex;flex-wrap:wrap;
align-items:baseline;gap:.1rem 1rem}.row>:last-child{margin-left:auto}th .row>*{
margin-left:0!important}h1{font-size:1.5rem}.state{font-size:2.5rem;line-height:1.4;
text-transform:capitalize}.state::before{content:"● ";color:var(--hue)}.stale .state{
text-decoration:line-through}.stale .state::before{content:"○ "}h2{margin-bottom:.5rem}
.wrong:empty{display:none}.wrong,.failure,.alert{padding-left:.75rem;
border-left:.25rem solid var(--hue);margin:.6rem 0}.strip{display:flex;flex-wrap:wrap;gap:1px;
margin:1.25rem 0 1.5rem;background:var(--line)}.strip li{flex:auto;padding:.4rem .75rem;
background:var(--card);color:var(--soft)}.strip strong{display:block;font-size:1.25rem}
.some strong,.outcome{color:var(--hue)}main,.col{display:grid;gap:2rem 2.5rem;align-content:start;
min-width:0}section{min-width:0}@media(min-width:56rem){.index{grid:auto 1fr/minmax(0,
7fr) minmax(0,5fr)}.side{grid-area:1/2/3/3}}@media(min-width:100rem){body{max-width:none}.index{
grid-template:auto/1fr 1fr 1.2fr}.side{grid-area:1/2}}footer{margin-top:2rem}.ends{
margin:-1.9rem 0 .4rem;text-align:right}.card,.log{padding:.75rem 1rem;
border:1px solid var(--line);border-radius:.5rem}.card{background:var(--card)}.stale #stale{
display:block}.log{overflow:auto;max-height:28rem;background:#15181d;color:#e4e6e9}.left-out{
margin:1rem 0;padding:.5rem;background:#262b33}.log,.first,.first *:has(.log){display:flex;
flex-direction:column}.log{flex-direction:column-reverse}.first{gap:.75rem;
max-height:calc(100vh - 6rem);margin-bottom:2rem}.first *:has(.log){min-height:9rem}.first .log{
max-height:none}.cause span{display:block;overflow:hidden;white-space:pre;text-overflow:ellipsis}
.outcome,.elapsed,.failure .name{font-weight:600}.elapsed{font-size:1.75rem}.command{
max-height:8em;overflow:hidden}.meter{display:block;margin-top:.5rem}progress{width:100%;
accent-color:var(--hue)}table{width:100%;border-collapse:collapse}tbody tr{
border-top:1px solid var(--line)}th,td{padding:.25rem 0 .25rem 1rem;text-align:right;
font-weight:400;vertical-align:baseline}th:first-child{width:100%;padding-left:0;text-align:left}
td,thead th,.filter label{white-space:nowrap}th .name{flex:1 1 9rem}th .small{flex:0 1 11rem}
:has(#only:checked) tr.done_q{display:none}:has(#only:checked) tr.older:not([hidden]){
display:table-row}.js .filter{display:flex;gap:1rem;margin-bottom:.5rem}#find{flex:1;font:inherit;
min-width:0}.chart{width:100%;height:9rem}text{fill:var(--soft)}line{stroke:var(--line)}rect{
fill:var(--hue)}rect.done_q{fill-opacity:.4}rect.error_q{fill-opacity:.7}rect.fail_q{
fill:light-dark(#c8140a,#ff5a4d)}@media print{.filter{display:none!important}.log{background:none}
.first,.first *,.log,.command{display:block!important;max-height:none}.log *{
background:none!important;color:#000!important}}
"""
# The script loads the page again and swaps the parts that have changed.
PAGE_SCRIPT = """
const page = document.body, data = page.dataset, by = id => document.getElementById(id)
const all = (sign, from = document) => [...from.querySelectorAll(sign)], icon = all("[rel=icon]")[0]
const file = location.protocol == "file:", clock = () => performance.now() / 1000
const form = new Intl.DateTimeFormat("sv", {dateStyle: "short", timeStyle: "medium"})
const local = t => form.format(t * 1000), selected = () => !getSelection().isCollapsed
const served = new Map(all(".part").map(e => [e.id, e.outerHTML])), key = e => e.id || e.href
const units = [[86400, "d", 3600, "h"], [3600, "h", 60, "min"], [60, "min", 1, "s"], [1, "s"]]
const span = (s, fine, [n, unit, m, part] = units.find(([n]) => s >= n) || units[3]) =>
 Math.max(0, s / n | 0) + ` ${unit}` + (fine && m ? ` ${s % n / m | 0} ${part}` : "")
let newest = data.written, ahead = file ? Date.now() / 1000 - clock() : null  // the server's clock
const show = () => {
 const now = ahead === null ? +data.written : ahead + clock()
 const old = now - newest > (data.patience || Infinity), image = old ? data.stale : data.icon
 page.classList.toggle("stale", old), document.title = (old ? "stale · " : "") + data.title
 if (icon.href != image) icon.href = image
 if (ahead !== null) by("age").textContent = `· ${span(now - data.written)} ago`
 for (const e of selected() ? [] : all("time, [data-hour]")) {
  const t = e.dataset.hour || Date.parse(e.dateTime) / 1000, here = local(t)
  const text = e.dataset.hour ? here.slice(11, 16) + e.textContent.replace(/^[0-9:]+( UTC)?/, "")
   : e.className == "ago" ? span(now - t) + " ago"
   : e.className == "for" ? span((old || !data.patience ? data.written : now) - t, true)
   : here.startsWith(local(now).slice(0, 10)) ? here.slice(11) : here.slice(0, 16)
  if (e.textContent != text) e.textContent = text
 }
}
const swap = body => {                     // a log's scrollTop is 0 at its end, and less above
 const top = all(".part").find(e => e.getBoundingClientRect().bottom > 0) || page
 const height = () => (by(top.id) || page).getBoundingClientRect().top, was = height()
 for (const part of all(".part", body)) if (served.get(part.id) != part.outerHTML) {
  const old = by(part.id), at = document.activeElement, focus = old.contains(at) && key(at)
  const [log, fresh] = [old, part].map(e => e.querySelector(".log"))
  const place = log && log.scrollTop < -2 && log.scrollTop + log.scrollHeight
  served.set(part.id, part.outerHTML), old.replaceWith(part)
  if (place) fresh.scrollTop = place - fresh.scrollHeight
  if (focus) all("a, .log", part).find(e => key(e) == focus)?.focus({preventScroll: true})
 }
 Object.assign(data, body.dataset), scrollY && scrollBy(0, height() - was)
}
const filter = () => { for (const row of all("#finished-part tbody tr"))
 row.hidden = !row.textContent.toLowerCase().includes(by("find").value.toLowerCase()) }
const load = async () => {
 const answer = await fetch(location.href, {cache: "no-store", signal: AbortSignal.timeout(8000)})
 if (!answer.ok) throw Error(`the server answers ${answer.status}`)
 const {body} = new DOMParser().parseFromString(await answer.text(), "text/html")
 newest = body.dataset.written, ahead = Date.parse(answer.headers.get("Date")) / 1000 - clock()
 if (!selected()) swap(body), filter()
}
const again = () => load().catch(problem => problem.message).then(why => {
 by("fault").hidden = !why, by("why").textContent = why, show()
 if (data.every) setTimeout(again, data.every * 1000)
})
page.classList.add("js"), addEventListener("input", filter), show(), setInterval(show, 1000)
if (!file) again()
else if (data.every) setInterval(() => selected() || location.reload(), data.every * 1000)"""
# The script's digest, which a test holds against it; for it alone each start would load hashlib.
PAGE_POLICY = ("default-src 'none'; style-src 'unsafe-inline'; img-src data:; connect-src 'self'; "
               "script-src 'sha256-FS/f85SZq4phR9yp4OcIAu633ZeIBrfvZmymIBOlAHA='")
TURNS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"   # right to left
HTML_SIGNS = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;",
                            **dict.fromkeys(TURNS, "\ufffd")})
LENGTHS = (86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")
ICONS = {"running": "▶3b82f6", "idle": "●3f9c80", "paused": "‖d18b1f", "waiting": "◔d18b1f",
         "stopped": "■8a8a8a", "stale": "✕8a8a8a"}


def esc(text: str, keep: str = "") -> str:
    """Return text as HTML text or attribute value; what cannot be printed becomes a sign."""
    text = text.replace("\r\n", "\n")
    text = "".join(c if c.isprintable() or c in keep else "\ufffd" for c in text)
    return text.translate(HTML_SIGNS)


def iso(seconds: float) -> str:
    """Return a time as utc() does; a file's impossible time is cut to the years 1970 to 9999."""
    return utc(int(min(max(seconds, 0), 253402300799) * 1_000_000))


def time_html(seconds: float, now: float, kind: str = "") -> str:
    """Return a <time>. The script shows how long "ago" it was, or "for" how long it has lasted."""
    text, zone = iso(seconds), '<span class="utc"> UTC</span>' * (kind != "for")
    seen = (length_text(now - seconds) if kind == "for" else
            text[11:19] if text[:10] == iso(now)[:10] else text[:16].replace("T", " "))
    title = f"{text[:10]} {text[11:19]} UTC"
    return f'<time class="{kind}" datetime="{text}" title="{title}">{seen}</time>{zone}'


def length_text(seconds: float) -> str:
    """Return a length of time as people say it: `9.3 s`, `4 min 12 s`, `2 h 5 min`."""
    s = round(seconds)
    for unit, word, part, rest in LENGTHS:
        if s >= unit:
            return f"{s // unit:,} {word} {s % unit // part} {rest}"
    return f"{max(seconds, 0):.1f} s"


def icon(state: str, failures: int) -> str:
    """Return the icon of a state as an address; a red dot tells of failures."""
    dot = "<circle cx='12' cy='4' r='4' fill='red'/>" * (failures > 0)
    svg = (f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'><text x='8' y='14' "
           f"text-anchor='middle' fill='#{ICONS[state][1:]}'>{ICONS[state][0]}</text>{dot}</svg>")
    return "data:image/svg+xml," + re.sub("[#<>]", lambda found: "%%%02X" % ord(found[0]), svg)


def document(s: Snapshot, title: str, top: str, body: str, e: Optional[Entry] = None) -> str:
    """Return a whole page: of a UOW, or of the queue. What may change is loaded again."""
    failures = 0 if e else sum(hour[key] for hour in s.hours for key in FAILED)
    follow = not e or e.queue not in FINISHED
    ages = s.state != "stopped" and (not e or e.queue == "currently_executing")
    title = f"✕{failures:,} · " * (failures > 0) + f"{title} · {esc(s.root)}"
    image, stale = icon(s.state, failures), icon("stale", failures)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{PAGE_POLICY}">
<noscript>{f'<meta http-equiv="refresh" content="{s.every + 2:g}">' * follow}</noscript>
<link rel="icon" href="{image}"><title>{title}</title><style>{PAGE_STYLE}</style></head>
<body data-written="{s.written}" data-every="{f'{min(s.every, 5):g}' * follow}" data-title="{title}"
data-patience="{f'{s.every + 7:g}' * ages}" data-icon="{image}" data-stale="{stale}">
<p class="alert" id="stale" role="alert">Stale: the Monitor was killed, or cannot write here.</p>
<p class="alert" id="fault" role="status" hidden>Cannot be loaded again: <span id="why"></span></p>
<p class="row part small" id="top"><span>{top}</span><span class="soft">as of
{time_html(s.written, s.written)} <span id="age"></span></span></p>
{body}<script>{PAGE_SCRIPT}</script></body></html>
"""


def section(ident: str, title: str, inner: str, box: str = "", before: str = "") -> str:
    """Return a part of a page with its heading; the script swaps its inner part."""
    keys = f' role="group" tabindex="0" aria-labelledby="{ident}"' * (box == "log")
    return (f'<section aria-labelledby="{ident}"><h2 id="{ident}">{title}</h2>\n{before}'
            f'<div class="part" id="{ident}-part"><div class="{box}" id="{ident}-box"{keys}>'
            f"<div>{inner}</div></div></div></section>\n")


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; a row is its class and its cells."""
    text = "".join(f'<th scope="col">{head}</th>' for head in heads) + "</tr></thead><tbody>\n"
    for kind, first, *rest in rows:
        text += f'<tr class="{kind}"><th scope="row"><div class="row">{first}</div></th>'
        text += "".join(f"<td>{cell}</td>" for cell in rest) + "</tr>\n"
    return f"<table><thead><tr>{text}</tbody></table>" if rows else NONE


def outcome_html(e: Entry, whole: bool = False) -> str:
    """Return what has become of a UOW: sign, word and detail; times and sizes where it is whole."""
    word, detail = OUTCOMES.get(e.queue, e.queue.replace("_", "-")), e.status.partition(": ")[2]
    shorter = re.sub(r" after [0-9.]+ s|, cpu [0-9.]+ s|, [0-9.]+ MiB", "", detail)
    return (f'<span class="small"><span class="outcome {e.queue}">{word}</span> '
            f'<span class="soft">{esc(detail if whole else shorter)}</span></span>')


def name_html(s: Snapshot, e: Entry) -> str:
    """Return a UOW's name, as a link once its page is written."""
    tag, link = ("a", f' href="uow/{e.page}"') if e.page in s.pages else ("span", "")
    name = e.name if len(e.name) <= 80 else e.name[:79] + "…"
    return f'<{tag} class="name"{link}>{esc(name)}</{tag}>'


def page_index(s: Snapshot) -> str:
    """Return the page of the whole queue."""
    job, why, trash = esc(s.running.name) if s.running else "", esc(s.reason), s.queues.get("trash")
    if s.state == "stopped":
        why = (f"{job} goes on without the Monitor; the next start picks it up" if job else
               "no job was running") + "; this page is not written again until the Monitor starts"
    wrong = s.wrong + [f"{trash or 0:,} in trash: not a valid UOW"] * bool(trash)
    if s.oldest_wait_seconds > 3600:
        wrong.append(f"the oldest UOW has waited for {length_text(s.oldest_wait_seconds)}")
    strip = "".join(f'<li class="{key} {"some" * bool(count)}"><strong>'
                    f'{"?" if count is None else format(count, ",")}</strong> '
                    f'{key.replace("_", "-")}</li>' for key, count in s.queues.items())
    says = f"<pre>{esc(chr(10).join(s.says), LINES)}</pre>"
    body = f"""<header class="part" id="head"><h1 class="state {s.state}">{s.state}</h1>
<p>{why}{' · ' * bool(why)}<span class="soft">since {time_html(s.since, s.written)}</span></p>
<ul class="wrong" aria-label="Wrong">{"".join(f"<li>{esc(text)}</li>" for text in wrong)}</ul>
<ul class="strip" id="queues" aria-label="Queues">{strip}</ul></header>
<main class="index"><div class="col">{section("failed", "Failed last", failed_html(s))}</div>
<div class="col side">{section("running", "Running job", running_html(s), "card")}
{section("day", "Finished in 24 hours", chart(s), "card")}
{section("waits", "Waiting, next first", waiting_html(s))}</div>
<div class="col">{finished_html(s)}{section("says", "monitor_says", says, "log")}</div></main>
<footer>For programs: <a href="status.json">status.json</a>, <a href="metrics.prom">metrics.prom</a>
</footer>"""
    return document(s, f"running {job}" if s.state == "running" else s.state,
                    f'<strong>simple-job-q</strong> <span class="name soft">{esc(s.root)}</span>',
                    body)


def failed_html(s: Snapshot) -> str:
    """Return the newest failures, each with the last lines of its output."""
    text = ""
    for e in s.failed[:FAILED_SHOWN]:
        cause = "".join(f"<span>{esc(line)}</span>" for line in e.cause)
        text += f"""<li class="failure {e.queue}"><p class="row">{name_html(s, e)}{outcome_html(e)}
<span class="small soft">{time_html(e.ended, s.written, "ago")}</span></p>
<pre class="cause">{cause}</pre></li>"""
    return f"<ul>{text}</ul>" if text else NONE


def finished_html(s: Snapshot) -> str:
    """Return the part of what has finished; `failures only` shows earlier failures, too."""
    recent = {e.page for e in s.recent}
    rows = [(e.queue + " older" * (e.page not in recent), name_html(s, e) + outcome_html(e),
             "–" if e.seconds is None else length_text(e.seconds), time_html(e.ended, s.written))
            for e in s.recent + [e for e in s.failed if e.page not in recent]]
    return section("finished", "Finished last", table(("Job", "Took", "Ended"), rows), before="""
<p class="filter"><input id="find" type="search" placeholder="Filter" aria-label="Filter"><label>
<input type="checkbox" id="only"> failures only</label></p>""")


def waiting_html(s: Snapshot) -> str:
    """Return the table of what waits, under a heading for each queue."""
    rows, more = [], sum(s.queues.get(key) or 0 for key in WAITING) - len(s.waiting)
    for key, entries in itertools.groupby(s.waiting, key=lambda e: e.queue):
        rows.append(("", f'<span class="group">{key.replace("_", "-")}</span>', ""))
        rows += [("", name_html(s, e), time_html(e.enqueued, s.written, "for")) for e in entries]
    return table(("Job", "For"), rows) + f'<p class="soft">and {more:,} more</p>' * (more > 0)


def running_html(s: Snapshot) -> str:
    """Return the running job, and how far it is by its timeout and by earlier runs like it."""
    job, (usual, runs) = s.running, s.typical
    if job is None:
        return NONE
    text = f"""{name_html(s, job)}<pre class="command soft">{esc(job.command, LINES)}</pre>
<p class="elapsed">{time_html(s.written - job.seconds, s.written, "for")}</p>"""
    limits = {f"the median of {runs} runs" if runs > 1 else "the last run": usual,
              "the timeout": job.timeout * job.timeout_is_set}
    for what, limit in limits.items():
        share = job.seconds / max(limit, 0.1)
        text += f"""<label class="meter{" over" * (share > 1)}">
<span class="row">{share:.0%} of {what}<span class="soft">{length_text(limit)}</span></span>
<progress value="{min(share, 1)}"></progress></label>""" * bool(limit)
    return text


def chart(s: Snapshot) -> str:
    """Return 24 hours as stacked bars, wide in per cent and high in pixels."""
    top, drawn, told = max([sum(hour.values()) for hour in s.hours] + [1]), "", ""
    for i, hour in enumerate(s.hours):
        start, x, y = (s.written // 3600 - 23 + i) * 3600, i / 0.24, 116.0
        clock, when = iso(start)[11:16], f'data-hour="{start:.0f}"'
        text = ", ".join(f"{hour[key]:,} {word[2:]}" for key, word in OUTCOMES.items())
        told += f" {clock}: {text}." * any(hour.values())
        drawn += f"<g><title {when}>{clock} UTC: {text}</title>"
        for key in filter(hour.get, OUTCOMES):
            height = max(4, hour[key] * 96 / top)
            y -= height
            drawn += f'<rect class="{key}" x="{x + 0.5:.2f}%" width="3.2%" '
            drawn += f'y="{y:.1f}" height="{height:.1f}"/>'
        drawn += "</g>" + f'<text {when} x="{x:.2f}%" y="136">{clock}</text>' * (i % 6 == 3)
    legend = "".join(f'<span class="outcome {key}">{word[0]}</span> '
                     f"{sum(hour[key] for hour in s.hours):,} {word[2:]} "
                     for key, word in OUTCOMES.items())
    return f"""<svg class="chart" role="img" aria-label="Finished jobs per hour, UTC.{told}">
<text y="12">{top:,} an hour</text><line x2="100%" y1="18" y2="18"/>
<line x2="100%" y1="116" y2="116"/>{drawn}</svg><p class="small">{legend}</p>"""


def page_uow(s: Snapshot, e: Entry, seen: SimpleNamespace, path: str) -> str:
    """Return one UOW's page; seen is what peek() found in it. Its log opens at its end."""
    runs = len(STARTS.findall(seen.head + b"\n" + seen.tail))
    by = f" by {esc(seen.owner)}" * bool(seen.owner)
    facts = [f"{word} {time_html(getattr(e, word), s.written)}" + by * (word == "enqueued")
             for word in ("enqueued", "started", "ended") if getattr(e, word)]
    facts += [] if e.seconds is None else ["ran " + length_text(e.seconds)]
    more = "s" * (runs > 1) + " or more" * bool(seen.left_out)
    facts += [f"{runs} run{more} in its log"] * bool(runs)
    log = log_excerpt(seen.head, seen.tail, seen.left_out, path)
    ends = '<p class="ends small"><a href="#log-start">start</a> · <a href="#log-end">end</a></p>'
    body = f"""<div class="first"><header class="part" id="head"><h1 class="name">{esc(e.name)}</h1>
<p>{outcome_html(e, True)}</p><p class="soft small">{" · ".join(facts)}</p></header>
{section("log", "Job log", log, "log", ends)}</div>
<main>{section("header", "Unit of work", f"<pre>{esc(seen.header, LINES)}</pre>", "card")}</main>"""
    return document(s, esc(e.name), '<a href="../index.html">← queue</a>', body, e)


# A log as HTML. A colour is a pair: as text on the log's dark ground, and as the ground of text.
COLOURS = """828a94 ff7b72 7fd88f e3b341 79b8ff d2a8ff 6fd3dc d0d4da
             9aa3ad ffa198 a5f0b0 f8d878 a5d6ff e2c5ff b3f0f5 ffffff""".split()
GROUNDS = """000000 d1433a 22873e 937015 2f76ca a851bd 208282 c9ced6
             757575 d1433a 22873e 937015 2f76ca a851bd 208282 ffffff""".split()
STEPS = "00 5f 87 af d7 ff".split()
MORE = [red + green + blue for red in STEPS for green in STEPS for blue in STEPS]
MORE += ["%02x" % n * 3 for n in range(8, 248, 10)]
PALETTE = {str(n): pair for n, pair in enumerate(zip(COLOURS + MORE, GROUNDS + MORE))}
# What each code of a colour sequence such as `1;38;5;208` changes in the look of what follows it.
CODE = re.compile(r"(?:([34]8)(?:[;:]5[;:]0*(\d+)|[;:]2[;:]+(\d+)[;:](\d+)[;:](\d+)"
                  r"|[;:]2[;:][;:\d]*|[;:]?\d*)|0*(\d*)(:0)?)(?::\d*)*;")
SGR = {"1": {"1": "font-weight:bold"}, "2": {"2": "opacity:.72"}, "3": {"3": "font-style:italic"},
       "4": {"4": "text-decoration:underline"}, "7": {"7": "inverse"},
       "": dict.fromkeys("1 2 3 4 7 38 48".split(), ""), "22": {"1": "", "2": ""}, "23": {"3": ""},
       "24": {"4": ""}, "27": {"7": ""}, "39": {"38": ""}, "49": {"48": ""},
       **{str(n + (30 if n < 8 else 82)): {"38": PALETTE[str(n)]} for n in range(16)},
       **{str(n + (40 if n < 8 else 92)): {"48": PALETTE[str(n)]} for n in range(16)}}
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
TERMINAL = re.compile(
    r"(?P<text>[^\x00-\x1f\x7f-\x9f]+)|(?P<back>[\r\x08])|(?P<tab>\t)"
    r"|\x1b\[(?P<numbers>[0-?]*)[ -/]*(?P<move>[@-~]?)"      # the last may be cut off
    r"|\x1b[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)"            # window titles, hyperlinks
    r"|\x1b[ -/]*[0-~]?|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
COLUMNS, ROWS = 200, 50         # moves reach no further: to the right, and up


def terminal(log: bytes) -> List[list]:
    """Return the lines that a terminal shows of a log, each as a list of (text, its style)."""
    lines: List[list] = [[]]
    row, look, style = 0, {}, ""
    for number, text in enumerate(log.decode("utf-8", "replace").replace("\r\n", "\n").split("\n")):
        at, row = 0, row + (number > 0)
        lines += [[]] * (row == len(lines))
        if not lines[row] and not CONTROL.search(text):      # most lines
            lines[row] = [(text, style)] * bool(text)
            continue
        lines[row] = [(c, css) for part, css in lines[row] for c in part]
        for token in TERMINAL.finditer(text):
            kind, found = token.lastgroup, token[0]
            if kind == "text":                               # it takes the place of what is there
                lines[row] += [(" ", "")] * (at - len(lines[row]))
                lines[row][at:at + len(found)] = [(c, style) for c in found]
                at += len(found)
            elif kind == "move" and token["move"] == "m":
                style = change_look(look, token["numbers"])
            elif kind == "move":
                row, at = move_cursor(lines, row, at, token["move"], token["numbers"])
            elif kind in ("tab", "back"):
                at = {"\t": at + 8 - at % 8, "\b": max(0, at - 1), "\r": 0}[found]
    return lines


def move_cursor(lines: List[list], row: int, at: int, move: str, numbers: str) -> Tuple[int, int]:
    """Move the cursor, or erase, as `CSI numbers move` does; return its row and column."""
    n, line = int(numbers[:4]) if numbers.isdigit() else 0, lines[row]
    if move in ("A", "B"):
        row += max(1, n) * (1 if move == "B" else -1)
        row = min(max(row, len(lines) - ROWS, 0), len(lines) - 1)
        lines[row] = [(c, css) for part, css in lines[row] for c in part]
    elif move in ("C", "D", "G"):
        at = max(1, n) - 1 if move == "G" else at + max(1, n) * (1 if move == "C" else -1)
        at = min(max(0, at), max(COLUMNS, len(line)))
    elif move in ("J", "K") and n == 0:
        del line[at:], lines[row + 1 if move == "J" else len(lines):]
    elif move == "K":
        line[:] = [(" ", "")] * (at + 1) + line[at + 1:] if n == 1 else []
    return row, at


def change_look(look: dict, numbers: str) -> str:
    """Change the look of the text as `CSI numbers m` does; return it as CSS."""
    for layer, index, red, green, blue, code, off in CODE.findall(numbers + ";"):
        rgb = "".join("%02x" % int(n[-3:]) for n in (red, green, blue)
                      if (n.lstrip("0") or n[:1]) in PALETTE)
        colour = PALETTE.get(index) or len(rgb) == 6 and (rgb, rgb)
        look.update({layer: colour} if layer else SGR.get("24" if off else code, {}))
    front, behind = look.get("38"), look.get("48")
    if look.get("7"):
        front, behind = behind, front or PALETTE["7"]
    styles = [look[code] for code in "1234" if look.get(code)]
    if behind:                                   # text on it is black or white: one can be read
        red, green, blue = bytes.fromhex(behind[1])
        front = ("000000" if 299 * red + 587 * green + 114 * blue > 120_000 else "ffffff",)
        styles.append("background:#" + behind[1])
    return ";".join(styles + ["color:#" + front[0]] if front else styles)


def ansi_html(log: bytes) -> str:
    """Return a log as <pre> with its colours; those are left out of a log of little else."""
    html = ""
    for line in terminal(log):
        for style, cells in itertools.groupby(line, key=itemgetter(1)):
            text = "".join(text for text, _ in cells).translate(HTML_SIGNS)
            html += f'<span style="{style}">{text}</span>' if style else text
        html += "\n"
    if len(html) > max(100_000, 4 * len(log)):
        text = log.decode("utf-8", "replace") + "\n"
        html = TERMINAL.sub(lambda found: found["text"] or "", text).translate(HTML_SIGNS)
    return f"<pre>{html[:-1]}</pre>"


def log_excerpt(head: bytes, tail: bytes, left_out: int, path: str) -> str:
    """Return both ends of a log, and between them how much is left out and where it all is."""
    html = ansi_html(head + tail) if head or tail else "<pre>(no output yet)</pre>"
    if left_out:
        cut, skip = len(head) - (head.rfind(b"\n") + 1), tail.find(b"\n") + 1
        cut, skip = (n if n <= 4096 else 0 for n in (cut, skip))     # whole lines, if not endless
        html = f"""{ansi_html(head[:len(head) - cut])}<p class="left-out">
<strong>{left_out + cut + skip:,} bytes are left out here.</strong>
The whole log is in <span class="name">{esc(shown(path))}</span></p>{ansi_html(tail[skip:])}"""
    return f'<span id="log-start"></span>{html}<span id="log-end"></span>'


STARTS = re.compile(rb"(?:\A|(?<=\n))==== JOB START (\S+) run ([\w-]+)(?=\n)")


def cause_of(log: bytes) -> List[str]:
    """Return the last three lines of the last run's output that are not empty: plain, clipped."""
    output = STARTS.split(log)[-1].rsplit(b"\n==== JOB END ", 1)[0]
    lines = ["".join(text for text, _ in line).strip() for line in terminal(output)]
    return [line if len(line) <= 200 else line[:199] + "…" for line in lines if line][-3:]


def length_of(status: str, log: bytes, ended: float) -> Optional[float]:
    """Return how long the last run took: as STATUS says, else by its log; None if neither tells."""
    took = re.search(r" after (\d{1,15}(?:\.\d{1,9})?) s", status)
    starts, ends = STARTS.findall(log), END_LINE.findall(log)
    if took or not starts or status.endswith("interrupted"):
        return float(took[1]) if took else None
    with suppress(ValueError):
        if ends and ends[-1][1] == starts[-1][1]:
            ended = read_time(ends[-1][0].decode("ascii", "replace")) / 1e6
        return max(0, ended - read_time(starts[-1][0].decode("ascii", "replace")) / 1e6)
    return None


def status_json(s: Snapshot) -> str:
    """Return the Snapshot for programs: times in UTC, lengths in seconds, names in UTF-8."""
    def text(name: str) -> str:
        return name if name == name.encode("utf-8", "ignore").decode() else shown(name)

    def finished(e: Entry) -> dict:
        return dict(name=text(e.name), queue=e.queue, ended=iso(e.ended), status=e.status,
                    seconds=e.seconds)
    job = s.running
    return json.dumps(dict(
        written=iso(s.written), state=s.state, reason=s.reason, since=iso(s.since),
        paused=s.paused, wrong=s.wrong, trash=s.queues.get("trash"),
        running=job and dict(
            name=text(job.name), since=iso(job.started), run=job.run, command=text(job.command),
            elapsed_seconds=round(job.seconds, 3), timeout_seconds=job.timeout),
        queues=s.queues, oldest_wait_seconds=round(s.oldest_wait_seconds, 3),
        waiting=[dict(name=text(e.name), queue=e.queue, enqueued=iso(e.enqueued))
                 for e in s.waiting],
        finished=[finished(e) for e in s.recent],
        failed=[dict(finished(e), cause=e.cause) for e in s.failed[:FAILED_SHOWN]],
        last_finish=iso(s.last_finish) if s.last_finish else None, finished_since_start=s.totals,
        finished_by_hour=s.hours, every_seconds=s.every, root=text(s.root)), indent=1) + "\n"


def metrics_prom(s: Snapshot) -> str:
    """Return the numbers for node_exporter. What the Monitor saw finish is the only counter."""
    job, text, known = s.running, "", {key: n for key, n in s.queues.items() if n is not None}
    totals, failed = {key[:-2]: n for key, n in s.totals.items()}, s.failed[0] if s.failed else None
    for name, told, value in (
            ("up", "1 from the start to a clean stop; a kill leaves it.", s.state != "stopped"),
            ("written_timestamp_seconds", "When this file was written, as Unix time.", s.written),
            ("paused", "1 while no more jobs are started, by message.", s.paused),
            ("wrong", "How many things are wrong, as status.json lists them.", len(s.wrong)),
            ("jobs{queue=", "Files in each directory.", known),
            ("finished_jobs_total{outcome=", "Finished since the Monitor started.", totals),
            ("waiting", "Jobs in both waiting queues.", sum(known.get(key, 0) for key in WAITING)),
            ("running", "1 while a job runs.", bool(job)),
            ("running_elapsed_seconds", "How long it has run, or 0.", job.seconds if job else 0),
            ("running_timeout_seconds", "Its limit, 0 without one.", job.timeout if job else 0),
            ("oldest_waiting_seconds", "How long the oldest waits, or 0.", s.oldest_wait_seconds),
            ("last_finish_timestamp_seconds", "The last end of a job, or 0.", s.last_finish),
            ("last_failure_timestamp_seconds", "The last failure, or 0.", failed and failed.ended)):
        name, _, label = ("simple_job_q_" + name).partition("{")
        kind = "counter" if name.endswith("_total") else "gauge"
        text += f"# HELP {name} {told}\n# TYPE {name} {kind}\n"
        for key, number in (value if label else {"": value}).items():
            text += name + f'{{{label}"{key}"}}' * bool(label) + f" {float(number or 0):.17g}\n"
    return text


# ---- Posting -----------------------------------------------------------------

class Ended:
    """What is known of a directory that only people empty. The Monitor notes what it files."""

    def __init__(self):
        self.count = None                        # None until it is listed, and where it cannot be
        self.newest: List[tuple] = []            # heap of (time, name, inode)
        self.hours = collections.Counter()       # hour since 1970 -> how many ended in it
        self.listed, self.again_at = None, 0.0   # its State then; it is not listed before
        self.listing, self.fresh = None, None    # the one under way, what it has found so far,
        self.noted: Set[str] = set()             # and the names that were noted meanwhile

    def note(self, path: str) -> None:
        """Count a UOW that has ended here."""
        state, name = state_of(path), os.path.basename(path)
        if state and self.count is not None:
            self.count += 1
            self.hours[state.mtime // 3_600_000_000_000] += 1
            push = heapq.heappush if len(self.newest) < ENDED_KEPT else heapq.heappushpop
            push(self.newest, (state.mtime / 1e9, name, state.inode))
        if self.fresh:
            self.fresh.note(path)
            self.noted.add(name)


def survey_ended(m, seconds: float = float("inf")) -> float:
    """List the finished directories that have changed, for so long; return when to go on."""
    until, when = boot_seconds() + seconds, float("inf")
    for key, ended in m.ended.items():
        if away_until(m, key):                   # what a link in its place leads to is not ours
            continue
        if not ended.listing and state_of(getattr(m.config, key)) != ended.listed:
            if boot_seconds() < ended.again_at:  # 100,000 files take half a second to list
                when = min(when, ended.again_at)
            else:
                ended.listing = list_ended(m, key, ended)
        for _ in ended.listing or ():
            if boot_seconds() > until:
                return 0.0
    return when


def list_ended(m, key: str, old: Ended) -> Iterator[None]:
    """List a finished directory, then put the result into m.ended; yield after each 100 names."""
    path, began, readmes = getattr(m.config, key), boot_seconds(), []
    state, fresh = state_of(path), Ended()
    old.fresh, fresh.count = fresh, 0
    try:
        with closing(open_directory(path)) as fd, os.scandir(fd) as names:
            for number, found in enumerate(names, 1):
                if number % 100 == 0:
                    yield
                if README_NAME.fullmatch(found.name):
                    readmes.append(found.name)
                elif not m.config.ignored.fullmatch(found.name) and found.name not in old.noted:
                    if key in FINISHED:
                        fresh.note(os.path.join(path, found.name))
                    else:                        # of trash and archive only the number is told
                        fresh.count += 1
        if state and abs(time.time() - state.mtime / 1e9) > TICK_SECONDS:
            fresh.listed = state                 # else a later change could have the same time
    except OSError:                              # gone, or no file to be had: the next look tells
        fresh = Ended()
    fresh.again_at = boot_seconds() + max(TICK_SECONDS, (boot_seconds() - began) * ENDED_SHARE)
    m.ended[key] = fresh
    # What lies in trash and archive is people's.
    if key in FINISHED and not keep_one_readme(m, path, readmes):
        fresh.listed, fresh.again_at = None, boot_seconds() + RETRY_SECONDS


def post(m) -> float:
    """Post the state into status_dir, at most once a second; return when to run next."""
    when, now, place = survey_ended(m, LISTING_SECONDS), boot_seconds(), m.config.status_dir
    unknown = any(ended.listing and ended.count is None and not away_until(m, key)
                  for key, ended in m.ended.items())
    if place and not m.stopping and (now < m.post_at or unknown):
        return min(when, m.post_at)
    complete = True
    with trying(m, "post", f"the status cannot be posted into {shown(place)}"):
        try:
            complete = not place or post_all(m, take_snapshot(m), place)
        except Exception as problem:             # even a mistake of ours: no page is worth a job
            raise OSError(errno.EIO, reason_of(problem)) from None
    spent, follow = boot_seconds() - now, FOLLOW_SECONDS if m.job else IDLE_SECONDS
    if complete or m.job and now < m.job.began + POST_SECONDS:       # else no job has to wait
        m.post_at = now + min(FOLLOW_SECONDS, max(POST_SECONDS, POST_SHARE * spent))
    return min(when, now + follow if complete else m.post_at)


def post_all(m, s: Snapshot, place: str) -> bool:
    """Write all that is posted; return False where some pages are left for the next time."""
    # What has no page yet has no link: many jobs that end at once do not wait for their pages.
    uow, named = os.path.join(place, "uow"), {}
    os.stat(m.config.root)                       # if somebody has moved it, nothing is made there
    for directory in (place, uow):
        os.makedirs(directory, 0o755, exist_ok=True)
    if os.path.islink(uow):
        raise OSError(errno.ENOTDIR, f"{shown(uow)} is a symbolic link; expected a directory")
    first = [s.running] * bool(s.running) + s.failed[:FAILED_SHOWN]
    for e in first + s.recent + s.waiting + s.failed:
        named.setdefault(e.page, e)
    there = set(os.listdir(uow))
    m.pages = {page: shows for page, shows in m.pages.items() if page in named and page in there}
    until = boot_seconds() + PAGES_SECONDS
    for page, e in named.items():
        path = os.path.join(getattr(m.config, e.queue), e.name)
        shows = place, path, state_of(path)      # also when it may be read no longer
        if e is s.running or m.pages.get(page) != shows:
            m.pages.pop(page, None)
            if boot_seconds() < until or m.stopping:
                seen = peek(path, LOG_SHOWN, e.queue in WAITING)
                write_whole(os.path.join(uow, page), page_uow(s, e, seen, path).encode())
                m.pages[page] = shows
                until = boot_seconds() + PAGES_SECONDS if e is s.running else until
    s.pages = m.pages.keys() | there & named.keys()
    for name, text in {"index.html": page_index, "status.json": status_json,
                       "metrics.prom": metrics_prom}.items():
        write_whole(os.path.join(place, name), text(s).encode())
    for name in there - named.keys():
        if re.fullmatch(r"\d+\.html|\.new\.\d+(\.html)?", name):     # our own, named no longer
            with suppress(FileNotFoundError):    # half a page, that has just been written again
                os.unlink(os.path.join(uow, name))
    return len(m.pages) == len(named)


def take_snapshot(m) -> Snapshot:
    """Return all that is posted, as of now."""
    now, state, running = time.time(), state_now(m), running_entry(m) if m.job else None
    if state != m.state:
        m.state, m.state_since = state, now
    ended = {key: [(*item, key) for item in m.ended[key].newest] for key in FINISHED}
    everything = sum(ended.values(), [])
    newest = heapq.nlargest(RECENT_SHOWN, everything)
    failed = heapq.nlargest(FAILED_PAGES, ended["error_q"] + ended["fail_q"])
    done = [e for e in (known(m, item) for item in ended["done_q"] if running) if e]
    alike = sorted(e.seconds for e in done
                   if e.command == running.command != "" and e.seconds is not None)
    usual = (alike[len(alike) // 2] + alike[~(len(alike) // 2)]) / 2 if alike else 0
    waiting = [Entry(queue.key, name, "%d.html" % inode, enqueued / 1e6) for queue in m.queues
               for enqueued, name, inode in queue.in_order(WAITING_SHOWN)]
    says, wrong = peek(m.config.monitor_says, 4096), [wrong.text for wrong in m.wrong.values()]
    lines = says.tail.partition(b"\n")[2] if says.left_out else says.head + says.tail
    if says.hidden and wrong:                    # then what it says is not for everybody, either
        wrong = ["%d, which monitor_says tells to those who may read it" % len(wrong)]
    idle = max(POST_SECONDS, min(m.config.sleep_seconds, IDLE_SECONDS))
    snapshot = Snapshot(
        written=now, state=state[0], reason=state[1], since=m.state_since, paused=m.paused,
        every=FOLLOW_SECONDS if m.job else idle, root=m.config.root, running=running, wrong=wrong,
        queues=counts(m), waiting=waiting[:WAITING_SHOWN],
        recent=[e for e in (known(m, i) for i in newest) if e],
        failed=[e for e in (known(m, i) for i in failed) if e], typical=(usual, len(alike)),
        totals=m.totals, last_finish=newest[0][0] if newest else 0,
        hours=[{key: m.ended[key].hours[now // 3600 - back] for key in FINISHED}
               for back in range(23, -1, -1)],
        says=lines.decode("utf-8", "replace").split("\n")[-SAYS_SHOWN - 1:-1],
        oldest_wait_seconds=max([0] + [now - e.enqueued for e in waiting]))
    m.finished = {item: m.finished[item] for item in everything if item in m.finished}
    return snapshot


def running_entry(m) -> Entry:
    """Return what is told of the running job."""
    job, found = m.job, os.fstat(m.job.fd)
    command = job.uow.names.get("UOW_COMMAND", "") if found.st_mode & stat.S_IROTH else ""
    default = read_seconds(CONFIG["timeout_seconds"][0])
    return Entry("currently_executing", job.name, "%d.html" % found.st_ino,
                 (job.uow.enqueued or 0) / 1e6, job.since / 1e6, command=command,
                 seconds=max(0, boot_seconds() - job.began), timeout=job.limit, run=job.run,
                 timeout_is_set=job.uow.timeout is not None or m.config.timeout_seconds != default)


def known(m, item: tuple) -> Optional[Entry]:
    """Return what is told of a finished UOW, read again if it has changed; None if it is gone."""
    ended, name, inode, key = item
    path = os.path.join(getattr(m.config, key), name)
    state, failed = state_of(path), key in FAILED
    if state and m.finished.get(item, (None,))[0] != state:
        seen = peek(path, CAUSE_READ * failed)
        log, uow = seen.head + b"\n" + seen.tail, seen.uow
        seconds = length_of(uow.status, log, ended)
        entry = Entry(key, name, "%d.html" % inode, (uow.enqueued or 0) / 1e6,
                      0 if seconds is None else ended - seconds, ended, uow.status,
                      uow.names.get("UOW_COMMAND", ""), seconds)
        m.finished[item] = state, entry._replace(cause=cause_of(log) if failed else ())
    return m.finished[item][1] if state else None


def peek(path: str, most: int = 0, waiting: bool = False) -> SimpleNamespace:
    """Return what everybody may see of a UOW: header, owner, Uow and both ends of its log."""
    seen = SimpleNamespace(header="", owner="", uow=NO_UOW, head=b"", tail=b"", left_out=0)
    seen.hidden = False
    with suppress(OSError, BadUow), closing(open_regular(path)) as fd:       # else it is gone
        if waiting:                              # not a valid UOW: it may link to a private file
            read_uow(fd, path)
        with suppress(BadUow):
            seen.uow = read_own(fd)
        found, at = os.fstat(fd), seen.uow.log_at
        seen.hidden, seen.header = not found.st_mode & stat.S_IROTH, os.fsdecode(seen.uow.header)
        seen.owner = os.fsdecode(seen.uow.line_1.partition(b" by ")[2]).strip()
        if seen.hidden:
            seen.uow = seen.uow._replace(names={})
            seen.header = "Not everybody may read this UOW, so it is not shown here."
        elif at or seen.uow is NO_UOW:
            seen.head = os.pread(fd, most, at)
            seen.left_out = max(0, found.st_size - at - len(seen.head) - most)
            seen.tail = os.pread(fd, most, at + len(seen.head) + seen.left_out)
    return seen


def tell_systemd(m) -> float:
    """Tell systemd that the Monitor is ready, what it does, and that its cycle does not hang."""
    if "NOTIFY_SOCKET" not in os.environ:
        return float("inf")
    now, text = boot_seconds(), status_text(m)
    every = int(os.environ.get("WATCHDOG_USEC", 0)) / 4e6 or float("inf")
    due = m.sent_at + (min(1, every) if text != m.status_sent else every)
    if m.status_sent and now < due:
        return due
    notify("READY=1\n" * (not m.status_sent) + "WATCHDOG=1\nSTATUS=" + text)
    m.status_sent, m.sent_at = text, now
    return now + every


def status_text(m) -> str:
    """Return the line that `systemctl status` shows: the state, what waits, and what is wrong."""
    state, why = state_now(m)
    if m.job:
        state = "running %s since %s" % (shown(m.job.name), utc(m.job.since)[11:19])
        why = m.job.reason
    waiting = len(m.claimed) + sum(len(queue.files) for queue in m.queues)
    parts = [state + (" (%s)" % why if why else ""), "%d waiting" % waiting]
    parts += [wrong.text for wrong in list(m.wrong.values())[-1:] if wrong.text != why]
    return "; ".join(parts)[:400]


# ---- Check: prove what the promises rest on, run nothing ---------------------

def check(configs) -> int:
    """Print a line for each finding and return 1, or 0. Monitors may run beside it."""
    findings, notes, places = [], [], {}
    for number, config in enumerate(configs):
        for other in configs[:number]:
            findings += between(config, other)
        try:
            findings += refusals(config) or trial(config)
        except OSError as problem:                   # a full disk, say
            findings.append("%s: %s" % (shown(config.root), reason_of(problem)))
        if not not_for_us(config):
            findings += ["%s %s is missing; a start makes it" % (key, shown(path))
                         for key, path in missing(config) if not unfit(config, key, path)]
            findings += unfit_status_dir(config)
            notes += open_to_submit(config)
            for key in WAITING + ["currently_executing"] + FINISHED:
                findings += check_directory(config, key, places)
    waiting = {getattr(config, key) for config in configs for key in WAITING}
    for (name, line_1), paths in places.items():
        there = dict.fromkeys(map(os.path.dirname, filter(os.path.lexists, paths)))
        if len(there) > 1 and (line_1 or set(there) - waiting):   # unstamped, two that wait differ
            findings.append("%s is in %s; move one of them to archive"
                            % (shown(name), " and in ".join(map(base, there))))
    for line in dict.fromkeys(notes + (findings or ["all is well"])):
        write_out(1, line)
    return 1 if findings else 0


def unfit_status_dir(config) -> List[str]:
    there = config.status_dir
    while there and not os.path.lexists(there):
        there = os.path.dirname(there)
    if not there or os.path.isdir(there) and os.access(there, os.W_OK | os.X_OK):
        return []
    return ["status_dir %s cannot be made or written by %s: no status is posted"
            % (shown(config.status_dir), owner_name(os.geteuid()))]


def between(config, other) -> List[str]:
    """Return what is wrong between the configurations of two Monitors."""
    same = [key for key in CONFIG if getattr(config, key) == getattr(other, key) != ""]
    names = "%s and %s " % (shown(config.path), shown(other.path))
    findings = [names + "have the same %s; expected one for each Monitor" % key
                for key in same if key in ["currently_executing"] + PATHS]
    if config.root != other.root and set(same) & set(WAITING):
        findings.append(names + "share a waiting queue from two directories; put both into one")
    return findings


def check_directory(config, key: str, places) -> List[str]:
    """Return what is wrong with the UOWs of a directory; note in `places` where each is."""
    directory, findings = getattr(config, key), []
    may_list = os.path.isdir(directory) and os.access(directory, os.R_OK | os.X_OK)
    for name in sorted(os.listdir(directory)) if may_list else []:
        if config.ignored.fullmatch(name) or README_NAME.fullmatch(name):
            continue
        path, wrong = os.path.join(directory, name), ""
        try:
            with closing(open_regular(path)) as fd:
                uow = read_uow(fd, path, config.required_names) if key in WAITING else read_own(fd)
            places.setdefault((name, uow.line_1), []).append(path)
            word = status_word(uow.status)
            if key in FINISHED and word != key[:-2]:
                wrong = "has %s; expected %s there: mv it to %s" % (
                    "the STATUS " + shown(word) if word else "no STATUS", key[:-2],
                    word + "-q" if word + "_q" in FINISHED else "archive")
        except BadUow as problem:
            wrong = "is not a valid UOW: %s; mend it, or mv it to archive" % problem
        except OSError as problem:
            wrong = "cannot be read by %s (%s); %s" % (
                owner_name(os.geteuid()), reason_of(problem), mend("chmod a+r", path))
        if wrong and os.path.lexists(path):          # else it has moved on
            findings.append("%s %s" % (shown(path), wrong))
    return findings


def trial(config, only: str = "") -> List[str]:
    """Try on this very file system what the promises rest on, and return what it refuses."""
    for left in glob(os.path.join(escape(config.root), ".check.*")):
        if not os.path.exists("/proc/" + left.rpartition(".")[2]):
            shutil.rmtree(left, ignore_errors=True)      # a kill has left it
    place = os.path.join(config.root, ".check.%d" % os.getpid())     # in the root it wakes nobody
    name, below, another, refused = place + "/file", place + "/below", "use another one", []
    os.mkdir(place, 0o700)
    try:
        os.mkdir(below)
        with closing(os.open(name, os.O_CREAT)) as file, closing(os.open(place, 0)) as directory:
            for what, then, attempt in (
                    ("hard links", another, lambda: os.link(name, below + "/link")),
                    ("flock", another, lambda: fcntl.flock(file, fcntl.LOCK_EX)),
                    ("fsync of a directory", "set durable :: no, or " + another,
                     lambda: config.durable and os.fsync(directory)),
                    ("a read lease", "settle_seconds alone tells that a file is complete",
                     lambda: fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)),
                    ("inotify", "a drop is seen after sleep_seconds only",
                     lambda: Watcher().add(below, IN_CREATE)),
                    ("the atomic exchange of two files", "UOWs are stamped when they are claimed",
                     lambda: exchange(name, below))):
                try:
                    if only in ("", what):
                        attempt()
                except OSError as problem:
                    refused.append("%s: the file system refuses %s (%s): %s"
                                   % (shown(config.root), what, reason_of(problem), then))
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return refused


# ---- Start-up ----------------------------------------------------------------

def lacking() -> List[str]:
    """Return what the machine lacks without which nothing runs."""
    needed_tools = ("bash", "cat", "date", "grep", "mv", "tee")
    tools = [name for name in needed_tools if not shutil.which(name)]
    told = ["no command %s in PATH; install bash, coreutils and grep" % ", ".join(tools)]
    return told[:len(tools)] + ["/proc is missing; mount it"] * (not os.path.exists("/proc/self"))


def not_for_us(config) -> str:
    """Say whose queue this is if it is not that of who runs this: a `chown` would break it."""
    places = filter(os.path.exists, (config.root, config.currently_executing))
    owner = next(filter(None, (os.stat(path).st_uid for path in places)), 0)   # root's is anybody's
    if owner in (0, os.geteuid()):
        return ""
    return ("this queue belongs to {0}; run it as that user: sudo -u {0} python3 {1}"
            .format(owner_name(owner), " ".join(map(shown, sys.argv))))


def mend(command: str, path: str) -> str:
    """Return a command that mends a file, as who runs this has to type it."""
    me, state = os.geteuid(), os.stat(path) if os.path.exists(path) else None
    may = me == 0 or state and state.st_uid == me and not command.startswith("chown")
    return "mend it with: %s%s %s" % ("" if may else "sudo ", command, shown(path))


def refusals(config) -> List[str]:
    """Return why a start refuses the directories, each with how to mend it."""
    if not_for_us(config):                           # its own user may well be able to
        return [not_for_us(config)]
    unfits = [unfit(config, key, getattr(config, key)) for key in ["root"] + DIRECTORIES]
    return open_to_others(config) + [text for text in unfits if text]


def open_to_others(config) -> List[str]:
    """Return how others could act as the Monitor's user, and each mend."""
    own = [config.root, config.path, os.path.abspath(__file__), config.currently_executing]
    findings, me = [], os.geteuid()
    for path in filter(os.path.exists, own + [getattr(config, key) for key in WAITING]):
        found = os.stat(path)
        ours, mode = path in own, found.st_mode
        all_may = mode & stat.S_IWOTH and (ours or not mode & stat.S_ISVTX)   # else on purpose
        for is_open, what, command in (
                (ours and found.st_uid not in (0, me),
                 "belongs to %s, who could act as the Monitor's user" % owner_name(found.st_uid),
                 "chown " + owner_name(me)),
                (all_may, "can be written by everybody", "chmod o-w"),
                (ours and mode & stat.S_IWGRP and not is_own_group(found.st_gid, me),
                 "can be written by its group", "chmod g-w")):
            if is_open:
                findings.append("%s %s; %s" % (shown(path), what, mend(command, path)))
    return findings


def open_to_submit(config) -> List[str]:
    """Return what to say of waiting queues that are open to everybody on purpose."""
    return ["everybody may drop jobs into %s: job_command decides as whom they run" % shown(path)
            for path in (getattr(config, key) for key in WAITING)
            if os.path.isdir(path) and os.stat(path).st_mode & stat.S_IWOTH
            and os.stat(path).st_mode & stat.S_ISVTX]


def is_own_group(gid: int, uid: int) -> bool:
    """Tell whether a group has nobody in it but this user and root (a user's private group)."""
    with suppress(KeyError):
        return {owner_name(uid), "root"}.issuperset(grp.getgrgid(gid).gr_mem) and all(
            entry.pw_uid in (0, uid) for entry in pwd.getpwall() if entry.pw_gid == gid)
    return False                                     # it has no name


def unfit(config, key: str, path: str) -> str:
    """Return why a directory cannot be used, or be made; or ""."""
    named, there, me = "%s %s " % (key, shown(path)), path, owner_name(os.geteuid())
    while not os.path.lexists(there):
        there = os.path.dirname(there)
    if not os.path.isdir(there) or os.path.islink(path) and key != "root":
        what = "a symbolic link" if os.path.islink(there) else "not a directory"
        return ("%s is %s; expected a real directory for %s: move it away, or name another in %s"
                % (shown(there), what, key, shown(config.path)))
    try:
        os.rename(os.path.join(config.root, ".none.%d" % os.getpid()), os.path.join(there, ".none"))
    except OSError as problem:                       # there is nothing to rename
        if problem.errno == errno.EXDEV:             # so for a bind mount, too
            return named + "is on another file system than %s; expected all on one: name another " \
                "in %s" % (shown(config.root), shown(config.path))
    if key == "archive" or os.access(there, os.R_OK | os.W_OK | os.X_OK):
        return ""
    if is_read_only(there):
        return named + "is on a read-only file system"
    if there != path:
        return named + "cannot be made by %s; %s" % (me, mend("install -d -o " + me, path))
    command = "chmod u+rwx" if os.stat(path).st_uid == os.geteuid() else "chown " + me
    return named + "cannot be listed and written by %s; %s" % (me, mend(command, path))


def missing(config) -> List[Tuple[str, str]]:
    return [(key, getattr(config, key)) for key in DIRECTORIES
            if not os.path.lexists(getattr(config, key))]


class Taken(Exception):
    """Another Monitor has currently-executing; the text says which one."""


def lock(config) -> int:
    """Take currently-executing and return it, open; Taken if another Monitor has it."""
    # It waits for a `mv` that a dead Monitor had begun: nothing may be moved beside that.
    fd, pid = os.open(config.currently_executing, os.O_DIRECTORY), ""
    for attempt in itertools.count():
        with suppress(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return fd
        time.sleep(0.02)
        before, pid = pid, holder(fd) if attempt > 20 else ""
        if pid and pid == before:                # seen twice: it may just have been given back
            raise Taken("another Monitor has %s: pid %s"
                        % (shown(config.currently_executing), pid))
        if attempt == 21 and not pid:
            write_out(2, "monitor.py: waiting for a command that a dead Monitor had begun in %s"
                      % shown(config.root))


def holder(fd: int) -> str:
    """Return the pid that took a lock, or "" if it is dead: then a command of it has the lock."""
    with open("/proc/locks") as file:
        pids = re.findall(r"^\d+: FLOCK .* (\d+) \S+:%d " % os.fstat(fd).st_ino, file.read(), re.M)
    alive = [pid for pid in pids if os.path.exists("/proc/" + pid)]
    return alive[0] if alive else "" if pids and "0" not in pids else "unknown"


def check_reload(new, old) -> None:
    """Raise Unusable if a running Monitor cannot go over to a configuration."""
    findings = open_to_others(new) + [
        "%s can only be changed by a restart" % key for key in DIRECTORIES + ["monitor_reads"]
        if getattr(new, key) != getattr(old, key)]
    if findings:
        raise Unusable(*findings)


def check_reload_file(path: str) -> None:
    """Send HUP to $MAINPID and end in SystemExit: 0, or why it refuses. `systemctl reload` does."""
    refused, until = "the Monitor has not answered in 20 s", boot_seconds() + 20
    try:
        says = load_config(path).monitor_says
        size = os.path.getsize(says) if os.path.exists(says) else 0
    except Unusable as problem:
        refused, until = str(problem), 0
    os.kill(int(os.environ["MAINPID"]), signal.SIGHUP)
    while boot_seconds() < until:
        with suppress(OSError), open(says, errors="replace") as file:
            file.seek(size)
            answers = re.findall(r"^\S+ (RELOAD(?: refused)?: .*)\n", file.read(), re.M)
            if answers:
                raise SystemExit(0 if "configuration read" in answers[-1] else answers[-1])
        time.sleep(0.02)
    raise SystemExit(refused)


def start_afresh() -> None:
    """Mend what may be inherited: signals ignored or blocked, standard files closed."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)    # ignored, it would lose exit codes
    signal.signal(signal.SIGIO, signal.SIG_IGN)      # comes when an open breaks our lease
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    fd = 0
    while fd < 3:                                    # no other file may get such a number
        fd = os.open(os.devnull, os.O_RDWR)
    os.close(fd)


def listen(m) -> None:
    """Let signals do nothing but end the sleep; what they mean is read there."""
    m.wakeup, write = os.pipe()
    for fd in (m.wakeup, write):
        os.set_blocking(fd, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    # `systemctl reload` waits for READY=1 only if it has heard of the reload in time.
    signal.signal(signal.SIGHUP, lambda *_: notify(
        "RELOADING=1\nMONOTONIC_USEC=%d" % (time.monotonic_ns() // 1000)))
    m.had_terminal = has_terminal()


def start_up(config, until_empty: bool) -> Monitor:
    """Check the directories and take the lock; Unusable, Taken or OSError."""
    findings = refusals(config)
    if findings:
        raise Unusable(*findings)
    made = missing(config)
    os.makedirs(config.currently_executing, 0o755, exist_ok=True)
    DOOR.lock = [lock(config)]                       # a second Monitor has touched nothing so far
    with suppress(OSError):                          # on a full disk it cannot be tried
        findings = trial(config, "hard links")       # one says that a job has begun
    if findings:
        raise Unusable(*findings)
    for _, path in made:
        os.makedirs(path, 0o755, exist_ok=True)
    m = Monitor(config, until_empty)
    m.turn = open_turn(config)
    divide_cgroup()
    os.chdir(config.root)
    listen(m)
    say(m, "started: pid %d, root %s%s"
        % (os.getpid(), shown(config.root), ", paused" * m.paused), 5)
    told = ["%s was missing: made %s" % (key, shown(path)) for key, path in made]
    for text in told + open_to_submit(config):
        say(m, text, 4)
    return m


def refuse(code: int, *findings: str) -> int:
    """Say on stderr and in `systemctl status` why there is no start; return the code."""
    for text in findings:
        write_out(2, "%smonitor.py: %s" % ("<3>" if in_journal() else "", text))
    notify("STATUS=" + "; ".join(findings))
    return code


VERSION = "2.0"
USAGE = "usage: monitor.py [CONFIG] [--until-empty], or monitor.py [CONFIG ...] --check"
HELP = USAGE + """

Run the jobs that people drop as text files into wait-q and priority-q, one at a time.
CONFIG is config.txt beside monitor.py unless given; its directory is the root of the queue.

  --until-empty  end once nothing waits or runs
  --check        run nothing: say what is wrong and how to mend it; exit 0 or 1
  -h, --help     print this
  --version      print the version

Exit codes: 2 unusable configuration, directories, arguments or machine; 3 another Monitor."""


def main(argv: List[str]) -> int:
    """Run the Monitor, or --check, and return the exit code."""
    start_afresh()
    flags = {word for word in argv if word.startswith("-")}
    paths = [word for word in argv if not word.startswith("-")]
    if flags & {"-h", "--help", "--version"}:
        write_out(1, "simple-job-q " + VERSION if flags == {"--version"} else HELP)
        return 0
    if flags - {"--until-empty", "--check"} or len(flags) > 1 or \
            len(paths) > 1 and "--check" not in flags:
        return refuse(EXIT_UNUSABLE, USAGE + "; --help tells more")
    try:
        if lacking():
            raise Unusable(*lacking())
        beside = os.path.join(os.path.dirname(os.path.abspath(__file__)), "config.txt")
        config = load_config(paths[0] if paths else beside, optional=not paths)
        if "--check" in flags:
            return check([config] + [load_config(path) for path in paths[1:]])
        m = start_up(config, "--until-empty" in flags)
    except Unusable as problem:
        return refuse(EXIT_UNUSABLE, *problem.args)
    except Taken as problem:
        return refuse(EXIT_TAKEN, str(problem))
    except OSError as problem:
        return refuse(EXIT_UNUSABLE, "%s: %s; --check may tell more"
                      % (shown(config.root), reason_of(problem)))
    return work(m)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
