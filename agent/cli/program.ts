/**
 * The command line: names, options and help. What a command does is loaded when it is called.
 *
 * @module
 */

import { isUtf8 } from "node:buffer";
import { readFileSync } from "node:fs";
import { Command, CommanderError, Option } from "commander";
import { exitCodes, StartFailure } from "../start-failure.ts";
import { version } from "../version.ts";
import type { GlobalOptions } from "./global-options.ts";
import { printText } from "./output.ts";

const exitCodeHelp = `
Exit codes:
  0  done
  1  it was understood and didn't succeed (a refused statement, a failed query)
  2  the arguments, the configuration or the schema are wrong
  3  no agent answers on the socket
  4  the data directory or the database can't be used (read-only, full, locked, damaged)
  5  the socket or an address of api.listen can't be used (taken, path too long)
  6  the network can't be used (not an address of this host, a port that is taken)
`;

const parameterHelp = `
Parameters: 12 is an INTEGER, 1.5 a REAL, null is NULL, x'00ff' a BLOB; all else is TEXT,
also 007.
Put -- before the first parameter that begins with a hyphen.
`;

/** Runs and ends the process with the command's exit code. */
export async function runProgram(args: readonly string[]): Promise<void> {
  const program = createProgram();
  try {
    refuseRepaired(args);
    await program.parseAsync(args, { from: "user" });
  } catch (error) {
    if (error instanceof CommanderError) {
      process.exitCode = error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
      return;
    }
    const { reportFailure } = await import("./failure.ts");
    process.exitCode = reportFailure(error, args.includes("--json"));
  }
}

/**
 * Bytes of an argument that are no UTF-8 have come as U+FFFD. A value that was repaired so would be written to every host.
 * @throws StartFailure
 */
function refuseRepaired(args: readonly string[]): void {
  if (!args.some((argument) => argument.includes("\ufffd"))) return;
  let given: Uint8Array;
  try {
    given = readFileSync("/proc/self/cmdline");
  } catch {
    // Nobody can tell.
    return;
  }
  if (!isUtf8(given)) throw new StartFailure(exitCodes.usage, "an argument is not UTF-8");
}

export function createProgram(): Command {
  const program = new Command("patina")
    .description(
      "Service discovery for edge hosts: a replicated SQLite database on every host, without a leader.",
    )
    .version(version, "-V, --version", "print the version")
    .helpOption("-h, --help", "print help; also for a command: patina agent --help")
    .addHelpText(
      "after",
      `
A cluster of two, on one machine:
  patina cluster init demo.toml
  patina bootstrap --host 127.0.0.1 --port 7700 &
  patina agent --name a --data-dir a --cluster demo.toml --schema schema.sql \\
      --host 127.0.0.1 --bootstrap 127.0.0.1:7700 &
  patina agent --name b --data-dir b --cluster demo.toml --schema schema.sql \\
      --host 127.0.0.1 --bootstrap 127.0.0.1:7700 &
  patina exec  --socket a/patina.sock "INSERT INTO services VALUES (?)" web
  patina query --socket b/patina.sock "SELECT * FROM services"
${exitCodeHelp}`,
    );
  addKeyCommands(program);
  addAgentCommands(program);
  addClientCommands(program);
  // Subcommands copy this: errors are thrown, never `process.exit`.
  for (const command of [program, ...allCommands(program)]) {
    command
      .exitOverride()
      .configureOutput({ writeOut: printText, outputError: (text, write) => write(text) });
    command.showHelpAfterError("(patina --help, or the command's --help, says more)");
  }
  return program;
}

function allCommands(command: Command): Command[] {
  return command.commands.flatMap((one) => [one, ...allCommands(one)]);
}

const json = () => new Option("--json", "print JSON: one object, or one a line");
const config = () =>
  new Option("-c, --config <file>", "the agent's TOML file").env("PATINA_CONFIG");
const socket = () =>
  new Option("-s, --socket <path>", "the agent's Unix socket (default: as its config says)");

