#!/bin/sh
# The guard of one PostgreSQL node: it stops a primary that is cut off. Put here by: pgvigil guard install
#
# Three things must come together, else it does nothing: the server is out of recovery, the lease that the
# controller renews has run out, and fewer than a majority of the cluster's nodes (this one counted) can be
# reached. Then the server is stopped and standby.signal is left, so that it can only return as a standby.
#
# Time is /proc/uptime, in hundredths of a second: it goes on while the machine sleeps, and nobody sets it.
# A lease runs from a reading of that clock which the controller brought back, not from when it arrived:
# one that was long under way has run out when it comes.
#
# Files beside this one: config and lease (written by the controller), beat (read by it), pid, log, version.
# POSIX sh on Linux; tried with dash, bash and busybox. guard.sh run | start | stop

set -u
umask 077
PATH="${PATH:+$PATH:}/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
LC_ALL=C
export PATH LC_ALL
case $0 in */*) cd "${0%/*}" || exit 1 ;; esac

LOOK_S=1            # how long the other nodes may take to answer
QUIT_TENTHS=5       # how long the server may take to end before it is killed
GONE_TENTHS=20      # how long a killed server may take to disappear
LOG_LINES=500

# --- time, words

clock() { # now: hundredths of a second since boot
    read -r up _ < /proc/uptime
    now=$((${up%.*} * 100 + 1${up#*.} - 100))
}

pause() { # pause TENTHS
    sleep "$(($1 / 10)).$(($1 % 10))" 2>/dev/null || sleep 1
}

say() {
    lines=$((lines + 1))
    if [ "$lines" -gt "$LOG_LINES" ]; then mv -f log log.1 && lines=1; fi
    echo "$(date -u '+%Y-%m-%d %H:%M:%S') $*" >> log
}

number() { case $1 in '' | *[!0-9]*) return 1 ;; esac; }

# --- one guard a directory: its process works in this directory, as no other program does

other_guard() {
    other=
    { read -r other < pid; } 2>/dev/null
    number "$other" && [ "$other" != $$ ] && [ "/proc/$other/cwd" -ef . ]
}

# --- what the controller wrote

read_config() { # again whenever its first line, the id, is another
    new=
    { read -r _ new < config; } 2>/dev/null
    [ -n "$new" ] && [ "$new" != "$config" ] || return 0
    config=$new data= bin= peers= nodes=1 wanted=
    while read -r key value; do
        case $key in
            data) data=$value ;;
            bin) bin=$value/ ;;
            watchdog) wanted=$value ;;
            peer)
                nodes=$((nodes + 1)) peers="$peers $value"
                ;;
        esac
    done < config
    majority=$((nodes / 2 + 1))
    say "configuration $config: $nodes nodes, data directory $data"
}

read_lease() { # until: when it runs out; 0: there is none of this boot
    until=0 l_boot= l_from= l_length= l_end=
    { read -r l_boot l_from l_length l_end _ < lease; } 2>/dev/null
    if [ "$l_end" = . ] && [ "$l_boot" = "$boot" ] && number "$l_from" && number "$l_length" &&
        [ "$l_from" -le "$now" ]; then
        until=$((l_from + l_length))
    fi
}

# --- the server

postmaster() { # sets p
    p=
    { read -r p < "$data/postmaster.pid"; } 2>/dev/null
    number "$p" && [ "/proc/$p/cwd" -ef "$data" ]
}

servers() { # sets found: all processes of this data directory
    found=
    for q in /proc/[0-9]*; do
        if [ "$q/cwd" -ef "$data" ]; then
            c=
            { read -r c < "$q/comm"; } 2>/dev/null
            case $c in post*) found="$found ${q#/proc/}" ;; esac
        fi
    done
    [ -n "$found" ]
}

lives() { postmaster || servers; }

is_standby() { # or can only become one: there is nothing to stop
    [ -f "$data/PG_VERSION" ] || return 0
    said=$("${bin}pg_controldata" -D "$data" 2>/dev/null | sed -n 's/^Database cluster state: *//p')
    if [ -f "$data/standby.signal" ]; then
        [ "$said" != "in production" ] || ! lives
    else
        [ "$said" = "in archive recovery" ] && lives
    fi
}

stop_server() {
    # In the background: a disk that hangs must not keep a server alive.
    { : > "$data/standby.signal" && sync "$data/standby.signal" "$data"; } > /dev/null 2>&1 &
    tenths=0
    while [ ! -f "$data/standby.signal" ] && [ $tenths -lt 2 ]; do
        pause 1
        tenths=$((tenths + 1))
    done
    tenths=0
    postmaster && kill -QUIT "$p"
    while lives && [ $tenths -lt $QUIT_TENTHS ]; do
        pause 1
        tenths=$((tenths + 1))
    done
    tenths=0
    while lives && [ $tenths -lt $GONE_TENTHS ]; do
        postmaster && kill -KILL "$p" # first, so that it starts no more
        servers && kill -KILL $found
        pause 1
        tenths=$((tenths + 1))
    done 2>/dev/null
}

