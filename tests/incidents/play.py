#!/usr/bin/env python3
"""Plays incidents on private servers and says which rule found each, and when; run.sh starts it."""
import argparse
import random
import signal
import sys
import threading
import time

import servers
from kinds import KINDS

COLLECTION = 2
# Rules look at minutes, as they are shipped.
INTERVAL = 60
SHORT = ["server_stopped", "error_burst", "crash", "idle_in_transaction", "damaged_page"]
# Ends with a server that is good for nothing more.
LAST = ["wraparound", "failover"]
# What comes later than two intervals is still waited for, and counted as late. Beside other tests, which the short form
# runs with, time says nothing.
PATIENCE = 1.25
PATIENCE_SHORT = 4


class Play:
    def __init__(self, patience):
        self.patience = patience
        self.lock = threading.Lock()
        self.results = []

    def say(self, text):
        with self.lock:
            print(text, flush=True)

    def one(self, name, target, source, draw):
        """Plays a kind, waits for its alert, puts things right."""
        kind = KINDS[name]
        undo = []

        def over():
            return not any(s == source and rule in kind["rules"]
                           for s, rule, _, _ in servers.alerts("state IN ('pending', 'firing')"))

        # What an earlier incident left is over, so that what fires is this one's.
        servers.await_until(4 * INTERVAL, over)
        began = time.time()
        alert = None
        try:
            drawn = kind["play"](target, draw, undo.append)
            if isinstance(drawn, tuple):
                drawn, began = drawn
            # Twice what passes between two readings, or two minutes of the rules.
            limit = max(2 * INTERVAL, 2 * kind["interval"] * COLLECTION + INTERVAL)

            def come():
                nonlocal alert
                for s, rule, fired, summary in servers.alerts(f"fired_at >= to_timestamp({began})"):
                    if s == source and rule in kind["rules"]:
                        alert = (rule, fired - began, summary)
                        return True
                return False

            servers.await_until(limit * self.patience, come)
        except Exception as error:  # What cannot be played is said and counted as missed.
            drawn = f"not played: {error}"
        finally:
            for step in reversed(undo):
                try:
                    step()
                except Exception as error:
                    self.say(f"     {source}: {name} was not put right: {error}")
        interval = max(INTERVAL, kind["interval"] * COLLECTION)
        with self.lock:
            self.results.append((name, alert, interval))
        if alert is None:
            self.say(f"MISS {name} on {source} ({drawn}): none of {', '.join(kind['rules'])}")
        else:
            self.say(f"ok   {name} on {source} ({drawn}): {alert[0]} after {alert[1]:.0f} s, "
                     f"{alert[1] / interval:.1f} intervals: {alert[2][:110]}")

    def queue(self, names, target, source, seed):
        for name in names:
            self.one(name, target, source, random.Random(f"{seed} {name}"))