function addKeyCommands(program: Command): void {
  program
    .command("keygen")
    .description("make a node's key: print the public key, write the secret seed to a file")
    .argument("<file>", "where to write the seed; never overwritten")
    .addOption(json())
    .addHelpText(
      "after",
      `
An agent makes its key itself at its first start. This is for keys that other hosts have to know
before that (swarm.peers, swarm.only).

Example:
  patina keygen /var/lib/patina/node.key
`,
    )
    .action(async (file: string, options: GlobalOptions) => {
      const { keygen } = await import("./commands/keygen.ts");
      keygen(file, options);
    });

  const cluster = program
    .command("cluster")
    .description("make the file of secrets that the hosts of a cluster share");
  cluster
    .command("init")
    .description("write the secrets of a new cluster to a file")
    .argument("<file>", "where to write it; never overwritten")
    .option("--name <name>", "the cluster's name, for people", "patina")
    .addOption(json())
    .addHelpText(
      "after",
      `
Copy the file to every host, with mode 0600 and over a connection that nobody reads: whoever has it
is a member.

Example:
  patina cluster init /etc/patina/cluster.toml --name prod
`,
    )
    .action(async (file: string, options: GlobalOptions & { name: string }) => {
      const { clusterInit } = await import("./commands/cluster-init.ts");
      clusterInit(file, options);
    });
}

function addAgentCommands(program: Command): void {
  program
    .command("bootstrap")
    .description(
      "run a DHT node by which agents find each other, so that no public network is touched",
    )
    .requiredOption("--host <address>", "IPv4 address at which agents reach it; not 0.0.0.0")
    .requiredOption("--port <port>", "UDP port; keep it, for agents are configured with it")
    .option("--bootstrap <list>", "other bootstrap nodes: host:port, separated by commas", "")
    .addOption(json())
    .addHelpText(
      "after",
      `
It holds no secret of the cluster and is no member. Two or three of them are enough for a fleet;
agents name them in swarm.bootstrap. An agent with swarm.act_as_bootstrap is one too.

Example:
  patina bootstrap --host 10.0.0.1 --port 7700
`,
    )
    .action(async (options: GlobalOptions & { host: string; port: string; bootstrap: string }) => {
      const { bootstrap } = await import("./commands/bootstrap.ts");
      await bootstrap(options);
    });

  program
    .command("agent")
    .description("run this host's agent")
    .addOption(config())
    .option("--name <name>", "node.name: what this host is called")
    .option("--region <region>", "node.region: where it is")
    .option("--zone <zone>", "node.zone: hosts that may fail together")
    .option("--data-dir <folder>", "node.data_dir: database, key and socket")
    .option("--cluster <file>", "cluster.file: from patina cluster init")
    .option("--socket <path>", "api.socket: the Unix socket to serve")
    .option("--listen <list>", "api.listen: TCP addresses to serve, host:port,…")
    .option("--schema <paths>", "schema.paths: .sql files or folders of them, separated by commas")
    .option("--host <address>", "swarm.host: the UDP address to bind")
    .option("--port <port>", "swarm.port: the UDP port to bind")
    .option("--bootstrap <list>", "swarm.bootstrap: DHT nodes, host:port,…")
    .option("--only <keys>", "swarm.only: node keys to talk to, nobody else")
    .option("--peers <keys>", "swarm.peers: node keys to stay connected to, key[@host:port],…")
    .option("--log-level <level>", "log.level: error, warn, info or debug")
    .option("--check", "read configuration, secrets and schema, say what is wrong, and end")
    .addOption(json())
    .addHelpText(
      "after",
      `
Each setting comes from the last of these that has it: the defaults; the file (-c, else
$PATINA_CONFIG, else /etc/patina/patina.toml); PATINA_<SECTION>_<KEY> in the environment; the options
above. All keys are in README.

SIGTERM and SIGINT stop the agent in order: peers are told that it will be back, clients' streams
break off, the WAL is copied. SIGHUP reads the schema and the tokens again, as patina reload does.

A file with the keys that most hosts set:
  [node]
  name = "fra-17"                 # default: the host's name
  region = "fra"
  zone = "fra-rack-3"             # hosts that may fail together
  data_dir = "/var/lib/patina"
  [cluster]
  file = "/etc/patina/cluster.toml"
  [schema]
  paths = ["/etc/patina/schema"]  # .sql files: CREATE TABLE, CREATE INDEX
  [tables.instances]
  urgent = "status <> 'up'"       # such rows, and deletes, overtake everything
  [swarm]
  bootstrap = ["10.0.0.1:7700", "10.0.0.2:7700"]

With --json it prints one line on stdout once it serves and its network is up:
  {"socket":…,"listen":[…],"site":…,"key":…,"port":…}

Example:
  patina agent -c /etc/patina/patina.toml
${exitCodeHelp}`,
    )
    .action(async (options: GlobalOptions & Record<string, string | undefined>) => {
      const { agent } = await import("./commands/agent.ts");
      await agent(options);
    });
}

