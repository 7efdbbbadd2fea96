import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { tightestTaskLimit, tooFewTasksText } from "./task-limit.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "patina-tasks-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

interface Host {
  readonly cgroup: string;
  readonly limit?: string;
  readonly user?: number;
  readonly capabilities?: string;
  /** Below /sys/fs/cgroup. */
  readonly files?: Readonly<Record<string, string>>;
}

const threads = 7;

/** A process with seven threads, and one of the same user with five. */
function limitOn({
  cgroup,
  limit = "unlimited",
  user = 1000,
  capabilities = "0",
  files = {},
}: Host) {
  const put = (path: string, text: string): void => {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  };
  const status = (uid: number, count: number) =>
    `Name:\tx\nUid:\t${uid}\t0\t0\t0\nThreads:\t${count}\nCapEff:\t${capabilities}\n`;
  for (const name of ["self", "10"]) put(`proc/${name}/status`, status(user, threads));
  put("proc/11/status", status(1000, 5));
  put("proc/12/status", status(1001, 500));
  for (let i = 0; i < threads; i++) put(`proc/self/task/${i}/comm`, "");
  put("proc/self/cgroup", cgroup);
  put(
    "proc/self/limits",
    `Limit  Soft  Hard  Units\nMax processes   ${limit}   ${limit}   processes\n`,
  );
  for (const [path, text] of Object.entries(files)) put(`cgroup/${path}`, `${text}\n`);
  return tightestTaskLimit(join(folder, "proc"), join(folder, "cgroup"));
}

const unit = "system.slice/patina.service";

test("TasksMax= of the unit, or of a slice above it, is found, whatever version the groups have", () => {
  const files = { [`${unit}/pids.max`]: "12", [`${unit}/pids.current`]: "7" };
  const expected = { max: 12, used: 7, own: threads };
  expect(limitOn({ cgroup: `0::/${unit}\n`, files })).toMatchObject({
    ...expected,
    name: `TasksMax= (${join(folder, "cgroup", unit, "pids.max")})`,
  });
  const v1 = Object.fromEntries(
    Object.entries(files).map(([path, text]) => [`pids/${path}`, text]),
  );
  const cgroup = `9:name=systemd:/x\n8:cpu,pids:/${unit}\n0::/\n`;
  expect(limitOn({ cgroup, files: v1 })).toMatchObject(expected);
  const above = { "system.slice/pids.max": "20", "system.slice/pids.current": "19" };
  expect(limitOn({ cgroup: `0::/${unit}\n`, files: { ...files, ...above } })).toMatchObject({
    max: 20,
    used: 19,
  });
});

test("what the user's other processes have is counted, unless nothing limits this one", () => {
  const cgroup = "0::/\n";
  expect(limitOn({ cgroup, limit: "14" })).toMatchObject({ max: 14, used: 12, own: threads });
  expect(limitOn({ cgroup, limit: "14" })?.name).toContain("LimitNPROC= (ulimit -u)");
  expect(limitOn({ cgroup, limit: "14", user: 0 })).toBeUndefined();
  expect(limitOn({ cgroup, limit: "14", capabilities: "0000000001000000" })).toBeUndefined();
  expect(limitOn({ cgroup })).toBeUndefined();
  const files = { "pids.max": "max", "pids.current": "3" };
  expect(limitOn({ cgroup, files })).toBeUndefined();
});

test("a host that shows nothing of it limits nothing that is known", () => {
  expect(tightestTaskLimit(join(folder, "none"), join(folder, "none"))).toBeUndefined();
});

// With 13 of them an agent on two processors runs a long query; with 12 the engine aborts then, with 7 at its start.
test("an agent that would have too few is told by name, and what others have is left out", () => {
  const limit = { name: "TasksMax= (f)", max: 12, used: 7, own: 7 };
  expect(tooFewTasksText(limit, 2)).toBe(
    "only 12 threads may run here, and an agent needs 16: raise TasksMax= (f)",
  );
  expect(tooFewTasksText({ ...limit, max: 30, used: 22 }, 2)).toBe(
    "only 30 threads may run here, beside 15 of other processes, and an agent needs 16: raise TasksMax= (f)",
  );
  expect(tooFewTasksText({ ...limit, max: 16 }, 2)).toBeUndefined();
  expect(tooFewTasksText({ ...limit, max: 16 }, 4)).toContain("needs 20");
  expect(tooFewTasksText({ ...limit, max: 28 }, 256)).toBeUndefined();
});