# --- the others

look_around() { # sets seen: how many nodes can be reached, this one counted
    seen=1 looks=
    # shellcheck disable=SC2086
    set -- $peers
    while [ $# -ge 2 ]; do
        "${bin}pg_isready" -q -t 3 -h "$1" -p "$2" < /dev/null > /dev/null 2>&1 &
        looks="$looks $!"
        shift 2
    done
    { sleep $LOOK_S && kill $looks; } > /dev/null 2>&1 &
    timer=$!
    for look in $looks; do
        wait "$look"
        case $? in 0 | 1) seen=$((seen + 1)) ;; esac
    done
    kill $timer 2>/dev/null
    wait $timer
} 2>/dev/null

# --- the watchdog device: fed as long as nothing is wrong; closed with V it lets the machine run

open_watchdog() {
    [ "$wanted" = "$watchdog" ] && return
    close_watchdog
    watchdog=$wanted
    [ -n "$watchdog" ] || return
    if [ -w "$watchdog" ]; then
        exec 3> "$watchdog"
        dog=open
        say "feeds $watchdog"
    else
        dog=closed
        say "cannot open $watchdog: it is not fed"
    fi
}

feed() { if [ "$dog" = open ]; then printf . >&3; fi; }

close_watchdog() {
    if [ "$dog" = open ]; then
        printf V >&3
        exec 3>&-
    fi
    dog=none
}

leave() {
    close_watchdog
    say "ended"
    rm -f pid beat
    exit 0
}

# --- one turn

turn() {
    clock
    if [ "$now" -lt "$until" ]; then
        state=leased
        return
    fi
    if is_standby; then
        state=standby
        return
    fi
    look_around
    clock
    read_lease # it may have come meanwhile
    if [ "$now" -lt "$until" ]; then
        state=leased
    elif [ "$seen" -ge "$majority" ]; then
        state=held
    else
        state=stopping
        running=
        if lives; then running=1; fi
        [ -z "$running" ] || say "no lease, and only $seen of $nodes nodes can be reached: stopping PostgreSQL"
        stop_server
        if lives; then
            say "PostgreSQL could not be stopped"
        else
            state=stopped
            if [ -n "$running" ]; then
                acted=$(date +%s)
                echo "$acted" > acted
                clock
                say "PostgreSQL is stopped; it can only return as a standby"
            fi
        fi
    fi
}

tell() { # of one length and without cutting the file off before: a reader never finds it empty
    printf '%-200s\n' "$boot $now $$ $version $config $state $seen $nodes $acted $dog ." 1<> beat
}

run() {
    if other_guard; then exit 0; fi
    echo $$ > pid
    lines=0 config= data= bin= peers= nodes=1 majority=1 wanted= watchdog= dog=none
    until=0 seen=0 state=new before= acted=0 version= boot=
    [ ! -f log ] || mv -f log log.1
    { read -r acted < acted; } 2>/dev/null
    number "$acted" || acted=0
    { read -r version < version; } 2>/dev/null
    read -r boot < /proc/sys/kernel/random/boot_id
    trap leave TERM INT HUP
    while :; do
        if other_guard; then exit 0; fi # it was started later: it counts
        clock
        read_config
        open_watchdog
        read_lease
        [ -z "$data" ] || turn
        tell
        if [ "$state" != "$before" ]; then say "$state ($seen of $nodes nodes reached)"; fi
        before=$state
        [ "$state" = stopping ] || feed
        rest
    done
}

rest() { # to the end of the lease, at most a second; without a lease half of one
    tenths=5
    if [ "$state" = leased ]; then
        tenths=$(((until - now) / 10 + 1))
        [ $tenths -le 10 ] || tenths=10
    fi
    pause $tenths
}

start() {
    if other_guard; then return; fi
    rm -f beat
    if command -v setsid > /dev/null; then
        setsid sh ./guard.sh run < /dev/null > /dev/null 2>&1 &
    else
        nohup sh ./guard.sh run < /dev/null > /dev/null 2>&1 &
    fi
    tenths=0
    while [ ! -s beat ] && [ $tenths -lt 30 ]; do
        pause 1
        tenths=$((tenths + 1))
    done
    [ -s beat ] || {
        echo "the guard did not start" >&2
        return 1
    }
}

stop() {
    tenths=0
    while other_guard && [ $tenths -lt 50 ]; do
        if [ $tenths -lt 30 ]; then kill -TERM "$other"; else kill -KILL "$other"; fi
        kill -CONT "$other"
        pause 1
        tenths=$((tenths + 1))
    done 2>/dev/null
    ! other_guard
}

case ${1-} in
    run | start | stop) "$1" ;;
    *)
        echo "usage: guard.sh run | start | stop" >&2
        exit 2
        ;;
esac
