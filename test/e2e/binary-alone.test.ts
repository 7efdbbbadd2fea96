/**
 * The executable on a host that has none of the build tree: copied alone into an empty folder, the repository
 * hidden, an empty environment and an empty temporary folder. (A test in the tree, or of `--version`, would not
 * notice an addon or a worker that is found by its path on the build machine.)
 *
 * @module
 */

import { expect } from "bun:test";
import { copyFile, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freeUdpPort } from "../../agent/swarm/free-port.ts";
import { testIf } from "../real.ts";
import { builtBinary } from "./built-binary.ts";
import { hideTree, missingHiding } from "./hidden-tree.ts";

// What a person would type. What it starts ends with it, by its process namespace.
const session = `
set -eu
./patina keygen a.key > a.public
./patina cluster init cluster.toml > /dev/null
./patina bootstrap --host 127.0.0.1 --port "$PORT" > /dev/null 2>&1 &
for name in a b; do
  export PATINA_NODE_KEY_FILE=$name.key
  ./patina agent --name $name --data-dir data-$name --cluster cluster.toml --schema schema.sql \\
    --host 127.0.0.1 --bootstrap "127.0.0.1:$PORT" > $name.log 2>&1 &
done
unset PATINA_NODE_KEY_FILE
within() {
  for i in $(seq 200); do if "$@" > out 2> err; then return; fi; sleep 0.05; done
  echo "not in time: $*"; cat out err a.log b.log; exit 1
}
shows() { ./patina "$@" | grep -q "$wanted"; }
wanted='"node":"b".*"state":"ALIVE"'; within shows members --socket data-a/patina.sock --json
wanted='"node":"a".*"state":"ALIVE"'; within shows members --socket data-b/patina.sock --json
./patina exec --socket data-a/patina.sock "INSERT INTO services VALUES ('web', 'up')" > /dev/null
wanted=web; within shows query --socket data-b/patina.sock "SELECT name FROM services WHERE status = 'up'"
# The address was never given: A's key is what B knows it by.
wanted=$(cat a.public); within shows swarm --socket data-b/patina.sock --json
echo done
`;

testIf(
  missingHiding(),
  "alone: keys, a cluster, a bootstrap, two agents that find each other, a write and its read",
  async () => {
    const folder = await mkdtemp(join(tmpdir(), "patina-alone-"));
    try {
      await copyFile(builtBinary(), join(folder, "patina"));
      await mkdir(join(folder, "tmp"));
      await writeFile(
        join(folder, "schema.sql"),
        "CREATE TABLE services (name TEXT NOT NULL PRIMARY KEY, status TEXT NOT NULL DEFAULT 'up');\n",
      );
      await writeFile(join(folder, "session.sh"), session);
      const child = Bun.spawn(hideTree(["sh", "session.sh"]), {
        cwd: folder,
        env: {
          PATH: "/usr/bin:/bin",
          TMPDIR: join(folder, "tmp"),
          PORT: String(await freeUdpPort()),
        },
        stdin: "ignore",
        stdout: "pipe",
        stderr: "inherit",
      });
      expect(await new Response(child.stdout).text()).toBe("done\n");
      expect(await child.exited).toBe(0);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
  120_000,
);
