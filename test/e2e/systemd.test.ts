/**
 * The unit of `examples/` under a real systemd: a manager for one user, in mount and pid namespaces of its own, where
 * `/run` is empty.
 *
 * Of the unit goes what only root's manager can do (another user, folders of the system, hidden file systems); the
 * paths are the test's, and a sign of life is wanted sooner.
 *
 * @module
 */

import { expect } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { contractSchema } from "../contract/http.ts";
import { missingProgram, notAllowed, testIf } from "../real.ts";
import { builtBinary } from "./built-binary.ts";
import { unshareOptions } from "./hidden-tree.ts";

const manager = "/lib/systemd/systemd";
const ofTheSystem =
  /^(After|Wants|WantedBy|User|Group|StateDirectory|StateDirectoryMode|RuntimeDirectory|RuntimeDirectoryMode|PrivateTmp|ReadWritePaths|NoNewPrivileges|CapabilityBoundingSet|LockPersonality|PrivateDevices|Protect\w+|Restrict(AddressFamilies|Namespaces|Realtime|SUIDSGID)|SystemCallArchitectures)=/;
const watchdogSeconds = 4;

/** Begins the manager in `$1`, and runs the rest with it. */
const withManager = `
set -e
mount -t tmpfs none /run
mkdir -p /run/systemd/system /run/user
chmod 700 /run/user
export HOME="$1" XDG_CONFIG_HOME="$1/config" XDG_RUNTIME_DIR=/run/user
unset DBUS_SESSION_BUS_ADDRESS NOTIFY_SOCKET
${manager} --user --log-target=console --log-level=warning >&2 &
manager=$!
for i in $(seq 1 300); do
  state=$(systemctl --user is-system-running 2>/dev/null) && break
  [ "$state" = degraded ] && break
  kill -0 $manager 2>/dev/null || exit 75
  sleep 0.1
done
`;

/** What the steps print is what the test expects. */
const steps = `
show() { systemctl --user show patina.service -p "$1" --value; }
patina="$2" socket="$1/data/patina.sock"
ask() { "$patina" query --socket "$socket" --json "$1"; }
systemctl --user start patina.service
# At once: that is what "started" is to mean.
"$patina" exec --socket "$socket" "INSERT INTO tests VALUES (1, 'kept')" >&2
echo "started: $(show ActiveState), $(show StatusText)"
systemctl --user reload patina.service && echo "reloaded: $(show ActiveState)"
first=$(show MainPID)
kill -STOP $first
for i in $(seq 1 600); do [ "$(show NRestarts)" = 1 ] && break; sleep 0.1; done
for i in $(seq 1 600); do [ "$(show ActiveState)" = active ] && break; sleep 0.1; done
echo "after a hang: $(show ActiveState), restarts $(show NRestarts), another process: $([ "$(show MainPID)" != $first ] && echo yes)"
"$patina" query --socket "$socket" "SELECT text FROM tests" | grep -o kept
systemctl --user stop patina.service
echo "stopped: $(show ActiveState), $(show Result)"
kill $manager
`;

function run(folder: string, script: string, ...rest: string[]): Bun.SyncSubprocess {
  const ends = ["--pid", "--fork", "--kill-child", "--mount-proc"];
  const command = ["bash", "-c", script, "bash", folder, ...rest];
  return Bun.spawnSync(["unshare", unshareOptions, ...ends, ...command], { stdin: "ignore" });
}

function missingSystemd(): string | undefined {
  const missing = ["unshare", "systemctl", manager].map(missingProgram);
  return missing.find((why) => why !== undefined);
}

/** Why no manager can be started, in a container that may not make control groups for one. */
function problemOfManager(): string | undefined {
  const folder = mkdtempSync(join(tmpdir(), "patina-systemd-"));
  try {
    const { exitCode, stderr } = run(folder, `${withManager}\nkill $manager`);
    return exitCode === 0 ? undefined : `no systemd can be started here: ${stderr}`.trimEnd();
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function unitFor(folder: string, binary: string): string {
  const example = readFileSync(resolve(import.meta.dir, "../../examples/patina.service"), "utf8");
  return example
    .split("\n")
    .filter((line) => !ofTheSystem.test(line))
    .join("\n")
    .replaceAll("/usr/local/bin/patina", binary)
    .replaceAll("/etc/patina", folder)
    .replace(/^WatchdogSec=.*$/m, `WatchdogSec=${watchdogSeconds}`);
}

testIf(
  missingSystemd(),
  "under systemd: started when it answers, reloaded, started anew when it hangs, stopped in order",
  () => {
    const problem = problemOfManager();
    if (problem !== undefined) return notAllowed("the unit under systemd", problem);
    const folder = mkdtempSync(join(tmpdir(), "patina-systemd-"));
    try {
      mkdirSync(join(folder, "config/systemd/user"), { recursive: true });
      writeFileSync(
        join(folder, "config/systemd/user/patina.service"),
        unitFor(folder, builtBinary()),
      );
      writeFileSync(join(folder, "schema.sql"), contractSchema);
      writeFileSync(
        join(folder, "patina.toml"),
        `[node]\nname = "one"\ndata_dir = "${folder}/data"\n[schema]\npaths = ["${folder}/schema.sql"]\n`,
      );
      const { exitCode, stdout, stderr } = run(folder, withManager + steps, builtBinary());
      if (exitCode !== 0) console.error(String(stderr));
      expect(String(stdout).trim().split("\n")).toEqual([
        "started: active, ready",
        "reloaded: active",
        "after a hang: active, restarts 1, another process: yes",
        "kept",
        "stopped: inactive, success",
      ]);
      expect(exitCode).toBe(0);
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
  240_000,
);
