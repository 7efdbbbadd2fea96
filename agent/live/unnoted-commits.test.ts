import { expect, test } from "bun:test";
import { type Commit, UnnotedCommits } from "./unnoted-commits.ts";

const commit = (...tables: string[]): Commit => ({
  changes: () => new Map(tables.map((table) => [table, []])),
  rows: [],
});

test("commits are taken one by one, and what was there in a hurry stays so", () => {
  const commits = new UnnotedCommits(60_000);
  const [first, second] = [commit("a"), commit("b")];
  commits.add(first);
  commits.hurry();
  commits.add(second);
  expect(commits.take()).toMatchObject({ commit: first, isUrgent: true });
  expect(commits.take()).toMatchObject({ commit: second, isUrgent: false });
  expect(commits.take()).toBeUndefined();
});

test("those that have waited for long become one, of which only the tables are known", () => {
  const commits = new UnnotedCommits(-1);
  commits.add(commit("a", "b"));
  commits.hurry();
  commits.add(commit("b", "c"));
  const taken = commits.take();
  expect(taken?.isUrgent).toBe(true);
  expect(taken?.commit.rows).toBeUndefined();
  expect([...(taken?.commit.changes() ?? [])]).toEqual([
    ["a", "unknown"],
    ["b", "unknown"],
    ["c", "unknown"],
  ]);
  expect(commits.size).toBe(0);
  // What is merely named isn't found out.
  const unasked = (): never => {
    throw new Error("nobody wants to know the rows");
  };
  for (const table of ["e", "f"])
    commits.add({ changes: unasked, tables: () => [table], rows: [] });
  expect([...(commits.take()?.commit.changes().keys() ?? [])]).toEqual(["e", "f"]);
  // One alone is known as well as ever.
  const last = commit("d");
  commits.add(last);
  expect(commits.take()?.commit).toBe(last);
});