function addClientCommands(program: Command): void {
  const client = (name: string, description: string): Command =>
    program
      .command(name)
      .description(description)
      .addOption(socket())
      .addOption(config())
      .addOption(json());

  client("query", "run one read-only statement and print its rows")
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

  client("exec", "run statements that write, all of them or none")
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

  client("watch", "print a query's rows, then every change of them, until Ctrl-C")
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

  client("members", "print the members of the cluster as this agent sees them")
    .addHelpText(
      "after",
      `
state      ALIVE; SUSPECT after 0.8 s of silence; DOWN 5 s later, unless it said that it will be back
store_lag  how long its store hasn't answered: ok, 1s, 10s or 60s

An agent knows its neighbours (8 to 12 of them), not the whole fleet.
`,
    )
    .action(async (options: GlobalOptions) => {
      const { members } = await import("./commands/members.ts");
      await members(options);
    });

  client("status", "print the agent's state: is it ready, does it agree with the others")
    .addHelpText(
      "after",
      `
Look first at these:
  ready          it has agreed with a peer since its start, or stands alone
  agreed_ms      how long ago it last agreed with a peer
  clock.outlier  its clock is off: its writes are refused until the clock is set right
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

  client("backup", "copy the database of a running agent into a new file")
    .argument("<file>", "where the agent writes it, as its own user; never overwritten")
    .addHelpText(
      "after",
      `
The copy shows the database as it is at the copy's end; the agent goes on meanwhile. It holds the
rows and not the node's key: keep that apart.

Example:
  patina backup /var/backups/patina-2026-11-25.db
`,
    )
    .action(async (file: string, options: GlobalOptions) => {
      const { backup } = await import("./commands/backup.ts");
      await backup(file, options);
    });

  client("reload", "have a running agent read its schema files and tokens again")
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
  kill -HUP $(pidof patina)
`,
    )
    .action(async (options: GlobalOptions & { dryRun?: boolean }) => {
      const { reload } = await import("./commands/reload.ts");
      await reload(options);
    });

  program
    .command("restore")
    .description("put a backup in the place of the database of an agent that is stopped")
    .argument("<file>", "a file that patina backup wrote")
    .addOption(config())
    .option("--data-dir <folder>", "node.data_dir: database, key and socket")
    .addOption(json())
    .addHelpText(
      "after",
      `
The backup is checked first, and the database that is there is kept beside it under another name. The
agent then takes a new site and gets from its peers what the backup lacks; no write of theirs is lost.
Run it as the agent's user, so that the agent may open what it writes.

Example:
  systemctl stop patina
  sudo -u patina patina restore /var/backups/patina-2026-11-25.db
  systemctl start patina
`,
    )
    .action(async (file: string, options: GlobalOptions & { dataDir?: string }) => {
      const { restore } = await import("./commands/restore.ts");
      restore(file, options);
    });

  client("subs", "print the live queries: which way each runs, and what it costs")
    .argument("[id]", "print everything about this one")
    .addHelpText(
      "after",
      `
how       keyed: what comes of a changed row is looked up; rerun: the query is run again and compared
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

  client("swarm", "print the agent's connections to other hosts")
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
