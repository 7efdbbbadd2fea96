/**
 * The commands that run an agent, and what one needs before it runs: names, options and help.
 *
 * @module
 */

import type { Command } from "commander";
import type { RestoreOptions } from "./commands/restore.ts";
import { config, type GlobalOptions, json } from "./global-options.ts";

export const exitCodeHelp = `
Exit codes:
  0  done
  1  it was understood and didn't succeed (a refused statement, a failed query)
  2  the arguments, the configuration or the schema are wrong
  3  no agent answers on the socket
  4  the data directory or the database can't be used (read-only, full, locked, damaged)
  5  the socket or an address of api.listen can't be used (taken, path too long)
  6  the network can't be used (not an address of this host, a bootstrap port that is taken)
`;

export function addKeygen(program: Command): void {
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
}

export function addCluster(program: Command): void {
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

export function addBootstrap(program: Command): void {
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
}

export function addAgent(program: Command): void {
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
    .option(
      "--check",
      "read configuration, secrets and schema, look at the data directory, say what is wrong, and end",
    )
    .addOption(json())
    .addHelpText(
      "after",
      `
Each setting comes from the last of these that has it: the defaults; the file (-c, else
$PATINA_CONFIG, else /etc/patina/patina.toml); PATINA_<SECTION>_<KEY> in the environment; the options
above. All keys are in README.

SIGTERM and SIGINT stop the agent in order: peers are told that it will be back, clients' streams
break off, the WAL is copied. A second one, half a second later or more, ends it at once. SIGHUP
reads the schema and the tokens again, as patina reload does.

A file with the keys that most hosts set:
  [node]
  name = "fra-17"                 # default: the host's name
  region = "fra"
  zone = "fra-rack-3"             # hosts that may fail together
  data_dir = "/var/lib/patina"
  [cluster]
  file = "/etc/patina/cluster.toml"
  [schema]
  paths = ["/etc/patina/schema"]  # .sql files: CREATE TABLE, CREATE INDEX, CREATE VIEW
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

export function addRestore(program: Command): void {
  program
    .command("restore")
    .description("put a backup in the place of the database of an agent that is stopped")
    .argument("<file>", "a file that patina backup wrote")
    .addOption(config())
    .option("--data-dir <folder>", "node.data_dir: database, key and socket")
    .option("--other-cluster", "also if the backup is another cluster's: all hosts get its rows")
    .addOption(json())
    .addHelpText(
      "after",
      `
The backup is checked first, also that the schema files of the configuration fit it; the database that is
there is kept beside it under another name. The agent then takes a new site and gets from its peers what the
backup lacks; no write of theirs is lost.
What root restores is given to the owner of the data directory, so that the agent may open it.

Example:
  systemctl stop patina
  runuser -u patina -- patina restore /var/backups/patina/2026-11-25.db
  systemctl start patina
`,
    )
    .action(async (file: string, options: RestoreOptions) => {
      const { restore } = await import("./commands/restore.ts");
      restore(file, options);
    });
}