def quiet(group, seconds):
    """What a night is made of, a kind on each server; what fires meanwhile is wrong."""
    began = time.time()
    deadline = time.monotonic() + seconds

    def dump(server):
        argv, env = server.psql(db="app")
        argv = [argv[0].replace("psql", "pg_dump"), *argv[5:9], "-U", "postgres", "-Fp", "-f", "/dev/null", "app"]
        servers.subprocess.run(argv, env=env, check=True, capture_output=True)

    def vacuum(server):
        server.sql("VACUUM (ANALYZE);\nREINDEX TABLE orders;", db="app")

    def deployment(server):
        number = int(time.time() * 10)
        server.sql(f"CREATE TABLE invoices_{number} (id bigint PRIMARY KEY, total numeric);\n" + "\n".join(
            f"INSERT INTO invoices_{number} SELECT i, i FROM generate_series({i * 100}, {i * 100 + 99}) i;"
            for i in range(20)) + f"\nSELECT sum(total) AS total_{number} FROM invoices_{number};\n" +
            "\n".join(f"SELECT o.note, i.total AS t{number} FROM orders o JOIN invoices_{number} i ON i.id = o.id "
                      f"WHERE o.customer = {i};" for i in range(20)) + f"\nDROP TABLE invoices_{number};", db="app")

    def idle(_server):
        pass

    work = [idle, dump, vacuum, deployment]

    def night(server, step):
        while time.monotonic() < deadline:
            step(server)
            servers.await_until(min(5, max(0, deadline - time.monotonic())), lambda: False)

    threads = [threading.Thread(target=night, args=(server, work[i % len(work)])) for i, server in enumerate(group)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wrong = servers.alerts(f"fired_at >= to_timestamp({began})")
    for source, rule, _, summary in wrong:
        print(f"WRONG {rule} on {source} in a quiet time: {summary}", flush=True)
    print(f"quiet: {seconds} s of each of {', '.join(step.__name__ for step in work[:len(group)])}: {len(wrong)} wrong "
          "alerts", flush=True)
    return len(wrong)


def day(seed, options):
    """One seed's day on fresh servers."""
    names = options.kinds or (SHORT if options.short else list(KINDS))
    group = [servers.Server(f"s{seed}a")] if options.short else [servers.Server(f"s{seed}{i}") for i in "abcd"]
    collector = None
    play = Play(PATIENCE_SHORT if options.short else PATIENCE)
    wrong = 0
    try:
        for server in group:
            server.make()
        if any(KINDS[name]["on"] != "primary" for name in names):
            standby = servers.Server(f"s{seed}s", primary=group[0])
            standby.make()
            group[0].standby = standby
        else:
            standby = None
        everyone = group + ([standby] if standby else [])
        collector = servers.Collector(everyone, COLLECTION)
        collector.start()
        ready = servers.await_until(90, lambda: servers.ready(len(everyone)))
        if not ready:
            raise RuntimeError("the servers are not read")
        # No server has the weeks that baselines take, and that is said rather than guessed.
        if servers.await_until(60, lambda: all("have no baseline" in why for why in servers.baselines())):
            print("ok   rules with a baseline say that there is none yet", flush=True)
        else:
            print(f"WRONG baselines without history: {servers.baselines()}", flush=True)
            wrong += 1
        if options.quiet:
            # Starts and first readings are over.
            servers.await_until(INTERVAL, lambda: False)
            wrong += quiet(group, options.quiet)
        mixed = [name for name in names if KINDS[name]["on"] == "primary" and name not in LAST]
        random.Random(seed).shuffle(mixed)
        threads = []
        for i, server in enumerate(group):
            queue = mixed[i::len(group)]
            if i == len(group) - 1:
                queue += [name for name in names if name == "wraparound"]
            threads.append(threading.Thread(target=play.queue, args=(queue, server, server.name, seed)))
        if standby:
            on_standby = [name for name in names if KINDS[name]["on"] == "standby" and name not in LAST]
            threads.append(threading.Thread(target=play.queue, args=(on_standby, standby, standby.name, seed)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for name in names:
            if KINDS[name]["on"] == "primary_of_standby":
                play.queue([name], group[0], group[0].name, seed)
            elif KINDS[name]["on"] == "standby" and name in LAST:
                play.queue([name], standby, standby.name, seed)
            elif KINDS[name]["on"] == "collector":
                play.queue([name], collector, "collector", seed)
    finally:
        if collector is not None:
            collector.stop()
        for server in ([group[0].standby] if getattr(group[0], "standby", None) else []) + group:
            server.remove()
    return play.results, wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true", help="a few kinds on one server")
    parser.add_argument("--seeds", default="1", help="whole numbers with commas between")
    parser.add_argument("--kinds", type=lambda text: text.split(","), help="these kinds alone")
    parser.add_argument("--quiet", type=int, default=0, help="seconds of the quiet time before the incidents")
    options = parser.parse_args()
    # An end from outside removes the servers, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    for name in options.kinds or []:
        if name not in KINDS:
            parser.error(f"{name} is none of {', '.join(KINDS)}")
    played = found = late = wrong = 0
    for seed in options.seeds.split(","):
        print(f"seed {seed}", flush=True)
        results, more = day(seed, options)
        wrong += more
        times = sorted(alert[1] / interval for _, alert, interval in results if alert)
        played += len(results)
        found += len(times)
        late += 0 if options.short else sum(1 for time_taken in times if time_taken > 2)
        if times:
            print(f"seed {seed}: {len(times)} of {len(results)} found, median {times[len(times) // 2]:.1f} intervals, "
                  f"longest {times[-1]:.1f}", flush=True)
    print(f"incidents: {found} of {played} kinds and seeds found, {late} after more than two intervals, {wrong} "
          f"wrong alerts in quiet times", flush=True)
    # One of 25 may be missed.
    sys.exit(0 if (played - found) * 25 <= played and late == 0 and wrong == 0 else 1)


if __name__ == "__main__":
    main()
