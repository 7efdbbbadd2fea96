import { describe, expect, test } from "bun:test";
import { type Config, configToText, readConfig } from "./config.ts";

const read = (text: string, environment: Record<string, string> = {}, flags = {}) =>
  readConfig({ file: "/etc/patina/patina.toml", text, environment, flags });

function config(text: string, environment: Record<string, string> = {}, flags = {}): Config {
  const result = read(text, environment, flags);
  if (result.kind === "refused") throw new Error(result.problems.join("\n"));
  return result.config;
}

function problems(
  text: string,
  environment: Record<string, string> = {},
  flags = {},
): readonly string[] {
  const result = read(text, environment, flags);
  return result.kind === "refused" ? result.problems : [];
}

describe("the configuration", () => {
  test("has a default for everything", () => {
    const { node, api, swarm, store } = config("");
    expect([node.region, node.zone, store.durability, swarm.port]).toEqual([
      "default",
      "default",
      "normal",
      0,
    ]);
    expect(node.keyFile).toBe(`${node.dataDir}/node.key`);
    expect(api.socket).toBe(`${node.dataDir}/patina.sock`);
    expect(api.socketMode).toBe(0o600);
  });

  test("takes the file, over it the environment, over both the flags", () => {
    const text = '[swarm]\nport = 1\nhost = "10.0.0.1"\nheartbeat_ms = 50\n';
    const { swarm } = config(
      text,
      {
        PATINA_SWARM_PORT: "2",
        PATINA_SWARM_HEARTBEAT_MS: "60",
        PATINA_SWARM_BOOTSTRAP: "a:1, b:2",
      },
      { "swarm.port": "3" },
    );
    expect([swarm.host, swarm.port, swarm.heartbeatMs, swarm.bootstrap]).toEqual([
      "10.0.0.1",
      3,
      60,
      ["a:1", "b:2"],
    ]);
  });

  test("has relative paths from the file's folder, and defaults from the data directory", () => {
    const { node, schema, cluster } = config(
      '[node]\ndata_dir = "../../var/patina"\n[schema]\npaths = ["schema", "/x.sql"]\n[cluster]\nfile = "c.toml"\n',
    );
    expect(node.keyFile).toBe("/var/patina/node.key");
    expect(schema.paths).toEqual(["/etc/patina/schema", "/x.sql"]);
    expect(cluster.file).toBe("/etc/patina/c.toml");
  });

  test("has rules for tables, by name in any case", () => {
    const { tables } = config(
      "[tables.Instances]\nurgent = \"status <> 'up'\"\n[tables.notes]\nreplicated = false\n",
    );
    expect(tables).toEqual({
      instances: { replicated: true, urgent: "status <> 'up'" },
      notes: { replicated: false, urgent: undefined },
    });
  });

  test("takes permissions as a text or an octal number", () => {
    expect(config('[api]\nsocket_mode = "660"').api.socketMode).toBe(0o660);
    expect(config("[api]\nsocket_mode = 0o666").api.socketMode).toBe(0o666);
    expect(configToText(config('[api]\nsocket_mode = "660"'))).toContain('"socket_mode":"0660"');
  });

  test.each([
    [
      "[swarm]\nprot = 1",
      "/etc/patina/patina.toml:2:1: unknown key swarm.prot; did you mean port?",
    ],
    [
      "[swarn]\nport = 1",
      "/etc/patina/patina.toml:1:1: unknown section [swarn]; did you mean swarm?",
    ],
    [
      '[node]\nname = "a"\n\n  [store]\n  durabilty = "full"',
      "/etc/patina/patina.toml:5:3: unknown key store.durabilty; did you mean durability?",
    ],
    [
      "swarm.zzzzzzzzzz = 1",
      /^\/etc\/patina\/patina\.toml:1:1: unknown key swarm\.zzzzzzzzzz \(known: enabled, host, /,
    ],
    [
      "[tables.a]\nugent = 'x'",
      "/etc/patina/patina.toml:2:1: unknown key tables.a.ugent; did you mean urgent?",
    ],
    ["[swarm]\nport = 70000", "/etc/patina/patina.toml:2:1: swarm.port: 0 to 65535, got 70000"],
    ['[swarm]\nport = "1"', '/etc/patina/patina.toml:2:1: swarm.port: a whole number, got "1"'],
    [
      "[swarm]\nloss_fraction = 2",
      "/etc/patina/patina.toml:2:1: swarm.loss_fraction: 0 to 1, got 2",
    ],
    [
      "[store]\ndurability = 'none'",
      '/etc/patina/patina.toml:2:1: store.durability: "normal" or "full", got "none"',
    ],
    [
      "[schema]\npaths = 'a'",
      '/etc/patina/patina.toml:2:1: schema.paths: a list of texts, got "a"',
    ],
    ["[node]\nname = ''", /node\.name: 1 to 63 letters/],
    ["[api]\nsocket_mode = 9999", /socket_mode: permissions as "660" or 0o660, got 9999/],
    ["[tables.a]\nreplicated = false\nurgent = 'x'", /has nothing urgent to send/],
    ['[swarm]\nbootstrap = ["10.0.0.1"]', /swarm\.bootstrap: texts as "10\.0\.0\.1:7700"/],
    ['[swarm]\nbootstrap = ["10.0.0.1:7700", "a b:1"]', /swarm\.bootstrap/],
    ['[swarm]\nbootstrap = ["host:65536"]', /swarm\.bootstrap/],
    ['[swarm]\npeers = ["abc"]', /swarm\.peers: node keys of 64 hex digits/],
    [`[swarm]\nonly = ["${"0".repeat(64)}@host"]`, /swarm\.only/],
    ["[swarm]\nact_as_bootstrap = true", /needs a swarm\.host and a swarm\.port/],
    ["[swarm\nport = 1", /^\/etc\/patina\/patina\.toml:1:\d+: /],
    ["[swarm]\nport = ", /^\/etc\/patina\/patina\.toml:2:\d+: /],
  ])("refuses %j", (text, problem) => {
    const found = problems(text);
    expect(found).toHaveLength(1);
    if (typeof problem === "string") expect(found[0]).toBe(problem);
    else expect(found[0]).toMatch(problem);
  });

  test("tells all problems at once, also of the environment and of flags", () => {
    expect(
      problems(
        "[swarm]\nprot = 1",
        { PATINA_SWARM_PROT: "1", PATINA_LOG_LEVEL: "loud" },
        { "swarm.port": "x" },
      ),
    ).toEqual([
      "/etc/patina/patina.toml:2:1: unknown key swarm.prot; did you mean port?",
      "PATINA_SWARM_PROT: unknown variable; did you mean PATINA_SWARM_PORT?",
      'PATINA_LOG_LEVEL: log.level: "error" or "warn" or "info" or "debug", got "loud"',
      '--port: swarm.port: a whole number, got "x"',
    ]);
  });

  test("names a flag as it is written, and a number that JSON lacks", () => {
    const environment = { PATINA_STORE_QUERY_TIMEOUT_MS: "Infinity" };
    expect(problems("", environment, { "log.level": "loud" })).toEqual([
      "PATINA_STORE_QUERY_TIMEOUT_MS: store.query_timeout_ms: a whole number, got Infinity",
      '--log-level: log.level: "error" or "warn" or "info" or "debug", got "loud"',
    ]);
  });
});
