/**
 * The commands that ask a running agent over its socket: names, options and help.
 *
 * @module
 */

import type { Command } from "commander";
import { config, type GlobalOptions, json, socket } from "./global-options.ts";

const parameterHelp = `
Parameters: 12 is an INTEGER, 1.5 a REAL, null is NULL, x'00ff' a BLOB; all else is TEXT,
also 007.
Put -- before the first parameter that begins with a hyphen.
`;

export function addQuery(program: Command): void {
  client(program, "query", "run one read-only statement and print its rows")
    .argument("<sql>", "one SELECT")
    .argument("[parameters...]", "values of its ?, in order")
    .option("--timeout <seconds>", "give up after so long; at most store.query_timeout_ms")
    .addHelpText(
      "after",
      `${parameterHelp}
Examples:
  patina query "SELECT * FROM instances WHERE service = ?" web
  patina query --json "SELECT node, state FROM patina_members"
`,
    )
    .action(async (sql: string, parameters: string[], options: GlobalOptions) => {
      const { query } = await import("./commands/query.ts");
      await query(sql, parameters, options);
    });
}

export function addExec(program: Command): void {
  client(program, "exec", "run statements that write, all of them or none")
    .argument("[sql]", "one INSERT, UPDATE or DELETE; without it a list is read from stdin")
    .argument("[parameters...]", "values of its ?, in order")
    .addHelpText(
      "after",
      `${parameterHelp}
Without SQL it reads from stdin what POST /v1/transactions takes: a JSON list of statements.

Examples:
  patina exec "UPDATE instances SET status = ? WHERE id = ?" down web-17
  echo '[["INSERT INTO services VALUES (?)", ["web"]], "DELETE FROM checks"]' | patina exec
`,
    )
    .action(async (sql: string | undefined, parameters: string[], options: GlobalOptions) => {
      const { exec } = await import("./commands/exec.ts");
      await exec(sql, parameters, options);
    });
}

export function addWatch(program: Command): void {
  client(program, "watch", "print a query's rows, then every change of them, until Ctrl-C")
    .argument("<sql>", "one SELECT")
    .argument("[parameters...]", "values of its ?, in order")
    .option("--skip-rows", "print changes only")
    .option("--id <id>", "go on with the subscription of this id; needs --from")
    .option("--from <change>", "begin after the change of this id; needs --id")
    .addHelpText(
      "after",
      `${parameterHelp}
When the agent goes away, watch waits until it is back and goes on where it was, or says that it
begins anew.

Examples:
  patina watch "SELECT id, address FROM instances WHERE service = ? AND status = 'up'" web
  patina watch --json "SELECT * FROM patina_members"
`,
    )
    .action(
      async (
        sql: string,
        parameters: string[],
        options: GlobalOptions & { skipRows?: boolean; id?: string; from?: string },
      ) => {
        const { watch } = await import("./commands/watch.ts");
        await watch(sql, parameters, options);
      },
    );
}

export function addMembers(program: Command): void {
  client(program, "members", "print the members of the cluster as this agent sees them")
    .addHelpText(
      "after",
      `
state      ALIVE; SUSPECT after 0.8 s of silence; DOWN 5 s later and once the connection is given up, which
           after a crash takes some 14 s; one that said that it will be back is SUSPECT for 10 s
store_lag  how long its store hasn't answered: ok, 1s, 10s or 60s

An agent knows its neighbours (8 to 12 of them), not the whole fleet.
`,
    )
    .action(async (options: GlobalOptions) => {
      const { members } = await import("./commands/members.ts");
      await members(options);
    });
}

export function addStatus(program: Command): void {
  client(program, "status", "print the agent's state: is it ready, does it agree with the others")
    .addHelpText(
      "after",
      `
Look first at these:
  ready          it has agreed with a peer since its start, or found nobody for 10 s, or stands alone
  agreed_ms      how long ago it last agreed with a peer
  clock.outlier  its clock is off: its writes are refused until the clock is set right
  clock.unset    its clock shows a time before 2024: alone it takes writes all the same, in a cluster it doesn't
  clock.held_back_ms  more than 0: its clock is behind what it holds, and what is written here is sent to nobody
  store_error    why its store last failed (a full disk, say)
  conflicts      more than 0: a database or a key was copied to another host
  scrub          damaged_now: values changed behind Patina's back that no peer could replace
  not_shown      columns and tables that its schema lacks

README has them all, and what to do: "See that it is healthy".
`,
    )
    .action(async (options: GlobalOptions) => {
      const { status } = await import("./commands/status.ts");
      await status(options);
    });
}

export function addBackup(program: Command): void {
  client(program, "backup", "copy the database of a running agent into a new file")
    .argument("<file>", "where the agent writes it, as its own user; never overwritten")
    .addHelpText(
      "after",
      `
The copy shows the database as it is at the copy's end; the agent goes on meanwhile. It holds the
rows and not the node's key: keep that apart.

Example:
  patina backup /var/backups/patina/2026-11-25.db
`,
    )
    .action(async (file: string, options: GlobalOptions) => {
      const { backup } = await import("./commands/backup.ts");
      await backup(file, options);
    });
}

export function addReload(program: Command): void {
  client(program, "reload", "have a running agent read its schema files and tokens again")
    .option("--dry-run", "print what would be done and do nothing")
    .addHelpText(
      "after",
      `
The agent reads [schema] and [tables] of its configuration, the schema files and the tokens again.
All of it is applied, or nothing. Tables and columns are added; none that holds data is dropped or
changed. Other keys that have changed are named: they take effect at the next start. SIGHUP does the
same and logs what came of it.

Examples:
  patina reload --dry-run
  systemctl reload patina
`,
    )
    .action(async (options: GlobalOptions & { dryRun?: boolean }) => {
      const { reload } = await import("./commands/reload.ts");
      await reload(options);
    });
}

export function addSubs(program: Command): void {
  client(program, "subs", "print the live queries: which way each runs, and what it costs")
    .argument("[id]", "print everything about this one")
    .addHelpText(
      "after",
      `
how       keyed: what comes of a changed row is looked up; grouped: the groups that it was in and is in
          are counted anew; rerun: the query is run again and compared
found by  what a commit must touch: the value of a condition, a column that is read, or any row of a table
runs in   the thread that it needed last
looked    for how many commits it was looked at
told      how many of them changed it
store     what looking took in the store thread; reader: in the reader thread

Examples:
  patina subs
  patina subs 5b1c4d6e-0000-4000-8000-000000000000 --json
`,
    )
    .action(async (id: string | undefined, options: GlobalOptions) => {
      const { subs } = await import("./commands/subs.ts");
      await subs(id, options);
    });
}

export function addSwarm(program: Command): void {
  client(program, "swarm", "print the agent's connections to other hosts")
    .addHelpText(
      "after",
      `
reached       who began the connection, and how: by topic (the DHT), as configured, as before (it was a
              neighbour when the agent last ran), for its region; or the other host dialled
lost, resent  packets, of those sent; cwnd: bytes that may be in flight
refused       connections that were not let in, and why; "full": it has neighbours enough
`,
    )
    .action(async (options: GlobalOptions) => {
      const { swarm } = await import("./commands/swarm.ts");
      await swarm(options);
    });
}

/** A command with the options that say which agent is asked. */
function client(program: Command, name: string, description: string): Command {
  return program
    .command(name)
    .description(description)
    .addOption(socket())
    .addOption(config())
    .addOption(json());
}
