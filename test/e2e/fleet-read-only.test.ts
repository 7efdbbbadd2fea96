/**
 * The agent as a hardened unit or container runs it: a read-only root, `/tmp` without execution, and a data
 * directory. libsodium is then unpacked into that; where neither it nor /dev/shm has execution the agent says what to set.
 *
 * @module
 */

import { expect } from "bun:test";
import { copyFile, mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { testIf } from "../real.ts";
import { builtBinary } from "./built-binary.ts";
import { missingHiding, unshareOptions } from "./hidden-tree.ts";

/** Mounts, then writes what an agent needs into /mnt, and starts it. $1: the binary, $2: options of /mnt and /dev/shm. */
const script = `
  mount -t tmpfs -o noexec none /tmp && mount -t tmpfs -o "$2" none /mnt || exit 99
  mount -t tmpfs -o "$2" none /dev/shm || exit 99
  mount --bind / / && mount -o remount,bind,ro / || exit 99
  touch /etc/patina-was-here 2>/dev/null && exit 99
  cd /mnt && "$1" cluster init cluster.toml >/dev/null && cat >agent.toml <<END
[node]
name = "edge"
data_dir = "/mnt/data"
[cluster]
file = "/mnt/cluster.toml"
[swarm]
host = "127.0.0.1"
END
  "$1" agent --config agent.toml >log 2>&1 &
  agent=$!
  for i in $(seq 200); do
    "$1" swarm --json --socket /mnt/data/patina.sock 2>/dev/null | grep -o '"host":"[0-9.]*"' && {
      ls -A data | grep -o '[.]node$'
      exit 0
    }
    kill -0 $agent 2>/dev/null || { wait $agent; echo "exit $?"; tail -n 3 log; exit 0; }
    sleep 0.05
  done
  echo "no answer"; "$1" swarm --json --socket /mnt/data/patina.sock 2>&1 | tail -n 3; tail -n 5 log
`;

async function agentIn(mountOptions: string): Promise<string> {
  const ends = ["--pid", "--fork", "--kill-child", "--mount-proc"];
  // Not below /tmp, which is covered.
  const folder = await mkdtemp("/var/tmp/patina-read-only-");
  try {
    const binary = join(folder, "patina");
    await copyFile(builtBinary(), binary);
    const world = Bun.spawn(
      ["unshare", unshareOptions, ...ends, "sh", "-c", script, "sh", binary, mountOptions],
      { stdin: "ignore", stdout: "pipe", stderr: "inherit", env: { PATH: process.env.PATH } },
    );
    const text = await new Response(world.stdout).text();
    expect(await world.exited).toBe(0);
    return text;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

testIf(
  missingHiding(),
  "on a read-only root with /tmp noexec the agent runs, with libsodium in its data directory",
  async () => {
    expect(await agentIn("mode=700")).toBe('"host":"127.0.0.1"\n.node\n');
  },
  120_000,
);

testIf(
  missingHiding(),
  "where the data directory and /dev/shm have no execution either it ends and says what to set",
  async () => {
    const text = await agentIn("noexec");
    expect(text).toStartWith("exit 6\n");
    expect(text).toContain("/tmp is mounted noexec");
    expect(text).toContain(
      "/mnt/data is mounted noexec, and /dev/shm is mounted noexec. Set BUN_TMPDIR to a folder",
    );
  },
  120_000,
);
